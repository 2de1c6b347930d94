"""CADE replays the released de.py and the schedules of main_cosde.py."""

import pytest
import torch

from mergesuite.core.streams import Recorded
from mergesuite.methods import create

from .records import agree, cases, exceeding, positions, tensor


def draws_of(generations, inject):
    """Partners and masks of all trials; `inject` says as what the crossover enters."""
    members = [m for g in generations for m in g["members"]]
    masks = [m["mask"] for m in members]
    if inject == "numbers":
        masks = [d["result"] for g in generations for d in g["draws"] if d["fn"] == "torch.rand"]
        assert len(masks) == len(members)
    jitter = [g.get("next", {}) for g in generations]
    return Recorded(
        {
            "partners": [positions(m["r"], m["j"]) for m in members],
            "mask": masks,
            "F": [j["F_u"] for j in jitter if j.get("F_u") is not None],
            "CR": [j["CR_u"] for j in jitter if j.get("CR_u") is not None],
        }
    )


def replay(method, generation):
    """One generation in place, each trial and decision compared."""
    for member in generation["members"]:
        proposal = method.ask()
        agree(proposal.candidates[0], member["trial"], "trial")
        agree(method.pool.scores[member["j"]], member["score_parent"], "score of the parent")
        scores = tensor([member["score_trial"]])
        exceeded = exceeding(scores, proposal.thresholds)
        assert exceeded.tolist() == [member["accepted"]]
        method.tell(scores, exceeded)
    state = method.state()
    agree(torch.stack(state["members"]), generation["after"]["population"], "population")
    agree(state["scores"], generation["after"]["scores"], "scores")


# Numbers on the 2^-24 grid need the grid: without it a CR below 2^-24 is meant to take less.
@pytest.mark.parametrize(
    ("inject", "granular"), [("mask", True), ("mask", False), ("numbers", True)]
)
@pytest.mark.parametrize("case", cases("cade", "generation"))
def test_generation(case, inject, granular):
    method = create("cade", schedule="constant", granular=granular, generations=2)
    population = tensor(case["population"])
    method.start(population, torch.zeros(len(population)), draws_of([case], inject))
    parents = tensor([member["score_parent"] for member in case["members"]])
    method.restore({**method.state(), "F": case["F"], "CR": case["CR"], "scores": parents})

    replay(method, case)


@pytest.mark.parametrize("inject", ["mask", "numbers"])
@pytest.mark.parametrize("case", cases("cade", "trace"))
def test_trace(case, inject):
    generations = case["generations"]
    names = ("schedule", "f_init", "cr_init", "c_min")
    method = create("cade", generations=len(generations), **{name: case[name] for name in names})
    scores = tensor([m["score_parent"] for m in generations[0]["members"]])
    draws = draws_of(generations, inject)
    method.start(tensor(case["population"]), scores, draws)

    for generation in generations:
        state = method.state()
        agree([state["F"], state["CR"]], [generation["F"], generation["CR"]], "F and CR")
        replay(method, generation)
        state, following = method.state(), generation["next"]
        agree([state["F"], state["CR"]], [following["F"], following["CR"]], "next F and CR")
    assert method.ask() is None
    assert not any(draws.unused.values())


@pytest.mark.parametrize("case", cases("cade", "schedule"))
def test_schedule(case):
    improved = case.get("improved") or [0] * len(case["F"])
    members = max(4, *improved)
    trials = members * len(improved)
    draws = Recorded(
        {
            "partners": [[0, 1, 2]] * trials,
            "mask": [[False]] * trials,
            "F": [u for u in case.get("F_u", []) if u is not None],
            "CR": [u for u in case.get("CR_u", []) if u is not None],
        }
    )
    names = ("schedule", "f_init", "cr_init", "c_min")
    method = create("cade", generations=len(improved), **{name: case[name] for name in names})
    method.start(torch.zeros(members, 1, dtype=torch.float64), torch.zeros(members), draws)

    for n, wins in enumerate(improved):
        if "q_before" in case:
            assert method.state()["stayed"] == case["q_before"][n]
        for j in range(members):
            proposal = method.ask()
            better = proposal.thresholds + (1.0 if j < wins else -1.0)
            method.tell(better, exceeding(better, proposal.thresholds))
        state = method.state()
        agree([state["F"], state["CR"]], [case["F"][n], case["CR"][n]], f"generation {n + 1}")
    assert not any(draws.unused.values())
