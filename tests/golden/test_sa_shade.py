"""SA-SHADE (variant released) replays the released spe.py."""

import pytest
import torch

from mergesuite.methods import create

from .records import Witness, agree, cases, exceeding, positions, tensor


def method_of(case):
    """The method with the parameters of a case; it would run longer than any case does."""
    names = {"G": "planned", "H": "memory", "LP": "window"}
    params = {str(names.get(name, name)): value for name, value in case["params"].items()}
    method = create("sa-shade", variant="released", generations=10_000, **params)
    if "trainable" in case:
        method.mutable = torch.tensor(case["trainable"])
    return method


def state_of(state):
    """A recorded state in our terms."""
    windows = [state[name] for name in ("ns_1", "nf_1", "ns_2", "nf_2")]
    return {
        "p": list(state["p"]),
        "u_F": tensor(state["u_F"]),
        "u_CR": tensor(state["u_CR"]),
        "u_freq": tensor(state["u_freq"]),
        "slot": list(state["slot"]),
        "uses": [list(row) for row in zip(*windows, strict=True)],
        "recent": [[k, int(won)] for k, won in state["recent"]],
    }


def draws_of(generations):
    members = [m for g in generations for m in g["members"]]
    masked = [m for m in members if m["k"] != 4]

    def drawn(name, chosen=members):
        return [m[name] for m in chosen if m.get(name) is not None]

    return Witness(
        {
            "strategy": drawn("k"),
            "r1": [positions([m["r1"]], m["i"]) for m in members],
            "rule": drawn("u_rule"),
            "slot_freq": drawn("slot_freq"),
            "freq": [float(m["freq"]) for m in members if m["rule"] == "S2"],
            "slot_F": drawn("slot_F"),
            "F": [float(m["F_raw"]) for m in members if m["rule"] == "memory"],
            "slot_CR": drawn("slot_CR"),
            "CR": [float(m["CR_raw"]) for m in masked],
            "k3": drawn("u_k3"),
            "mask": [m["mask"] for m in masked],
            "r_trig": [positions(m["r_trig"], m["i"]) for m in members if m.get("r_trig")],
        }
    )


def check_trials(method, proposal, members):
    agree(proposal.candidates, [m["trial"] for m in members], "trials")
    made = method.state()["made"]
    assert [m["k"] for m in made] == [m["k"] for m in members]
    assert [m["rule"] for m in made] == [m["rule"] for m in members]
    for name in ("F", "CR", "freq"):
        agree([m[name] for m in made], [m[name] for m in members], name)


def check_after(method, exceeded, after):
    state, recorded = method.state(), after["state"]
    assert exceeded.tolist() == after["accepted"]
    agree(torch.stack(state["members"]), after["population"], "population")
    agree(state["scores"], after["scores"], "scores")
    agree(method.best[0], after["population"][after["best"]], "best")
    expected = state_of(recorded)
    for name in ("p", "u_F", "u_CR", "u_freq"):
        agree(state[name], recorded[name], name)
    for name in ("slot", "uses", "recent"):
        assert state[name] == expected[name], name


@pytest.mark.parametrize("case", cases("sa_shade", "mutate"))
def test_mutate(case):
    method, draws = method_of(case), draws_of([case])
    scores = tensor(case["scores"])
    method.start(tensor(case["population"]), scores, draws)
    given = {**state_of(case["state"]), "generation": case["t"], "scores": scores}
    method.restore({**method.state(), **given})

    check_trials(method, method.ask(), case["members"])
    draws.agrees_with(case["draws"])


@pytest.mark.parametrize("case", cases("sa_shade", "update"))
def test_update(case):
    method = method_of(case)
    scores, trials = tensor(case["scores"]), tensor(case["trials"])
    method.start(tensor(case["population"]), scores, Witness({}))
    columns = [case[name] for name in ("k", "rule", "F", "CR", "freq")]
    made = [
        {"k": k, "rule": rule, "F": float(F), "CR": float(CR), "freq": float(freq)}
        for k, rule, F, CR, freq in zip(*columns, strict=True)
    ]
    waiting = {"scores": scores, "trials": trials, "made": made, "generation": case["t"]}
    method.restore({**method.state(), **state_of(case["state"]), **waiting})

    proposal = method.ask()
    scores = tensor(case["scores_trial"])
    exceeded = exceeding(scores, proposal.thresholds)
    method.tell(scores, exceeded)
    check_after(method, exceeded, case["after"])


@pytest.mark.parametrize("case", cases("sa_shade", "trace"))
def test_trace(case):
    method, generations = method_of(case), case["generations"]
    draws = draws_of(generations)
    method.start(tensor(case["population"]), tensor(case["scores"]), draws)
    agree(method.state()["p"], case["state"]["p"], "first probabilities")
    agree(method.state()["u_F"], case["state"]["u_F"], "first memory")

    for generation in generations:
        proposal = method.ask()
        check_trials(method, proposal, generation["members"])
        scores = tensor(generation["scores_trial"])
        exceeded = exceeding(scores, proposal.thresholds)
        method.tell(scores, exceeded)
        check_after(method, exceeded, generation["after"])
    draws.agrees_with([d for g in generations for d in g["draws"]])
