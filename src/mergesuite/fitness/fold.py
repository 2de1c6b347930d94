"""A copy of a network with every BatchNorm folded into the convolution before it.

Folding changes logits by rounding only; `fitness` decides near-ties with the network itself.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from mergesuite.models.narrow import widen


class Folded:
    """The folded twin of a network: `load` after each change of the network's weights."""

    def __init__(self, module: nn.Module) -> None:
        """Trace `module` and fold what can be folded.

        Raises:
            ValueError: the network cannot be traced, or nothing in it can be folded.
        """
        training = module.training
        module.eval()
        try:
            graph = fx.symbolic_trace(copy.deepcopy(module))
        except Exception as error:
            raise ValueError(f"cannot trace {type(module).__name__}: {error}") from error
        finally:
            module.train(training)
        self._source = module
        pairs = self._cut(graph)
        if not pairs:
            raise ValueError(f"{type(module).__name__} has no BatchNorm behind a convolution")
        self.network = graph.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._folds = [
            (module.get_submodule(conv), module.get_submodule(norm), graph.get_submodule(conv))
            for conv, norm in pairs
        ]
        self._copies = self._shared(graph, pairs)
        self._widened = widen(self.network)

    def _cut(self, graph: fx.GraphModule) -> list[tuple[str, str]]:
        """Take each BatchNorm that follows a convolution alone out of the graph."""
        pairs = []
        modules = dict(graph.named_modules())
        for node in list(graph.graph.nodes):
            if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
                continue
            before = node.args[0]
            conv = modules.get(before.target) if before.op == "call_module" else None
            if (
                isinstance(conv, nn.Conv2d)
                and len(before.users) == 1
                and modules[node.target].track_running_stats
            ):
                pairs.append((before.target, node.target))
                bias = torch.zeros(conv.out_channels, device=conv.weight.device)
                conv.bias = nn.Parameter(bias)
                node.replace_all_uses_with(before)
                graph.graph.erase_node(node)
        graph.graph.lint()
        graph.recompile()
        return pairs

    def _shared(
        self, graph: fx.GraphModule, pairs: list[tuple[str, str]]
    ) -> list[tuple[Tensor, Tensor]]:
        """(target, source) of the tensors that are copied as they are."""
        folded = tuple(f"{name}." for pair in pairs for name in pair)
        source = {**dict(self._source.named_parameters()), **dict(self._source.named_buffers())}
        return [
            (tensor, source[name])
            for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]
            if not name.startswith(folded) and name in source
        ]

    @torch.no_grad()
    def load(self) -> None:
        """Take over the network's current weights and statistics."""
        for conv, norm, target in self._folds:
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(target, nn.Conv2d)
            assert target.bias is not None
            fold(conv, norm, target.weight, target.bias)
        for tensor, source in self._copies:
            tensor.copy_(source)
        for layer in self._widened:
            layer.load()


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> None:
    """Write the weights of `conv` with `norm` behind it to `weight` and `bias`.

    Bit for bit those of `torch.nn.utils.fusion.fuse_conv_bn_weights`, without its new parameters.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    shrink = torch.rsqrt(norm.running_var + norm.eps)
    scale = shrink * norm.weight if norm.affine else shrink
    torch.mul(conv.weight, scale.view(-1, 1, 1, 1), out=weight)
    shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    torch.mul(shift, shrink, out=bias)
    if norm.affine:
        bias.mul_(norm.weight).add_(norm.bias)


def folded(module: nn.Module) -> Folded | None:
    """The folded twin of a network, where there is one."""
    try:
        return Folded(module)
    except ValueError:
        return None
