"""Which control is the best at equal cost, and what a reader is told of it."""

import math

import numpy as np
import pandas as pd
import pytest

from mergesuite.core import frames
from mergesuite.experiment import spec, statements
from mergesuite.judge.controls import controls, images
from mergesuite.judge.samples import CROSSED, PAIRED
from mergesuite.judge.study import Study, measure
from mergesuite.report.controls import table, told
from mergesuite.stages.columns import COLUMNS

IMAGES, PAIRS = 400, 4
LUCK = (0.0, 0.01, -0.005, 0.02)
"""What the parents of each replicate are worth: it cancels in pairs."""
SPLIT = {"split": "search"}


CLAIM = {"text": "t", "subject": "ours-pair", "against": "grid-pair"}


def paper(claims=None):
    """A paper with one method, its controls, and entries that are none."""
    return spec.Paper.model_validate(
        {
            "title": "made up",
            "cite": {"text": "nobody"},
            "data": {"name": "digits"},
            "models": {"net": {"build": "resnet8-w8", "seeds": 2 * PAIRS}},
            "populations": {"pair": {"model": "net"}, "other": {"model": "net"}},
            "methods": {
                "ours": {"use": "mega", "fitness": SPLIT},
                "variant": {"use": "mega", "params": {"generations": 3}},
                "leak": {
                    "use": "mega", "protocol": "released", "leaky": True, "twin": "ours",
                    "fitness": {"split": "test"},
                },
                "null": {"use": "mega", "fitness": {**SPLIT, "labels": "permuted"}},
                "same": {"use": "mega", "parents": "copies", "fitness": SPLIT},
                "grid": {"use": "interpolation-grid"},
                "train": {"use": "train-on", "params": {"images": 100}},
                "mean": {"use": "mean-parent"},
                "ens": {"use": "ensemble"},
                "votes": {"use": "ensemble", "params": {"rule": "votes"}},
                "peek": {
                    "use": "best-parent", "protocol": "released", "leaky": True,
                    "fitness": {"split": "test"},
                },
                "lucky": {"use": "random-search", "fitness": {"labels": "permuted"}},
            },
            "claims": claims or {"it": CLAIM},
        }
    )  # fmt: skip


ACCURACY = {
    "ours": 0.70, "variant": 0.9, "leak": 0.9, "null": 0.9, "same": 0.9, "grid": 0.69,
    "train": 0.75, "mean": 0.65, "ens": 0.80, "votes": 0.78, "peek": 0.95, "lucky": 0.95,
}  # fmt: skip
COST = {
    "ours": (1000, 0), "variant": (1000, 0), "grid": (50, 0), "train": (400, 350), "mean": (0, 0),
    "ens": (0, 0), "votes": (0, 0),
}  # fmt: skip
MEMBERS = {"ens": 2, "votes": 2, "mean": 2}


def row(subject, seed, value, **other):
    members = MEMBERS.get(subject.partition("-")[0], 1)
    common = {"subject": subject, "seed": seed, "value": value, "members": members, "n": 1}
    return {**common, "split": "-", "batchnorm": "-"} | other


def measured(accuracy=None, cost=None, population="pair", pairs=PAIRS, noise=0.0025):
    """Rows of accuracies with a little noise that differs by entry, and of costs."""
    rows = []
    for place, (entry, value) in enumerate((ACCURACY if accuracy is None else accuracy).items()):
        for seed in range(pairs):
            of = value + LUCK[seed] + noise * ((seed * (place + 1)) % 3 - 1)
            there = {"metric": "accuracy", "split": "test", "batchnorm": "keep", "n": IMAGES}
            rows.append(row(f"{entry}-{population}", seed, round(of * IMAGES) / IMAGES, **there))
    for entry, counts in (COST if cost is None else cost).items():
        names = ("forward_images", "backward_images", "images_asked")
        rows += [
            row(f"{entry}-{population}", seed, count, metric=name)
            for seed in range(pairs)
            for name, count in zip(names, counts, strict=False)
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def found(runs, made=None, right=None):
    return controls(Study(made or paper(), runs, right or {}))


def test_the_best_is_the_most_accurate_network_that_costs_no_more():
    rows = found(measured()).set_index("against")

    # 400 forward and 350 backward are 1,100 images: 1.1 times as many as the method takes.
    assert list(rows.index) == ["ens-pair", "votes-pair", "train-pair", "grid-pair", "mean-pair"]
    assert dict(rows["best"]) == {
        "ens-pair": "ensemble", "votes-pair": "-", "train-pair": "network", "grid-pair": "-",
        "mean-pair": "-",
    }  # fmt: skip
    assert rows["cost"].to_dict() == pytest.approx(
        {"ens-pair": 0, "votes-pair": 0, "train-pair": 1.1, "grid-pair": 0.05, "mean-pair": 0}
    )
    assert rows["difference"].to_dict() == pytest.approx(
        {"ens-pair": -0.1, "votes-pair": -0.08, "train-pair": -0.05, "grid-pair": 0.01,
         "mean-pair": 0.05}, abs=0.004,
    )  # fmt: skip
    assert rows["level"].to_numpy() == pytest.approx(1 - 0.05 / 5)
    assert set(rows["n"]) == {PAIRS}


def test_what_costs_more_is_shown_and_is_not_the_best():
    rows = found(measured(cost=COST | {"train": (400, 351)})).set_index("against")

    assert not rows.loc["train-pair", "equal_cost"]
    assert rows.loc["train-pair", "cost"] == pytest.approx(1.102)
    assert rows.loc["grid-pair", "best"] == "network"


def test_a_search_costs_what_it_asked_for_not_what_rejection_left_of_it():
    cost = {"ours": (800, 0, 1000), "grid": (1010, 0, 1000), "train": (10, 400, 0)}
    runs = measured(cost=cost)

    assert [images(runs, f"{name}-pair") for name in cost] == [1000, 1010, 810]
    assert found(runs).set_index("against").loc["grid-pair", "equal_cost"]


def test_leaky_and_null_entries_and_other_methods_are_neither_side():
    named = ("ours", "variant", "leak", "null", "same", "grid")
    claims = {
        name: {"text": "t", "subject": f"{name}-pair", "against": "mean-pair"} for name in named
    }

    rows = found(measured(), paper(claims))

    assert list(rows["subject"].unique()) == ["ours-pair", "variant-pair"]
    assert set(rows["against"]) == {f"{n}-pair" for n in ("ens", "votes", "train", "grid", "mean")}


def test_only_what_the_paper_claims_of_accuracy_on_test_names_a_method():
    claims = {
        "own": {**CLAIM, "family": "secondary"},
        "search": {**CLAIM, "split": "search"},
        "cost": {**CLAIM, "metric": "forward_images", "split": "none", "ratio": 2},
    }

    assert found(measured(), paper(claims)).empty
    twice = {"a": CLAIM, "b": {**CLAIM, "against": "mean-pair"}}
    assert len(found(measured(), paper(twice))) == 5


def test_a_control_of_another_population_is_none():
    runs = pd.concat([measured(), measured(population="other")])

    assert set(found(runs)["against"]) == {
        f"{name}-pair" for name in ("ens", "votes", "train", "grid", "mean")
    }


def test_controls_are_treated_as_the_claim_treats_the_method():
    again = measured(ACCURACY | {"train": 0.60, "grid": 0.74}, cost={})
    runs = pd.concat([measured(), again.assign(batchnorm="re-estimate")])
    claims = {"keep": CLAIM, "new": {**CLAIM, "batchnorm": "re-estimate"}}

    rows = found(runs, paper(claims))

    best = rows[rows["best"] == "network"].set_index("batchnorm")["against"]
    assert best.to_dict() == {"keep": "train-pair", "re-estimate": "grid-pair"}


def test_a_control_that_was_not_measured_takes_no_part_in_the_level():
    rows = found(measured({"ours": 0.70, "grid": 0.69, "mean": 0.65}))

    assert set(rows["against"]) == {"grid-pair", "mean-pair"}
    assert rows["level"].to_numpy() == pytest.approx(1 - 0.05 / 2)


def test_without_any_control_or_any_run_there_is_nothing():
    assert found(measured({"ours": 0.70})).empty
    assert found(measured({"grid": 0.70})).empty
    assert told(found(measured({}, {}))) == []


def test_a_control_on_fewer_parents_is_compared_on_these():
    easy = measured({"grid": 0.69}, cost={})
    runs = pd.concat([measured({"ours": 0.70, "mean": 0.695}), easy[easy["seed"] == 3]])

    rows = found(runs).set_index("against")

    # On its own it would look better than the other: its one replicate has the best parents.
    assert rows.loc["grid-pair", "measured_against"] > rows.loc["mean-pair", "measured_against"]
    assert list(rows.index) == ["mean-pair", "grid-pair"]
    assert rows["n"].to_dict() == {"grid-pair": 1, "mean-pair": PAIRS}


def test_of_equals_the_cheaper_one_is_the_best():
    runs = measured({"ours": 0.70, "mean": 0.60, "train": 0.69}, noise=0.0)
    equal = measured({"grid": 0.69}, cost={}, noise=0.0)

    assert list(found(pd.concat([runs, equal]))["against"])[:2] == ["grid-pair", "train-pair"]


def test_one_pair_has_no_interval_and_says_so():
    rows = found(measured(pairs=1))

    assert rows["low"].isna().all()
    assert told(rows)[0] == (
        "The best control at equal cost is train-pair: ours-pair (BatchNorm keep) differs by "
        f"{points(rows, 'train-pair')} points in 1 pair, too few to tell."
    )


def points(rows, control):
    value = 100 * rows.set_index("against").loc[control, "difference"]
    return f"{value:+.2f}".replace("-", "\u2212")


@pytest.mark.parametrize("missing", ["ours", "train"])
def test_without_its_cost_nothing_is_at_equal_cost(missing):
    cost = {name: counts for name, counts in COST.items() if name != missing}

    rows = found(measured(cost=cost)).set_index("against")

    assert math.isnan(rows.loc["train-pair", "cost"])
    assert rows.loc["train-pair", "best"] == "-"
    best = rows.index[rows["best"] == "network"]
    assert list(best) == ([] if missing == "ours" else ["grid-pair"])
    said = told(rows.reset_index())
    assert ("No single network is a control" in said[0]) == (missing == "ours")


def test_a_method_that_costs_nothing_has_equals_that_cost_nothing():
    rows = found(measured(cost=COST | {"ours": (0, 0)})).set_index("against")

    assert rows["cost"].isna().all()
    assert rows.index[rows["equal_cost"]].tolist() == ["ens-pair", "votes-pair", "mean-pair"]


def hits(runs):
    """Test images that are right: the first so many, in an order that the replicate shifts."""
    there = runs[runs["metric"] == "accuracy"]
    return {
        (one.subject, one.seed, "keep"): np.packbits(
            np.roll(np.arange(IMAGES) < round(one.value * IMAGES), 7 * one.seed)
        )
        for one in there[~there["subject"].str.startswith("mean")].itertuples()
    }


@pytest.mark.parametrize("kind", [PAIRED, CROSSED])
def test_the_interval_is_that_of_a_claim_about_the_two(kind):
    runs = measured()
    study = Study(paper(), runs, hits(runs) if kind == CROSSED else {})

    rows = controls(study).set_index("against")

    for against in ("train-pair", "ens-pair", "grid-pair"):
        claim = statements.Claim(text="t", subject="ours-pair", against=against)
        main = measure(study, claim, 1 - 0.05 / 5).main
        one = rows.loc[against]
        ends = (main.effect.mean, main.effect.low, main.effect.high)
        assert tuple(one[k] for k in ("difference", "low", "high")) == ends
        assert (one["spread_kind"], one["n"]) == (main.spread_kind, main.effect.n)
        assert (one["measured"], one["measured_against"]) == (main.subject, main.against)
    assert rows.loc["train-pair", "spread_kind"] == kind
    assert rows.loc["mean-pair", "spread_kind"] == PAIRED


ROW = {
    "subject": "ours-pair", "batchnorm": "keep", "against": "grid-pair", "members": 1,
    "measured_against": 0.7, "level": 0.99, "n": 8, "cost": 0.5, "best": "network",
}  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ((0.0031, 0.001, 0.0052), "is 0.31 points ahead [0.10, 0.52]"),
        ((-0.0031, -0.0052, -0.001), "is 0.31 points behind [0.10, 0.52]"),
        ((0.0031, -0.002, 0.0082),
         "cannot be told apart from it, +0.31 points [\u22120.20, +0.82]"),
        ((-0.0031, -0.0062, 0.0),
         "cannot be told apart from it, \u22120.31 points [\u22120.62, +0.00]"),
    ],
)  # fmt: skip
def test_a_sentence_says_ahead_or_behind_only_where_that_can_be_told(effect, said):
    frame = pd.DataFrame([ROW | dict(zip(("difference", "low", "high"), effect, strict=True))])

    assert told(frame) == [
        f"The best control at equal cost is grid-pair: ours-pair (BatchNorm keep) {said} "
        "(99 % interval, 8 pairs)."
    ]


def test_the_best_ensemble_has_a_sentence_and_a_mark_of_its_own():
    rows = found(measured())

    said, shown = told(rows), table(rows).shown.set_index("control")

    assert said[0].startswith("The best control at equal cost is train-pair: ours-pair")
    assert said[1].startswith("The best ensemble is ens-pair, with 2 networks for each prediction")
    assert shown["best"].to_dict() == {
        "ens-pair": "best ensemble", "votes-pair": "", "train-pair": "best", "grid-pair": "",
        "mean-pair": "",
    }  # fmt: skip
    assert shown.loc["ens-pair", ["networks", "cost"]].tolist() == ["2", "0.000 \u00d7"]
    assert shown.loc["mean-pair", "networks"] == "1"


def test_sentences_are_the_same_from_the_file(tmp_path):
    rows = found(measured(pairs=2))
    frames.write_csv(tmp_path / "controls.csv", rows)

    assert told(frames.read_csv(tmp_path / "controls.csv")) == told(rows)
