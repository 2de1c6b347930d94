"""Measuring results on the search and test splits, and on further sets (`sets`).

This is the only stage that opens the test split for a method that is not leaky.

BatchNorm treatment is an axis of every row:

* `keep`: the statistics that the result holds;
* `average`: the mean of the parents' statistics, for one network that mixes the weights of several
  (not of aligned parents, whose files hold statistics in other orders);
* `re-estimate`: new statistics from fit images, augmented where the data says so
  (`batchnorm_augment`); from so many that it matters little which (docs/evaluation.md), where a
  search may take a few.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergesuite.data.images import at_once
from mergesuite.data.stored import Images
from mergesuite.experiment.settings import Other
from mergesuite.fitness.fold import folded
from mergesuite.models.batchnorm import has_batchnorm, reestimate, statistics_names
from mergesuite.stages import sets
from mergesuite.stages.problem import Problem

BATCH = 200
"""Images of 32 x 32 pixels per forward pass; of smaller ones more, up to `MOST`."""
MOST = 500
REESTIMATE_IMAGES = 10_000
"""Fit images for the `re-estimate` treatment, or all of them where there are fewer."""
KNOWN_BYTES = 1 << 30
"""Bytes of logits that are kept for other results that need the same network."""
AT_ONCE = 1 << 26
"""Logits that are combined at a time."""

Row = dict[str, Any]


def combine(outputs: Tensor, rule: str) -> Tensor:
    """One `(n, classes)` log-score per image from members' logits `(m, n, classes)`.

    "logits": their mean. "probabilities": log of the mean softmax. "votes": log of the share of
    votes, ties broken by the mean probability. "single": the only member.

    Source: CADE's `val.py` lines 111-129; its vote is computed there and not stored.
    """
    if rule in ("single", "logits"):
        return outputs.mean(0)
    probabilities = outputs.softmax(-1).mean(0)
    if rule == "probabilities":
        return probabilities.log()
    classes = outputs.shape[-1]
    votes = F.one_hot(outputs.argmax(-1), classes).sum(0) / len(outputs)
    # Less than one vote, so that it can only break ties.
    shares = votes + probabilities / (2 * len(outputs))
    return (shares / shares.sum(-1, keepdim=True)).clamp_min(1e-12).log()


def measures(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy (fraction) and cross-entropy (nats) of `(n, classes)` log-scores.

    A row with NaN or +inf counts as wrong; the cross-entropy is not finite then.
    """
    loss = F.cross_entropy(scores.double(), labels)
    return {"accuracy": float(right(scores, labels).double().mean()), "cross_entropy": float(loss)}


def right(scores: Tensor, labels: Tensor) -> Tensor:
    """`(n,)` bool: which of `(n, classes)` scores are highest at their label."""
    sound = ~(scores.isnan() | (scores == torch.inf)).any(1)
    return sound & (scores.argmax(1) == labels)


class Outputs:
    """Logits of networks on every set that is measured; a network that is known is not computed.

    Controls share parents: best and mean parent and three ensembles need the same few networks.
    """

    def __init__(
        self,
        problem: Problem,
        asked: Mapping[str, Other] | None = None,
        splits: Sequence[str] = sets.SPLITS,
    ) -> None:
        """On `splits` and the sets `asked`; nothing is computed before it is asked for."""
        self.sets = {**sets.own(problem, splits), **sets.others(problem, asked or {})}
        self._problem = problem
        self._module = problem.network()
        self._folded = folded(self._module)
        self._known: OrderedDict[bytes, dict[str, Tensor]] = OrderedDict()

    def treatments(self, parents: int, rule: str) -> list[str]:
        """The BatchNorm treatments that mean something for a result."""
        if not has_batchnorm(self._module):
            return ["keep"]
        if parents > 1 and rule == "single":
            return ["keep", "average", "re-estimate"]
        return ["keep", "re-estimate"]

    def of(
        self, member: Mapping[str, Tensor], treatment: str, parents: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """`(n, classes)` logits by set of one network under a treatment."""
        state = {**member, **self._statistics(treatment, parents)}
        digest = hashlib.sha256((treatment == "re-estimate").to_bytes())
        for name in sorted(state):
            digest.update(state[name].contiguous().numpy().data)
        key = digest.digest()
        if key not in self._known:
            self._module.load_state_dict(state)
            if treatment == "re-estimate":
                reestimate(self._module, self._calibration, normalise=self._problem.normalise)
            self._known[key] = self._logits()
        found = self._known[key]
        self._known.move_to_end(key)
        each = sum(output.nbytes for output in found.values())
        while len(self._known) > max(1, KNOWN_BYTES // each):
            self._known.popitem(last=False)
        return found

    @torch.inference_mode()
    def _logits(self) -> dict[str, Tensor]:
        """What the network computes now, in eval mode, with BatchNorm folded where possible."""
        network: nn.Module = self._module.eval()
        if self._folded is not None:
            self._folded.load()
            network = self._folded.network
        found = {}
        for name, one in self.sets.items():
            size = at_once(BATCH, one.images.shape, 4, MOST)
            parts = (part.to(self._problem.device) for part in one.images.split(size))
            logits = torch.cat([network(self._problem.normalise(x)) for x in parts]).cpu()
            found[name] = logits if one.classes is None else logits[:, one.classes]
        return found

    @functools.cached_property
    def _calibration(self) -> Images:
        return self._problem.calibration(REESTIMATE_IMAGES)

    def _statistics(
        self, treatment: str, parents: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The statistics that the `average` treatment puts in."""
        if treatment != "average":
            return {}
        return {
            name: torch.stack([parent[name].double() for parent in parents]).mean(0).float()
            for name in statistics_names(self._module)
        }


def measure(
    outputs: Outputs,
    members: Sequence[Mapping[str, Tensor]],
    rule: str,
    parents: Sequence[Mapping[str, Tensor]],
) -> tuple[list[Row], dict[str, Tensor]]:
    """Rows (batchnorm, metric, split, value, n, members) of one result, and its hits.

    Hits are `(n,)` bool by treatment: the test images that it gets right. The mean of several
    scores has none.

    `members`: state dicts whose outputs are combined by `rule`; `parents`: those whose weights they
    mix, empty where there is no mixing (see `stages.evaluate`).
    """
    rows: list[Row] = []
    hits: dict[str, Tensor] = {}
    for treatment in outputs.treatments(len(parents), rule):
        each = [outputs.of(member, treatment, parents) for member in members]
        for split, one in outputs.sets.items():
            found = [output[split] for output in each]
            if rule == "mean":
                values = _mean([measures(output, one.labels) for output in found])
            else:
                combined = _combined(found, rule)
                values = measures(combined, one.labels)
                if split == "test":
                    hits[treatment] = right(combined, one.labels)
            for metric, value in values.items():
                if math.isfinite(value):
                    rows.append(
                        {
                            "batchnorm": treatment,
                            "metric": metric,
                            "split": split,
                            "value": value,
                            "n": len(one.labels),
                            "members": len(members),
                        }
                    )
    return rows, hits


def _combined(outputs: Sequence[Tensor], rule: str) -> Tensor:
    """`combine`, of some images at a time where there are many logits."""
    images, classes = outputs[0].shape
    size = max(1, AT_ONCE // (classes * len(outputs)))
    parts = [slice(at, at + size) for at in range(0, images, size)]
    return torch.cat([combine(torch.stack([o[part] for o in outputs]), rule) for part in parts])


def _mean(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(m[name] for m in each) / len(each) for name in each[0]}
