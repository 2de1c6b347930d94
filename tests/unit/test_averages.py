"""SWA, EMA and LAWA against `torch.optim.swa_utils` used by hand, to the last bit."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

from mergesuite import data, models
from mergesuite.core import sealed, store, streams
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.methods import create
from mergesuite.stages import merge, record, train

FIT, BATCH, EPOCHS, START = 300, 60, 5, 2
NETWORK = Network(build="resnet8-w4")
SIZES = {"fit": FIT, "search": 40, "test": 10}
DATA = Data.model_validate({"name": "digits", "sizes": SIZES})
RECIPE = Recipe.model_validate(
    {"optimiser": "sgd", "lr": 0.05, "epochs": EPOCHS, "batch": BATCH, "ema": 0.9, "keep": 3,
     "swa_start": START, "swa_lr": 0.02, "swa_anneal": 2}
)  # fmt: skip


def inputs(images):
    return images.to(torch.float32, memory_format=torch.channels_last) * (1 / 255)


def loader():
    """All fit images in two batches, as a user would give them to `update_bn`."""
    images, labels = data.load("digits", sizes=SIZES).fit
    half = torch.utils.data.TensorDataset(inputs(images), labels)
    return torch.utils.data.DataLoader(half, batch_size=FIT // 2)


@pytest.fixture(scope="module")
def by_hand():
    """The run as torch's documentation writes it; only the order of images is ours."""
    torch.set_num_threads(1)
    images, labels = data.load("digits", sizes=SIZES).fit
    net = models.build("resnet8-w4", 10, streams.generator("init", "resnet8-w4", 0))
    net = net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    swa, ema = AveragedModel(net), AveragedModel(
        net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True
    )  # fmt: skip
    schedule = SWALR(optimiser, 0.02, 2)
    net.train()
    for epoch in range(EPOCHS):
        rng = streams.generator("train", 0, "order", epoch)
        for index in torch.randperm(FIT, generator=rng).split(BATCH):
            loss = nn.functional.cross_entropy(net(inputs(images[index])), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            ema.update_parameters(net)
        if epoch >= START:
            swa.update_parameters(net)
            schedule.step()
    update_bn(loader(), swa)
    made = {"last": net, "swa": swa.module, "ema": ema.module}
    return {name: module.state_dict() for name, module in made.items()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    out = tmp_path_factory.mktemp("swa")
    train.run(NETWORK, DATA, RECIPE, seed=0, out=out, device="cpu")
    return out


def same(file, state):
    found = store.load_weights(file)
    assert found.keys() == state.keys()
    return [name for name in found if not torch.equal(found[name], state[name])] == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("last", "model.safetensors"),
        ("swa", "epochs/swa.safetensors"),
        ("ema", "epochs/ema.safetensors"),
    ],
)
def test_a_run_is_that_of_swa_utils_to_the_last_bit(ours, by_hand, name, file):
    assert same(ours / file, by_hand[name])


def test_the_three_differ(by_hand):
    weights = [state["linear.weight"] for state in by_hand.values()]
    assert not any(torch.equal(weights[a], weights[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", ["swa", "ema"])
def test_an_average_can_be_the_result(tmp_path, ours, by_hand, name):
    recipe = Recipe.model_validate({**RECIPE.model_dump(), "result": name})
    train.run(NETWORK, DATA, recipe, seed=0, out=tmp_path, device="cpu")
    assert same(tmp_path / "model.safetensors", by_hand[name])
    assert same(tmp_path / f"epochs/{EPOCHS:03d}.safetensors", by_hand["last"])
    for epoch in ("003", "004"):
        kept = store.load_weights(tmp_path / f"epochs/{epoch}.safetensors")
        assert same(ours / f"epochs/{epoch}.safetensors", kept)


def parents(ours):
    return [ours / f"epochs/{n:03d}.safetensors" for n in (3, 4)] + [ours / "model.safetensors"]


def test_the_method_swa_is_that_of_swa_utils_to_the_last_bit(tmp_path, ours, by_hand):
    """Of the kept epochs of the same run: so it is the run's own SWA too."""
    how = Merge(use="swa")
    merge.run(NETWORK, DATA, how, parents(ours), seed=3, out=tmp_path, device="cpu")
    net = models.build("resnet8-w4", 10).to(memory_format=torch.channels_last)
    averaged = AveragedModel(net)
    for file in parents(ours):
        net.load_state_dict(store.load_weights(file))
        averaged.update_parameters(net)
    update_bn(loader(), averaged)
    found = store.load_weights(tmp_path / "model.safetensors")
    for name, tensor in averaged.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(found[name], tensor)
            assert torch.equal(found[name], by_hand["swa"][name])
    assert sealed.read(tmp_path / "run.json")["cost"]["forward_images"] == FIT


def test_an_average_of_a_run_has_a_spec_of_its_own(ours):
    run = sealed.read(ours / "run.json")
    for name in ("swa", "ema"):
        checkpoint = record.checkpoint(ours / f"epochs/{name}.safetensors")
        assert checkpoint["spec"] == f"{run['spec']}-{name}"
        assert checkpoint["epoch"] == name
    assert record.checkpoint(ours / "epochs/004.safetensors")["epoch"] == 4


def test_lawa_takes_the_best_window_of_the_latest():
    vectors = torch.tensor([[9.0, 9.0], [4.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    windows = [vectors[-k:].mean(0) for k in range(1, 5)]
    for best, target in enumerate(windows, start=1):
        method = create("lawa")
        method.start(vectors, torch.zeros(4), streams.generator("lawa"))
        while (proposal := method.ask()) is not None:
            scores = -((proposal.candidates.double() - target) ** 2).sum(1)
            method.tell(scores, scores > proposal.thresholds)
        assert method.trace()["window"] == best
        assert torch.equal(method.best[0], target)
        assert method.best[1] == 0
