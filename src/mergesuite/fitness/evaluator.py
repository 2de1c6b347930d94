"""How good is a candidate: exact counts over the search images, with no work that cannot matter.

Read `Evaluator._count`: that is the loop. What it leaves out, and why the accepted set is the same:

* a vector that was scored before is not scored again (`_memory`);
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
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional as F

from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.data.images import Augment, Normalise
from mergesuite.fitness.fold import Folded
from mergesuite.fitness.graphed import Forward, graphed
from mergesuite.models.batchnorm import reestimate
from mergesuite.weights import WeightSpace

CHUNK = 50
"""Images per forward pass on a CPU: activations of a small net stay in the cache."""
CHUNK_UNFOLDED = 100
"""The same of a network that is not folded, mostly a spiking one with many small operations."""
CHUNK_GPU = 1000
GUARD = 1e-3
"""Relative distance of the two highest logits below which the unfolded network decides."""
REMEMBERED = 256
"""Vectors whose score is remembered, and margin records kept for ordering."""


@dataclass
class Scores:
    """The answer for `n` candidates.

    Attributes:
        correct: `(n,)` int64, images whose label has the highest logit; for a rejected candidate
            those counted so far.
        images: `(n,)` int64, images computed for it (0 where its score was known).
        exact: `(n,)` bool, True where the candidate was counted to the end or rejected by proof.
        exceeded: `(n,)` bool, True where its fitness is above its threshold.
        fitness: `(n,)` float64, what the search maximises: images correct, or minus the mean
            cross-entropy in nats, or minus infinity where a logit is not finite.
    """

    correct: Tensor
    images: Tensor
    exact: Tensor
    exceeded: Tensor
    fitness: Tensor


@dataclass
class _Record:
    """What is known of one vector."""

    correct: int
    images: int
    fitness: float  # the exact fitness, or an upper bound where not complete
    complete: bool
    calibrated: int = 0  # images computed to re-estimate statistics
    margins: Tensor | None = None  # per image, how far it is from wrong; where all were taken


class Evaluator:
    """Scores weight vectors of one network on one set of images."""

    def __init__(
        self,
        module: nn.Module,
        space: WeightSpace,
        images: Tensor,
        labels: Tensor,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        metric: str = "accuracy",
        reestimate_on: Tensor | None = None,
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
            images: scaled to [0, 1], then normalised by `mean` and `std` where these are given.
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
            order: take the images that are most often wrong first.
            remember: do not score a vector again.
        """
        self._module, self._space = module.eval(), space
        self._device = images.device
        self._normalise = Normalise(mean, std, self._device)
        self._metric, self._batch_mean = metric, batch_mean
        self._reestimate_on = reestimate_on
        self._reject, self._order = reject and batch_mean is None, order
        self._remember = remember
        self._ranks = ranks
        self._precision = precision
        self._source = (images, labels)
        self._use(images, labels)
        exact = metric == "accuracy" and precision == "float32"
        self._folded = self._fold() if fold and exact else None
        self._chunk = chunk or self._default_chunk()
        # Near-ties are decided again for a folded network only, so any other is the plain loop.
        plain = exact and self._folded is None
        self._layout = torch.contiguous_format if plain else torch.channels_last
        self._network = self._prepared(images.shape[1:])
        self.calibration_images = 0
        """Images computed so far to re-estimate statistics."""

    def _use(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels
        self.n = len(images)
        self._memory: OrderedDict[bytes, _Record] = OrderedDict()
        self._margins: OrderedDict[float, Tensor] = OrderedDict()

    def _default_chunk(self) -> int:
        if self._device.type == "cuda":
            return CHUNK_GPU
        return CHUNK_UNFOLDED if self._folded is None else CHUNK

    def _fold(self) -> Folded | None:
        try:
            return Folded(self._module)
        except ValueError:
            return None

    @torch.inference_mode()
    def _prepared(self, shape: torch.Size) -> Forward:
        """The forward pass of a full chunk."""
        network = self._module if self._folded is None else self._folded.network
        example = torch.zeros(self._chunk, *shape, device=self._device)
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

    def redraw(
        self, rng: torch.Generator, *, augment: str = "none", size: int | None = None
    ) -> None:
        """Go over to a fresh draw of the images; what was remembered is forgotten.

        `size`: how many images, drawn without replacement; None keeps all, in order.
        """
        images, labels = self._source
        if size is not None and size < len(images):
            index = torch.randperm(len(images), generator=rng)[:size].to(images.device)
            images, labels = images[index], labels[index]
        index = torch.arange(len(images))
        self._use(Augment(augment, len(images), rng)(images, index).contiguous(), labels)

    def forget(self) -> None:
        """Drop every remembered score."""
        self._memory.clear()

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
                self._keep(key, records[-1])
        self.calibration_images += sum(record.calibrated for record in records)
        fitness = [r.fitness for r in records]
        return Scores(
            correct=torch.tensor([r.correct for r in records], dtype=torch.int64),
            images=torch.tensor([r.images for r in records], dtype=torch.int64),
            exact=torch.ones(len(records), dtype=torch.bool),
            exceeded=torch.tensor(
                [r.complete and f > t for r, f, t in zip(records, fitness, limits, strict=True)],
                dtype=torch.bool,
            ),
            fitness=torch.tensor(fitness, dtype=torch.float64),
        )

    def _divided(
        self, candidates: Tensor, keys: Sequence[bytes], limits: Sequence[float]
    ) -> list[_Record]:
        """What is known of each candidate, every rank having scored its share of them."""
        n = len(candidates)
        numbers = torch.zeros(n, 5, dtype=torch.float64, device=self._device)
        margins = torch.zeros(n, self.n, dtype=torch.float64, device=self._device)
        for i in range(self._ranks.rank, n, self._ranks.size):
            own = self._score(candidates[i], keys[i], limits[i], ALONE)
            numbers[i] = numbers.new_tensor(
                [own.correct, own.images, own.fitness, own.complete, own.calibrated]
            )
            if own.margins is not None:
                margins[i] = own.margins
        self._ranks.total(numbers)
        self._ranks.total(margins)
        records = []
        for key, row, margin in zip(keys, numbers.tolist(), margins, strict=True):
            correct, images, fitness, complete, calibrated = row
            records.append(
                _Record(
                    int(correct),
                    int(images),
                    fitness,
                    bool(complete),
                    int(calibrated),
                    margin if complete and images else None,
                )
            )
            self._keep(key, records[-1])  # in one order: what is remembered is the same on all
        return records

    def _score(self, vector: Tensor, key: bytes, threshold: float, ranks: Ranks) -> _Record:
        """What is known of a vector, computed as far as `threshold` needs it."""
        known = self._memory.get(key)
        if known and (known.complete or known.fitness <= threshold):
            return replace(known, images=0, calibrated=0)
        self._space.load(self._module, vector)
        calibrated = 0
        if self._reestimate_on is not None:
            reestimate(self._module, self._reestimate_on, normalise=self._normalise)
            calibrated = len(self._reestimate_on) * ranks.size
        count = self._count if self._metric == "accuracy" else self._cross_entropy
        return replace(count(threshold, ranks), calibrated=calibrated)

    def _keep(self, key: bytes, record: _Record) -> None:
        """Remember a score, and the margins for the order of images."""
        if self._remember:
            self._memory[key] = replace(record, margins=None)
            self._memory.move_to_end(key)
            if len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        if self._order and record.margins is not None and math.isfinite(record.fitness):
            self._margins[record.fitness] = record.margins
            self._margins.move_to_end(record.fitness)
            if len(self._margins) > REMEMBERED:
                self._margins.popitem(last=False)

    def _key(self, vector: Tensor) -> bytes:
        if not self._remember:
            return b""
        content = vector.contiguous().view(torch.uint8).cpu().numpy()
        return hashlib.sha256(content.data).digest()

    def _count(self, threshold: float, ranks: Ranks) -> _Record:
        """Count the images that the loaded weights get right, until `threshold` is out of reach."""
        if self._folded is not None:
            self._folded.load()
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
                hit, margin, doubt = self._judge(self._logits(index), self._labels[index])
                hits[index], margins[index] = hit.long(), margin
                if self._folded is not None:
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
            return _Record(correct, seen, float(self.n - errors), complete=False)
        score = self._accuracy_score(hits, correct)
        return _Record(correct, seen, score, complete=True, margins=ranks.total(margins))

    def _turns(self, threshold: float, ranks: Ranks) -> list[Sequence[Tensor]]:
        """All image indexes, hardest first, in chunks; each turn has one for every rank."""
        chunks = self._difficulty(threshold).split(self._chunk)
        return [chunks[at : at + ranks.size] for at in range(0, len(chunks), ranks.size)]

    def _allowed_errors(self, threshold: float) -> float:
        """How many errors leave a count above `threshold` possible."""
        if not self._reject or threshold == -math.inf or math.isnan(threshold):
            return math.inf
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
        for part in index.split(self._chunk) if len(index) else ():
            logits = self._forward(self._module, part, torch.contiguous_format)
            finite = torch.isfinite(logits).all(1)
            hits[part] = (finite & (logits.argmax(1) == self._labels[part])).long()
        return len(index)

    def _logits(self, index: Tensor) -> Tensor:
        return self._forward(self._network, index, self._layout)

    def _forward(self, network: Forward, index: Tensor, layout: torch.memory_format) -> Tensor:
        """Logits of the images `index`, computed in a full batch: kernels depend on its size."""
        padded = F.pad(index, (0, self._chunk - len(index)), value=int(index[0]))
        inputs = self._normalise(self._images.index_select(0, padded)).contiguous(
            memory_format=layout
        )
        return network(inputs)[: len(index)]

    def _difficulty(self, threshold: float) -> Tensor:
        """All image indexes, those most likely to be wrong first.

        The record with the threshold's own score is the target's (or as good as it): what the
        target gets wrong, its small variations get wrong. Without one, the last record serves.
        """
        if not self._margins:
            return torch.arange(self.n, device=self._device)
        margins = self._margins.get(threshold)
        if margins is None:  # a threshold just below a score accepts ties with it
            margins = self._margins.get(math.nextafter(threshold, math.inf))
        if margins is None:
            margins = next(reversed(self._margins.values()))
        return margins.argsort(stable=True)

    def _cross_entropy(self, threshold: float, ranks: Ranks) -> _Record:
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
                logits = self._logits(index)
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
            return _Record(correct, seen, fitness, complete=False)
        return _Record(correct, seen, fitness, complete=True, margins=-losses)
