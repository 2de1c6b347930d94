import functools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mergesuite import models
from mergesuite.core import sealed, store, streams
from mergesuite.core.runtime import Meter
from mergesuite.data.images import PAD, Augment, Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Network
from mergesuite.models.pointwise import thinned
from mergesuite.stages import train
from mergesuite.stages.schedules import learning_rate
from mergesuite.stages.trainer import Trainer, accuracy
from mergesuite.stages.updates import make_optimiser

pytestmark = pytest.mark.usefixtures("every_state")

N = 60


def recipe(**changes):
    return Recipe.model_validate({"epochs": 4, "batch": 20, "lr": 0.01, **changes})


def images(n=N):
    rng = streams.generator("images")
    x = torch.randint(256, (n, 3, 32, 32), generator=rng, dtype=torch.uint8)
    return x, torch.randint(10, (n,), generator=rng)


def trainer(settings, meter=None):
    torch.set_num_threads(1)
    module = models.build("resnet8-w8", 10, streams.generator("train-test"))
    return Trainer(
        module,
        settings,
        InMemory(*images()),
        normalise=Normalise(),
        stream=("t", 0),
        meter=meter or Meter(),
    )


NETWORK = Network(build="resnet8-w4")
DATA = Data.model_validate({"name": "digits", "sizes": {"fit": 40, "search": 10, "test": 10}})
OUTPUTS = ("model.safetensors", "epochs", "curve.csv", "run.json")
"""What a rule declares, so what a workflow deletes before it starts a failed job again."""


def run(settings, out):
    train.run(NETWORK, DATA, settings, seed=0, out=out, device="cpu")
    return contents(out)


def contents(out):
    """The bytes of a run folder by name; of run.json what does not depend on the moment."""
    found = {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    stable = ("cost", "weights", "spec", "args", "seed")
    return {**found, "run.json": {k: v for k, v in read(out).items() if k in stable}}


def read(out):
    return sealed.read(out / "run.json")


def cut(monkeypatch, where, number, *, after=True):
    """Stop with an exception after (or before) the call `number` (from 1) of a function."""
    calls = []
    original = getattr(*where)

    def stop(*words, **more):
        calls.append(words)
        if len(calls) == number and not after:
            raise KeyboardInterrupt
        original(*words, **more)
        if len(calls) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(*where, stop)
    return lambda: monkeypatch.setattr(*where, original)


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "crop-flip", "mixup": 0.2, "label_smoothing": 0.1, "schedule": "cosine"},
        {"optimiser": "sgd", "nesterov": True, "weight_decay": 5e-4, "keep": 3},
        {"schedule": "cyclic", "cycles": 2, "keep_every": "cycle", "keep": 2},
    ],
)
@pytest.mark.parametrize("deleted", [False, True])
def test_a_run_cut_after_any_epoch_ends_in_the_same_files(tmp_path, changes, monkeypatch, deleted):
    whole = run(recipe(**changes), tmp_path / "whole")
    kept = recipe(**changes).kept_epochs()[:-1]
    assert set(read(tmp_path / "whole")["weights"]) == {
        "model.safetensors", *(f"epochs/{epoch:03d}.safetensors" for epoch in kept)
    }  # fmt: skip
    assert not (tmp_path / "whole/resume").exists()
    cuts = [((store, "save_state"), number, after) for number in range(1, 5) for after in (0, 1)]
    cuts += [((store, "copy"), number + 1, 1) for number in range(len(kept))]
    for number, (where, at, after) in enumerate(cuts):
        out = tmp_path / f"cut{number}"
        undo = cut(monkeypatch, where, at, after=bool(after))
        with pytest.raises(KeyboardInterrupt):
            run(recipe(**changes), out)
        undo()
        for name in OUTPUTS if deleted else ():
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink(True)
        assert run(recipe(**changes), out) == whole


def test_a_kept_epoch_that_is_lost_or_damaged_starts_the_run_again(tmp_path, monkeypatch, capsys):
    whole = run(recipe(keep=3), tmp_path / "whole")
    for number, damage in enumerate((Path.unlink, lambda file: file.write_bytes(b"no"))):
        out = tmp_path / str(number)
        undo = cut(monkeypatch, (store, "save_state"), 3)
        with pytest.raises(KeyboardInterrupt):
            run(recipe(keep=3), out)
        undo()
        damage(out / "resume/epochs/002.safetensors")
        capsys.readouterr()
        assert run(recipe(keep=3), out) == whole
        assert "resuming" not in capsys.readouterr().err


def test_what_a_run_of_another_recipe_left_is_not_continued(tmp_path, monkeypatch, capsys):
    whole = run(recipe(keep=2), tmp_path / "whole")
    undo = cut(monkeypatch, (store, "save_state"), 3)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(keep=3, lr=0.02), tmp_path / "cut")
    undo()
    capsys.readouterr()
    assert run(recipe(keep=2), tmp_path / "cut") == whole
    assert "resuming" not in capsys.readouterr().err


def test_a_replaced_result_leaves_no_epochs_of_the_old_one(tmp_path):
    run(recipe(keep=3), tmp_path)
    train.run(NETWORK, DATA, recipe(keep=2), seed=0, out=tmp_path, device="cpu", force=True)
    assert [file.name for file in (tmp_path / "epochs").iterdir()] == ["003.safetensors"]


def test_dropout_draws_from_the_stream_of_its_epoch():
    """And moves no global generator."""
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3072, 10))
        with torch.no_grad():
            net[2].weight.fill_(0.01)
            net[2].bias.zero_()
        before = torch.get_rng_state()
        made = Trainer(
            net, recipe(), InMemory(*images()), normalise=Normalise(), stream=("t",), meter=Meter()
        )
        made.epoch(0)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(net[2].weight)
    assert torch.equal(*weights)


def test_an_epoch_is_the_textbook_loop():
    """Two updates against torch written out, on a linear net."""
    x, y = images(40)
    settings = recipe(optimiser="sgd", momentum=0.0, lr=0.1, batch=20)
    ours = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    theirs.load_state_dict(ours.state_dict())
    made = Trainer(
        ours, settings, InMemory(x, y), normalise=Normalise(), stream=("t",), meter=Meter()
    )
    made.epoch(0)
    for index in made.feed.batches(0):
        loss = nn.functional.cross_entropy(theirs(x[index].float() / 255), y[index])
        gradients = torch.autograd.grad(loss, list(theirs.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def straight_line(settings):
    """The training of a recipe without later keys, written out: what commit ebe1ce8 computed."""
    x, y = images()
    net = models.build("resnet8-w8", 10, streams.generator("train-test"))
    net = net.to(memory_format=torch.channels_last)
    if settings.optimiser == "adam":
        optimiser = torch.optim.Adam(net.parameters(), settings.lr, eps=settings.eps)
    else:
        optimiser = torch.optim.SGD(
            net.parameters(), settings.lr, settings.momentum,
            weight_decay=settings.weight_decay, nesterov=settings.nesterov,
        )  # fmt: skip
    padded = nn.functional.pad(x, (PAD,) * 4)
    net.train()
    losses = []
    for epoch in range(settings.epochs):
        drawn = streams.generator("t", 0, "augment", epoch)
        down, right = torch.randint(2 * PAD + 1, (2, N), generator=drawn)
        flip = torch.rand(N, generator=drawn) < 0.5
        seen = x.clone()
        for i in range(N):
            if settings.augment != "none":
                seen[i] = padded[i, :, down[i] : down[i] + 32, right[i] : right[i] + 32]
            if settings.augment == "crop-flip" and flip[i]:
                seen[i] = seen[i].flip(-1)
        mixing = np.random.default_rng(streams.derive("t", 0, "mixup", epoch))
        order = torch.randperm(N, generator=streams.generator("t", 0, "order", epoch))
        batches = order.split(settings.batch)
        total = 0.0
        for step, index in enumerate(batches):
            t, whole = epoch + step / len(batches), settings.epochs // settings.cycles
            if settings.schedule != "constant":
                rate = settings.lr / 2 * (1 + math.cos(math.pi * ((t % whole) / whole)))
                optimiser.param_groups[0]["lr"] = rate
            inputs = seen[index].to(torch.float32, memory_format=torch.channels_last) * (1 / 255)
            labels, share = y[index], 1.0
            other = labels
            if settings.mixup:
                share = mixing.beta(settings.mixup, settings.mixup)
                partner = torch.from_numpy(mixing.permutation(len(index)))
                inputs, other = share * inputs + (1 - share) * inputs[partner], labels[partner]
            with thinned(net):  # it sums in another order at some sizes
                logits = net(inputs)
                cross_entropy = functools.partial(
                    nn.functional.cross_entropy, logits, label_smoothing=settings.label_smoothing
                )
                loss = share * cross_entropy(labels)
                if settings.mixup:
                    loss = loss + (1 - share) * cross_entropy(other)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(index)
        losses.append(total / N)
    return net.state_dict(), losses


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": "crop-flip", "mixup": 0.2, "label_smoothing": 0.1, "schedule": "cosine"},
        {"optimiser": "sgd", "nesterov": True, "weight_decay": 5e-4, "augment": "crop"},
        {"optimiser": "sgd", "schedule": "cyclic", "cycles": 2, "batch": 16},
    ],
)
def test_recipes_without_later_keys_give_the_bytes_that_they_gave(changes):
    made = trainer(recipe(**changes))
    losses = [made.epoch(epoch)["loss"] for epoch in range(made.recipe.epochs)]
    weights, expected = straight_line(recipe(**changes))
    assert losses == pytest.approx(expected, rel=1e-6)
    for name, tensor in made.module.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_an_epoch_sees_every_image_once_in_another_order_each_time():
    made = trainer(recipe(batch=7))
    first, second = torch.cat(made.feed.batches(0)), torch.cat(made.feed.batches(1))
    assert first.sort().values.tolist() == list(range(N))
    assert not torch.equal(first, second)


def test_costs_are_counted_in_images():
    meter = Meter()
    trainer(recipe(), meter).epoch(0)
    assert meter.cost["backward_images"] == meter.cost["forward_images"] == N


def test_a_partial_epoch_stops_at_the_asked_images():
    meter = Meter()
    trainer(recipe(), meter).epoch(0, stop_after=40)
    assert meter.cost["backward_images"] == 40


def test_a_diverging_run_says_what_to_change():
    made = trainer(recipe(optimiser="sgd", lr=1e30))
    with pytest.raises(UserError, match="lower lr"):
        [made.epoch(epoch) for epoch in range(4)]


def test_schedules_follow_their_formulas():
    cosine = recipe(schedule="cosine", epochs=10)
    assert learning_rate(cosine, 0, 0, 5) == 0.01
    assert learning_rate(cosine, 5, 0, 5) == pytest.approx(0.005)
    cyclic = recipe(schedule="cyclic", epochs=10, cycles=2)
    t, c = 3 * 5 + 2, 5 * 5
    expected = 0.01 / 2 * (1 + math.cos(math.pi * t / c))
    assert learning_rate(cyclic, 3, 2, 5) == pytest.approx(expected)
    assert learning_rate(cyclic, 5, 0, 5) == 0.01


def test_augmentation_crops_and_flips_each_image_by_its_index():
    x, _ = images(12)
    augment = Augment("crop-flip", 12, streams.generator("a"))
    together = augment(x, torch.arange(12))
    for i in range(12):
        assert torch.equal(augment(x[i : i + 1], torch.tensor([i]))[0], together[i])
    padded = nn.functional.pad(x, (PAD,) * 4)
    found = 0
    for i in range(12):
        crops = [
            c
            for d in range(2 * PAD + 1)
            for r in range(2 * PAD + 1)
            for c in (padded[i, :, d : d + 32, r : r + 32],)
        ]
        flat = [torch.equal(c, together[i]) for c in crops]
        flipped = [torch.equal(c.flip(-1), together[i]) for c in crops]
        assert sum(flat) + sum(flipped) == 1
        found += sum(flipped)
    assert 0 < found < 12


def test_augmentation_in_blocks_is_augmentation_at_once(monkeypatch):
    x, _ = images(12)
    augment = Augment("crop-flip", 12, streams.generator("a"))
    index = torch.randperm(12, generator=streams.generator("b"))
    at_once = augment(x[index], index)
    monkeypatch.setattr("mergesuite.data.images.BLOCK", 5)
    assert torch.equal(augment(x[index], index), at_once)


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({"weight_decay": 5e-4}, lambda p: torch.optim.Adam(p, 0.01, eps=1e-7, weight_decay=5e-4)),
        (
            {"optimiser": "sgd", "nesterov": True, "weight_decay": 5e-4},
            lambda p: torch.optim.SGD(p, 0.01, 0.9, nesterov=True, weight_decay=5e-4),
        ),
    ],
)
def test_taking_parameters_together_changes_no_byte(changes, theirs):
    pair = [models.build("resnet8-w8", 10) for _ in range(2)]
    optimisers = [make_optimiser(pair[0], recipe(**changes)), theirs(pair[1].parameters())]
    rng = streams.generator("gradients")
    for _ in range(5):
        for a, b in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=rng)
            b.grad = a.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for a, b in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("side", "most"), [(12, 100), (32, 100), (64, 25), (224, 4)])
def test_of_large_images_fewer_are_scored_at_once(side, most):
    """Else the memory of a training would grow with them by what its curve needs."""
    seen = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append(len(x))
            return torch.nn.functional.one_hot(x.flatten(1).argmax(1) % 10, 10) * self.weight

    pictures = InMemory(torch.zeros(120, 3, side, side, dtype=torch.uint8), torch.zeros(120).long())
    assert accuracy(Net(), pictures, Normalise()) == 1
    assert max(seen) == most
    assert sum(seen) == 120
