"""How good is a candidate: exact counts over the search images, with no work that cannot matter.

Read `Evaluator._count`: that is the loop. What it leaves out, and why the accepted set is the same:

* a vector that was scored before is not scored again (`memory`);
* a candidate stops as soon as the errors already made prove that it cannot exceed its threshold;
  images are taken hardest first, so hopeless candidates stop early. Order never changes a count;
* BatchNorm is folded into the convolutions. Where the two highest logits of an image are closer
  than folding can move them, the unfolded network decides, so counts are those of the plain loop;
* batches are small enough to stay in the cache and always full (the last is padded); they are
  channels last, but for an accuracy without folding: there nothing decides near-ties again.

Under torchrun the candidates of a proposal are divided among the processes, or the images of a
candidate where there are fewer candidates than processes. An image's logits are the same on each
rank, so the accepted set is that of one process; how many images a rejected candidate cost is not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.data.images import Augment, Normalise
from mergesuite.data.stored import Images
from mergesuite.fitness.memory import Memory
from mergesuite.fitness.passes import Passes
from mergesuite.fitness.scores import Record, Scores
from mergesuite.models.batchnorm import Reestimation
from mergesuite.weights import WeightSpace

GUARD = 1e-3
"""Relative distance of the two highest logits below which the unfolded network decides."""
EXTREME = 1e15
"""A weight beyond it may overflow once it is folded, and not before: the network itself decides."""


class Evaluator:
    """Scores weight vectors of one network on one set of images."""

    def __init__(
        self,
        module: nn.Module,
        space: WeightSpace,
        images: Images,
        labels: Tensor,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        metric: str = "accuracy",
        reestimate_on: Images | None = None,
        batch_mean: int | None = None,
        precision: str = "float32",
        ranks: Ranks = ALONE,
        chunk: int | None = None,
        fold: bool = True,
        reject: bool = True,
        order: bool = True,
        remember: bool = True,
    ) -> None:
        """Score on uint8 `images` `(n, 3, h, w)` with int64 `labels` `(n,)`.

        Args:
            module: the network; its weights are overwritten, what is outside `space` stays.
            space: which part of the network a vector is.
            images: scaled to [0, 1], then normalised by `mean` and `std` where these are given; on
                the device, or in a file (`data.stored`) that is read batch by batch.
            labels: classes; all tensors are on the module's device.
            mean: channel means, or None.
            std: channel standard deviations, or None.
            metric: "accuracy" or "cross-entropy".
            reestimate_on: uint8 images on which BatchNorm is re-estimated for every candidate.
            batch_mean: score by the unweighted mean over batches of this size, as the released
                code of CADE does (`de.py` lines 36-49); no early rejection then.
            precision: "float32"; "tf32" or "bfloat16" are faster on hardware that has them and
                give other counts, with the same accepted set for any lever and number of ranks.
            ranks: the processes to share the work with; all must call with the same arguments.
            chunk: images per forward pass; default by device and network.
            fold: fold BatchNorm where the network allows it (float32 accuracy only: folded logits
                differ in the last digits, which a sum of cross-entropies would show).
            reject: stop a candidate that cannot exceed its threshold.
            order: take the images that are most often wrong first (if where an image stands in a
                batch does not move its logits; else the order would show in the last digits).
            remember: do not score a vector again.
        """
        self._module, self._space = module.eval(), space
        self._entries, self._reestimate = space.entries(module), Reestimation(module)
        self._device = labels.device
        self._normalise = Normalise(mean, std, self._device)
        self._metric, self._batch_mean = metric, batch_mean
        self._reestimate_on = reestimate_on
        self._reject = reject and batch_mean is None
        self._remember = remember
        self._ranks = ranks
        exact = metric == "accuracy" and precision == "float32"
        self._passes = Passes(
            self._module, self._normalise, images.shape, self._device,
            precision=precision, chunk=chunk, fold=fold and exact, exact=exact,
        )  # fmt: skip
        self._order = order and self._passes.steady
        self._source = (images, labels)
        self._use(images, labels)
        self.calibration_images = 0
        """Images computed so far to re-estimate statistics."""

    def _use(self, images: Images, labels: Tensor) -> None:
        self._images, self._labels = images, labels
        self.n = len(images)
        self._memory = Memory(self.n, self._device, records=self._remember, orders=self._order)

    @property
    def images_each(self) -> int:
        """Images that one candidate takes when nothing is left out, re-estimation included."""
        return self.n + (0 if self._reestimate_on is None else len(self._reestimate_on))

    def redraw(
        self, rng: torch.Generator, *, augment: str = "none", size: int | None = None
    ) -> None:
        """Go over to a fresh draw of the images; what was remembered is forgotten.

        `size`: how many images, drawn without replacement; None keeps all, in order.
        """
        images, labels = self._source
        rows = None
        if size is not None and size < len(images):
            rows = torch.randperm(len(images), generator=rng)[:size]
            labels = labels[rows.to(labels.device)]
        changed = Augment(augment, len(labels), rng)
        if not isinstance(images, Tensor):
            self._use(images.drawn(rows, changed), labels)
            return
        images = images if rows is None else images[rows.to(images.device)]
        self._use(changed(images, torch.arange(len(images))).contiguous(), labels)

    def forget(self) -> None:
        """Drop every remembered score."""
        self._memory.forget_scores()

    def state(self) -> dict[str, Any]:
        """What was learnt from the candidates so far; `fitness.memory` says how large it can be.

        It belongs to the present draw of the images: who restores it draws those again before.
        """
        return {"memory": self._memory.state(), "calibration_images": self.calibration_images}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken: the same candidates then cost the same."""
        self._memory.restore(state["memory"])
        self.calibration_images = state["calibration_images"]

    @torch.inference_mode()
    def scores(self, candidates: Tensor, thresholds: Tensor | None = None) -> Scores:
        """Score `candidates` `(n, d)`.

        `thresholds` `(n,)`: the fitness that each must exceed; -inf or None: count to the end. With
        and without thresholds the same candidates exceed them.
        """
        if thresholds is None:
            thresholds = torch.full((len(candidates),), -math.inf, dtype=torch.float64)
        limits = thresholds.tolist()
        keys = [self._key(vector) for vector in candidates]
        if 1 < self._ranks.size <= len(candidates):
            records = self._divided(candidates, keys, limits)
        else:
            records = []
            for vector, key, limit in zip(candidates, keys, limits, strict=True):
                records.append(self._score(vector, key, limit, self._ranks))
                self._memory.keep(key, records[-1])
        self.calibration_images += sum(record.calibrated for record in records)
        return Scores.of(records, limits)

    def _divided(
        self, candidates: Tensor, keys: Sequence[bytes], limits: Sequence[float]
    ) -> list[Record]:
        """What is known of each candidate, every rank having scored its share of them."""
        n = len(candidates)
        numbers = torch.zeros(n, 5, dtype=torch.float64, device=self._device)
        margins = torch.zeros(n, self.n, dtype=torch.float64, device=self._device)
        for i in range(self._ranks.rank, n, self._ranks.size):
            own = self._score(candidates[i], keys[i], limits[i], ALONE)
            numbers[i] = numbers.new_tensor(own.numbers())
            if own.margins is not None:
                margins[i] = own.margins
        self._ranks.total(numbers)
        self._ranks.total(margins)
        records = [Record.of(row) for row in numbers.tolist()]
        # In one order: what is remembered is the same on all.
        for key, record, margin in zip(keys, records, margins, strict=True):
            record.margins = margin if record.complete and record.images else None
            self._memory.keep(key, record)
        return records

    def _score(self, vector: Tensor, key: bytes, threshold: float, ranks: Ranks) -> Record:
        """What is known of a vector, computed as far as `threshold` needs it."""
        if known := self._memory.recall(key, threshold):
            return known
        self._space.fill(self._entries, vector)
        self._extreme = torch.linalg.vector_norm(vector, math.inf) > EXTREME
        calibrated = 0
        if self._reestimate_on is not None:
            self._reestimate(self._reestimate_on, normalise=self._normalise)
            calibrated = len(self._reestimate_on) * ranks.size
        count = self._count if self._metric == "accuracy" else self._cross_entropy
        return replace(count(threshold, ranks), calibrated=calibrated)

    def _key(self, vector: Tensor) -> bytes:
        if not self._remember:
            return b""
        content = vector.contiguous().view(torch.uint8).cpu().numpy()
        return hashlib.sha256(content.data).digest()

    def _count(self, threshold: float, ranks: Ranks) -> Record:
        """Count the images that the loaded weights get right, until `threshold` is out of reach."""
        self._passes.refresh()
        allowed = self._allowed_errors(threshold)
        hits = torch.zeros(self.n, dtype=torch.int64, device=self._device)
        margins = torch.zeros(self.n, device=self._device)
        unsure: list[Tensor] = []
        errors = seen = 0
        for turn in self._turns(threshold, ranks):
            if errors > allowed:
                break
            wrong = torch.zeros((), dtype=torch.int64, device=self._device)
            if ranks.rank < len(turn):
                index = turn[ranks.rank]
                hit, margin, doubt = self._judge(
                    self._passes.logits(self._images, index), self._labels[index]
                )
                hits[index], margins[index] = hit.long(), margin
                if self._passes.folded:
                    doubt |= self._extreme
                    unsure.append(index[doubt])
                wrong = (~hit & ~doubt).sum()
            if allowed < math.inf:
                errors += int(ranks.total(wrong))
            seen += sum(len(index) for index in turn)
        if errors <= allowed:
            decided = self._decide(unsure, hits)
            seen += int(ranks.total(torch.tensor(decided, device=self._device)))
        correct = int(ranks.total(hits).sum())
        if errors > allowed:
            return Record(correct, seen, float(self.n - errors), complete=False)
        score = self._accuracy_score(hits, correct)
        return Record(correct, seen, score, complete=True, margins=ranks.total(margins))

    def _turns(self, threshold: float, ranks: Ranks) -> list[Sequence[Tensor]]:
        """All image indexes, hardest first, in chunks; each turn has one for every rank."""
        chunks = self._memory.order(threshold).split(self._passes.chunk)
        return [chunks[at : at + ranks.size] for at in range(0, len(chunks), ranks.size)]

    def _allowed_errors(self, threshold: float) -> float:
        """How many errors leave a count above `threshold` possible."""
        if not self._reject or threshold == -math.inf or math.isnan(threshold):
            return math.inf
        if threshold == math.inf:
            return -1  # nothing exceeds it
        return self.n - (math.floor(threshold) + 1)

    def _accuracy_score(self, hits: Tensor, correct: int) -> float:
        if self._batch_mean is None:
            return float(correct)
        parts = [float(part.double().mean()) for part in hits.split(self._batch_mean)]
        return 100 * sum(parts) / len(parts)

    def _judge(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per image: is it right, by how much (label's logit minus the best other), is it unsure.

        An image with a logit that is not finite is wrong for certain.
        """
        label = labels[:, None]
        own = logits.gather(1, label)[:, 0]
        other = logits.scatter(1, label, -torch.inf).amax(1)
        margin = own - other
        finite = torch.isfinite(logits).all(1)
        doubt = finite & (margin.abs() <= GUARD * logits.abs().amax(1))
        # Of equal logits argmax takes the first, so a tie can go either way.
        hit = finite & (logits.argmax(1) == labels)
        return hit, torch.where(finite, margin, -torch.inf), doubt

    def _decide(self, unsure: list[Tensor], hits: Tensor) -> int:
        """Let the unfolded network decide about images; returns how many it computed."""
        index = torch.cat(unsure) if unsure else self._labels.new_empty(0)
        for part in index.split(self._passes.chunk) if len(index) else ():
            logits = self._passes.unfolded(self._images, part)
            finite = torch.isfinite(logits).all(1)
            hits[part] = (finite & (logits.argmax(1) == self._labels[part])).long()
        return len(index)

    def _cross_entropy(self, threshold: float, ranks: Ranks) -> Record:
        """Minus the mean cross-entropy; stops once the sum alone proves the threshold missed.

        The terms are added in image order at the end, so the sum does not depend on the order in
        which images were taken.
        """
        limit = math.inf
        if self._reject and math.isfinite(threshold):
            limit = -threshold * self.n * (1 + 1e-9) + 1e-9  # beyond rounding of the final sum
        losses = torch.zeros(self.n, dtype=torch.float64, device=self._device)
        hits = torch.zeros(self.n, dtype=torch.int64, device=self._device)
        total, seen = 0.0, 0
        for turn in self._turns(threshold, ranks):
            if total > limit:
                break
            part = torch.zeros((), dtype=torch.float64, device=self._device)
            if ranks.rank < len(turn):
                index = turn[ranks.rank]
                logits = self._passes.logits(self._images, index)
                loss = F.cross_entropy(logits.double(), self._labels[index], reduction="none")
                losses[index] = torch.where(torch.isfinite(loss), loss, torch.inf)
                hits[index] = (logits.argmax(1) == self._labels[index]).long()
                part = losses[index].sum()
            seen += sum(len(index) for index in turn)
            if limit < math.inf:
                total += float(ranks.total(part))
        correct = int(ranks.total(hits).sum())
        fitness = -float(ranks.total(losses).sum()) / self.n
        if seen < self.n:
            return Record(correct, seen, fitness, complete=False)
        return Record(correct, seen, fitness, complete=True, margins=-losses)
