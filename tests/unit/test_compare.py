"""Claims against measurements: pairing, signs, units, Holm, leakage shares."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from scipy import stats as scipy_stats

import mergesuite
from mergesuite.errors import UserError
from mergesuite.experiment import loading, spec
from mergesuite.judge import compare, gains, samples
from mergesuite.report import tables
from mergesuite.report.wording import NOTHING
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
        "grid": "within noise",
        "cheap": "reproduced",
    }


def test_interval_and_p_of_a_claim_are_scipys_paired_t_test(paper, reported, runs):
    row = compare.compare(paper, reported, runs).set_index("claim").loc["pair-gain"]

    a, b = values(runs, "mega-pair", "keep"), values(runs, "best-parent-pair", "keep")
    expected = scipy_stats.ttest_rel(a, b)
    interval = expected.confidence_interval()
    assert row["difference"] == pytest.approx((a - b).mean())
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["n"] == fixture.REPLICATES


def test_reported_per_cent_become_fractions_and_the_best_parent_counts(paper, reported, runs):
    table = compare.compare(paper, reported, runs).set_index("claim")

    assert table.loc["pair-gain", "reported_difference"] == pytest.approx(0.822 - 0.809)
    assert table.loc["deep-average", "reported_difference"] == pytest.approx(0.785 - 0.740)


def test_a_claim_of_lower_cost_is_a_ratio_against_unpaired_trainings(paper, reported, runs):
    row = compare.compare(paper, reported, runs).set_index("claim").loc["cheap"]

    a, b = (
        values(runs, "resnet8", "-", "-", "seconds"),
        values(runs, "mega-clean-pair", "-", "-", "seconds"),
    )
    expected = scipy_stats.ttest_ind(np.log(a), np.log(b), equal_var=False)
    interval = expected.confidence_interval()
    assert row["effect"] == "ratio"
    assert row["spread_kind"] == samples.UNPAIRED
    assert (row["low"], row["high"]) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high))
    )


def test_a_subject_without_rows_is_not_run_named_and_last(paper, reported, runs):
    table = compare.compare(paper, reported, runs[runs["subject"] != "grid-pair"])

    assert list(table["claim"]) == ["pair-gain", "deep-average", "cheap", "grid"]
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


def test_gains_have_the_same_treatment_on_both_sides(paper, runs):
    spoiled = (runs["subject"] == "best-parent-pair") & (runs["batchnorm"] == "keep")
    changed = runs.assign(value=runs["value"].where(~spoiled, runs["value"] - 0.1))

    before, after = (
        gains.gains(paper, r).set_index(["subject", "batchnorm", "split", "against"])["mean"]
        for r in (runs, changed)
    )

    moved = ("mega-pair", "keep", "test", "best-parent")
    assert after[moved] == pytest.approx(before[moved] + 0.1)
    kept = ("mega-pair", "re-estimate", "test", "best-parent")
    assert after[kept] == pytest.approx(before[kept])


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


def test_leakage_shares_add_up(paper, runs):
    table = gains.leakage(paper, runs).set_index(["entry", "population", "batchnorm"])

    leaky, clean = (table.loc[(entry, "pair", "keep")] for entry in ("mega", "mega-clean"))
    assert leaky["gain"] == pytest.approx(clean["gain"] + leaky["excess"])
    assert leaky["share"] == pytest.approx(clean["gain"] / leaky["gain"])
    assert math.isnan(clean["share"])
    assert leaky["own"]
    assert not clean["own"]


def write_hits(folder, differing):
    """Hits of `mega-pair` and its best parent that differ as told: seed -> (only a, only b)."""
    right = {}
    for seed, (only_a, only_b) in differing.items():
        images = np.arange(43)  # no multiple of eight
        right["mega-pair", seed, "keep"] = images >= only_b
        right["best-parent-pair", seed, "keep"] = (images < only_b) | (images >= only_a + only_b)
    hits.write(folder / "runs.csv", {key: np.packbits(bits) for key, bits in right.items()})


def test_pairs_are_compared_image_by_image(tmp_path):
    # By hand: six discordant images, all on one side, are p = 2 / 2^6; five are 2 / 2^5 > 0.05.
    differing = {0: (6, 0), 1: (0, 6), 2: (5, 0), 3: (9, 0)}
    with fixture.made(tmp_path) as (folder, results):
        write_hits(results / "laptop/mega", differing)
        table = compare.write(folder, "laptop", results).set_index("claim")

    found = table[["image_p", "pairs_more", "pairs_fewer"]]
    assert found.loc["pair-gain"].tolist() == [pytest.approx(2 / 64), 2, 1]
    for other in ("deep-average", "grid", "cheap"):
        assert math.isnan(found.loc[other, "image_p"])
    shown = tables.reported(table.reset_index()).shown["pairs by image"]
    assert sorted(shown) == ["2 more, 1 fewer", *[NOTHING] * 3]


def test_damaged_hits_are_the_users_error(tmp_path):
    (tmp_path / "runs.hits.safetensors").write_bytes(b"cut")

    with pytest.raises(UserError, match=r"runs\.hits\.safetensors"):
        hits.read(tmp_path / "runs.csv")


def test_write_makes_the_three_tables(tmp_path):
    with fixture.made(tmp_path) as (folder, results):
        compare.write(folder, "laptop", results)

    written = {file.name for file in (results / "laptop" / "mega").glob("*.csv")}
    assert written == {"runs.csv", "verdicts.csv", "gains.csv", "leakage.csv"}


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
        if file.stem != "figures"
    ]
    code = "import sys\n" + "".join(f"import {m}\n" for m in modules)
    code += "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
