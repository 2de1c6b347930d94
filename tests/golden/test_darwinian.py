"""Darwinian DE (variant sade) replays the released evolve4; losses enter negated."""

import pytest
import torch

from mergesuite.methods import create

from .records import Witness, agree, cases, exceeding, positions, tensor


def draws_of(generations):
    members = [m for g in generations for m in g["members"]]
    return Witness(
        {
            "CR": [raw for m in members for raw in m["CR_raw"]],
            "F": [raw for m in members for raw in m["F_draws"]],
            "partners": [positions(m["r"], m["i"]) for m in members],
            "strategy": [m["k"] for m in members],
            "K": [m["u_K"] for m in members if m["k"] == 3],
            "mask": [m["mask"] for m in members if m["k"] != 3],
        }
    )


def past(history):
    """The run-length coded trials as rows of strategy, won, CR."""
    rows = [
        [float(k), float(won), 0.0 if CR is None else CR]
        for k, won, CR, count in history
        for _ in range(count)
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def last_records(history):
    """The CR bookkeeping as the released code stores it."""
    rows = []
    for k, won, CR in history[-6:].tolist():
        row = [-1.0] * 3
        if won and k < 3:
            row = [CR if column == k else 0.0 for column in range(3)]
        rows.append(row)
    return rows


@pytest.mark.parametrize("case", cases("darwinian", "generation", "trace"))
def test_replay(case):
    generations = case["generations"]
    method = create("darwinian", generations=len(generations) + 1)
    draws = draws_of(generations)
    method.start(tensor(case["population"]), -tensor(case["losses"]), draws)
    start = {name: list(case["state"][name]) for name in ("p", "CRm")}
    method.restore({**method.state(), **start, "history": past(case["history"])})

    for generation in generations:
        proposal = method.ask()
        agree(proposal.candidates, [m["trial"] for m in generation["members"]], "trials")
        used = [m["CR"][m["k"]] if m["k"] < 3 else 0.0 for m in generation["members"]]
        agree([CR for _, CR in method.state()["made"]], used, "CR used")
        scores = -tensor(generation["losses_trial"])
        exceeded = exceeding(scores, proposal.thresholds)
        method.tell(scores, exceeded)
        after, state = generation["after"], method.state()
        assert exceeded.tolist() == after["accepted"]
        agree(torch.stack(state["members"]), after["population"], "population")
        agree(-state["scores"], after["losses"], "losses")
        agree(method.best[0], after["population"][after["best"]], "best")
        agree(state["CRm"], after["state"]["CRm"], "CR means")
        agree(state["p"], after["state"]["p"], "strategy probabilities")
        assert len(state["history"]) == after["state"]["history_length"]
    agree(last_records(method.state()["history"]), case["last_records"], "last records")
    draws.agrees_with([d for g in generations for d in g["draws"]])
