import csv
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from mergesuite import data
from mergesuite.experiment import config
from mergesuite.experiment.jobs import Jobs
from mergesuite.stages import feed, trainer

ROOT = Path(__file__).parents[2]
FOLDER, DOCS = ROOT / "benchmarks", ROOT / "docs"


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its processes look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    return benchmark("training")


def test_both_training_loops_end_in_the_same_weights(training):
    found = training.check("resnet8-w8", 64)
    assert float(found["apart"]) < 1e-12
    assert float(found["apart_in_another_order"]) > 1e-3


def test_another_learning_rate_would_be_noticed(training, monkeypatch):
    monkeypatch.setattr(trainer, "learning_rate", lambda *_: 0.1001)
    with pytest.raises(ValueError, match="apart"):
        training.check("resnet8-w8", 64)


def test_a_left_out_batch_would_be_noticed(training, monkeypatch):
    batches = feed.Feed.batches
    monkeypatch.setattr(feed.Feed, "batches", lambda *a: batches(*a)[:-1])
    with pytest.raises(ValueError, match=r"updates \[4, 4, 4\]"):
        training.check("resnet8-w8", 64)


def test_the_training_benchmark_writes_its_table_and_figure(tmp_path):
    words = ["--cases", "data:64", "resnet8-w8:64", "--pairs", "1", "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, FOLDER / "training.py", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| resnet8-w8, 64 images | ours " in done.stdout
    with (tmp_path / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["images"]) for r in rows if r["variant"] == "ours"] == [
        (case, size) for case in ("data", "resnet8-w8") for size in ("16", "32", "64")
    ]
    assert all(float(r["seconds"]) > 0 and r["commit"] and r["updates"] == "1" for r in rows)
    for r in rows[9:]:
        parts = [float(r[part]) for part in ("data", "forward", "backward", "optimiser")]
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(1, abs=0.01)
    assert (tmp_path / "training.svg").stat().st_size > 0


def run(script, *words):
    """In a process of its own: for what measures its memory or starts others."""
    done = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def run_here(monkeypatch):
    """Runs a script in this process, which has its imports behind it."""

    def run_script(script, *words):
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        benchmark(script.removesuffix(".py")).main()

    return run_script


def test_the_evaluation_benchmark_writes_its_tables_and_figure(tmp_path):
    run("evaluation.py", "--nets", "resnet8-w8", "--steps", "ordinary", "--epochs", 8,
        "--fit", 100, "--images", 60, "--generations", 2, "--pairs", 1, "--lever-pairs", 0,
        "--no-growth", "--out", tmp_path)  # fmt: skip
    with (tmp_path / "evaluation.csv").open(newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"released", "tuned", "ours"}
    assert {row["accepted"] for row in rows.values()} == {rows["released"]["accepted"]}
    assert float(rows["released"]["share_of_images"]) == 1
    assert float(rows["ours"]["share_of_images"]) < 1
    assert (tmp_path / "evaluation.svg").stat().st_size > 0


def test_the_reestimation_benchmark_writes_its_table(tmp_path, run_here):
    run_here("reestimation.py", "--nets", "resnet8-w8", "--calibration", 8, "--images", 60,
        "--turns", 1, "--out", tmp_path)  # fmt: skip
    with (tmp_path / "reestimation.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["apart"]) < 1e-4
    assert min(float(row[key]) for key in row if key.endswith(("_ms", "_ratio"))) > 0


def test_other_statistics_than_those_of_torch_end_the_benchmark(monkeypatch):
    script = benchmark("reestimation")
    case = script.Case("resnet8-w8", 60, 8)
    monkeypatch.setattr(script, "update_bn", lambda *_: None)
    with pytest.raises(SystemExit, match="apart from those of torch"):
        script.measure(case, 1)


def test_the_alignment_benchmark_writes_its_table(tmp_path, run_here):
    run_here("alignment.py", "--nets", "resnet8-w4", "--pairs", 2, "--epochs", 1, "--fit", 60,
        "--images", 40, "--calibration", 30, "--points", 3,
        "--out", tmp_path / "found")  # fmt: skip
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["pair"], row["second"], row["batchnorm"]) for row in rows] == [
        (pair, way, treatment) for pair in "01" for way in ("as trained", "matched")
        for treatment in ("keep", "re-estimate")
    ]  # fmt: skip
    # Matching changes what is between two networks, and not the networks.
    for first, second in zip(rows[:2], rows[2:4], strict=True):
        assert float(second["loss_ends"]) == pytest.approx(float(first["loss_ends"]), abs=1e-3)
    assert all(float(row["barrier"]) >= 0 for row in rows)


def test_a_barrier_is_above_the_line_between_the_ends(monkeypatch):
    script = benchmark("alignment")
    line = script.Line(None, data.load("digits12", sizes={"fit": 20}), None, 5)
    losses = {0.0: 1.0, 0.25: 3.0, 0.5: 4.0, 0.75: 5.5, 1.0: 5.0}
    monkeypatch.setattr(
        line, "scores", lambda x, _: {"cross_entropy": losses[float(x["w"])], "accuracy": 0.5}
    )
    ends = ({"w": torch.tensor(0.0)}, {"w": torch.tensor(1.0)})
    found = line.between(*ends, "keep")
    # Above 1, 2, 3, 4, 5: 0, 1, 1, 1.5, 0.
    assert (found["barrier"], found["loss_ends"], found["loss_middle"]) == (1.5, 3.0, 4.0)


def test_the_table_of_barriers_is_the_measured_one():
    with (DOCS / "alignment.csv").open(newline="") as measured:
        rows = list(csv.DictReader(measured))
    assert benchmark("alignment").table(rows) in (DOCS / "alignment.md").read_text("utf-8")
    pairs = {(row["net"], row["pair"]) for row in rows}
    assert min(Counter(net for net, _ in pairs).values()) >= 3


def test_the_arithmetic_benchmark_keeps_to_the_memory_of_its_population(tmp_path):
    cases = ["cade, in place, F = CR = 1e-6", "de, F = 0.5, CR = 0.9"]
    run("arithmetic.py", "--dim", 17_000_000, "--size", 4, "--generations", 1, "--images", 2,
        "--cases", *cases, "--out", tmp_path)  # fmt: skip
    with (tmp_path / "arithmetic.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(float(row["seconds_per_generation"]) > 0 for row in rows)
    # One trial beside the members, or as many as there are; a third copy would make it 3.4.
    in_place, synchronous = (float(row["times_population"]) for row in rows)
    assert in_place < synchronous < 2.8


def test_the_models_benchmark_trains_and_counts(tmp_path, run_here):
    run_here("models.py", "--only", "resnet8-torch", "--seconds", 0.1, "--out", tmp_path)
    with (tmp_path / "models.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss_after"]) < float(row["loss_before"])
    # 3x3 convolutions of 16, 32 and 64 channels over 32, 16 and 8 pixels squared; the classifier.
    products = 32**2 * (3 * 16 + 2 * 256) + 16**2 * (512 + 1024) + 8**2 * (2048 + 4096)
    assert int(row["forward_operations"]) == 2 * (9 * products + 64 * 10)


def test_every_network_of_every_paper_is_in_the_table():
    with (DOCS / "models.csv").open(newline="") as measured:
        rows = {row["network"]: row for row in csv.DictReader(measured)}
    script = benchmark("models")
    assert set(rows) == {case.name for case in script.cases()}
    for row in rows.values():
        assert float(row["loss_after"]) < float(row["loss_before"])
        ours = {int(row["parameters"]), int(row["with_statistics"])}
        known = float(row["published"] or min(ours))
        # Printed numbers are cut or rounded; MeGA's ResNet110 is not what its own code builds.
        apart = 0.021 if row["network"] == "resnet110" else 0.0125
        assert min(abs(count / known - 1) for count in ours) < apart, row["network"]


def test_the_benchmark_of_folders_keeps_to_its_cap(tmp_path):
    run("folders.py", "--images", 100, "--turns", 1, "--out", tmp_path)
    with (tmp_path / "folders.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["way"]) for row in rows] == [
        ("evaluation", "DataLoader"), ("evaluation", "ours"),
        ("training", "DataLoader"), ("training", "ours"), ("scoring", "in memory"),
    ]  # fmt: skip
    assert all(float(row["images_a_second"]) > 0 and row["images"] == "100" for row in rows)
    assert 0 < float(rows[-1]["peak_mb"]) <= 1024


def test_pixels_that_differ_from_torchvisions_end_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    script = benchmark("folders")
    script.photographs.make(tmp_path, script.divided(100))
    monkeypatch.setenv("MERGESUITE_WORKERS", "0")
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "cache"))
    assert script.check(tmp_path / "search", 0) < 1e-5
    monkeypatch.setattr(script, "CUT", script.CUT.model_copy(update={"resize": 250}))
    with pytest.raises(SystemExit, match="apart from those of ImageFolder"):
        script.check(tmp_path / "search", 0)


def test_the_benchmark_of_choices_writes_its_table(tmp_path, run_here):
    run_here("choices.py", "--net", "resnet8-w4", "--data", "digits12", "--fit", 600, "--test", 200,
        "--epochs", 2, "--sizes", 100, 300, "--out", tmp_path)  # fmt: skip
    with (tmp_path / "choices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["weights"], row["images"], row["choices"], row["seen"]) for row in rows] == [
        (weights, images, choices, seen)
        for weights in ("last epoch", "mean of two")
        for images, choices in (("100", "6"), ("300", "2"))
        for seen in ("plain", "as in training")
    ]
    assert all(float(row["sd"]) >= 0 and float(row["cpu_seconds"]) > 0 for row in rows)


def test_simulated_studies_write_their_table(tmp_path, run_here):
    run_here("verdicts.py", "--papers", "sa-shade", "--studies", 2, "--out", tmp_path / "rates")
    found = pd.read_csv(tmp_path / "rates.csv")
    assert found.groupby("pairs").size().to_dict() == {3: 5, 5: 5, 10: 5, 20: 5}
    shares = found[[*benchmark("verdicts").WRONG, "decided"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    # Two points at 20 pairs are four times what such a study can see.
    assert found.set_index(["pairs", "gain"])["decided"].loc[(20, 0.02)] > 0.8


def test_one_row_of_simulated_studies_can_be_drawn_anew():
    script = benchmark("verdicts")
    asked = ["sa-shade", 10, 0.002, 0.01, 5]
    kept, again, other = (script.simulated(*asked, *seed) for seed in ([], [0], [1]))
    assert kept == again != other


def test_simulated_studies_draw_the_deviations_that_they_state():
    script = benchmark("verdicts")
    paper = script.measured(script.at_full_scale("sa-shade", 200))
    truth = script.means(paper, 0.01, 0.02)
    runs, right = script.study(paper, truth, 0.005, np.random.default_rng(3))
    values = runs[runs["batchnorm"] == "keep"].pivot(index="seed", columns="subject")["value"]
    leaky, twin = values["shade-on-test-tuned"], values["shade-held-out-tuned"]
    difference = values["shade-published-tuned"] - values["best-parent-tuned"]
    # Beside the deviation over pairs the choice of images moves the mean.
    assert difference.mean() == pytest.approx(0.01, abs=4 * (0.005 / 200**0.5 + script.IMAGES))
    assert difference.std() == pytest.approx(0.005, rel=0.2)
    assert (leaky - twin).mean() == pytest.approx(0.02, abs=4 * script.IMAGES)
    packed = right["shade-published-tuned", 7, "keep"]
    assert np.unpackbits(packed).mean() == pytest.approx(values["shade-published-tuned"][7])


def test_the_table_of_error_rates_is_the_simulated_one():
    measured = pd.read_csv(DOCS / "error-rates.csv")
    script = benchmark("verdicts")
    assert script.table(measured) in (DOCS / "verdicts.md").read_text("utf-8")
    # Five in a hundred, and what 400 studies may show of that by chance (one in a thousand).
    allowed = scipy.stats.binom.ppf(0.999, measured["studies"], 0.05) / measured["studies"]
    for word in script.WRONG:
        assert (measured[word] <= allowed).all(), word


@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_a_run_with_new_seeds_varies_as_the_published_one(tails):
    script = benchmark("false_alarms")
    runs = script.published("sa-shade", "laptop")
    again, generator = script.Again(runs), np.random.default_rng(5)

    def gains(table):
        where = (table["metric"] == "accuracy") & (table["split"] == "test")
        where &= table["batchnorm"] == "re-estimate"
        wide = table[where].pivot(index="seed", columns="subject", values="value")
        return (wide["shade-clean-tuned"] - wide["best-parent-bn-tuned"]).dropna()

    drawn = pd.concat([gains(again.draw(generator, tails)) for _ in range(60)])

    # What all of a set of parents share cancels, as in the published run.
    assert drawn.mean() == pytest.approx(gains(runs).mean(), abs=0.001)
    heavier = 2**0.5 if tails == "heavy" else 1  # the deviation of a t of four degrees
    assert drawn.std() == pytest.approx(heavier * gains(runs).std(), rel=0.25)
    assert len(drawn) == 60 * len(gains(runs))


def test_the_table_of_false_alarms_is_the_simulated_one():
    measured = pd.read_csv(DOCS / "false-alarms.csv")
    script = benchmark("false_alarms")
    assert script.table(measured) in (DOCS / "verdicts.md").read_text("utf-8")
    # What is promised, and what so many studies may show of it by chance (one in a thousand).
    normal = measured[measured["tails"] == "normal"]
    most = scipy.stats.binom.ppf(0.999, normal["studies"], script.expected.FALSE_ALARM)
    assert (normal["alarms"] <= most).all()


def test_the_table_of_two_processors_is_that_of_their_studies():
    measured = pd.read_csv(DOCS / "processors.csv")
    script = benchmark("processors")
    assert script.table(measured) in (DOCS / "verdicts.md").read_text("utf-8")
    published = pd.DataFrame(script.rows(*[ROOT / "results" / "published" / "laptop"] * 2))
    for column in ("claim", "verdict_1", "n_1", "low_1", "high_1"):
        assert list(published[column]) == list(measured[column])
    assert not any(map(script.opposite, measured["verdict_1"], measured["verdict_2"]))
    assert (measured["low_1"] <= measured["high_2"]).all()
    assert (measured["low_2"] <= measured["high_1"]).all()


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ("reproduced", "no gain", True),
        ("contradicted", "direction only", True),
        ("contradicted", "no gain", False),
        ("cannot tell yet", "reproduced", False),
    ],
)
def test_words_are_opposite_where_both_cannot_be_right(first, second, apart):
    assert benchmark("processors").opposite(first, second) is apart


def test_the_table_of_choices_is_the_measured_one():
    with (DOCS / "choices.csv").open(newline="") as measured:
        rows = list(csv.DictReader(measured))
    assert benchmark("choices").table(rows) in (DOCS / "evaluation.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "file", "table"),
    [
        ("evaluation", "evaluation.csv", "speeds"),
        ("evaluation", "evaluation.csv", "levers"),
        ("evaluation", "evaluation-growth.csv", "costs"),
        ("reestimation", "reestimation.csv", "table"),
        ("arithmetic", "arithmetic.csv", "table"),
    ],
)
def test_the_documented_table_is_the_measured_one(name, file, table):
    with (DOCS / file).open(newline="") as measured:
        rows = list(csv.DictReader(measured))
    assert getattr(benchmark(name), table)(rows) in (DOCS / "evaluation.md").read_text("utf-8")


def test_the_documented_networks_are_the_measured_ones():
    with (DOCS / "models.csv").open(newline="") as measured:
        shown = benchmark("models").table(list(csv.DictReader(measured)))
    assert shown in (DOCS / "models.md").read_text("utf-8")


def test_the_documented_growth_of_the_page_is_the_measured_one():
    shown = benchmark("page").table(pd.read_csv(DOCS / "page-growth.csv"))
    assert shown in (DOCS / "cluster.md").read_text("utf-8")


def test_the_study_that_is_planned_has_as_many_more_replicates(tmp_path, monkeypatch):
    planning, counts = benchmark("planning"), []
    for times in (1, 3):
        planning.study(tmp_path / str(times), times)
        monkeypatch.setenv(config.FOLDER, str(tmp_path / str(times) / "replications"))
        jobs = Jobs("darwinian", "full")
        counts.append(sum(len(jobs.seeds(subject)) for subject in jobs.subjects))
    assert counts[1] == 3 * counts[0]


@pytest.fixture(scope="module")
def scale():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield benchmark("scale")


def test_jobs_are_placed_where_their_inputs_are_there_first(scale):
    jobs = [
        scale.Job("train", 4.0), scale.Job("train", 2.0), scale.Job("merge", 3.0, [0, 1]),
        scale.Job("merge", 1.0, [1]), scale.Job("evaluate", 5.0, [3]),
    ]  # fmt: skip
    # One after another; by hand on two: 0-4, 0-2; 2-3; 3-8, 4-7; then each as soon as it may.
    assert [scale.placed(jobs, gpus) for gpus in (1, 2, 9)] == [15, 8, 8]
    assert scale.chain(jobs) == 8


@pytest.mark.parametrize(("paper", "profile"), [("cade", "full"), ("darwinian", "imagenet")])
def test_no_placing_is_better_than_its_bounds_or_worse_than_graham_s(scale, paper, profile):
    jobs = scale.jobs_of(paper, profile, 10.0)
    work, longest = sum(job.seconds for job in jobs), scale.chain(jobs)
    planned = Jobs(paper, profile)
    merges = [s for s, parts in planned.subjects.items() if parts is not None]
    assert sum(job.stage == "merge" for job in jobs) == sum(len(planned.seeds(s)) for s in merges)
    assert all(job.waits for job in jobs if job.stage != "train")
    for gpus in scale.GPUS:
        seconds = scale.placed(jobs, gpus)
        assert max(work / gpus, longest) - 1e-6 <= seconds <= work / gpus + longest
    assert scale.placed(jobs, 1) == pytest.approx(work)


def test_the_hours_of_the_docs_are_the_counted_ones(scale):
    text = (DOCS / "cluster.md").read_text("utf-8")
    assert scale.table(pd.read_csv(DOCS / "scale.csv")) in text
    assert scale.grown_table(pd.read_csv(DOCS / "scale-growth.csv")) in text
