"""What things are called on the page: "best parent, trained on" in place of `train-on-hyper`.

A name is made of the entry that a subject comes from, so a method or an entry that nobody has seen
yet has one too: its own, without the dashes. The ids stay within reach of a reader, on hover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from mergesuite.experiment import spec
from mergesuite.judge.calibration import null_of

METHODS = {
    "affine": "search over coefficients",
    "best-parent": "best parent",
    "cade": "CADE",
    "cma-es": "search over positive coefficients",
    "darwinian": "Darwinian DE",
    "de": "textbook DE",
    "ema-window": "EMA window",
    "evolver": "Evolver",
    "fisher-average": "Fisher-weighted average",
    "greedy-soup": "greedy soup",
    "interpolation-grid": "grid between the parents",
    "lawa": "LAWA window",
    "lcsc": "LCSC",
    "lshade-epsin": "L-SHADE-EpSin",
    "mean-parent": "mean of the parents",
    "mega": "MeGA",
    "model-stock": "Model Stock",
    "random-copy": "random coordinate copy",
    "random-search": "random search",
    "sa-shade": "SA-SHADE",
    "sade": "SaDE",
    "shade": "SHADE",
    "swa": "SWA",
    "train-on": "best parent, trained on",
    "uniform-average": "average of the weights",
}
"""Registered name of a method -> how the field calls it; any other keeps its own."""
ENSEMBLES = {
    "logits": "ensemble of logits",
    "probabilities": "ensemble of probabilities",
    "votes": "ensemble of votes",
}
WAYS = {
    "published": "as published",
    "released": "as released",
    "clean": "clean",
    "held-out": "on held-out images",
    "on-test": "on test images",
    "seen": "on training images",
    "aligned": "parents aligned",
    "bn": "BatchNorm re-estimated",
}
"""Last words of an entry's slug that say how, and what they say."""

USUAL = {
    "uniform-average": ("average",),
    "interpolation-grid": ("grid",),
    "random-copy": ("copy",),
    "sa-shade": ("shade",),
}
"""Slugs that entries of a method have in every paper, which say no more than its name does."""
SHORT = {
    ", BatchNorm re-estimated": " (BN)",
    "search over coefficients": "coefficient search",
    "best parent, on training images": "best seen parent",
    "ensemble of probabilities": "ensemble",
    "ensemble of logits": "ensemble",
    "grid between the parents": "grid",
    "average of the weights": "average",
    "random coordinate copy": "random copy",
}


def way_of(entry: str) -> tuple[str, str]:
    """The slug of an entry without its last words, and what these say of how it searches."""
    for end, said in WAYS.items():
        if entry == end or entry.endswith(f"-{end}"):
            return entry.removesuffix(end).rstrip("-"), said
    return entry, ""


def of_entry(paper: spec.Paper, slug: str, own: Collection[str] = ()) -> str:
    """The name of an entry of the methods table; that it is clean goes without saying but of `own`.

    `own` are the methods of the paper itself, which come in several protocols.
    """
    entry = paper.methods[slug]
    if null := null_of(entry):
        return f"nothing to gain: {null}"
    if entry.use == "ensemble":
        return ENSEMBLES.get(str(entry.params.get("rule", "logits")), slug.replace("-", " "))
    rest, way = way_of(slug)
    name = METHODS.get(entry.use, entry.use.replace("-", " "))
    usual = (entry.use, *USUAL.get(entry.use, ()))
    for prefix in usual:
        rest = rest.removeprefix(f"{prefix}-")
    if rest and rest not in (*usual, *entry.use.split("-")):
        name = f"{name}: {METHODS.get(rest, rest.replace('-', ' '))}"
    return f"{name}, {way}" if way and not (way == "clean" and entry.use not in own) else name


class Names:
    """The names of a paper's subjects.

    Attributes:
        usual: the population that goes without saying.
    """

    def __init__(self, paper: spec.Paper, subjects: Iterable[str] | None = None) -> None:
        """`subjects` are those a reader meets first (default: in the order of the claims).

        The population of the first is `usual`.
        """
        if subjects is None:
            subjects = [claim.subject for claim in paper.claims.values()]
        self._paper, self._parts = paper, paper.all_subjects()
        met = [self._parts[name] for name in subjects if self._parts.get(name)]
        first = met[0] if met else None
        self.usual = first[1] if first else next(iter(paper.populations), "")
        self._own = {paper.methods[first[0]].use} if first else set()
        named = {slug: of_entry(paper, slug, self._own) for slug in paper.methods}
        shared = {name for name, count in Counter(named.values()).items() if count > 1}
        self._entries = {
            slug: slug.replace("-", " ") if name in shared else name for slug, name in named.items()
        }

    def __call__(self, subject: str) -> str:
        """The name of ENTRY-POPULATION or of a model; of what the paper has not, its id."""
        parts = self._parts.get(subject)
        if parts is None:
            return subject
        name, population = self._entries[parts[0]], parts[1]
        return name if population == self.usual else f"{name} ({population})"

    def brief(self, slug: str) -> str:
        """What a paper in the folder `slug` goes by: its own method, where that has a name."""
        title = self._paper.title.partition(":")
        told = METHODS.get(next(iter(self._own), ""))
        if told is None:
            return title[0] if title[1] and len(title[0]) <= 20 else slug
        return told if slug in self._own else f"{told} ({slug})"

    def use(self, subject: str) -> str:
        """The method that made a subject; `-` of a model, or of what the paper has not."""
        parts = self._parts.get(subject)
        return self._paper.methods[parts[0]].use if parts else "-"

    def entry(self, slug: str) -> str:
        """The name of an entry of the methods table."""
        return self._entries[slug]

    def short(self, subject: str) -> str:
        """The same where the paper is known: its own method goes by how it searches alone."""
        name = self(subject)
        for use in self._own:
            own = METHODS.get(use, use)
            name = name.removeprefix(f"{own}, ").removeprefix(f"{own}: ")
        for long, short in SHORT.items():
            name = name.replace(long, short)
        return name

    def known(self) -> dict[str, str]:
        """Every id that has another name, with that name."""
        named = self._entries | {subject: self(subject) for subject in self._parts}
        return {slug: name for slug, name in named.items() if slug != name}
