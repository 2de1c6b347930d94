"""What every population method must keep, whatever it does."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from mergesuite.core.streams import generator
from mergesuite.errors import UserError
from mergesuite.experiment import declared
from mergesuite.methods import create, named

D = 12
CASES = [
    pytest.param(name, params, id=f"{name}-{number}")
    for name, entry in declared.methods().items()
    if entry.kind == "population"
    for number, params in enumerate(named(name).trials)
]
every = pytest.mark.parametrize(("name", "params"), CASES)


def sphere(candidates):
    """Higher is better; the optimum is not at the origin."""
    return -((candidates.double() - 0.3) ** 2).sum(1)


def parents(count=8):
    return torch.randn(count, D, generator=generator("contract", "parents"))


def begun(name, params, vectors, score=sphere):
    method = create(name, **params)
    vectors = vectors[: method.takes]
    method.start(vectors, score(vectors), generator("contract", name))
    return method


def answer(method, proposal, score=sphere):
    scores = score(proposal.candidates)
    bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
    method.tell(scores, scores > bars)


def run(method, score=sphere):
    """To the end; how many candidates were proposed, and every best score on the way."""
    asked, scores = 0, [method.best[1]]
    while (proposal := method.ask()) is not None:
        assert proposal.candidates.shape == (len(proposal), D)
        asked += len(proposal)
        answer(method, proposal, score)
        scores.append(method.best[1])
    return asked, scores


def global_states():
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    return repr(numpy_state), random.getstate(), torch.get_rng_state().tolist()


def fingerprint(name, params):
    method = begun(name, params, parents())
    run(method)
    vector, score = method.best
    return hashlib.sha256(vector.numpy().tobytes() + repr(score).encode()).hexdigest()


@every
def test_best_is_among_the_proposed_and_scores_what_it_says(name, params):
    method = begun(name, params, parents())
    run(method)
    vector, score = method.best
    assert float(sphere(vector[None])) == pytest.approx(score, rel=1e-12)
    assert vector.dtype == torch.float32


@every
def test_search_improves_on_the_parents(name, params):
    vectors = parents()
    known = {vector.numpy().tobytes() for vector in vectors}
    moved = False

    def score(candidates):
        nonlocal moved
        moved |= any(candidate.numpy().tobytes() not in known for candidate in candidates)
        return sphere(candidates)

    _, scores = run(begun(name, params, vectors, score), score)
    if not moved:
        pytest.skip("it proposed nothing but the parents: as released, CADE's CR is 1e-7")
    assert scores[-1] > float(sphere(vectors).max())


@every
def test_best_never_falls(name, params):
    method = begun(name, params, parents())
    _, scores = run(method)
    if method.restarts:
        pytest.skip("its best is that of a part of the run")
    assert scores == sorted(scores)


@every
def test_asking_again_copies_nothing(name, params):
    """What is bred is proposed where it lies: a copy would be a second population."""
    method = begun(name, params, parents())
    if method.composes:
        pytest.skip("composes its candidates when asked, and keeps none")
    for _ in range(3):
        first, again = method.ask(), method.ask()
        if first is None:
            break
        assert again.candidates.data_ptr() == first.candidates.data_ptr()
        answer(method, again)


@every
def test_parents_are_not_touched(name, params):
    vectors = parents()
    before = vectors.clone()
    run(begun(name, params, vectors))
    assert torch.equal(vectors, before)


@every
def test_identical_parents_come_back_unchanged(name, params):
    vectors = parents(1).repeat(8, 1)
    method = begun(name, {**params, **named(name).quiet}, vectors)
    run(method)
    rtol = 1e-5 if method.rounds else 0
    torch.testing.assert_close(method.best[0], vectors[0], rtol=rtol, atol=0)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_score_never_wins(name, params, bad):
    """Half of the parents and many candidates, those with a large first weight, score `bad`."""
    vectors = parents()
    vectors[::2, 0], vectors[1::2, 0] = 2.0, -1.0

    def score(candidates):
        return torch.where(candidates[:, 0] > 0.5, bad, sphere(candidates))

    method = begun(name, params, vectors, score)
    met = 0
    while (proposal := method.ask()) is not None:
        scores = score(proposal.candidates)
        met += int((~torch.isfinite(scores)).sum())
        # Whatever the driver says of it, a bad score is refused.
        bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
        method.tell(scores, (scores > bars) | ~torch.isfinite(scores))
        vector, value = method.best
        assert value == -torch.inf or float(vector[0]) <= 0.5
    if not met:
        pytest.skip("it proposed no candidate with a bad score")
    assert torch.isfinite(torch.tensor(method.best[1]))


@every
def test_budget_is_spent_exactly(name, params):
    method = begun(name, params, parents())
    if not hasattr(method, "budget"):
        pytest.skip("its number of candidates depends on the run")
    budget = method.budget
    asked, _ = run(method)
    assert asked == budget


@every
def test_a_run_asks_for_what_its_class_says_it_costs(name, params):
    """The formula of `cost`, which the page of methods shows, against a run."""
    vectors = parents()[: named(name).takes]
    method = begun(name, params, vectors)
    asked, _ = run(method)
    assert method.cost, f"give {type(method).__name__} its `cost`: see methods.Population"
    assert asked == method.candidates(len(vectors))


@every
def test_fewer_parents_than_the_least_are_refused(name, params):
    method = create(name, **params)
    few = parents(method.least - 1)
    if not len(few):
        pytest.skip("one parent is enough")
    with pytest.raises(UserError):
        method.start(few, sphere(few), generator("contract", name))


@every
def test_a_run_cut_anywhere_ends_the_same(name, params):
    whole = begun(name, params, parents())
    states = []
    while True:
        states.append(pickle.dumps(whole.state()))
        proposal = whole.ask()
        if proposal is None:
            break
        states.append(pickle.dumps(whole.state()))
        answer(whole, proposal)
    for number in {0, 1, 2, 3, len(states) // 2, len(states) // 2 + 1, len(states) - 1}:
        again = create(name, **params)
        again.restore(pickle.loads(states[min(number, len(states) - 1)]))
        run(again)
        assert torch.equal(again.best[0], whole.best[0])
        assert again.best[1] == whole.best[1]


@pytest.mark.parametrize(
    ("name", "params"),
    CASES,
)
def test_a_state_is_not_changed_by_going_on(name, params):
    method = begun(name, params, parents())
    answer(method, method.ask())
    state = method.state()
    saved = pickle.dumps(state)
    run(method)
    assert pickle.dumps(state) == saved


@every
def test_losing_scores_may_be_any_bound(name, params):
    """An evaluator that stops early reports a bound for those that cannot exceed."""
    exact, bounded = (begun(name, params, parents()) for _ in range(2))
    run(exact)
    while (proposal := bounded.ask()) is not None:
        scores = sphere(proposal.candidates)
        bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
        exceeded = scores > bars
        bounded.tell(torch.where(exceeded, scores, scores - 1.0), exceeded)
    assert torch.equal(exact.best[0], bounded.best[0])


@every
def test_no_global_generator_is_read_or_moved(name, params):
    results = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        torch.manual_seed(seed)
        before = global_states()
        results.append(fingerprint(name, params))
        assert global_states() == before
    assert results[0] == results[1]


def test_same_seed_same_bytes_in_another_process():
    here = [fingerprint(*case.values) for case in CASES]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
    there = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == here


if __name__ == "__main__":
    for case in CASES:
        print(fingerprint(*case.values))
