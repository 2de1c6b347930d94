"""Train the best parent on: what the same number of images buys by back-propagation."""

from typing import Literal

from pydantic import Field

from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.methods import FurtherTraining, method


@method("train-on", control=True)
class TrainOn(FurtherTraining):
    """The best parent, trained on for as many images as the search named by `budget_of` asked for.

    These are its evaluations times the images behind one: the fitness images, and those on which
    BatchNorm was re-estimated where it was, for both are what an evaluation needs. What a search
    saves by rejecting early and by remembering is not taken off, so the budget is known beforehand
    and is not a matter of luck.

    Instead of that budget, `images` or `epochs` may say how much. With `epochs` it is fine-tuning
    too: of the one member of a population that is another entry's result.

    The optimiser starts anew; its state is not part of a checkpoint.
    """

    optimiser: Literal["adam", "sgd"] = Field("adam", description="as in a model's recipe")
    lr: float = Field(0.001, gt=0, description="learning rate, constant")
    batch: int = Field(256, ge=2, le=1_000_000, description="images per update")
    augment: Literal["none", "crop-flip", "crop", "flip"] = Field(
        "none", description="as in a model's recipe"
    )
    images: int = Field(0, ge=0, description="images to train on; 0: those of budget_of")
    epochs: int = Field(0, ge=0, description="the same as times through the fit split; 0: images")

    def asked(self, fit: int) -> int:
        """How many images to train on when the fit split has `fit`.

        Raises:
            UserError: neither `images` nor `epochs` is set, or both are.
        """
        if bool(self.images) == bool(self.epochs):
            raise UserError(
                f"method train-on has images={self.images} and epochs={self.epochs}: set one of "
                "them, or budget_of in the spec"
            )
        return self.images or self.epochs * fit

    def recipe(self, images: int, fit: int) -> Recipe:
        """The recipe for `images` images when the fit split has `fit`."""
        return Recipe.model_validate(
            {
                "optimiser": self.optimiser,
                "lr": self.lr,
                "batch": self.batch,
                "augment": self.augment,
                "epochs": max(1, -(-images // fit)),
            }
        )
