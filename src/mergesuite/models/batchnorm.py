"""BatchNorm statistics: which entries they are, and their re-estimation on given images.

The running statistics of averaged or evolved weights belong to none of the parents. Papers
differ in what they do about it, so re-estimation is a step of its own, visible in every spec.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mergesuite.data.images import at_once
from mergesuite.data.stored import Images
from mergesuite.errors import UserError
from mergesuite.models.narrow import Filled


def _layers(module: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """The BatchNorm layers that keep running statistics, by name."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            yield name, layer


def has_batchnorm(module: nn.Module) -> bool:
    """Whether any layer keeps running BatchNorm statistics."""
    return next(_layers(module), None) is not None


def statistics_names(module: nn.Module) -> list[str]:
    """State-dict names of running means and variances, in order; no batch counters."""
    return [
        f"{name}.{kind}" if name else kind
        for name, _ in _layers(module)
        for kind in ("running_mean", "running_var")
    ]


def statistics_batch(shape: Sequence[int]) -> int:
    """Images of `shape` `(n, 3, h, w)` per forward pass that estimates statistics, at most.

    250 of 32 x 32 pixels; of larger ones as many as take that memory, but 32: the fewer they are,
    the less the variance within a batch says of that between images. Every device takes as many,
    for the statistics depend on it.
    """
    return at_once(250, shape, 32, 250)


def scaled(images: Tensor) -> Tensor:
    """uint8 `[n, 3, h, w]` -> float32 in [0, 1], in channels-last memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def reestimate(
    module: nn.Module,
    images: Images,
    *,
    batch: int | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Replace the running statistics of every BatchNorm layer by their mean over `images`.

    Only BatchNorm layers are put in training mode: dropout stays off, and no parameter changes.
    A layer that the forward pass does not reach keeps its statistics. For `n` a multiple of
    `batch` the result is that of `torch.optim.swa_utils.update_bn` (Izmailov et al. 2018, end of
    section 3.2), up to rounding where layers are narrow (see `narrow`). Otherwise batches differ by
    at most one image and count in proportion to their size, where `update_bn` would give a small
    last batch the weight of a full one.

    Args:
        module: changed in place; training modes and momenta are as before afterwards.
        images: uint8 `[n, 3, h, w]`, taken in the order given.
        batch: images per forward pass, at most; default: `statistics_batch`.
        normalise: from a batch of `images`, on the module's device, to the module's input;
            without it a batch is scaled to [0, 1].

    Raises:
        UserError: there are no images, or `batch` is below 1.
    """
    Reestimation(module)(images, batch=batch, normalise=normalise)


class Reestimation:
    """`reestimate` of one network again and again: its layers are looked up once."""

    def __init__(self, module: nn.Module) -> None:
        """`module` is to keep its layers, and to stay on its device."""
        self._module = module
        self._parts = list(module.modules())
        self._layers = [layer for _, layer in _layers(module)]
        self._filled = Filled(module)

    def __call__(
        self,
        images: Images,
        *,
        batch: int | None = None,
        normalise: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """See `reestimate`."""
        batch = statistics_batch(images.shape) if batch is None else batch
        if len(images) == 0 or batch < 1:
            raise UserError(
                "BatchNorm re-estimation needs at least one image and a batch of at least 1, found "
                f"{len(images)} images and batch {batch}; give it images of the fit split"
            )
        if not self._layers:
            return
        device = next(self._module.buffers()).device  # of a BatchNorm layer, if not of another
        with self._averaging(), torch.no_grad(), self._filled.entered():
            for part in images.tensor_split(-(-len(images) // batch)):
                part = part.to(device)
                self._module(scaled(part) if normalise is None else normalise(part))

    @contextmanager
    def _averaging(self) -> Iterator[None]:
        """Within it statistics are means over all images that were passed on."""
        trained = [part for part in self._parts if part.training]
        momenta = [layer.momentum for layer in self._layers]
        seen: Counter[nn.Module] = Counter()

        def average_by_images(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, _BatchNorm)
            if not seen[layer]:
                layer.reset_running_stats()
            seen[layer] += len(inputs[0])
            # The share of the new batch in the mean over everything seen. It may differ per layer:
            # a spiking net in single-step mode calls each layer once per time step.
            layer.momentum = len(inputs[0]) / seen[layer]

        hooks = [layer.register_forward_pre_hook(average_by_images) for layer in self._layers]
        try:
            _train(trained, False)
            _train(self._layers, True)
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum
            _train(self._layers, False)
            _train(trained, True)


def _train(parts: Iterable[nn.Module], mode: bool) -> None:
    for part in parts:
        part.training = mode
