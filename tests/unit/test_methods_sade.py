"""SaDE of 2009 against its equations written out, to the bit, and how strategies are handed out."""

import math

import numpy as np
import pytest
import torch

from mergesuite.core.streams import Recorded, generator
from mergesuite.errors import UserError
from mergesuite.methods import create
from mergesuite.methods.sade import assigned

NP, D, LP, G = 7, 4, 3, 11
RUNS = [(0, 0.1), (1, 0.1), (2, 0.1), (3, 0.3), (4, 0.3), (5, 0.3)]
"""Seed and spread of CR: with the paper's 0.1 hardly any is drawn again."""


def score(x):
    """Coarse, so that some trials tie with their parents."""
    return -math.floor(8 * sum(float(v - 0.3) ** 2 for v in x)) / 8


def written_out(x, rng, spread):
    """SaDE as its equations have it, with `spread` of CR; what it drew, each step, and ties."""
    draws = {
        name: []
        for name in (
            "CRm", "pointer", "order", "F", "partners", "K", "CR", "mask", "forced",
        )
    }  # fmt: skip

    def drawn(name, value):
        draws[name].append(value)
        return value

    x, f = [row.copy() for row in x], [score(row) for row in x]
    ns, nf, won_CR = [], [], []  # per generation: wins, losses, winners' CRs, by strategy
    steps, ties = [], 0
    for g in range(1, G + 1):
        p, CRm = [0.25] * 4, [0.5] * 3
        if g > LP:
            S = []
            for k in range(4):
                wins = sum(row[k] for row in ns[-LP:])
                tried = wins + sum(row[k] for row in nf[-LP:])
                S.append((wins / tried if tried else 0.0) + 0.01)
            p = [s / sum(S) for s in S]
            for k in range(3):
                known = [CR for row in won_CR[-LP:] for CR in row[k]]
                CRm[k] = float(np.median(known)) if known else drawn("CRm", rng.random())
        start, order = drawn("pointer", rng.random()), rng.permutation(NP)
        draws["order"].append(order.tolist())
        sorted_by_strategy = []
        for j in range(NP):
            pointer, k, end = (start + j) / NP, 0, p[0]
            while k < 3 and pointer >= end:
                k += 1
                end += p[k]
            sorted_by_strategy.append(k)
        best = x[int(np.argmax(f))]
        trials, used = [], []
        for i in range(NP):
            k = sorted_by_strategy[order[i]]
            F = drawn("F", rng.normal(0.5, 0.3))
            r = [j for j in rng.permutation(NP) if j != i][:5]
            draws["partners"].append([int(j - (j > i)) for j in r])
            a, b, c, d, e = (x[j] for j in r)
            if k == 3:
                K = drawn("K", rng.random())
                trials.append(K * (a - x[i]) + F * (b - c) + x[i])
                used.append((k, None))
                continue
            CR = drawn("CR", rng.normal(CRm[k], spread))
            while not 0 <= CR <= 1:
                CR = drawn("CR", rng.normal(CRm[k], spread))
            u, forced = drawn("mask", rng.random(D)), drawn("forced", int(rng.integers(D)))
            if k == 0:
                v = F * (b - c) + a
            elif k == 1:
                v = F * (best - x[i]) + F * (a - b) + F * (c - d) + x[i]
            else:
                v = F * (b - c) + F * (d - e) + a
            trial = [v[n] if u[n] < CR or n == forced else x[i][n] for n in range(D)]
            trials.append(np.array(trial))
            used.append((k, CR))
        ns.append([0] * 4)
        nf.append([0] * 4)
        won_CR.append([[], [], []])
        for i, (k, CR) in enumerate(used):
            new = score(trials[i])
            ties += new == f[i]
            if new >= f[i]:
                x[i], f[i] = trials[i], new
                ns[-1][k] += 1
                if k < 3:
                    won_CR[-1][k].append(CR)
            else:
                nf[-1][k] += 1
        steps.append((np.array(trials), np.array(x), list(p), list(CRm)))
    return draws, steps, ties


@pytest.mark.parametrize(("seed", "spread"), RUNS)
def test_a_run_is_that_of_the_equations_to_the_bit(seed, spread):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(NP, D))
    records, steps, _ = written_out(x, rng, spread)
    # A mask is recorded as uniform numbers of 64 bits, which float32 would round.
    draws = Recorded({**records, "mask": [torch.from_numpy(u) for u in records["mask"]]})
    method = create("sade", generations=G, learning=LP, cr_std=spread)
    fitness = torch.tensor([score(row) for row in x], dtype=torch.float64)
    method.start(torch.from_numpy(x), fitness, draws)

    for trials, members, p, CRm in steps:
        proposal = method.ask()
        np.testing.assert_array_equal(proposal.candidates.numpy(), trials)
        scores = torch.tensor([score(row) for row in trials], dtype=torch.float64)
        method.tell(scores, scores > proposal.thresholds)
        state = method.state()
        np.testing.assert_array_equal(torch.stack(state["members"]).numpy(), members)
        assert (state["p"], state["CRm"]) == (p, CRm)
    assert method.ask() is None
    assert set(draws.unused.values()) == {0}


def test_the_runs_written_out_reach_every_branch():
    """Else the test above would say little."""
    drawn, tied, strategies = set(), 0, set()
    for seed, spread in RUNS:
        rng = np.random.default_rng(seed)
        records, steps, ties = written_out(rng.normal(size=(NP, D)), rng, spread)
        drawn |= {name for name, values in records.items() if values}
        tied += ties
        strategies |= {p.index(max(p)) for _, _, p, _ in steps if max(p) > 0.25}
        redrawn = len(records["CR"]) > len(records["mask"])
        drawn |= {"CR again"} if redrawn else set()
    assert {"CRm", "K", "CR again"} <= drawn
    assert tied > 0
    assert len(strategies) > 1


def test_each_strategy_gets_its_share_of_the_members_rounded_up_or_down():
    p, rng = [0.45, 0.3, 0.2, 0.05], np.random.default_rng(0)
    totals = np.zeros(4)
    for _ in range(2000):
        chosen = assigned(p, rng.random(), rng.permutation(8).tolist())
        counts = np.bincount(chosen, minlength=4)
        assert (np.abs(counts - 8 * np.array(p)) < 1).all()
        totals += counts
    np.testing.assert_allclose(totals / 2000, 8 * np.array(p), atol=0.05)


def test_the_order_says_which_member_gets_which_pointer():
    assert assigned([0.5, 0.25, 0.25, 0.0], 0.0, [0, 1, 2, 3]) == [0, 0, 1, 2]
    assert assigned([0.5, 0.25, 0.25, 0.0], 0.0, [3, 2, 1, 0]) == [2, 1, 0, 0]


def test_nothing_is_adapted_within_the_learning_period():
    vectors = torch.randn(8, 6, generator=generator("test", "sade"))
    method = create("sade", generations=LP, learning=LP)
    method.start(vectors, -(vectors**2).sum(1), generator("test", "sade run"))
    while (proposal := method.ask()) is not None:
        scores = -(proposal.candidates.double() ** 2).sum(1)
        method.tell(scores, scores > proposal.thresholds)
        assert method.state()["p"] == [0.25] * 4
        assert method.state()["CRm"] == [0.5] * 3


def test_five_partners_need_six_members():
    with pytest.raises(UserError, match="sade needs at least 6 parents, found 5"):
        create("sade").start(torch.zeros(5, 2), torch.zeros(5), generator("test"))
