"""The merge stage: what it gives methods, what a control's budget is, and going on when cut."""

import shutil

import pandas as pd
import pytest
import torch

from mergesuite.core import sealed, store
from mergesuite.core.runtime import Meter
from mergesuite.core.streams import generator
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.methods import Combination, named
from mergesuite.models.batchnorm import statistics_names
from mergesuite.models.permutations import groups, permute
from mergesuite.stages import evaluate, merge
from mergesuite.stages.budget import asked_of, with_budget
from mergesuite.stages.problem import Problem
from mergesuite.stages.search import make_evaluator
from mergesuite.weights import WeightSpace

NETWORK = Network(build="resnet8-w8")
DATA = Data.model_validate({"name": "digits", "sizes": {"fit": 60, "search": 40, "test": 20}})
RANDOM = {"evaluations": 8, "batch": 4}
METRIC = {"metric": "cross-entropy"}
pytestmark = pytest.mark.usefixtures("every_state")


@pytest.fixture(scope="module")
def problem():
    torch.set_num_threads(1)
    return Problem(NETWORK, DATA, torch.device("cpu"))


@pytest.fixture(scope="module")
def parents(problem, tmp_path_factory):
    """Three networks whose BatchNorm statistics differ."""
    folder = tmp_path_factory.mktemp("parents")
    paths = []
    for seed in range(3):
        state = problem.network(seed).state_dict()
        rng = generator("statistics", seed)
        for name in statistics_names(problem.network()):
            state[name] += 0.2 * torch.rand(state[name].shape, generator=rng)
        paths.append(folder / f"{seed}.safetensors")
        store.save_weights(paths[-1], state)
    return paths


def merged(parents, how, out, **more):
    merge.run(
        NETWORK, DATA, Merge.model_validate(how), parents, seed=0, out=out, device="cpu", **more
    )
    record = sealed.read(out / "run.json")
    weights, trace = ((out / name).read_bytes() for name in ("model.safetensors", "trace.csv"))
    return record, (weights, trace, record["cost"], record["weights"], record["score"])


@pytest.mark.parametrize(
    "how",
    [
        {
            "use": "random-search",
            "params": {**RANDOM, "include_parents": True},
            "part": "parameters",
        },
        {"use": "de", "params": {"generations": 3, "F": 0.5, "CR": 0.5}},
        {"use": "de", "params": {"generations": 2, "F": 0.5, "CR": 0.5}, "parents": "aligned"},
        {"use": "train-on", "params": {"images": 150, "batch": 20}},
    ],
)
def test_a_merge_cut_anywhere_ends_the_same(parents, how, tmp_path, monkeypatch, capsys):
    parents = [*parents, *more_parents(parents, tmp_path)]
    _, whole = merged(parents, how, tmp_path / "whole")
    assert not (tmp_path / "whole/resume").exists()
    original = store.save_state
    states = []

    def save(path, state):
        original(path, state)
        states.append(tmp_path / f"state-{len(states)}")
        shutil.copytree(path.parent, states[-1] / path.parent.name)

    monkeypatch.setattr(store, "save_state", save)
    merged(parents, how, tmp_path / "again")
    assert len(states) >= 2
    for out in list(states):
        capsys.readouterr()
        assert merged(parents, how, out)[1] == whole
        assert "resuming" in capsys.readouterr().err


def more_parents(parents, folder):
    """One more network: DE needs four."""
    state = {name: 0.9 * tensor for name, tensor in store.load_weights(parents[0]).items()}
    store.save_weights(folder / "more.safetensors", state)
    return [folder / "more.safetensors"]


def test_parents_are_scored_beside_the_statistics_that_the_search_keeps(
    problem, parents, tmp_path, monkeypatch
):
    """A vector without statistics scored 110 under its own and 141 under those of the base."""
    seen = {}

    def spy(method, evaluator, vectors, scores, *_, **__):
        evaluator.forget()
        seen["said"], seen["found"] = scores, evaluator.scores(vectors).fitness
        method.start(vectors, scores, generator("spy"))
        return []

    monkeypatch.setattr(merge, "search", spy)
    for batchnorm in ("keep", "re-estimate"):
        how = Merge.model_validate(
            {
                "use": "random-search",
                "part": "parameters",
                "params": {"include_parents": True},
                "fitness": {
                    "batchnorm": batchnorm,
                    "batchnorm_images": 40,
                    "metric": "cross-entropy",
                },
            }
        )
        merge.merge(problem, how, parents, seed=0, out=tmp_path, key="k", meter=Meter())
        assert torch.equal(seen["said"], seen["found"])


def test_a_remembered_score_is_not_that_of_other_statistics(
    problem, parents, tmp_path, monkeypatch
):
    """Equal parameters beside different statistics are different networks."""
    state, other = (store.load_weights(path) for path in parents[:2])
    twin = {**state, **{name: other[name] for name in statistics_names(problem.network())}}
    store.save_weights(tmp_path / "twin.safetensors", twin)
    fitness = {"metric": "cross-entropy"}
    how = Merge.model_validate({"use": "best-parent", "part": "parameters", "fitness": fitness})
    found = []

    def combine(_, vectors, fitness):
        found.append(fitness.tolist())
        return Combination(vectors[:1])

    monkeypatch.setattr(named("best-parent"), "combine", combine)
    paths = [parents[0], tmp_path / "twin.safetensors"]
    for order in (paths, paths[::-1]):
        merge.merge(problem, how, order, seed=0, out=tmp_path, key="k", meter=Meter())
    assert found[0] == found[1][::-1]
    assert found[0][0] != found[0][1]


def test_what_lies_beyond_the_parents_has_no_negative_variance(parents, tmp_path):
    """The best is clamped as its candidate was; as released it is not, and then has no score."""
    how = {"use": "affine", "params": {"evaluations": 30, "sigma": 100.0}, "fitness": METRIC}
    record, _ = merged(parents, how, tmp_path / "clean")
    weights = store.load_weights(tmp_path / "clean/model.safetensors")
    variances = [weights[name] for name in weights if name.endswith("running_var")]
    assert min(float(tensor.min()) for tensor in variances) == 0
    assert record["cost"]["evaluations_asked"] == 30

    with pytest.raises(UserError, match="finite score"):
        merged(parents, {**how, "protocol": "released"}, tmp_path / "released")


def test_a_search_over_each_tensor_is_told_which_there_are(problem, parents, tmp_path, monkeypatch):
    seen = []

    def spy(method, *more, search=merge.search, **named):
        rows = search(method, *more, **named)
        seen.append(method.state()["sizes"])
        return rows

    monkeypatch.setattr(merge, "search", spy)
    for per in ("network", "tensor"):
        how = {"use": "affine", "params": {"evaluations": 12, "per": per}}
        merged(parents, how, tmp_path / per)
    space = WeightSpace(problem.network(), "parameters+statistics")
    assert seen == [[space.dim], space.sizes]


# Budgets


def test_a_budget_is_what_was_asked_for_whatever_was_rejected(tmp_path):
    lucky = {"evaluations_asked": 40, "images_asked": 4000, "forward_images": 900}
    unlucky = {**lucky, "forward_images": 3900, "evaluations_computed": 40}
    budgets = [asked_of(cost, tmp_path) for cost in (lucky, unlucky)]
    assert budgets[0] == budgets[1]
    assert with_budget("random-search", {"batch": 4}, budgets[0]) == {"batch": 4, "evaluations": 40}
    assert with_budget("train-on", {}, budgets[0]) == {"images": 4000}


def test_images_asked_are_evaluations_times_the_images_of_one(problem, parents, tmp_path):
    for batchnorm, each in (("keep", 40), ("re-estimate", 40 + 30)):
        fitness = {"batchnorm": batchnorm, "batchnorm_images": 30}
        how = {"use": "random-search", "params": RANDOM, "fitness": fitness}
        record, _ = merged(parents, how, tmp_path / batchnorm)
        assert record["cost"]["images_asked"] == 8 * each


def test_a_control_takes_its_budget_from_a_run(parents, tmp_path):
    merged(parents, {"use": "random-search", "params": RANDOM}, tmp_path / "source")
    source = tmp_path / "source/run.json"
    results = []
    for forward in (1, 10**6):
        record = sealed.read(source)
        record["cost"]["forward_images"] = forward
        path = tmp_path / f"{forward}.json"
        sealed.write(path, record)
        how = {"use": "train-on", "params": {"batch": 20}}
        results.append(merged(parents, how, tmp_path / str(forward), budget_of=path))
    assert results[0][1] == results[1][1]
    assert results[0][0]["cost"]["backward_images"] == 8 * 40
    assert results[0][0]["budget"] == {"evaluations_asked": 8, "images_asked": 320}


def test_training_on_for_epochs_is_so_many_times_the_fit_split(parents, tmp_path):
    """Of one network too: so a merge is fine-tuned."""
    fine = {"lr": 0.01, "batch": 20}
    images = 2 * DATA.sizes["fit"]
    for name, value in (("epochs", 2), ("images", images)):
        how = {"use": "train-on", "params": {**fine, name: value}}
        record, _ = merged(parents[:1], how, tmp_path / name)
        assert record["cost"]["backward_images"] == images
    one, other = (
        store.load_weights(tmp_path / name / "model.safetensors") for name in ("epochs", "images")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("params", [{}, {"images": 40, "epochs": 1}])
def test_training_on_is_told_once_how_long(parents, tmp_path, params):
    with pytest.raises(UserError, match="set one of them, or budget_of"):
        merged(parents[:1], {"use": "train-on", "params": params}, tmp_path / "out")


@pytest.mark.parametrize("name", ["affine", "cma-es", "lcsc"])
def test_a_search_for_coefficients_spends_the_budget_of_another(parents, tmp_path, name):
    merged(parents, {"use": "random-search", "params": RANDOM}, tmp_path / "source")
    source = tmp_path / "source/run.json"
    record, _ = merged(parents, {"use": name}, tmp_path / name, budget_of=source)
    spent = sealed.read(source)["cost"]
    for count in ("evaluations_asked", "images_asked"):
        assert record["cost"][count] == spent[count]


@pytest.mark.parametrize(
    ("name", "params"), [("random-search", {"evaluations": 3}), ("train-on", {"images": 3})]
)
def test_a_budget_that_is_given_twice_is_refused(name, params):
    with pytest.raises(UserError, match="both"):
        with_budget(name, params, {"evaluations_asked": 4, "images_asked": 4})


def test_a_budget_needs_a_method_that_has_one_and_a_run_that_says_it(tmp_path):
    with pytest.raises(UserError, match="no budget"):
        with_budget("uniform-average", {}, {"evaluations_asked": 4, "images_asked": 4})
    with pytest.raises(UserError, match="images_asked"):
        asked_of({"evaluations_asked": 4}, tmp_path / "run.json")


# What a result says of itself, and what is refused


@pytest.mark.parametrize(
    ("how", "mixes"),
    [
        ({"use": "uniform-average"}, True),
        ({"use": "uniform-average", "parents": "aligned"}, True),
        ({"use": "best-parent"}, False),
        ({"use": "random-search", "params": RANDOM}, True),
        ({"use": "random-search", "params": RANDOM, "parents": "best"}, False),
    ],
)
def test_a_result_says_whether_it_mixes_parents(parents, how, mixes, tmp_path):
    assert merged(parents, how, tmp_path)[0]["mixes"] is mixes


def test_a_parent_with_negative_variances_is_refused(problem, parents, tmp_path):
    state = store.load_weights(parents[0])
    name = next(name for name in state if name.endswith("running_var"))
    state[name][0] = -0.5
    store.save_weights(tmp_path / "bad.safetensors", state)
    with pytest.raises(UserError, match="negative variances"):
        problem.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("use", ["uniform-average", "ensemble", "mean-parent", "best-parent"])
@pytest.mark.parametrize("which", ["all", "aligned"])
def test_what_takes_all_parents_alike_costs_no_forward_pass(parents, tmp_path, use, which):
    record, *_ = merged(parents, {"use": use, "parents": which}, tmp_path / use)
    images = record["cost"]["forward_images"]
    assert images == (3 * 40 if use == "best-parent" else 0)


def test_copies_are_one_parent_up_to_noise(problem, parents, tmp_path):
    how = {"use": "random-search", "params": {**RANDOM, "include_parents": True}}
    record, _ = merged(parents, {**how, "parents": "copies"}, tmp_path)
    assert record["mixes"] is False
    weights = store.load_weights(tmp_path / "model.safetensors")
    origins = [problem.load(path) for path in parents]
    apart = [
        max(float((weights[name] / old[name] - 1).abs().nan_to_num(0).max()) for name in weights
            if weights[name].is_floating_point())
        for old in origins
    ]  # fmt: skip
    # Noise of a thousandth: five deviations are beyond any of so few draws.
    assert min(apart) < 6 * merge.COPY_NOISE < sorted(apart)[1]


# Parents whose units are put in the order of the first one's


@pytest.fixture(scope="module")
def twins(problem, parents, tmp_path_factory):
    """A network, and the same one in another order with noise of a thousandth."""
    state, rng = store.load_weights(parents[0]), generator("twins")
    twin = {name: tensor.clone() for name, tensor in state.items()}
    for group in groups(problem.network()):
        permute(twin, group, torch.randperm(group.size, generator=rng))
    for tensor in twin.values():
        if tensor.is_floating_point():
            tensor += 1e-3 * torch.rand(tensor.shape, generator=rng)
    path = tmp_path_factory.mktemp("twins") / "twin.safetensors"
    store.save_weights(path, twin)
    return [parents[0], path]


def farthest(path, other):
    a, b = (store.load_weights(file) for file in (path, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("part", ["parameters", "parameters+statistics"])
def test_aligned_parents_are_averaged_unit_by_unit(twins, part, tmp_path):
    how = {"use": "uniform-average", "part": part}
    results = {}
    for which in ("all", "aligned"):
        results[which] = merged(twins, {**how, "parents": which}, tmp_path / which)[1]
    assert results["all"] != results["aligned"]
    assert farthest(tmp_path / "all/model.safetensors", twins[0]) > 0.1
    # Half of the noise, and all of it in statistics that are those of the better parent.
    assert farthest(tmp_path / "aligned/model.safetensors", twins[0]) <= 1.01e-3


def test_aligned_parents_score_what_they_did(problem, parents, tmp_path, monkeypatch):
    found = {}

    def combine(_, vectors, fitness):
        found[len(found)] = fitness
        return Combination(vectors[:1])

    monkeypatch.setattr(named("best-parent"), "combine", combine)
    for which in ("all", "aligned"):
        fitness = {"metric": "cross-entropy"}
        how = {"use": "best-parent", "parents": which, "fitness": fitness}
        merge.merge(
            problem, Merge.model_validate(how), parents, seed=0, out=tmp_path, key="k",
            meter=Meter(),
        )  # fmt: skip
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0)


def test_parents_are_aligned_alike_whatever_the_seed(problem, parents, tmp_path):
    how = Merge.model_validate({"use": "uniform-average", "parents": "aligned"})
    first, other = (
        merge.merge(problem, how, parents, seed=seed, out=tmp_path, key="k", meter=Meter())
        for seed in (0, 1)
    )
    for name, tensor in first.state_dicts[0].items():
        assert torch.equal(tensor, other.state_dicts[0][name])


def test_statistics_in_the_files_of_aligned_parents_are_not_averaged(twins, tmp_path):
    for which in ("all", "aligned"):
        merged(twins, {"use": "uniform-average", "parents": which}, tmp_path / which)
        evaluate.run([tmp_path / which], out=tmp_path / f"{which}.csv", device="cpu")
    treatments = [
        set(pd.read_csv(tmp_path / f"{which}.csv")["batchnorm"]) - {"-"}
        for which in ("all", "aligned")
    ]
    assert treatments == [{"keep", "average", "re-estimate"}, {"keep", "re-estimate"}]


def test_permuted_labels_are_the_same_ones_of_other_images(problem):
    module, how = problem.network(0), Merge.model_validate({"use": "uniform-average"})
    space = WeightSpace(module, how.part)

    def labels(kind, seed):
        fitness = how.fitness.model_copy(update={"labels": kind})
        return make_evaluator(problem, space, module, fitness, seed)._labels

    true, permuted = labels("true", 0), labels("permuted", 0)
    assert not torch.equal(true, permuted)
    assert torch.equal(true.sort().values, permuted.sort().values)
    assert torch.equal(permuted, labels("permuted", 0))
    assert not torch.equal(permuted, labels("permuted", 1))


@pytest.mark.parametrize(
    ("how", "begun", "score", "gain"),
    [
        ({"metric": "accuracy", "batch_mean": None}, 30.0, 34.0, 0.1),
        ({"metric": "accuracy", "batch_mean": 8}, 75.0, 85.0, 0.1),
        ({"metric": "cross-entropy", "batch_mean": None}, -0.7, -0.5, 0.2),
    ],
)
def test_the_gain_that_a_search_reports_is_a_fraction_or_nats(how, begun, score, gain):
    fitness = {**how, "batchnorm": "keep", "split": "search"}
    done = {"begun": begun, "score": score, "fitness_images": 40}

    (row,) = evaluate._fitness({**done, "args": {"merge": {"fitness": fitness}}})

    assert row["value"] == pytest.approx(gain)


def test_a_search_says_what_its_best_parent_scored(problem, parents, tmp_path):
    how = {"use": "random-search", "params": {**RANDOM, "include_parents": True}}
    record, _ = merged(parents, how, tmp_path)

    images, labels = problem.scored("search"), problem.labels("search")
    right = []
    for path in parents:
        module = problem.network()
        module.load_state_dict(problem.load(path))
        module.eval()
        with torch.no_grad():
            right.append(int((module(problem.normalise(images)).argmax(1) == labels).sum()))
    assert record["begun"] == max(right)
    assert record["score"] >= record["begun"]
