"""Forward passes of one network over images: folded where that helps, in full batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional as F

from mergesuite.core import streams
from mergesuite.data.images import Normalise, at_once
from mergesuite.data.stored import Images
from mergesuite.fitness.fold import folded
from mergesuite.fitness.graphed import Forward, graphed

CHUNK = 50
"""Images of 32 x 32 pixels per forward pass on a CPU: activations of a small net stay in the cache.

Of smaller images as many more as fit there, up to `CHUNK_MOST`: a call costs what it costs. Of
larger ones fewer: memory does not grow with them.
"""
CHUNK_MOST = 200
CHUNK_UNFOLDED = 100
"""Of a network that is not folded, mostly a spiking one with many small operations.

Of smaller images as many more, up to `CHUNK_MOST`.
"""
CHUNK_GPU = 1000
FEW = 8
"""Images per pass of the network itself where a folded one leaves these in doubt: mostly a few."""


class Passes:
    """The forward pass of a network and, where there is one, of its folded twin.

    Attributes:
        chunk: images per forward pass.
        folded: whether `logits` are those of the folded twin.
        steady: whether an image's logits are the same bits wherever in a batch it stands. Some
            matrix products are not so (ten outputs of 250 features, on a CPU).
        few: images per pass of the network itself: `FEW`, if logits are then the same bits.
    """

    def __init__(
        self,
        module: nn.Module,
        normalise: Normalise,
        shape: torch.Size,
        device: torch.device,
        *,
        precision: str,
        chunk: int | None,
        fold: bool,
        exact: bool,
    ) -> None:
        """Prepare `module` for images of `shape` `(n, 3, h, w)`.

        `exact`: what is counted must not depend on the layout, so a network that is not folded is
        computed as the plain loop would (near-ties are decided again for a folded one only).
        """
        self._module, self._normalise, self._device = module, normalise, device
        self._precision = precision
        self._twin = folded(module) if fold else None
        self.folded = self._twin is not None
        self.chunk = chunk or self._default_chunk(shape)
        plain = exact and self._twin is None
        self._layout = torch.contiguous_format if plain else torch.channels_last
        self._network = self._prepared(shape[1:])
        self.steady = self._is_steady(shape[1:])
        self.few = FEW if self._is_steady_in_few(shape[1:]) else self.chunk

    def _default_chunk(self, shape: torch.Size) -> int:
        """Images per pass, so that the passes over all images are alike: the last is padded."""
        count = shape[0]
        if self._device.type == "cuda":
            most = at_once(CHUNK_GPU, shape, 250, CHUNK_GPU)
        elif self.folded:
            most = at_once(CHUNK, shape, 4, CHUNK_MOST)
        else:
            most = at_once(CHUNK_UNFOLDED, shape, 4, CHUNK_MOST)
        return math.ceil(count / math.ceil(count / most))

    @torch.inference_mode()
    def _prepared(self, shape: torch.Size) -> Forward:
        """The forward pass of a full chunk."""
        network = self._module if self._twin is None else self._twin.network
        example = torch.zeros(self.chunk, *shape, device=self._device)
        example = example.contiguous(memory_format=self._layout)
        return graphed(self._at_precision(network), example)

    def _at_precision(self, network: nn.Module) -> Forward:
        """`network` computing at the chosen precision, with float32 logits."""
        if self._precision == "tf32":

            def in_tf32(x: Tensor) -> Tensor:
                with cudnn.flags(deterministic=True, allow_tf32=True):
                    return network(x)

            return in_tf32
        if self._precision == "bfloat16":

            def in_bfloat16(x: Tensor) -> Tensor:
                kind = self._device.type
                with torch.autocast(kind, dtype=torch.bfloat16, cache_enabled=False):
                    return network(x).float()

            return in_bfloat16
        return network

    @torch.inference_mode()
    def _is_steady(self, shape: torch.Size) -> bool:
        batch = self._drawn(shape)
        order = torch.randperm(self.chunk, generator=streams.generator("passes", "order"))
        order = order.to(self._device)
        self.refresh()
        ways = ((self._network, self._layout), (self._module, torch.contiguous_format))
        return all(
            torch.equal(
                network(batch.contiguous(memory_format=layout))[order],
                network(batch[order].contiguous(memory_format=layout)),
            )
            for network, layout in (ways if self.folded else ways[:1])
        )

    @torch.inference_mode()
    def _is_steady_in_few(self, shape: torch.Size) -> bool:
        """Whether logits that decide about near-ties are the same bits in a pass of `FEW`."""
        if not self.folded or not self.steady or self.chunk <= FEW:
            return False
        batch = self._drawn(shape)
        return torch.equal(self._module(batch[:FEW]), self._module(batch)[:FEW])

    def _drawn(self, shape: torch.Size) -> Tensor:
        drawn = torch.rand(self.chunk, *shape, generator=streams.generator("passes"))
        return drawn.to(self._device)

    def refresh(self) -> None:
        """Take over the weights that the network holds now."""
        if self._twin is not None:
            self._twin.load()

    def logits(self, images: Images, index: Tensor) -> Tensor:
        """Logits of `images[index]`; at most a chunk of them."""
        return self._forward(self._network, images, index, self._layout, self.chunk)

    def unfolded(self, images: Images, index: Tensor) -> Tensor:
        """The same by the network itself."""
        size = self.few if len(index) <= self.few else self.chunk
        return self._forward(self._module, images, index, torch.contiguous_format, size)

    def _forward(
        self,
        network: Forward,
        images: Images,
        index: Tensor,
        layout: torch.memory_format,
        size: int,
    ) -> Tensor:
        """Logits computed in a batch of `size`, for kernels depend on it."""
        padded = F.pad(index, (0, size - len(index)), value=int(index[0]))
        shown = images.index_select(0, padded).to(self._device)  # those in a file are on the CPU
        return network(self._normalise(shown).contiguous(memory_format=layout))[: len(index)]
