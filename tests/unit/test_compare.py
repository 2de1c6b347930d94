"""Claims against measurements: families, pairing, signs, units, twins, baselines."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

import mergesuite
from mergesuite.errors import UserError
from mergesuite.experiment import loading, spec
from mergesuite.judge import by_image, compare, gains, samples, selection
from mergesuite.judge.crossed import crossed
from mergesuite.report import tables
from mergesuite.stages import hits

SOURCE = Path(mergesuite.__file__).parent


@pytest.fixture
def paper():
    return spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})


@pytest.fixture
def reported(tmp_path):
    (tmp_path / "reported.csv").write_text(fixture.REPORTED)
    return loading.reported(tmp_path)


@pytest.fixture
def runs():
    return fixture.runs()


def values(runs, subject, batchnorm, split="test", metric="accuracy"):
    rows = runs.query(
        "subject == @subject and batchnorm == @batchnorm and split == @split and metric == @metric"
    )
    return rows.sort_values("seed")["value"].to_numpy()


def test_the_verdicts_of_the_made_up_paper_are_those_put_in(paper, reported, runs):
    table = compare.compare(paper, reported, runs).set_index("claim")

    assert table["verdict"].to_dict() == {
        "pair-gain": "only under leakage",
        "deep-average": "reproduced",
        "grid": "no gain",
        "cheap": "reproduced",
        "fast": "not comparable",
        "loss": "direction only",
        "scales": "not comparable",
    }


def of(subject, against, **other):
    return {"text": "t", "subject": subject, "against": against} | other


def changed(paper, **change):
    """The made-up paper with some of its parts replaced."""
    return spec.Paper.model_validate(paper.model_dump(exclude_unset=True) | change)


def test_a_family_shares_its_level_among_the_distinct_claims_that_are_decided(paper):
    claims = {
        "one": of("mega-pair", "best-parent-pair"),
        "same": of(
            "mega-pair",
            "best-parent-pair",
            reported=["t1-pair"],
        ),
        "two": of("mega-pair", "best-parent-pair", batchnorm="re-estimate"),
        "three": of("mega-deep", "best-parent-deep"),
        "seconds": of("mega-pair", "resnet8", metric="seconds", split="none", ratio=10),
        "ours": of("grid-pair", "best-parent-pair", family="secondary"),
    }
    levels = compare.family_levels(changed(paper, claims=claims))
    one = compare.family_levels(changed(paper, claims=claims, run=["pair"]))
    none = compare.family_levels(changed(paper, claims={}))

    assert levels == pytest.approx({"primary": 1 - 0.05 / 3, "secondary": 0.95})
    assert one == pytest.approx({"primary": 1 - 0.05 / 2, "secondary": 0.95})
    assert none == {"primary": 0.95, "secondary": 0.95}


def test_the_interval_of_a_claim_is_scipys_paired_one_at_the_level_of_its_family(
    paper, reported, runs
):
    table = compare.compare(paper, reported, runs).set_index("claim")

    for name, count in {"pair-gain": 3, "grid": 2}.items():
        row = table.loc[name]
        a, b = values(runs, row["subject"], "keep"), values(runs, "best-parent-pair", "keep")
        interval = scipy_stats.ttest_rel(a, b).confidence_interval(1 - 0.05 / count)
        assert row["level"] == pytest.approx(1 - 0.05 / count)
        assert row["difference"] == pytest.approx((a - b).mean())
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert row["n"] == fixture.REPLICATES
        assert row["sd_pairs"] == pytest.approx((a - b).std(ddof=1))


def test_what_the_size_could_see_is_that_of_statsmodels(paper, reported, runs):
    row = compare.compare(paper, reported, runs).set_index("claim").loc["grid"]

    size = TTestPower().solve_power(
        nobs=row["n"], alpha=(1 - row["level"]) / 2, power=0.8, alternative="larger"
    )
    assert row["detectable"] == pytest.approx(size * row["sd_pairs"], rel=1e-4)
    pairs = TTestPower().solve_power(
        effect_size=row["interest"] / row["sd_pairs"], alpha=(1 - row["level"]) / 2, power=0.8,
        alternative="larger",
    )  # fmt: skip
    assert row["pairs_needed"] == math.ceil(pairs)


def test_with_hits_the_interval_is_over_images_too(paper, reported, runs):
    right = fixture.hits_of(runs)
    plain, table = (
        compare.compare(paper, reported, runs, x).set_index("claim") for x in (None, right)
    )

    for name in ("pair-gain", "deep-average", "grid"):
        row = table.loc[name]
        assert row["spread_kind"] == samples.CROSSED
        assert row["difference"] == pytest.approx(plain.loc[name, "difference"])
        a, b = (
            np.stack([np.unpackbits(right[row[k], r, row["batchnorm"]], count=fixture.IMAGES)
                      for r in range(fixture.REPLICATES)]).astype(float)
            for k in ("subject", "against")
        )  # fmt: skip
        expected = crossed(a - b, row["level"], 1 / fixture.IMAGES)
        assert (row["low"], row["high"]) == pytest.approx(
            (expected.effect.low, expected.effect.high)
        )
        assert row["se_images"] == pytest.approx(math.sqrt(expected.images))
    pd.testing.assert_series_equal(table.loc["loss"], plain.loc["loss"])
    assert set(plain["spread_kind"].dropna()) == {samples.PAIRED, samples.UNPAIRED}


def test_hits_of_other_runs_are_refused(paper, reported, runs):
    right = fixture.hits_of(runs)
    right["mega-pair", 0, "keep"] = np.zeros_like(right["mega-pair", 0, "keep"])

    with pytest.raises(UserError, match=r"hits of mega-pair .* not those of runs\.csv"):
        compare.compare(paper, reported, runs, right)


def test_reported_per_cent_become_fractions_and_the_best_parent_counts(paper, reported, runs):
    table = compare.compare(paper, reported, runs).set_index("claim")

    assert table.loc["pair-gain", "reported_difference"] == pytest.approx(0.822 - 0.809)
    assert table.loc["deep-average", "reported_difference"] == pytest.approx(0.785 - 0.740)


def test_a_claim_of_lower_cost_is_a_ratio_against_unpaired_trainings(paper, reported, runs):
    row = compare.compare(paper, reported, runs).set_index("claim").loc["cheap"]

    a, b = (
        values(runs, "resnet8", "-", "-", "forward_images"),
        values(runs, "mega-clean-pair", "-", "-", "forward_images"),
    )
    expected = scipy_stats.ttest_ind(np.log(a), np.log(b), equal_var=False)
    interval = expected.confidence_interval(1 - 0.05 / 3)
    assert row["effect"] == "ratio"
    assert row["spread_kind"] == samples.UNPAIRED
    assert (row["low"], row["high"]) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high))
    )


def test_a_subject_without_rows_is_not_run_named_and_last(paper, reported, runs):
    table = compare.compare(paper, reported, runs[runs["subject"] != "grid-pair"])

    assert list(table["claim"]) == [
        "pair-gain", "deep-average", "cheap", "fast", "loss", "grid", "scales",
    ]  # fmt: skip
    row = table.set_index("claim").loc["grid"]
    assert row["verdict"] == "not run"
    assert "grid-pair" in row["why"]


def test_a_failed_replicate_leaves_its_pair_out_and_the_reason_says_so(paper, reported, runs):
    failed = (runs["subject"] == "mega-pair") & (runs["seed"] == 2)
    row = compare.compare(paper, reported, runs[~failed]).set_index("claim").loc["pair-gain"]

    assert row["n"] == 4
    assert "4 of 5 pairs" in row["why"]


def test_two_replicates_are_not_comparable(paper, reported, runs):
    table = compare.compare(paper, reported, runs[(runs["seed"] < 2)])

    assert table.set_index("claim").loc["pair-gain", "verdict"] == "not comparable"


def test_the_order_of_rows_does_not_matter(paper, reported, runs):
    shuffled = runs.sample(frac=1, random_state=np.random.default_rng(3))

    first, second = (compare.compare(paper, reported, r) for r in (runs, shuffled))

    assert first.equals(second)


def test_an_unknown_reported_row_is_the_users_error(paper, reported, runs):
    del reported["t1-pair-a"]

    with pytest.raises(UserError, match="t1-pair-a"):
        compare.compare(paper, reported, runs)


def test_seconds_and_what_we_set_ourselves_decide_nothing(paper, reported, runs):
    fixed = runs["metric"] == "forward_images"
    same = runs.assign(value=runs["value"].where(~fixed, 5e4))
    table = compare.compare(paper, reported, same).set_index("claim")

    assert table.loc[["fast", "cheap"], "verdict"].tolist() == ["not comparable"] * 2
    assert "seconds" in table.loc["fast", "why"]
    assert "same in every run" in table.loc["cheap", "why"]
    assert table.loc["fast", "difference"] > 10  # shown all the same


def test_a_ratio_to_nothing_is_not_comparable(paper, reported, runs):
    none = (runs["metric"] == "forward_images") & (runs["subject"] == "mega-clean-pair")
    table = compare.compare(paper, reported, runs.assign(value=runs["value"].where(~none, 0.0)))

    row = table.set_index("claim").loc["cheap"]
    assert (row["verdict"], row["why"]) == (
        "not comparable", "a measured value is zero, so there is no ratio",
    )  # fmt: skip
    assert math.isnan(row["detectable"])


def test_a_leaky_claim_is_decided_beside_its_twin(paper, reported, runs):
    row = compare.compare(paper, reported, runs).set_index("claim").loc["pair-gain"]

    leaky, twin, best = (
        values(runs, f"{name}-pair", "keep") for name in ("mega", "mega-held-out", "best-parent")
    )
    for prefix, pairs in (("twin", twin - best), ("excess", leaky - twin)):
        interval = scipy_stats.ttest_1samp(pairs, 0).confidence_interval(row["level"])
        found = (row[f"{prefix}_low"], row[f"{prefix}_high"])
        assert found == pytest.approx((interval.low, interval.high))
    assert row["twin"] == "mega-held-out-pair"
    assert row["excess"] == pytest.approx(row["difference"] - row["twin_difference"])


def with_twin(runs, gain):
    """The twin of mega-pair with another gain over the best parent."""
    mine = (runs["subject"] == "mega-held-out-pair") & (runs["metric"] == "accuracy")
    return runs.assign(value=runs["value"].where(~mine, runs["value"] + gain))


@pytest.mark.parametrize(
    ("gain", "verdict", "why"),
    [
        (0.0, "only under leakage", "twin shows no gain"),
        (0.01, "direction only", "inflated by leakage"),
        (0.0185, "direction only", "its size is not shown"),  # no leak: as if it were none
    ],
)
def test_what_the_twin_shows_decides_the_leaky_claim(paper, reported, runs, gain, verdict, why):
    row = (
        compare.compare(paper, reported, with_twin(runs, gain)).set_index("claim").loc["pair-gain"]
    )
    assert row["verdict"] == verdict
    assert why in row["why"]


def test_without_its_twin_a_leaky_claim_is_undecided(paper, reported, runs):
    methods = paper.model_dump(exclude_unset=True)["methods"]
    alone = changed(paper, methods=methods | {"mega": methods["mega"] | {"twin": None}})
    row = compare.compare(alone, reported, runs).set_index("claim").loc["pair-gain"]

    assert row["verdict"] == "cannot tell yet"
    assert "twin is missing" in row["why"]
    assert row["twin"] == ""


def several(paper, runs, searches=2):
    """mega-clean searched several times: its other searches are drawn anew."""
    methods = paper.model_dump(exclude_unset=True)["methods"]
    more = methods["mega-clean"] | {"searches": searches}
    rng, mine = np.random.default_rng(4), runs[runs["entry"] == "mega-clean"]
    again = [
        mine.assign(seed=mine["seed"] + spec.SEARCH * k,
                    value=mine["value"] + rng.normal(0, 0.004, len(mine)))
        for k in range(1, searches)
    ]  # fmt: skip
    return changed(paper, methods=methods | {"mega-clean": more}), pd.concat([runs, *again])


def test_several_searches_of_the_same_parents_are_one_pair(paper, reported, runs):
    often, table = several(paper, runs)
    row = compare.compare(often, reported, table).set_index("claim").loc["deep-average"]

    a = values(table, "mega-clean-deep", "re-estimate").reshape(2, -1)
    b = values(table, "average-deep", "re-estimate")
    interval = scipy_stats.ttest_rel(a.mean(0), b).confidence_interval(row["level"])
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["n"] == fixture.REPLICATES
    assert row["sd_search"] == pytest.approx(math.sqrt(a.var(axis=0, ddof=1).mean() / 2))
    assert "pairs were measured" not in row["why"]

    gained = gains.gains(often, table).set_index(["subject", "batchnorm", "split", "against"])
    assert gained.loc[("mega-clean-deep", "re-estimate", "test", "best-parent"), "n"] == 5
    points = gains.gain_points(often, table)
    assert (points["subject"] == "mega-clean-deep").sum() == 5 * 2 * 2 * 2
    gained = gains.gains(often, table)
    shown = tables.results(often, table, gained).numbers.set_index(["subject", "batchnorm"])
    assert shown.loc[("mega-clean-deep", "re-estimate"), "n"] == 5


def test_pairs_that_were_not_asked_for_are_not_missed(paper, reported, runs):
    methods = paper.model_dump(exclude_unset=True)["methods"]
    fewer = changed(
        paper, methods=methods | {"mega-clean": methods["mega-clean"] | {"replicates": 3}}
    )
    cut = runs[(runs["entry"] != "mega-clean") | (runs["seed"] < 3)]

    asked, lost = (
        compare.compare(one, reported, cut).set_index("claim").loc["deep-average"]
        for one in (fewer, paper)
    )

    assert asked["n"] == lost["n"] == 3
    assert "pairs were measured" not in asked["why"]
    assert "3 of 5 pairs were measured" in lost["why"]


def test_gains_have_the_same_treatment_on_both_sides(paper, runs):
    spoiled = (runs["subject"] == "best-parent-pair") & (runs["batchnorm"] == "keep")
    other = runs.assign(value=runs["value"].where(~spoiled, runs["value"] - 0.1))

    before, after = (
        gains.gains(paper, r).set_index(["subject", "batchnorm", "split", "against"])["mean"]
        for r in (runs, other)
    )

    moved = ("mega-pair", "keep", "test", "best-parent")
    assert after[moved] == pytest.approx(before[moved] + 0.1)
    kept = ("mega-pair", "re-estimate", "test", "best-parent")
    assert after[kept] == pytest.approx(before[kept])


def test_the_best_parent_is_the_one_that_was_picked_under_the_treatment(paper, runs):
    table = gains.gains(paper, runs)
    table = table[table["against"] == "best-parent"]

    found = {t: set(part["baseline"]) for t, part in table.groupby("batchnorm")}
    assert found == {
        "keep": {"best-parent-pair", "best-parent-deep"},
        "re-estimate": {"best-parent-bn-pair", "best-parent-bn-deep"},
    }


def test_without_a_best_parent_for_a_treatment_the_other_one_counts(paper):
    methods = paper.model_dump(exclude_unset=True)["methods"]
    del methods["best-parent-bn"]
    for treatment in ("keep", "re-estimate", "average"):
        found = gains.baseline(changed(paper, methods=methods), "best-parent", "pair", treatment)
        assert found == "best-parent-pair"
    assert gains.baseline(paper, "best-parent", "pair", "average") == "best-parent-pair"
    assert gains.baseline(paper, "mean-parent", "pair", "re-estimate") == "mean-parent-pair"
    only = {"best-parent-on-test": methods["best-parent-on-test"]}
    leaky = changed(paper, methods=only, claims={})
    assert gains.baseline(leaky, "best-parent", "pair", "keep") is None


def test_a_merge_with_averaged_statistics_is_compared_with_the_parent_as_trained(paper, runs):
    merged = runs[(runs["subject"] == "mega-pair") & (runs["batchnorm"] == "keep")]
    with_average = pd.concat([runs, merged.assign(batchnorm="average")])

    table = gains.gains(paper, with_average).set_index(["subject", "batchnorm", "split", "against"])

    for against in ("best-parent", "mean-parent"):
        kept = table.loc[("mega-pair", "keep", "test", against), "mean"]
        assert table.loc[("mega-pair", "average", "test", against), "mean"] == pytest.approx(kept)
    assert set(table.loc["mega-clean-pair"].index.get_level_values("batchnorm")) == {
        "keep",
        "re-estimate",
    }


def test_a_leaky_gain_is_that_of_the_twin_and_what_the_leak_adds(paper, runs):
    table = gains.leakage(paper, runs, gains.gains(paper, runs)).set_index(["subject", "batchnorm"])

    assert set(table.index) == {
        (f"mega-{population}", treatment)
        for population in fixture.POPULATIONS
        for treatment in ("keep", "re-estimate")
    }
    row = table.loc[("mega-pair", "keep")]
    assert row["gain"] == pytest.approx(row["twin_gain"] + row["excess"])
    pairs = values(runs, "mega-pair", "keep") - values(runs, "mega-held-out-pair", "keep")
    interval = scipy_stats.ttest_1samp(pairs, 0).confidence_interval()
    assert (row["excess_low"], row["excess_high"]) == pytest.approx((interval.low, interval.high))


def test_the_choice_of_the_best_parent_is_shown(paper, runs):
    table = selection.selection(paper, runs).set_index(["subject", "batchnorm"])

    assert len(table) == 4
    kept, treated = table.loc[("best-parent-pair", "keep")], table.loc[
        ("best-parent-bn-pair", "re-estimate")
    ]  # fmt: skip
    search, test, on_test = (
        values(runs, f"{name}-pair", "keep", split).mean()
        for name, split in (
            ("best-parent", "search"), ("best-parent", "test"), ("best-parent-on-test", "test"),
        )
    )  # fmt: skip
    assert kept["optimism"] == pytest.approx(search - test)
    assert kept["on_test_more"] == pytest.approx(on_test - test)
    assert math.isnan(treated["on_test"])  # it was picked as trained
    assert selection.selection(paper, runs.iloc[:0]).empty


def differing(counts):
    """Hits of `a` and `b` that differ as told: seed -> (right by a only, by b only)."""
    right = {}
    for seed, (only_a, only_b) in counts.items():
        images = np.arange(43)  # no multiple of eight
        right["a", seed, "keep"] = images >= only_b
        right["b", seed, "keep"] = (images < only_b) | (images >= only_a + only_b)
    return {key: np.packbits(bits) for key, bits in right.items()}


def test_pairs_are_compared_image_by_image():
    # By hand: six discordant images, all on one side, are p = 2 / 2^6; five are 2 / 2^5 > 0.05.
    right = differing({0: (6, 0), 1: (0, 6), 2: (5, 0), 3: (9, 0), 1000: (20, 0)})
    found = by_image.by_image(right, "a", "b", "keep")
    assert (found.p, found.more, found.fewer) == (pytest.approx(2 / 64), 2, 1)


def test_only_accuracies_of_one_population_are_compared_by_image(paper, reported, runs):
    table = compare.compare(paper, reported, runs, fixture.hits_of(runs)).set_index("claim")

    assert table["image_p"].notna().to_dict() == {
        "pair-gain": True, "deep-average": True, "grid": True, "cheap": False, "fast": False,
        "loss": False, "scales": False,
    }  # fmt: skip


def test_damaged_hits_are_the_users_error(tmp_path):
    (tmp_path / "runs.hits.safetensors").write_bytes(b"cut")

    with pytest.raises(UserError, match=r"runs\.hits\.safetensors"):
        hits.read(tmp_path / "runs.csv")


def test_write_makes_every_table(tmp_path):
    with fixture.made(tmp_path) as (folder, results):
        compare.write(folder, "laptop", results)

    written = {file.name for file in (results / "laptop" / "mega").glob("*.csv")}
    tables = {"verdicts", "gains", "leakage", "calibration", "controls", "waterfall", "trends"}
    assert written == {f"{name}.csv" for name in ("runs", *tables)}


def test_a_measurement_that_is_there_twice_is_refused(tmp_path, runs):
    twice = runs.iloc[[0, *range(len(runs))]]
    twice.to_csv(tmp_path / "runs.csv", index=False)

    with pytest.raises(UserError, match="twice"):
        samples.read_runs(tmp_path / "runs.csv")


def test_statistics_and_tables_need_neither_torch_nor_matplotlib():
    modules = [
        f"mergesuite.{package.name}.{file.stem}"
        for package in (SOURCE / "judge", SOURCE / "report")
        for file in package.glob("[a-z]*.py")
        if file.stem not in ("canvas", "figures", "tried")
    ]
    code = "import sys\n" + "".join(f"import {m}\n" for m in modules)
    code += "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
