"""One update: optimisers, clipping, precision, and batches in several pieces."""

import pytest
import torch
from torch import nn

from mergesuite import models
from mergesuite.core import streams
from mergesuite.core.ranks import Ranks
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.trainer import Trainer
from mergesuite.stages.updates import SharedStatistics, Updates, make_optimiser

N = 44


def recipe(**settings):
    return Recipe.model_validate({"epochs": 2, "batch": 20, "lr": 0.01, **settings})


def pictures():
    rng = streams.generator("updates")
    x = torch.randint(256, (N, 3, 16, 16), generator=rng, dtype=torch.uint8)
    return InMemory(x, torch.randint(10, (N,), generator=rng))


def plain():
    """A net without BatchNorm or anything else that looks at several images."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 7 * 7, 10)
        )


def trained(settings, module, ranks=None):
    torch.set_num_threads(1)
    made = Trainer(
        module, settings, pictures(), normalise=Normalise(), stream=("u",), meter=Meter(),
        **({"ranks": ranks} if ranks else {}),
    )  # fmt: skip
    rows = [made.epoch(epoch) for epoch in range(settings.epochs)]
    return module.state_dict(), rows


def stepped(optimiser, module, clip=None):
    rng = streams.generator("gradients")
    for _ in range(5):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimiser.step()
    return module.state_dict()


def test_adamw_is_torchs_to_the_last_bit():
    ours, theirs = plain(), plain()
    settings = recipe(optimiser="adamw", weight_decay=0.05, eps=1e-8)
    found = stepped(make_optimiser(ours, settings), ours)
    other = torch.optim.AdamW(theirs.parameters(), 0.01, eps=1e-8, weight_decay=0.05)
    for name, tensor in stepped(other, theirs).items():
        assert torch.equal(found[name], tensor)


def test_clipping_is_torchs_to_the_last_bit():
    ours, theirs = plain(), plain()
    settings = recipe(optimiser="sgd", clip=0.5)
    updates = Updates(ours, settings)
    rng = streams.generator("gradients")
    for _ in range(5):
        updates.begin(0.01)
        for parameter in ours.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        updates.end()
    other = torch.optim.SGD(theirs.parameters(), 0.01, 0.9)
    for name, tensor in stepped(other, theirs, clip=0.5).items():
        assert torch.equal(ours.state_dict()[name], tensor)
    unclipped = stepped(make_optimiser(plain(), recipe(optimiser="sgd")), plain())
    assert not torch.equal(unclipped["3.bias"], theirs.state_dict()["3.bias"])


@pytest.mark.parametrize("micro", [4, 7, 20])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "sgd", "weight_decay": 1e-3},
        {"mixup": 0.4, "label_smoothing": 0.1, "augment": "crop-flip", "clip": 1.0},
        {"cutmix": 1.0, "erasing": 0.5, "rand_augment": 1},
    ],
)
def test_a_batch_in_pieces_is_the_batch_at_once(settings, micro):
    """Where no layer looks at several images: within rounding, weights and curve."""
    whole, rows = trained(recipe(optimiser="sgd", **settings) if "optimiser" not in settings
                          else recipe(**settings), plain())  # fmt: skip
    pieces, others = trained(recipe(**{"optimiser": "sgd", **settings}, micro_batch=micro), plain())
    for name, tensor in whole.items():
        torch.testing.assert_close(pieces[name], tensor, rtol=1e-4, atol=1e-6)
    for row, other in zip(rows, others, strict=True):
        assert other == pytest.approx(row, rel=1e-5)
    start = plain().state_dict()
    assert not torch.allclose(whole["3.weight"], start["3.weight"], atol=1e-4)


def test_statistics_move_once_to_the_mean_of_where_the_pieces_move_them():
    layer = nn.BatchNorm2d(4, momentum=0.3)
    with torch.no_grad():
        layer.running_mean.fill_(0.5)
    rng = streams.generator("statistics")
    parts = [torch.randn(n, 4, 3, 3, generator=rng) for n in (6, 4)]
    means = [part.mean((0, 2, 3)) for part in parts]
    variances = [part.var((0, 2, 3)) for part in parts]
    shared = SharedStatistics(layer)
    shared.begin()
    for part in parts:
        layer(part)
        shared.take(len(part) / 10)
    shared.end()
    mean = 0.7 * 0.5 + 0.3 * (0.6 * means[0] + 0.4 * means[1])
    variance = 0.7 * 1.0 + 0.3 * (0.6 * variances[0] + 0.4 * variances[1])
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance)
    assert int(layer.num_batches_tracked) == 1


def test_one_piece_is_no_division():
    """A micro-batch as large as the batch leaves everything as it is, the last bit included."""
    net = [models.build("resnet8-w4", 10, streams.generator("u")) for _ in range(2)]
    whole, rows = trained(recipe(batch=22), net[0])
    pieces, others = trained(recipe(batch=22, micro_batch=22), net[1])
    assert rows == others
    assert all(torch.equal(pieces[name], tensor) for name, tensor in whole.items())


def test_bfloat16_lowers_the_loss_and_keeps_float32_weights():
    net = models.build("resnet8-w8", 10, streams.generator("u"))
    state, rows = trained(recipe(epochs=12, precision="bfloat16", lr=0.02), net)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
    exact = models.build("resnet8-w8", 10, streams.generator("u"))
    _, others = trained(recipe(epochs=1, lr=0.02), exact)
    assert rows[0]["loss"] == pytest.approx(others[0]["loss"], rel=0.05)
    assert rows[0]["loss"] != others[0]["loss"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float16_lowers_the_loss_on_a_gpu():
    net = models.build("resnet8-w8", 10, streams.generator("u")).cuda()
    _, rows = trained(recipe(epochs=12, precision="float16", lr=0.02), net)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


def test_float16_on_a_cpu_says_what_to_take():
    with pytest.raises(UserError, match="precision=bfloat16"):
        Updates(plain(), recipe(precision="float16"))


@pytest.mark.parametrize("micro", [0, 11])
def test_processes_that_cannot_share_a_batch_say_so(micro):
    with pytest.raises(UserError, match="set micro_batch to 10 or less"):
        Updates(plain(), recipe(micro_batch=micro), Ranks(0, 2))
