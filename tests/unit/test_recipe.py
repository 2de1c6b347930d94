"""Recipes as settings: what may stand together, and what a digest sees of them."""

import pytest

from mergesuite.cli import parser
from mergesuite.errors import UserError
from mergesuite.experiment import flags, identity
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Network
from mergesuite.experiment.strict import checked

BEFORE = {
    "optimiser": "sgd", "lr": 0.1, "eps": 1e-7, "momentum": 0.9, "nesterov": True,
    "weight_decay": 5e-4, "schedule": "cosine", "cycles": 1, "epochs": 20, "batch": 128,
    "label_smoothing": 0.1, "mixup": 0.2, "augment": "crop-flip", "keep": 3, "keep_every": "epoch",
}  # fmt: skip
"""Every key that a recipe had when the first results were digested."""


def test_a_recipe_without_later_keys_is_what_it_was():
    assert list(Recipe.model_validate(BEFORE).model_dump()) == list(BEFORE)
    asked = identity.training(
        Network(build="resnet8-w8"), Data(name="digits"), Recipe.model_validate(BEFORE), None
    )
    assert asked["recipe"] == BEFORE
    # As commit ebe1ce8 computed it.
    assert identity.spec(asked) == "41741d2f13ed"


def test_a_later_key_counts_where_it_is_used():
    used = Recipe.model_validate({**BEFORE, "clip": 1.0})
    assert used.model_dump() == {**BEFORE, "clip": 1.0}
    assert Recipe.model_validate({**BEFORE, "clip": 0}).model_dump() == BEFORE


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"schedule": "step"}, "needs one of step_every and milestones"),
        ({"schedule": "step", "step_every": 2, "milestones": [3]}, "one of step_every"),
        ({"schedule": "cosine", "milestones": [3]}, "no other has them"),
        ({"schedule": "cyclic", "cycles": 2, "warmup": 1}, "remove them"),
        ({"swa_start": 50}, "below epochs"),
        ({"epochs": 5, "warmup": 5}, "warmup must end"),
        ({"epochs": 9, "swa_start": 4, "warmup": 4}, "warmup must end"),
        ({"micro_batch": 3}, "4 at least"),
        ({"micro_batch": 512}, "batch at most"),
        ({"crop_scale": [0.5, 0.2]}, "lesser share"),
        ({"crop_scale": [0, 0.2]}, "greater than 0"),
        ({"colour_jitter": [0.4, 0.4, 0.4, 0.6]}, "less than or equal to 0.5"),
        ({"colour_jitter": [0.4]}, "colour_jitter"),
        ({"result": "ema"}, "result: ema needs ema"),
        ({"result": "swa"}, "result: swa needs swa_start"),
        ({"ema": 1.0}, "less than 1"),
        ({"optimiser": "adamW"}, "adamw"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(given, words):
    with pytest.raises(UserError, match=words) as error:
        checked(Recipe, given, "--set")
    assert "\n" not in str(error.value)


def test_the_command_line_says_every_recipe():
    recipe = Recipe.model_validate(
        {"schedule": "step", "milestones": [3, 5], "colour_jitter": [0.4, 0.4, 0.4, 0.0],
         "crop_scale": [0.25, 1], "augment": "resized-crop-flip", "ema": 0.999, "drop_last": True}
    )  # fmt: skip
    words = flags.mapping("--set", recipe.model_dump(exclude_defaults=True))
    assert checked(Recipe, flags.pairs(words[1:], "--set"), "--set") == recipe


def test_the_help_of_train_explains_every_key(capsys):
    with pytest.raises(SystemExit):
        parser.parse(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name, field in Recipe.model_fields.items():
        assert f" {name}=" in shown
        assert field.description, f"{name} has no description"
        assert field.description in shown
