"""Learning rates against `torch.optim.lr_scheduler`, update by update."""

import pytest
import torch
from torch.optim import lr_scheduler as theirs
from torch.optim.swa_utils import SWALR

from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.schedules import learning_rate

STEPS = 5
"""Updates in an epoch."""


def ours(**settings):
    recipe = Recipe.model_validate({"lr": 0.1, "epochs": 12, **settings})
    return [
        learning_rate(recipe, epoch, step, STEPS)
        for epoch in range(recipe.epochs)
        for step in range(STEPS)
    ]


def by_torch(make, count, each):
    """The rates of `count` steps of a schedule, each for `each` updates."""
    optimiser = torch.optim.SGD([torch.zeros(1)], 0.1)
    schedule = make(optimiser)
    rates = []
    for _ in range(count):
        rates += [optimiser.param_groups[0]["lr"]] * each
        optimiser.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"schedule": "step", "step_every": 3}, lambda o: theirs.StepLR(o, 3)),
        (
            {"schedule": "step", "milestones": [4, 9], "gamma": 0.2},
            lambda o: theirs.MultiStepLR(o, [4, 9], 0.2),
        ),
        (
            {"schedule": "cosine", "rate_by": "epoch", "lr_end": 0.001},
            lambda o: theirs.CosineAnnealingLR(o, 12, 0.001),
        ),
        (
            {"schedule": "cosine", "rate_by": "epoch", "warmup": 3},
            lambda o: theirs.SequentialLR(
                o, [theirs.LinearLR(o, 0.01, 1, 3), theirs.CosineAnnealingLR(o, 9)], [3]
            ),
        ),
        (
            {"schedule": "step", "step_every": 4, "warmup": 2, "warmup_from": 0.5,
             "rate_by": "epoch"},
            lambda o: theirs.SequentialLR(
                o, [theirs.LinearLR(o, 0.5, 1, 2), theirs.StepLR(o, 4)], [2]
            ),
        ),
    ],
)  # fmt: skip
def test_a_rate_for_each_epoch_is_torchs(settings, make):
    assert ours(**settings) == pytest.approx(by_torch(make, 12, STEPS), rel=1e-9, abs=1e-12)


def test_a_rate_for_each_update_is_torchs():
    count = 12 * STEPS
    whole = by_torch(lambda o: theirs.CosineAnnealingLR(o, count), count, 1)
    assert ours(schedule="cosine") == pytest.approx(whole, rel=1e-9, abs=1e-12)
    warmed = by_torch(
        lambda o: theirs.SequentialLR(
            o,
            [theirs.LinearLR(o, 0.01, 1, 2 * STEPS), theirs.CosineAnnealingLR(o, 10 * STEPS)],
            [2 * STEPS],
        ),
        count,
        1,
    )
    assert ours(schedule="cosine", warmup=2) == pytest.approx(warmed, rel=1e-9, abs=1e-12)


def test_cyclic_starts_again_in_each_cycle():
    found = ours(schedule="cyclic", cycles=3)
    assert found[: 4 * STEPS] == found[4 * STEPS : 8 * STEPS] == found[8 * STEPS :]
    one = by_torch(lambda o: theirs.CosineAnnealingLR(o, 4 * STEPS), 4 * STEPS, 1)
    assert found[: 4 * STEPS] == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("anneal", [1, 3, 20])
def test_averaged_epochs_have_the_rates_of_swalr_to_the_last_bit(anneal):
    """The loop of torch's documentation: each schedule is stepped after its epochs."""
    optimiser = torch.optim.SGD([torch.zeros(1)], 0.1)
    base = theirs.StepLR(optimiser, 100)
    swa = SWALR(optimiser, 0.03, anneal)
    rates = []
    for epoch in range(12):
        rates += [optimiser.param_groups[0]["lr"]] * STEPS
        optimiser.step()
        (swa if epoch >= 4 else base).step()
    assert ours(swa_start=4, swa_lr=0.03, swa_anneal=anneal) == rates


def test_a_cosine_ends_where_averaging_begins():
    found = ours(schedule="cosine", swa_start=8, swa_lr=0.02, swa_anneal=2)
    alone = ours(schedule="cosine", epochs=8)
    assert found[: 8 * STEPS] == alone
    assert found[8 * STEPS] == pytest.approx(0, abs=1e-12)
    assert found[-1] == pytest.approx(0.02)
