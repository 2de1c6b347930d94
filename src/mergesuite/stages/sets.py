"""The sets of images that results are measured on: search, test, and any others that are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergesuite.core.progress import log
from mergesuite.data.stored import Images
from mergesuite.experiment import declared
from mergesuite.experiment.settings import Other
from mergesuite.stages.problem import Problem

SPLITS = ("search", "test")


@dataclass(frozen=True)
class Set:
    """Images to measure networks on.

    Attributes:
        images: `(n, 3, h, w)`.
        labels: int64 `(n,)`, on the CPU.
        classes: which of the network's outputs count, and in which order; None: all.
    """

    images: Images
    labels: Tensor
    classes: Tensor | None = None


def own(problem: Problem, splits: Sequence[str] = SPLITS) -> dict[str, Set]:
    """The search and the test split; no other than `splits` is opened."""
    return {split: Set(problem.scored(split), problem.labels(split).cpu()) for split in splits}


def others(problem: Problem, asked: Mapping[str, Other]) -> dict[str, Set]:
    """Those of the sets that are meant for networks that were trained on the data of `problem`."""
    found = {}
    for name, one in asked.items():
        of = declared.test_sets().get(one.name, {}).get("of", problem.data.name)
        if of != problem.data.name:
            log(f"{name} is for networks trained on {of}, not on {problem.data.name}: left out")
            continue
        found[name] = _other(problem, one)
    return found


def _other(problem: Problem, asked: Other) -> Set:
    if asked.name:
        splits = problem.other(asked)
        names, images, labels = splits.source.classes, splits.scored("test"), splits.labels("test")
        order = [problem.class_names.index(name) for name in names]
        classes = None if names == problem.class_names else torch.tensor(order)
    else:
        images, labels, classes = problem.scored("test"), problem.labels("test").cpu(), None
    if asked.corruption and asked.made_here:
        images = _corrupted(images, asked.corruption, asked.severity or 1)
    images = images.to(problem.device) if isinstance(images, Tensor) else images
    return Set(images, labels, classes)


def _corrupted(images: Images, kind: str, severity: int) -> Images:
    """Corrupted images; those in a file are corrupted when they are read."""
    from mergesuite.data.corrupt import corruption

    change = corruption(kind, severity)
    if isinstance(images, Tensor):
        return change(images.cpu(), torch.arange(len(images)))
    return images.drawn(None, change)
