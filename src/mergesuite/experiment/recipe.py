"""How one network is trained, as data: optimiser, schedule, batches, what is done to images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mergesuite.experiment.strict import Strict

Share = Annotated[float, Field(gt=0, le=1)]
Jitter = Annotated[float, Field(ge=0)]
Hue = Annotated[float, Field(ge=0, le=0.5)]
MOST_EPOCHS = 1_000_000
MOST_BATCH = 1_000_000
"""Images: those of all of ImageNet's fit split, and no device takes them at once."""
LEAST_MICRO_BATCH = 4
"""Images. A batch that is divided evenly then leaves no single image, which has no variance."""
FIRST = {
    "optimiser", "lr", "eps", "momentum", "nesterov", "weight_decay", "schedule", "cycles",
    "epochs", "batch", "label_smoothing", "mixup", "augment", "keep", "keep_every",
}  # fmt: skip
"""The first keys of a recipe. A later one is part of a spec only where it is not at its default, so
that a recipe that does not use it has the digest that it had before."""


class Recipe(Strict):
    """How one network is trained: the keys of `mergesuite train --set`."""

    optimiser: Literal["adam", "sgd", "adamw"] = Field("adam", description="as torch.optim has it")
    lr: float = Field(0.01, gt=0, description="learning rate of the first update, after warm-up")
    eps: float = Field(1e-7, gt=0, description="epsilon of Adam and AdamW")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    nesterov: bool = Field(False, description="SGD only")
    weight_decay: float = Field(0.0, ge=0, description="AdamW: apart from the gradient")
    clip: float = Field(0.0, ge=0, description="largest norm of a whole gradient; 0: any")

    schedule: Literal["constant", "cosine", "cyclic", "step"] = Field(
        "constant",
        description="cosine: to lr_end at the end; cyclic: to 0 at the end of each cycle; step: "
        "times gamma after step_every epochs or after each of milestones",
    )
    rate_by: Literal["update", "epoch"] = Field(
        "update", description="the learning rate moves at each update, or stays for an epoch"
    )
    cycles: int = Field(1, ge=1, description="cycles of a cyclic schedule (Huang et al. 2017)")
    lr_end: float = Field(0.0, ge=0, description="learning rate at the end of a cosine")
    step_every: int = Field(0, ge=0, description="step: epochs between two steps")
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="step: epochs (after the warm-up) that a step follows"
    )
    gamma: float = Field(0.1, gt=0, description="step: factor of the learning rate")
    warmup: int = Field(0, ge=0, description="epochs of a linear rise, before the schedule")
    warmup_from: float = Field(0.01, gt=0, le=1, description="share of lr that it begins at")
    swa_start: int = Field(
        0, ge=0, description="epochs that the schedule takes; weights after each later one are "
        "averaged (SWA): epochs/swa.safetensors; 0: none are"
    )  # fmt: skip
    swa_lr: float = Field(0.05, gt=0, description="learning rate that torch's SWALR goes over to")
    swa_anneal: int = Field(10, ge=1, description="epochs it takes for that, along a cosine")

    epochs: int = Field(50, ge=1, le=MOST_EPOCHS, description="times that each fit image is seen")
    batch: int = Field(256, ge=2, le=MOST_BATCH, description="images per update, over all devices")
    drop_last: bool = Field(False, description="leave out a last batch that is short")
    micro_batch: int = Field(
        0, ge=0, description="images per forward pass, whose gradients are summed, on any number "
        "of processes; BatchNorm sees so many; 0: the batch at once; at least 4"
    )  # fmt: skip
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of forward passes (autocast); weights are float32 always"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share spread over all classes")
    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha); 0 is off")
    cutmix: float = Field(
        0.0, ge=0, description="the same for CutMix; with mixup one or the other, evenly"
    )
    step_weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (), description="spiking networks: the loss is the mean, weighted so, of the losses of the "
        "time steps, and not the loss of their mean"
    )  # fmt: skip
    leave_out: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        (0, 0), description="i k: train without part i of the k that the fit images make, image "
        "after image in turn; 0 0: on all"
    )  # fmt: skip

    augment: Literal["none", "crop-flip", "crop", "flip", "resized-crop", "resized-crop-flip"] = (
        Field(
            "none",
            description="of the fit images; crop: padded by 4 pixels; resized-crop: a random part",
        )
    )
    crop_scale: tuple[Share, Share] = Field(
        (0.08, 1.0), description="resized-crop: least and greatest share of the area"
    )
    rand_augment: int = Field(
        0, ge=0, le=100, description="operations of RandAugment for each image"
    )
    rand_magnitude: int = Field(9, ge=0, le=30, description="magnitude of each, of 30")
    colour_jitter: tuple[Jitter, Jitter, Jitter, Hue] = Field(
        (0.0, 0.0, 0.0, 0.0), description="brightness, contrast, saturation, hue (0.5 at most)"
    )
    erasing: float = Field(
        0.0, ge=0, le=1, description="probability that a random part becomes 0, the mean where "
        "inputs are normalised"
    )  # fmt: skip
    cutout: int = Field(0, ge=0, description="side in pixels of a square that becomes 0")

    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per update of an average of weights and statistics: "
        "epochs/ema.safetensors; 0: none is kept"
    )  # fmt: skip
    result: Literal["last", "ema", "swa"] = Field("last", description="which weights are the model")
    keep: int = Field(1, ge=1, description="ending epochs whose weights are kept")
    keep_every: Literal["epoch", "cycle"] = Field("epoch", description="what `keep` counts")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        there = self.cycles if self.keep_every == "cycle" else self.epochs
        if self.keep > there:
            raise ValueError(f"keep {self.keep} is more than the {there} {self.keep_every}s")
        if self.cycles > 1 and (self.schedule != "cyclic" or self.epochs % self.cycles):
            raise ValueError("cycles needs schedule: cyclic and must divide epochs")
        for odd, words in self._misfits():
            if odd:
                raise ValueError(words)
        return self

    def _misfits(self) -> Iterator[tuple[bool, str]]:
        """Whether settings contradict each other, and what to change."""
        steps = bool(self.step_every) + bool(self.milestones)
        yield (
            steps != (self.schedule == "step"),
            "schedule: step needs one of step_every and milestones, and no other has them",
        )
        yield (
            self.schedule == "cyclic" and bool(self.warmup or self.swa_start),
            "a cyclic schedule has neither warmup nor swa_start: remove them",
        )
        yield self.swa_start >= self.epochs, "swa_start must be below epochs"
        yield (
            self.warmup >= (self.swa_start or self.epochs),
            "warmup must end before the schedule: fewer epochs of it, or more in all",
        )
        yield (
            0 < self.micro_batch < LEAST_MICRO_BATCH or self.micro_batch > self.batch,
            f"micro_batch is 0, or {LEAST_MICRO_BATCH} at least and batch at most",
        )
        yield (
            bool(self.step_weights)
            and (not sum(self.step_weights) or bool(self.mixup or self.cutmix)),
            "step_weights are not all 0, and go with neither mixup nor cutmix",
        )
        part, parts = self.leave_out
        yield (
            self.leave_out != (0, 0) and not (1 <= part <= parts and parts > 1),
            "leave_out names a part from 1 on and their number, 2 or more: e.g. 2 5",
        )
        yield self.crop_scale[0] > self.crop_scale[1], "crop_scale: the lesser share comes first"
        yield self.result == "ema" and not self.ema, "result: ema needs ema, e.g. 0.999"
        yield self.result == "swa" and not self.swa_start, "result: swa needs swa_start"

    @model_serializer(mode="wrap")
    def _as_asked(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later keys that are at their defaults: see `FIRST`."""
        fields = type(self).model_fields
        return {
            key: value
            for key, value in dump(self).items()
            if key in FIRST or getattr(self, key) != fields[key].default
        }

    def kept_epochs(self) -> list[int]:
        """Numbers (from 1) of the epochs whose weights are kept, the last one included."""
        step = self.epochs // self.cycles if self.keep_every == "cycle" else 1
        return [self.epochs - step * back for back in reversed(range(self.keep))]

    def averages(self) -> list[str]:
        """The averages of weights that are kept beside: of "ema" and "swa" those that are on."""
        return [name for name, on in (("ema", self.ema), ("swa", self.swa_start)) if on]
