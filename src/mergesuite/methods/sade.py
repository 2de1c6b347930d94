"""SaDE of 2009: four strategies, chosen by how often each has lately won, with a CR mean for each.

Read `_breed` (one trial), `_prepare` (what is learnt), then `assigned` (who gets which strategy).

Source: Qin, Huang & Suganthan 2009 (its text was not available); the authors' MATLAB program SaDE.m
as Y. Wang's collection of DE programs passes it on. What the group of `darwinian` calls SaDE is
another method (other strategies, F, CR, window and first probabilities) and shares with this no
more than the name.

Deviations: the population is the parents instead of 50 random points; there are no bounds to
repair; a trial's five partners are distinct and not the member itself (in the program they are
shifted permutations, so both depends on NP and chance); K is drawn for each trial (in the program
once a generation); CR has the same window as the strategies (in the program a generation less).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate

from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.de import cross, donor, force, others
from mergesuite.methods.generational import Generational

STRATEGIES = ("rand/1/bin", "rand-to-best/2/bin", "rand/2/bin", "current-to-rand/1")
CURRENT_TO_RAND = 3
"""The strategy without crossover, and so without a CR."""
EPSILON = 0.01
"""Added to a strategy's rate of success, so that none dies out."""


def assigned(p: Sequence[float], u: float, order: Sequence[int]) -> list[int]:
    """The strategy of each member, by stochastic universal selection.

    Args:
        p: probabilities of the strategies.
        u: a number from U[0, 1); NP equally spaced pointers begin at u / NP.
        order: a permutation of 0..NP-1, for the pointers come sorted by strategy.
    """
    ends = list(accumulate(p))[:-1]  # the last strategy takes what rounding leaves
    pointers = [(u + j) / len(order) for j in range(len(order))]
    chosen = [sum(pointer >= end for end in ends) for pointer in pointers]
    return [chosen[j] for j in order]


@method(
    "sade",
    cite="Qin, Huang & Suganthan: Differential Evolution Algorithm With Strategy Adaptation for "
    "Global Numerical Optimization, IEEE Trans. Evol. Comput. 13(2) (2009)",
)
class Sade(Generational):
    """Self-adaptive DE: rand/1, rand-to-best/2, rand/2 and current-to-rand/1, by their success.

    NP >= 6. F ~ N(f_mean, f_std) for each trial, negative ones included; CR ~ N(CRm_k, cr_std),
    drawn again outside [0, 1], one coordinate forced. In the first `learning` generations all
    strategies are as likely and CRm_k is `cr_init`. After that the strategies' shares follow their
    rates of success over the last `learning` generations, and CRm_k is the median of the CRs that
    won in them, or any number of [0, 1] where none did. A run of at most `learning` generations
    adapts nothing. Synchronous: the trials take as much memory as the members. Equal scores are
    accepted and count as success.
    """

    trials = ({"generations": 12, "learning": 4},)

    generations: int = Field(100, ge=1, description="generations G, the learning period included")
    learning: int = Field(50, ge=1, description="learning period LP, generations (SaDE.m: 50)")
    f_mean: float = Field(0.5, description="mean of F (SaDE.m, as the next three)")
    f_std: float = Field(0.3, ge=0, description="spread of F")
    cr_init: float = Field(0.5, ge=0, le=1, description="CRm_k while learning")
    cr_std: float = Field(0.1, ge=0, description="spread of CR")

    saved = ("_p", "_CRm", "_past")
    least = 6

    def _begin(self) -> None:
        self._p = [1 / len(STRATEGIES)] * len(STRATEGIES)
        self._CRm = [self.cr_init] * CURRENT_TO_RAND
        # The success and failure memories: per generation, per trial: strategy, won, CR.
        self._past: list[list[tuple[int, bool, float]]] = []
        self._strategies: list[int] = []

    def _prepare(self) -> None:
        """Probabilities, CR means and everybody's strategy for this generation."""
        if self._generation > self.learning:
            trials = [trial for generation in self._past for trial in generation]
            rates = [_rate([won for k, won, _ in trials if k == i]) for i in range(len(STRATEGIES))]
            self._p = [rate / sum(rates) for rate in rates]
            wins = [[CR for k, won, CR in trials if won and k == i] for i in range(CURRENT_TO_RAND)]
            self._CRm = [statistics.median(w) if w else self.rng.uniform("CRm") for w in wins]
        n = len(self.pool)
        pointer, order = self.rng.uniform("pointer"), self.rng.sample("order", n, n)
        self._strategies = assigned(self._p, pointer, order)

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        if not self._made:
            self._prepare()
        members, rng, k = self.pool.vectors, self.rng, self._strategies[i]
        F = rng.normal("F", self.f_mean, self.f_std)
        r1, r2, r3, r4, r5 = (members[r] for r in others(rng, "partners", len(members), i, 5))
        x, best = members[i], members[self.pool.leader]
        if k == CURRENT_TO_RAND:
            self._made.append((k, 0.0))
            K = rng.uniform("K")
            return cross(x, None, donor(x, (K, r1, x), (F, r2, r3)), self.mutable)
        CR = self._draw_CR(k)
        self._made.append((k, CR))
        made = (
            donor(r1, (F, r2, r3)),
            donor(x, (F, best, x), (F, r1, r2), (F, r3, r4)),
            donor(r1, (F, r2, r3), (F, r4, r5)),
        )[k]
        take = force(rng.mask("mask", len(x), CR), rng.integer("forced", len(x)))
        return cross(x, take, made, self.mutable)

    def _draw_CR(self, k: int) -> float:
        """N(CRm_k, cr_std), drawn again while outside [0, 1]."""
        while not 0 <= (value := self.rng.normal("CR", self._CRm[k], self.cr_std)) <= 1:
            pass
        return value

    def _learn(self, accepted: Tensor, gains: Tensor) -> None:
        """Remember how each trial was made and whether it entered the next generation."""
        made = zip(self._made, accepted.tolist(), strict=True)
        outcome = [(k, won, CR) for (k, CR), won in made]
        self._past = [*self._past, outcome][-self.learning :]

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, the strategies' probabilities and the CR means."""
        shares = {f"p{k}": p for k, p in enumerate(self._p)}
        means = {f"CR{k}": mean for k, mean in enumerate(self._CRm)}
        return {**super().trace(), **shares, **means}


def _rate(outcomes: Sequence[bool]) -> float:
    """S_k: the share of successes, none where there was no trial, and epsilon."""
    return sum(outcomes) / max(len(outcomes), 1) + EPSILON
