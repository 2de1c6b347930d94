"""Spiking neurons: what is set of them, and a layer of them.

spikingjelly is imported where it is used: it takes seconds, and no other network needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mergesuite.errors import UserError, nearest

LEAK = ("tau", "decay_input")
"""What only a leaky neuron has."""


@dataclass(frozen=True)
class Neuron:
    """Integrate-and-fire; nothing is left to a library default, for those have changed."""

    kind: Literal["IF", "LIF"] = "LIF"
    """Whether the potential leaks (LIF) or adds up all input (IF)."""
    tau: float = 2.0
    """Membrane time constant of LIF, in time steps."""
    decay_input: bool = True
    """Whether LIF divides the input by `tau` too."""
    v_threshold: float = 1.0
    v_reset: float | None = 0.0
    """Potential after a spike (hard reset); None subtracts the threshold (soft reset)."""
    surrogate: Literal["atan", "sigmoid"] = "sigmoid"
    """The function whose derivative stands in for that of the spike."""
    alpha: float = 4.0
    """Slope of that function."""
    detach_reset: bool = True
    """Whether gradients stop at the reset."""

    @property
    def always_on(self) -> float:
        """The least constant input at which a neuron at rest spikes in every step."""
        gap = self.v_threshold - (self.v_reset or 0.0)
        return gap * self.tau if self.kind == "LIF" and self.decay_input else gap


PUBLISHED = Neuron(kind="IF", surrogate="atan", alpha=2.0)
"""Of Fang et al. on ImageNet: their `imagenet/sew_resnet.py`, spikingjelly's defaults of 2021."""


def changed(default: Neuron, settings: Mapping[str, Any] | None) -> Neuron:
    """`default` with what `settings` say.

    Raises:
        UserError: an unknown setting or value, or a leak of a neuron that has none.
    """
    known = [field.name for field in fields(Neuron)]
    for key in settings or {}:
        if key not in known:
            raise UserError(
                f"neuron has no setting {key!r}{nearest(key, known)}; it has {', '.join(known)}"
            )
    neuron = replace(default, **dict(settings or {}))
    require("neuron.kind", neuron.kind, ("IF", "LIF"))
    require("neuron.surrogate", neuron.surrogate, ("atan", "sigmoid"))
    if neuron.kind == "IF" and (said := [key for key in LEAK if key in (settings or {})]):
        raise UserError(f"neuron.{said[0]}: a neuron of kind IF does not leak; remove it")
    return neuron


def require(option: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of those `allowed`."""
    if value not in allowed:
        raise UserError(
            f"{option}: expected one of {', '.join(allowed)}, found {value!r}; change {option}"
        )


class Spikes(nn.Module):
    """A layer of neurons, same shape in and out; the input's first axis holds step after step."""

    def __init__(self, neuron: Neuron, steps: int, step_mode: str) -> None:
        """`step_mode` "m" takes all steps at once, `[steps * n, ...]`, "s" one, `[n, ...]`."""
        from spikingjelly.activation_based.neuron import IFNode, LIFNode
        from spikingjelly.activation_based.surrogate import ATan, Sigmoid

        super().__init__()
        self.neuron = neuron
        self.steps = steps
        self.step_mode = step_mode
        surrogate = {"atan": ATan, "sigmoid": Sigmoid}[neuron.surrogate]
        settings: dict[str, Any] = {
            "v_threshold": neuron.v_threshold,
            "v_reset": neuron.v_reset,
            "surrogate_function": surrogate(alpha=neuron.alpha, spiking=True),
            "detach_reset": neuron.detach_reset,
            "step_mode": step_mode,
            "store_v_seq": False,
        }
        if neuron.kind == "LIF":
            self.node = LIFNode(tau=neuron.tau, decay_input=neuron.decay_input, **settings)
        else:
            self.node = IFNode(**settings)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes, 0 or 1."""
        if self.step_mode == "s":
            return self.node(x)
        steps = x.unflatten(0, (self.steps, -1))
        if self.is_stateless:
            return spikes(self.neuron, steps).flatten(0, 1)
        if self.neuron.detach_reset and x.device.type == "cpu" and x.dtype == torch.float32:
            return Sequence.apply(steps, self.neuron).flatten(0, 1)
        return self.node(steps).flatten(0, 1)

    @property
    def is_stateless(self) -> bool:
        """Whether a pass leaves nothing in the neurons that would have to be reset."""
        return self.step_mode == "m" and not torch.is_grad_enabled()


class Sequence(torch.autograd.Function):
    """All steps of a layer that stops gradients at the reset, bit for bit as `Spikes.node`.

    On a CPU spikingjelly records each operation of each step; here is one record of all.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: Neuron) -> Tensor:
        """`[steps, n, ...]` -> spikes, 0 or 1."""
        charged: list[Tensor] = []
        found = spikes(neuron, x, charged)
        ctx.save_for_backward(found, *charged)
        ctx.neuron = neuron
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """That of the input: of the last step first, each with what the later ones hand back."""
        neuron: Neuron = ctx.neuron
        found, *charged = ctx.saved_tensors
        given: list[Tensor] = []
        later: Tensor | None = None
        for step in reversed(range(len(charged))):
            own = gradient[step] * _slope(neuron, charged[step])
            if later is not None:
                own += later if neuron.v_reset is None else (1.0 - found[step]).mul_(later)
            leaked = own / neuron.tau if neuron.kind == "LIF" else None
            given.append(leaked if leaked is not None and neuron.decay_input else own)
            later = own if leaked is None else own - leaked
        return torch.stack(given[::-1]), None


def spikes(neuron: Neuron, x: Tensor, charged: list[Tensor] | None = None) -> Tensor:
    """Spikes of an input `[steps, n, ...]`; the potentials before them go to `charged`."""
    rest = neuron.v_reset or 0.0
    found = torch.empty_like(x)
    potential = torch.full_like(x[0], rest) if rest else None
    for step, (current, spike) in enumerate(zip(x, found, strict=True), start=1):
        potential = _charged(neuron, potential, current, rest)
        if charged is not None:
            charged.append(potential)
        torch.ge(potential, neuron.v_threshold, out=spike)
        if step < len(x):
            potential = _after(neuron, potential, spike, rest)
    return found


def _charged(neuron: Neuron, potential: Tensor | None, x: Tensor, rest: float) -> Tensor:
    """The potential before a spike: Fang et al. 2021, equations 2 and 3 (IF and LIF).

    None: it is 0 everywhere, as in the first step.
    """
    leaks = neuron.kind == "LIF"
    if potential is None:
        return x / neuron.tau if leaks and neuron.decay_input else x
    if not leaks:
        return potential + x
    above = potential - rest if rest else potential
    if neuron.decay_input:
        return (x - above).div_(neuron.tau).add_(potential)
    return (potential - above / neuron.tau).add_(x)


def _after(neuron: Neuron, potential: Tensor, spike: Tensor, rest: float) -> Tensor:
    """The potential after a spike."""
    if neuron.v_reset is None:
        return potential - spike * neuron.v_threshold
    potential = (1.0 - spike).mul_(potential)
    return potential + spike * rest if rest else potential


def _slope(neuron: Neuron, charged: Tensor) -> Tensor:
    """The derivative that stands in for that of the spike by the potential before it."""
    above = charged - neuron.v_threshold
    if neuron.surrogate == "sigmoid":
        half = above.mul_(neuron.alpha).sigmoid_()
        return (1 - half).mul_(half).mul_(neuron.alpha)
    bent = above.mul_(math.pi / 2 * neuron.alpha)
    return (neuron.alpha / 2) / (1 + bent * bent)
