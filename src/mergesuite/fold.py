"""A copy of a network with every BatchNorm folded into the convolution before it.

Folding changes logits by rounding only; `fitness` decides near-ties with the network itself.
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


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
        self._pairs = self._cut(graph)
        if not self._pairs:
            raise ValueError(f"{type(module).__name__} has no BatchNorm behind a convolution")
        self.network = graph.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._share(graph)

    def _cut(self, graph: fx.GraphModule) -> list[tuple[str, str]]:
        """Take each BatchNorm that follows a convolution alone out of the graph."""
        pairs = []
        modules = dict(graph.named_modules())
        for node in list(graph.graph.nodes):
            if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
                continue
            before = node.args[0]
            if (
                before.op == "call_module"
                and isinstance(modules[before.target], nn.Conv2d)
                and len(before.users) == 1
                and modules[node.target].track_running_stats
            ):
                pairs.append((before.target, node.target))
                conv = modules[before.target]
                conv.bias = nn.Parameter(torch.zeros(conv.out_channels, device=conv.weight.device))
                node.replace_all_uses_with(before)
                graph.graph.erase_node(node)
        graph.graph.lint()
        graph.recompile()
        return pairs

    def _share(self, graph: fx.GraphModule) -> None:
        """List the tensors that are copied as they are: everything but the folded pairs."""
        folded = tuple(f"{name}." for pair in self._pairs for name in pair)
        target = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
        source = {
            **dict(self._source.named_parameters()),
            **dict(self._source.named_buffers()),
        }
        self._copies = [
            (tensor, source[name])
            for name, tensor in target.items()
            if not name.startswith(folded) and name in source
        ]

    @torch.no_grad()
    def load(self) -> None:
        """Take over the network's current weights and statistics."""
        for (conv_name, norm_name), (conv, norm, target) in zip(
            self._pairs, self._modules(), strict=True
        ):
            del conv_name, norm_name
            weight, bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            target.weight.copy_(weight)
            target.bias.copy_(bias)
        for tensor, source in self._copies:
            tensor.copy_(source)

    def _modules(self):
        for conv, norm in self._pairs:
            yield (
                self._source.get_submodule(conv),
                self._source.get_submodule(norm),
                self.network.get_submodule(conv),
            )
