"""Which unit each entry of each tensor in a network belongs to, found out from the traced graph.

The graph is run on labels in the place of activations: every entry of a tensor says which unit (a
channel, or a neuron of a linear layer) it is of. What only moves entries, such as a slice, a
concatenation or a shuffle, moves labels. A layer with weights reads the labels of its input and
gives its output new ones. A sum joins the units of its terms, one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mergesuite.errors import UserError

Labels = NDArray[np.int64]

NOBODY, FIXED = 0, 1
"""Labels of zeros that are put beside units, and of what stays where it is (pixels, classes)."""

ALIKE = {
    "relu", "relu6", "leakyrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "tanh",
    "logsigmoid", "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "identity",
    "dropout", "dropout2d", "contiguous", "clone", "spikes", "ifnode", "lifnode",
}  # fmt: skip
"""What treats every entry by itself and all alike."""
NEURONS = ("mergesuite.models.neurons", "spikingjelly.")
"""Modules with layers of neurons; importing ours would bring spikingjelly to every merge."""
MOVING = {
    "cat", "concat", "stack", "getitem", "getattr", "size", "dim", "view", "reshape", "flatten",
    "unflatten", "permute", "transpose", "chunk", "split", "repeat", "expand", "squeeze",
    "unsqueeze", "unbind",
}  # fmt: skip
"""What moves entries and changes none."""
JOINING = {"add", "sub", "mul", "truediv", "div"}
"""What combines tensors entry by entry."""
POOLING = {"maxpool2d", "avgpool2d", "adaptiveavgpool2d", "adaptivemaxpool2d"}
"""What combines positions of one channel of `[n, c, h, w]`."""
COUNTING = {"floordiv", "mod", "eq", "assert"}
"""What is done with sizes."""


def labelled(module: nn.Module, image: Sequence[int]) -> Labelling:
    """What running `module` on the labels of one input of the shape `image` finds out.

    Raises:
        UserError: the network cannot be traced, or does something that is not known here.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        graph = _Tracer().trace(module)
        with torch.no_grad():
            labelling = Labelling(module, graph)
            labelling.run(torch.full((1, *image), float(FIXED), dtype=torch.float64))
    except UserError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{type(module).__name__} cannot be traced, so its units cannot be matched ({reason}): "
            "merge without parents: aligned"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    return labelling


class _Tracer(fx.Tracer):
    """Goes into everything but torch's layers and spiking neurons."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith(NEURONS) or super().is_leaf_module(
            m, module_qualified_name
        )


class Labelling(fx.Interpreter):
    """Runs a graph on labels (float64, since pooling knows no integers)."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        """`graph`: that of `module`."""
        super().__init__(module, graph=graph)
        self.count = FIXED + 1
        self.axes: dict[tuple[str, int], Labels] = {}  # labels along axes of the state dict
        self.seen: list[Labels] = []  # of every value: units in other places are other units
        self.pairs: list[Labels] = []  # (2, n): units that are the same

    def run_node(self, n: fx.Node) -> Any:
        """The labels of one value; they are noted."""
        found = super().run_node(n)
        if not isinstance(found, Tensor):
            return found
        self.seen.append(_whole(found).ravel())
        return found.contiguous()

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A tensor of the network outside of a layer."""
        raise _unknown(f"the tensor {target!r}, used outside of a layer,")

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Logits stay in their order."""
        self._fix(_whole(args[0]).ravel())
        return args[0]

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A layer: with weights, or a function."""
        layer = self.fetch_attr(target)
        if type(layer) is nn.Conv2d:
            return self._convolution(target, layer, args[0])
        if type(layer) is nn.Linear:
            return self._linear(target, layer, args[0])
        if isinstance(layer, _BatchNorm):
            return self._norm(target, layer, args[0])
        if next(layer.parameters(), None) is not None:
            raise _unknown(f"{target} ({type(layer).__name__})")
        return self._apply(type(layer).__name__, layer, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A function of torch or an operator."""
        return self._apply(target.__name__, target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A method of a tensor."""
        return self._apply(target, getattr(type(args[0]), target), args, kwargs)

    def _apply(self, name: str, function: Any, args: Any, kwargs: Any) -> Any:
        """What has no weights."""
        name = name.lower().replace("_", "")
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if name in MOVING or (not tensors and name in JOINING | COUNTING):
            return function(*args, **kwargs)
        if name in ALIKE:
            return args[0]
        if name.removeprefix("i") in JOINING and not kwargs:
            return self._join(*tensors)
        if name in POOLING:
            return _collapsed(args[0], (2, 3)).expand(function(*args, **kwargs).shape)
        if name == "mean":
            return _mean(*args, **kwargs)
        if name == "pad":
            return F.pad(args[0], args[1])
        raise _unknown(repr(name))

    def _join(self, first: Tensor, *second: Tensor) -> Tensor:
        """Units that meet in an entry are the same from now on."""
        if not second:
            return first
        a, b = torch.broadcast_tensors(first, *second)
        self._same(_whole(a).ravel(), _whole(b).ravel())
        return torch.maximum(a, b)

    def _convolution(self, name: str, layer: nn.Conv2d, x: Tensor) -> Tensor:
        kernel = torch.ones(1, 1, *layer.kernel_size, dtype=x.dtype)
        like = F.conv2d(x[:, :1], kernel, None, layer.stride, layer.padding, layer.dilation)
        inputs, out = _along(x, 1), layer.out_channels
        if layer.groups == 1:
            self._tie(name, "weight", 1, inputs)
            outputs = self._new(name, out)
        elif layer.groups == layer.in_channels == out:
            outputs = _by_place(inputs)
        else:
            self._fix(inputs)
            outputs = self._new(name, out)
            self.seen += np.split(outputs, layer.groups)
        self._tie(name, "weight", 0, outputs)
        if layer.bias is not None:
            self._tie(name, "bias", 0, outputs)
        return _tensor(outputs)[None, :, None, None].expand(len(x), out, *like.shape[2:])

    def _linear(self, name: str, layer: nn.Linear, x: Tensor) -> Tensor:
        self._tie(name, "weight", 1, _along(x, x.dim() - 1))
        outputs = self._new(name, layer.out_features)
        self._tie(name, "weight", 0, outputs)
        if layer.bias is not None:
            self._tie(name, "bias", 0, outputs)
        return _tensor(outputs).expand(*x.shape[:-1], -1)

    def _norm(self, name: str, layer: _BatchNorm, x: Tensor) -> Tensor:
        units = _by_place(_along(x, 1))
        for key, tensor in layer.state_dict().items():
            if tensor.dim() == 1:  # not the counter of batches
                self._tie(name, key, 0, units)
        return _tensor(units).view(-1, *[1] * (x.dim() - 2)).expand(x.shape)

    def _new(self, name: str, count: int) -> Labels:
        """Labels of the units that a layer makes: those that it made before, if it did."""
        if (known := self.axes.get((f"{name}.weight", 0))) is not None:
            return known
        self.count += count
        return np.arange(self.count - count, self.count)

    def _tie(self, layer: str, key: str, axis: int, labels: Labels) -> None:
        """Say whose entries lie along an axis of a tensor of the state dict."""
        place = (f"{layer}.{key}", axis)
        self._same(self.axes.setdefault(place, labels), labels)

    def _same(self, a: Labels, b: Labels) -> None:
        real = (a != b) & (a != NOBODY) & (b != NOBODY)
        if real.any():
            self.pairs.append(np.unique(np.stack([a[real], b[real]]), axis=1))

    def _fix(self, labels: Labels) -> None:
        self._same(labels, np.full_like(labels, FIXED))


def _whole(x: Tensor) -> Labels:
    """The labels of `x`, of the same shape; whatever was padded belongs to nobody."""
    return x.clamp(min=NOBODY).numpy().astype(np.int64)


def _tensor(labels: Labels) -> Tensor:
    return torch.from_numpy(labels).double()


def _by_place(units: Labels) -> Labels:
    """`units` after weights of their own: zeros put beside them are now what their place makes."""
    return np.where(units == NOBODY, FIXED, units)


def _along(x: Tensor, axis: int) -> Labels:
    """`(n,)`: whose entries lie along one axis of `x`."""
    others = tuple(i for i in range(x.dim()) if i != axis)
    return _whole(_collapsed(x, others)).ravel()


def _collapsed(x: Tensor, axes: Sequence[int]) -> Tensor:
    """`x` with one entry along `axes`: the unit that all entries there belong to, or nobody.

    Raises:
        UserError: they belong to several.
    """
    highest = x.amax(tuple(axes), keepdim=True)
    lowest = torch.where(x > NOBODY, x, torch.inf).amin(tuple(axes), keepdim=True)
    if bool((lowest < highest).any()):
        raise _unknown("taking several units together")
    return highest


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    axes = tuple(range(x.dim())) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    found = _collapsed(x, axes)
    return found if keepdim else found.squeeze(axes)


def _unknown(what: str) -> UserError:
    return UserError(
        f"{what} is nothing that units are known to pass through in their order, so the network "
        "cannot be matched: merge without parents: aligned"
    )
