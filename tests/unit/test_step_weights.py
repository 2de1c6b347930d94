"""Members of two populations of CADE's repository: losses per time step, and parts of the data."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from mergesuite import data, models
from mergesuite.core import streams
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.trainer import Trainer

IMAGES = torch.randint(
    0, 256, (24, 3, 12, 12), dtype=torch.uint8, generator=streams.generator("images")
)
LABELS = torch.arange(24) % 10


def trainer(build="sew-small", steps=3, **recipe):
    options = {"steps": steps} if build == "sew-small" else {}
    net = models.build(build, 10, streams.generator("steps"), **options)
    return Trainer(
        net, Recipe(batch=24, epochs=1, lr=0.1, optimiser="sgd", **recipe),
        InMemory(IMAGES, LABELS), normalise=Normalise(), stream=("t",), meter=Meter(),
    )  # fmt: skip


def test_the_loss_is_that_of_the_time_steps_by_their_weights():
    ours, weights = trainer(step_weights=(1, 50, 2), label_smoothing=0.1), (1, 50, 2)
    ours.module.train()
    outputs = ours.module.each_step(Normalise()(IMAGES))
    losses = [F.cross_entropy(step, LABELS, label_smoothing=0.1) for step in outputs]
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / 53

    row = trainer(step_weights=weights, label_smoothing=0.1).epoch(0)

    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    hits = (outputs.mean(0).argmax(1) == LABELS).float().mean()
    assert row["fit_accuracy"] == pytest.approx(hits.item())


def test_the_weights_decide_what_is_learnt():
    made = {}
    for weights in ((), (1, 1, 1), (0, 0, 1)):
        ours = trainer(step_weights=weights)
        ours.epoch(0)
        made[weights] = torch.cat([p.detach().flatten() for p in ours.module.parameters()])
    assert not torch.allclose(made[()], made[0, 0, 1])
    # The mean of the losses is not the loss of the mean either.
    assert not torch.equal(made[()], made[1, 1, 1])


@pytest.mark.parametrize(
    ("build", "weights", "said"),
    [("sew-small", (1, 1), "it has 3 time steps"), ("resnet8-w4", (1,), "no spiking network")],
)
def test_weights_for_steps_that_are_not_there_are_refused(build, weights, said):
    with pytest.raises(UserError, match=said):
        trainer(build, step_weights=weights)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"step_weights": [1, 1], "mixup": 0.1}, "neither mixup"),
        ({"step_weights": [0, 0]}, "not all 0"),
        ({"leave_out": [3, 2]}, "leave_out"),
        ({"leave_out": [0, 5]}, "leave_out"),
        ({"leave_out": [1, 1]}, "leave_out"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(given)


def test_a_part_that_is_left_out_is_every_fifth_image():
    splits = data.load("digits12", sizes={"fit": 103})
    whole = splits.fit.images
    for i in range(1, 6):
        kept = [row for row in range(103) if row % 5 + 1 != i]
        part = splits.pictures("fit", (i, 5))
        assert torch.equal(part.images, whole[kept])
        assert torch.equal(part.labels, splits.fit.labels[kept])
    assert len(splits.pictures("fit")) == 103
