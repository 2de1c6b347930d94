"""The diagonal of the Fisher information: mean squared gradients of log-probabilities.

Read `squared_gradients`. Methods see no images; one that weights parents by these says so (`wants`
in `methods.OneStep`), and the merge stage computes them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mergesuite.core import streams
from mergesuite.core.progress import steps
from mergesuite.core.runtime import Meter
from mergesuite.methods import Gradients
from mergesuite.stages.problem import Problem
from mergesuite.weights import WeightSpace

BATCH = 250
"""Images that are read at a time; gradients are of one image each."""


def squared_gradients(
    problem: Problem,
    space: WeightSpace,
    states: Sequence[Mapping[str, Tensor]],
    wanted: Gradients,
    *,
    seed: int,
    meter: Meter,
) -> Tensor:
    """The mean over images of the squared gradients of log-probabilities, for each network.

    Source: Matena & Raffel (2022); `expected` is what their released code computes
    (github.com/mmatena/model_merging, commit 46802f9, `fisher.py` lines 16-45). Networks are in
    eval mode. One image at a time, for the square of a sum of gradients is not what is wanted: on a
    CPU that costs no more than batches by `vmap`, and spiking neurons allow nothing else.

    Random streams: `fisher` with the seed chooses the images, without replacement and the same for
    all; `fisher labels` with the seed and the number of the network draws labels.

    Args:
        problem: the network and its data; images come from the fit split, without augmentation.
        space: what a vector is.
        states: k whole state dicts.
        wanted: how many images, and of which labels.
        seed: that of the run.
        meter: counts each forward pass, and each backward pass of an image: with `expected` that
            is one per class.

    Returns:
        `(k, d)` float32 on the device; 0 where a coordinate is no parameter.
    """
    fit, module = problem.pictures("fit"), problem.network().eval()
    order = torch.randperm(len(fit), generator=streams.generator("fisher", seed))
    chosen = order[: wanted.images]
    found = torch.zeros(len(states), space.dim, device=problem.device)
    for i, state in enumerate(states):
        module.load_state_dict(state)
        images = (
            problem.normalise(image[None].to(problem.device))
            for batch in fit.batches(chosen.split(BATCH))
            for image in batch
        )
        drawn = streams.generator("fisher labels", seed, i) if wanted.labels == "sampled" else None
        found[i] = diagonal(module, space, steps(images, "fisher", len(chosen)), drawn)
    each = problem.classes if wanted.labels == "expected" else 1
    count = len(states) * len(chosen)
    meter.add(forward_images=count, backward_images=count * each)
    return found


def diagonal(
    module: nn.Module,
    space: WeightSpace,
    inputs: Iterable[Tensor],
    drawn: torch.Generator | None = None,
) -> Tensor:
    """The diagonal `(d,)` float64 for a network as it is.

    Args:
        module: it maps `(1, ...)` to logits `(1, classes)`.
        space: what a vector is.
        inputs: `(1, ...)` each.
        drawn: where labels are drawn from the predicted probabilities; None: all of them count,
            each with its probability.
    """
    known = dict(module.named_parameters())
    parameters = [known[name] for name in space.names if name in known]
    places = torch.cat([torch.full((size,), name in known) for name, size in _entries(space)])
    total = torch.zeros(int(places.sum()), dtype=torch.float64, device=parameters[0].device)
    count = 0
    for x in inputs:
        count += 1
        logs = module(x)[0].log_softmax(0)
        chances = logs.detach().double().exp()
        if drawn is None:
            terms = list(enumerate(chances.tolist()))
        else:
            terms = [(int(torch.multinomial(chances.cpu(), 1, generator=drawn)), 1.0)]
        for label, weight in terms:
            slopes = torch.autograd.grad(
                logs[label], parameters, retain_graph=True, materialize_grads=True
            )
            slope = torch.cat([part.reshape(-1) for part in slopes]).double()
            total.addcmul_(slope, slope, value=weight)
    found = torch.zeros(space.dim, dtype=torch.float64, device=total.device)
    found[places.to(total.device)] = total / max(count, 1)
    return found


def _entries(space: WeightSpace) -> Iterable[tuple[str, int]]:
    return zip(space.names, space.sizes, strict=True)
