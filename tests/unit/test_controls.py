"""The controls against torch, scikit-learn, numpy and the papers' recipes written out."""

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.optim.swa_utils import AveragedModel, update_bn

from mergesuite.core import streams
from mergesuite.experiment.settings import Data, Network
from mergesuite.methods import create
from mergesuite.models import batchnorm, build
from mergesuite.stages.measure import Outputs, combine, measure, measures
from mergesuite.stages.problem import Problem
from mergesuite.weights import WeightSpace

NAN, INF = float("nan"), float("inf")


def vectors(k, d=6):
    return torch.randn(k, d, generator=streams.generator("test", "controls", k, d))


def finish(method, score):
    """Run a search with `score`; returns the candidates that it proposed."""
    proposed = []
    while (proposal := method.ask()) is not None:
        proposed += list(proposal.candidates)
        scores = torch.tensor([score(x) for x in proposal.candidates], dtype=torch.float64)
        bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
        method.tell(scores, scores > bars)
    return proposed


# Uniform average


def test_uniform_average_and_reestimation_are_torch_swa():
    nets = [build("resnet8-w8", 10, streams.generator("test", "swa", i)) for i in range(3)]
    images = torch.randint(
        256, (40, 3, 16, 16), dtype=torch.uint8, generator=streams.generator("test", "swa images")
    )
    theirs = AveragedModel(copy.deepcopy(nets[0]))
    for net in nets:
        theirs.update_parameters(net)
    update_bn([part.float() / 255 for part in images.split(20)], theirs)

    space = WeightSpace(nets[0], part="parameters")
    parents = torch.stack([space.flatten(net.state_dict()) for net in nets])
    merged = create("uniform-average").combine(parents, torch.zeros(3))
    ours = copy.deepcopy(nets[0])
    ours.load_state_dict({**ours.state_dict(), **space.unflatten(merged.members[0])})
    batchnorm.reestimate(ours, images, batch=20)

    assert merged.combine == "single"
    assert not torch.allclose(merged.members[0], parents[0], atol=1e-3)
    expected = theirs.module.state_dict()
    for name in [n for n, _ in ours.named_parameters()] + batchnorm.statistics_names(ours):
        torch.testing.assert_close(ours.state_dict()[name], expected[name], rtol=1e-4, atol=1e-5)


def test_uniform_average_sums_in_more_than_float32():
    # In float32 1e8 + 1 is 1e8, and the mean would be 0.
    parents = torch.tensor([[1e8], [1.0], [-1e8], [1.0]])
    assert create("uniform-average").combine(parents, torch.zeros(4)).members.item() == 0.5


# Greedy soup


def coarse(seed):
    """A score with many ties, of which no soup's follows from another's."""
    direction = np.random.default_rng(streams.derive("test", "soup", seed)).normal(size=6)
    return lambda x: round(float(np.sin(5 * (np.asarray(x, dtype=np.float64) @ direction))), 1)


def mean(parents, members):
    return parents[members].astype(np.float64).mean(0)


def recipe_1(parents, score, strict):
    """Wortsman et al. (2022), recipe 1, on numpy arrays; returns the ingredients."""
    order = sorted(range(len(parents)), key=lambda i: -score(parents[i]))
    ingredients = []
    for i in order:
        if ingredients:
            new, old = (score(mean(parents, s)) for s in ([*ingredients, i], ingredients))
            if new < old or (strict and new == old):
                continue
        ingredients.append(i)
    return ingredients


@pytest.mark.parametrize("keep", ["equal", "higher"])
def test_greedy_soup_is_recipe_1(keep):
    sizes = set()
    for seed in range(30):
        parents, score = vectors(7), coarse(seed)
        method = create("greedy-soup", keep=keep)
        fitness = torch.tensor([score(x) for x in parents], dtype=torch.float64)
        method.start(parents, fitness, streams.generator("unused"))
        proposed = finish(method, score)
        expected = recipe_1(parents.numpy(), score, keep == "higher")
        assert len(proposed) == 6
        sizes.add(len(expected))
        np.testing.assert_allclose(method.best[0], mean(parents.numpy(), expected), rtol=1e-5)
    assert len(sizes) > 2  # the scores do make soups of several sizes


def test_greedy_soup_tells_equal_from_higher():
    kept = {}
    for keep in ("equal", "higher"):
        method = create("greedy-soup", keep=keep)
        method.start(vectors(3), torch.ones(3), streams.generator("unused"))
        finish(method, lambda x: 1.0)
        kept[keep] = method.trace()["ingredients"]
    assert kept == {"equal": 3, "higher": 1}


def test_the_port_in_cade_keeps_the_rejected_and_doubles_the_accepted():
    rejections = 0
    for seed in range(10):
        parents, score = vectors(6), coarse(seed)
        fitness = torch.tensor([score(x) for x in parents], dtype=torch.float64)
        method = create("greedy-soup", variant="cade")
        method.start(parents, fitness, streams.generator("unused"))
        proposed = finish(method, score)

        order = fitness.argsort(descending=True, stable=True).tolist()
        soup, best = [order[0]], float(fitness[order[0]])
        for i, candidate in zip(order[1:], proposed, strict=True):
            trial = soup  # the alias: what is appended to one is in the other
            trial.append(i)
            np.testing.assert_allclose(candidate, mean(parents.numpy(), trial), atol=1e-6)
            if score(candidate) >= best:
                soup.append(i)
                best = score(candidate)
            else:
                rejections += 1
        assert method.best[1] == best
        assert score(method.best[0]) == best
    assert rejections


def test_greedy_soup_starts_at_no_parent_without_a_score():
    method = create("greedy-soup")
    parents = vectors(4)
    fitness = torch.tensor([NAN, 0.2, INF, 0.5])
    method.start(parents, fitness, streams.generator("unused"))
    assert torch.equal(method.best[0], parents[3])
    assert method.best[1] == pytest.approx(0.5)


# The segment between two parents


def test_interpolation_grid_is_a_plain_loop_with_both_ends():
    parents = vectors(2)
    method = create("interpolation-grid", points=11)
    method.start(parents, torch.zeros(2), streams.generator("unused"))
    target = 0.72 * parents[0] + 0.28 * parents[1]
    score = lambda x: -float(((x - target) ** 2).sum())  # noqa: E731
    proposed = finish(method, score)

    a, b = parents.double().numpy()
    loop = [(1 - i / 10) * a + i / 10 * b for i in range(11)]
    np.testing.assert_allclose(torch.stack(proposed), loop, rtol=1e-5, atol=1e-6)
    assert torch.equal(proposed[0], parents[0])
    assert torch.equal(proposed[-1], parents[1])
    assert torch.equal(method.best[0], proposed[3])


def test_interpolation_grid_takes_the_first_of_equals_and_no_nan():
    method = create("interpolation-grid", points=4)
    method.start(vectors(2), torch.zeros(2), streams.generator("unused"))
    scores = iter([NAN, 0.5, 0.5, INF])
    proposed = finish(method, lambda x: next(scores))
    assert torch.equal(method.best[0], proposed[1])
    assert method.best[1] == 0.5


# The parents themselves


@pytest.mark.parametrize(
    ("fitness", "best"),
    [
        ([0.1, 0.7, 0.7], 1),
        ([0.1, NAN, 0.7], 2),
        ([NAN, 0.0, NAN], 1),
        ([NAN, -2.0, -1.0], 2),
        ([INF, 0.3, -INF], 1),
        ([NAN, NAN, NAN], 0),
    ],
)
def test_best_parent_is_the_first_of_the_best_and_has_a_score(fitness, best):
    parents = vectors(3)
    result = create("best-parent").combine(parents, torch.tensor(fitness))
    assert result.combine == "single"
    assert torch.equal(result.members, parents[best : best + 1])


@pytest.mark.parametrize("rule", ["logits", "probabilities", "votes"])
def test_an_ensemble_is_all_parents_and_its_rule(rule):
    parents = vectors(3)
    result = create("ensemble", rule=rule).combine(parents, torch.zeros(3))
    assert result.combine == rule
    assert torch.equal(result.members, parents)


# Rules of combination


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def outputs():
    rng = streams.generator("test", "outputs")
    return torch.randn(4, 300, 5, generator=rng, dtype=torch.float64) * 3


def test_mean_logits_and_mean_probabilities(outputs):
    x = outputs.numpy()
    np.testing.assert_allclose(combine(outputs, "logits"), x.mean(0), rtol=1e-12)
    expected = np.log(softmax(x).mean(0))
    np.testing.assert_allclose(combine(outputs, "probabilities"), expected, rtol=1e-10)
    np.testing.assert_array_equal(combine(outputs[:1], "single"), x[0])


def test_votes_win_and_mean_probability_breaks_ties(outputs):
    x = outputs.numpy()
    votes = np.stack([np.bincount(v, minlength=5) for v in x.argmax(-1).T])
    probability = softmax(x).mean(0)
    winners = [
        max(range(5), key=lambda c, v=v, p=p: (v[c], p[c]))
        for v, p in zip(votes, probability, strict=True)
    ]
    ties = (votes == votes.max(1, keepdims=True)).sum(1) > 1
    against = probability.argmax(1) != winners
    assert ties.sum() > 20
    assert against.sum() > 5  # where the votes overrule the probabilities

    scores = combine(outputs, "votes")
    np.testing.assert_array_equal(scores.argmax(1), winners)
    np.testing.assert_allclose(scores.exp().sum(1), 1, rtol=1e-9)


def test_a_tie_by_hand():
    # One vote each for 0 and 1; member 0 is almost sure, member 1 hardly.
    outputs = torch.tensor([[[4.0, 0.0, 0.0]], [[0.0, 0.1, 0.0]]])
    assert combine(outputs, "votes").argmax(1).tolist() == [0]
    assert combine(outputs.flip(0), "votes").argmax(1).tolist() == [0]
    assert combine(outputs[..., [1, 0, 2]], "votes").argmax(1).tolist() == [1]


def test_two_hesitant_votes_beat_a_sure_one():
    outputs = torch.tensor([[[0.1, 0.0]], [[0.1, 0.0]], [[0.0, 9.0]]])
    assert combine(outputs, "probabilities").argmax(1).tolist() == [1]
    assert combine(outputs, "votes").argmax(1).tolist() == [0]


# Measures


def test_measures_are_those_of_scikit_learn(outputs):
    labels = torch.arange(300) % 5
    found = measures(outputs[0], labels)
    expected = log_loss(labels.numpy(), softmax(outputs[0].numpy()), labels=range(5))
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-12)
    hits = sum(int(row.argmax()) == int(y) for row, y in zip(outputs[0], labels, strict=True))
    assert found["accuracy"] == pytest.approx(hits / 300)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_an_unsound_row_is_wrong(bad):
    scores = torch.tensor([[bad, 0.0], [2.0, 0.0], [0.0, 3.0]])
    found = measures(scores, torch.tensor([0, 0, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert not np.isfinite(found["cross_entropy"])


# Outputs of networks


@pytest.fixture(scope="module")
def problem():
    torch.set_num_threads(1)
    sizes = {"fit": 60, "search": 40, "test": 30}
    data = Data.model_validate({"name": "digits", "sizes": sizes})
    return Problem(Network(build="resnet8-w8"), data, torch.device("cpu"))


@pytest.fixture(scope="module")
def states(problem):
    return [problem.network(seed).state_dict() for seed in range(2)]


def test_outputs_are_kept_by_content(problem, states):
    outputs = Outputs(problem)
    first = outputs.of(states[0], "keep", [])
    copied = {name: tensor.clone() for name, tensor in states[0].items()}
    assert outputs.of(copied, "keep", []) is first
    assert set(first) == {"search", "test"}

    classifier = next(name for name in reversed(copied) if name.endswith("weight"))
    copied[classifier] *= 2
    changed = outputs.of(copied, "keep", [])
    assert not torch.allclose(changed["test"], first["test"])
    assert outputs.of(states[0], "keep", []) is first


def test_outputs_are_those_of_the_network_whatever_was_asked_before(problem, states):
    outputs = Outputs(problem)
    treated = outputs.of(states[0], "re-estimate", [])
    found = outputs.of(states[0], "keep", [])
    module = problem.network()
    module.load_state_dict(states[0])
    module.eval()
    with torch.no_grad():
        expected = module(problem.normalise(problem.scored("test")))
    torch.testing.assert_close(found["test"], expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(treated["test"], expected, atol=1e-2)


def test_averaged_statistics_are_another_network(problem, states):
    moved = {name: tensor.clone() for name, tensor in states[1].items()}
    for name in batchnorm.statistics_names(problem.network()):
        moved[name] += 0.5
    outputs = Outputs(problem)
    kept = outputs.of(states[0], "keep", [states[0], moved])
    averaged = outputs.of(states[0], "average", [states[0], moved])
    assert not torch.allclose(kept["test"], averaged["test"])
    # The mean of equal statistics is what the network holds: nothing new to compute.
    assert outputs.of(states[0], "average", [states[0], states[0]]) is kept


def test_the_mean_parent_is_measured_by_the_mean_of_its_members(problem, states):
    outputs = Outputs(problem)
    together, hits = measure(outputs, states, "mean", states)
    alone = [measure(outputs, [state], "single", [])[0] for state in states]
    for row in together:
        each = [
            r["value"]
            for r in itertools.chain(*alone)
            if all(r[k] == row[k] for k in ("batchnorm", "metric", "split"))
        ]
        assert len(each) == 2
        assert row["value"] == pytest.approx(sum(each) / 2)
    assert {row["batchnorm"] for row in together} == {"keep", "re-estimate"}
    assert hits == {}


def test_hits_are_the_images_that_the_network_gets_right(problem, states):
    _, found = measure(Outputs(problem), states[:1], "single", [])
    module = problem.network()
    module.load_state_dict(states[0])
    module.eval()
    images, labels = problem.scored("test"), problem.labels("test")
    with torch.no_grad():
        expected = module(problem.normalise(images)).argmax(1) == labels
    assert set(found) == {"keep", "re-estimate"}
    assert found["keep"].tolist() == expected.tolist()
    assert 0 < sum(found["keep"].tolist()) < len(labels)
