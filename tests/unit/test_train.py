import math

import pytest
import torch
from torch import nn

from mergesuite import models
from mergesuite.core import store, streams
from mergesuite.core.runtime import Meter
from mergesuite.data.images import PAD, Augment, Normalise
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Recipe
from mergesuite.stages.trainer import Trainer, learning_rate, make_optimiser, train

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
        *images(),
        normalise=Normalise(),
        stream=("t", 0),
        meter=meter or Meter(),
    )


def run(settings, out, key="k"):
    made = trainer(settings)

    def save(path, module):
        store.save_weights(path, module.state_dict())

    curve = train(
        made,
        out=out,
        key=key,
        held_out=images(20),
        normalise=Normalise(),
        meter=Meter(),
        save=save,
    )
    return curve, made.module.state_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": "crop-flip", "mixup": 0.2, "label_smoothing": 0.1, "schedule": "cosine"},
        {"optimiser": "sgd", "nesterov": True, "weight_decay": 5e-4, "keep": 3},
    ],
)
def test_a_run_cut_after_any_epoch_ends_in_the_same_weights(tmp_path, changes, monkeypatch):
    whole_curve, whole = run(recipe(**changes), tmp_path / "whole")
    for cut in (1, 3):
        out = tmp_path / f"cut{cut}"
        calls = []
        original = store.save_state

        def stop(path, state, cut=cut, calls=calls, original=original):
            original(path, state)
            calls.append(path)
            if len(calls) == cut:
                raise KeyboardInterrupt

        monkeypatch.setattr(store, "save_state", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe(**changes), out)
        monkeypatch.setattr(store, "save_state", original)
        curve, weights = run(recipe(**changes), out)
        assert curve == whole_curve
        assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_an_epoch_is_the_textbook_loop():
    """Two updates against torch written out, on a linear net."""
    x, y = images(40)
    settings = recipe(optimiser="sgd", momentum=0.0, lr=0.1, batch=20)
    ours = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    theirs.load_state_dict(ours.state_dict())
    made = Trainer(ours, settings, x, y, normalise=Normalise(), stream=("t",), meter=Meter())
    made.epoch(0)
    for index in made.batches(0):
        loss = nn.functional.cross_entropy(theirs(x[index].float() / 255), y[index])
        gradients = torch.autograd.grad(loss, list(theirs.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_an_epoch_sees_every_image_once_in_another_order_each_time():
    made = trainer(recipe(batch=7))
    first, second = torch.cat(made.batches(0)), torch.cat(made.batches(1))
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
