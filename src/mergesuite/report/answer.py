"""The answer of a comparison in words: nothing that its intervals do not carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mergesuite.judge.paired import BETTER, OPEN, WORSE, Paired
from mergesuite.report.wording import counted, interval

NONE = "no merge is distinguishable from "
NAMED = 2
"""Results that a sentence names; the table has all."""
SCOPE = (
    "The intervals are about other test images, of these very networks: other trainings of the "
    "parents could give another answer."
)


@dataclass(frozen=True)
class Compared:
    """One result beside the best parent and the average.

    Attributes:
        name: of the result.
        networks: that one prediction takes; more than one is an ensemble.
        parent: the comparison with the best parent.
        average: the comparison with the uniform average; None for the average and for ensembles.
    """

    name: str
    networks: int
    parent: Paired
    average: Paired | None = None


def sentence(found: Sequence[Compared], parent: str, images: int, resolved: float) -> str:
    """The answer to "is merging these worth it?".

    Args:
        found: everything that was compared.
        parent: what the best parent is called.
        images: how many test images there are.
        resolved: the difference that they show with a chance of 80 %.
    """
    merges = [one for one in found if one.networks == 1]
    parts = [_against(merges, [one.parent for one in merges], f"the best parent ({parent})")]
    beside = [(one, one.average) for one in merges if one.average]
    average = _against([one for one, _ in beside], [pair for _, pair in beside], "the average")
    if parts[0].startswith(NONE) and average.startswith(NONE):
        parts[0] += f" or from {average.removeprefix(NONE)}"
    else:
        parts.append(average)
    parts += [_ensemble(one) for one in found if one.networks > 1]
    said = "; ".join(part for part in parts if part) or "nothing was merged"
    resolution = ""
    if math.isfinite(resolved):
        count = counted(images, "test image")
        resolution = f"; {count} resolve{'s' * (images == 1)} about {_points(100 * resolved)}"
    return f"{said[0].upper()}{said[1:]}{resolution}."


def _against(merges: Sequence[Compared], pairs: Sequence[Paired], what: str) -> str:
    """What of the merges is better than `what`; what is worse only if nothing is."""
    if not merges:
        return ""
    by_word = {
        word: [(one, pair) for one, pair in zip(merges, pairs, strict=True) if pair.word == word]
        for word in (BETTER, WORSE, OPEN)
    }
    if by_word[BETTER]:
        return f"better than {what}: {_listed(by_word[BETTER], len(merges))}"
    if not by_word[WORSE]:
        return f"{NONE}{what}"
    if not by_word[OPEN]:
        return f"worse than {what}: {_listed(by_word[WORSE], len(merges))}"
    return f"no merge is better than {what}; worse: {_listed(by_word[WORSE], len(merges))}"


def _listed(rows: Sequence[tuple[Compared, Paired]], of: int) -> str:
    """The largest effects with their intervals, and how many there are."""
    first = sorted(rows, key=lambda row: -abs(row[1].mean))[:NAMED]
    said = ", ".join(
        f"{one.name} ({interval(pair.mean, pair.low, pair.high)} points)" for one, pair in first
    )
    more = len(rows) - len(first)
    every = f"all {of} merges, most " if len(rows) == of > NAMED else ""
    return f"{every}{said}{f' and {more} more' if more and not every else ''}"


def _ensemble(one: Compared) -> str:
    pair, cost = one.parent, f"for {one.networks} forward passes an image"
    if pair.word == OPEN:
        return f"the {one.name}, {cost}, is not distinguishable from the best parent either way"
    effect = interval(pair.mean, pair.low, pair.high)
    return f"the {one.name}, {cost}, is {pair.word} than the best parent ({effect} points)"


def _points(value: float) -> str:
    return f"{value:.0f} points" if value >= 1.95 else f"{value:.1f} points"
