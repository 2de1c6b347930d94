"""MeGA replays the released mega.py and multiple-mega.py."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mergesuite.core.streams import Recorded
from mergesuite.methods import create

from .records import agree, cases, numbers, tensor


def flat(weights):
    """A list of nested lists as one float64 vector."""
    return torch.cat([tensor(part).flatten() for part in weights])


def sizes(weights):
    return [tensor(part).numel() for part in weights]


def draws_of(alphas, children):
    """Draws of initial individuals and of children that are scored."""
    mutations = [m for child in children for m in child["mutation"]]
    return {
        "alpha": list(alphas),
        "tournament": [t for child in children for t in child["tournaments"]],
        "beta": [child["beta"] for child in children],
        "mutate": [m["u"] for m in mutations],
        "noise": [tensor(m["noise"]).flatten() for m in mutations if m.get("noise") is not None],
    }


def begun(draws, parents: Tensor, individuals: Tensor | None = None, tensors=None, **params):
    """A MeGA with the given individuals, its next scores to be told."""
    method = create("mega", generations=2, **params)
    method.tensors = tensors
    method.start(parents, torch.zeros(len(parents)), Recorded(draws))
    if individuals is not None:
        method.restore({**method.state(), "individuals": individuals})
    return method


@pytest.mark.parametrize("case", cases("mega", "create_population"))
def test_create_population(case):
    parents = torch.stack([flat(case["weights1"]), flat(case["weights2"])])
    method = begun({"alpha": case["alpha"]}, parents, population=case["N"], tournament_size=1)
    agree(method.ask().candidates, [flat(w).tolist() for w in case["population"]])


@pytest.mark.parametrize("case", cases("mega", "tournament_selection"))
def test_tournament_selection(case):
    fitness, K = tensor(case["fitnesses"]), len(case["tournaments"])
    n = len(fitness)
    # Individuals are unit vectors and beta is 0, so a child names the first winner.
    for first in range(0, K, n - 1):
        shifts = [(first + child) % K for child in range(n - 1)]
        draws = {
            "alpha": [0.0] * n,
            "tournament": [
                t for s in shifts for t in case["tournaments"][s:] + case["tournaments"][:s]
            ],
            "beta": [0.0] * (n - 1),
            "mutate": [0.5] * (n - 1),
        }
        identity = torch.eye(n, dtype=torch.float64)
        method = begun(
            draws,
            identity[:2],
            identity,
            population=n,
            tournaments=K,
            tournament_size=case["size"],
            mutation_rate=0,
        )
        method.tell(fitness, fitness > -torch.inf)
        winners = method.ask().candidates.argmax(1).tolist()
        assert winners == [case["winners"][s] for s in shifts]


@pytest.mark.parametrize("case", cases("mega", "crossover"))
def test_crossover(case):
    parents = torch.stack([flat(weights) for weights in case["parents"]])
    n = len(parents)
    draws = {
        "alpha": [0.0] * n,
        "tournament": [[i] for i in range(n)] * (n - 1),
        "beta": [case["beta"]] * (n - 1),
        "mutate": [0.5] * (n - 1),
    }
    method = begun(
        draws,
        parents[:2],
        parents,
        population=n,
        tournaments=n,
        tournament_size=1,
        mutation_rate=0,
    )
    method.tell(torch.ones(n), torch.ones(n, dtype=torch.bool))
    agree(method.ask().candidates[0], flat(case["child"]).tolist())


@pytest.mark.parametrize("case", cases("mega", "mutation"))
def test_mutation(case):
    individual = flat(case["individual"])
    child = {"tournaments": [[0], [1]], "beta": 0.0, "mutation": case["mutation"]}
    method = begun(
        draws_of([0.0, 0.0], [child]),
        torch.stack([individual, individual]),
        tensors=sizes(case["individual"]),
        population=2,
        tournaments=2,
        tournament_size=1,
        mutation_rate=case["mutation_rate"],
        mutation_sd=case["sigma"],
    )
    method.tell(torch.ones(2), torch.ones(2, dtype=torch.bool))
    agree(method.ask().candidates[0], flat(case["child"]).tolist())


def whole_run(case, parents, records, odd="refuse"):
    method = create(
        "mega",
        population=case["N"],
        generations=case["G"],
        tournaments=case["K"],
        tournament_size=case["tournament_size"],
        mutation_rate=case["mutation_rate"],
        mutation_sd=case["sigma"],
        odd=odd,
    )
    method.tensors = [int(torch.Size(shape).numel()) for shape in case["shapes"]]
    method.start(parents, torch.zeros(len(parents)), Recorded(records))
    return method


def replay(method, generations):
    """Answer with the recorded scores.

    The released code scores the elite again each generation. Listed scores may then differ from
    its first one, so the recorded one is put into our state.
    """
    for generation in generations:
        proposal = method.ask()
        fitness = tensor(generation["fitnesses"])
        if len(proposal) < len(fitness):
            state = method.state()
            method.restore({**state, "fitness": torch.cat([fitness[:1], state["fitness"][1:]])})
        yield generation, proposal
        scores = fitness[-len(proposal) :]
        method.tell(scores, scores > -torch.inf)


@pytest.mark.parametrize("case", cases("mega", "trace"))
def test_trace(case):
    parents = torch.stack([flat(case["weights1"]), flat(case["weights2"])])
    generations = case["generations"]
    children = [child for g in generations[:-1] for child in g["children"]]
    method = whole_run(case, parents, draws_of(case["init"]["alpha"], children))

    population = case["init"]["population"]
    best = -torch.inf
    for generation, proposal in replay(method, generations):
        recorded = [flat(w).tolist() for w in population]
        agree(proposal.candidates, recorded[-len(proposal) :], f"generation {generation['g']}")
        if generation["g"] > 1:
            agree(method.best[0], recorded[0], "elite")
            agree(method.best[1], best, "best score")
        population, best = generation["next_population"], generation["best_fitness"]
    assert method.ask() is None
    agree(method.best[0], flat(case["result"]["best"]).tolist(), "result")
    agree(method.best[1], case["result"]["best_fitness"], "score of the result")


@pytest.mark.parametrize("case", cases("mega", "hierarchy"))
def test_hierarchy(case):
    models = torch.eye(case["models"], dtype=torch.float64)
    merges = case["merges"]
    # alpha 0 and 1: the first individual is the left model, the second the right one; left wins.
    method = create("mega", population=2, generations=1, tournament_size=1, odd="drop")
    draws = {"alpha": [0.0, 1.0] * len(merges)}
    method.start(models, torch.zeros(len(models)), Recorded(draws))
    vectors = {f"model {i}": vector for i, vector in enumerate(models)}

    for merge in merges:
        pair = torch.stack([vectors[merge["left"]], vectors[merge["right"]]])
        assert torch.equal(method.ask().candidates, pair)
        method.tell(torch.tensor([1.0, 0.0]), torch.tensor([True, True]))
        vectors[merge["result"]] = pair[0]
    assert method.ask() is None
    assert torch.equal(method.best[0], vectors[case["final"]])


@pytest.mark.parametrize("case", cases("mega", "hierarchy_run"))
def test_hierarchy_run(case):
    parents = torch.stack([flat(weights) for weights in case["weights"]])
    records: dict[str, list[Any]] = {}
    for run in case["runs"]:
        children = [child for g in run["generations"][:-1] for child in g["children"]]
        for name, values in draws_of(run["alpha"], children).items():
            records.setdefault(name, []).extend(values)
    method = whole_run(case, parents, records, odd="drop")

    for run in case["runs"]:
        for _ in replay(method, run["generations"]):
            pass
        if run is case["runs"][-1]:
            agree(method.best[0], flat(run["result"]["best"]).tolist(), "result")
            agree(method.best[1], numbers(run["result"]["best_fitness"]), "score")
    assert method.ask() is None
    agree(method.best[0], flat(case["final_weights"]).tolist(), "final weights")
