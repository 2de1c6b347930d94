"""Results are exactly the runs that paper.yaml asks for: not fewer, not more, no older recipe."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.errors import UserError
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare, expected
from mergesuite.report import figures, page, tables, traces
from mergesuite.stages import hits

OLD = "0ld0ld0ld0ld"
RUNS = "snakemake --cores all .*laptop/mega/runs.csv"


@pytest.fixture
def work(compared, tmp_path):
    """A finished paper, and the tables of `evaluate` that its runs.csv is of."""
    with fixture.copied(compared, tmp_path) as (folder, results):
        jobs = Jobs(folder.name, "laptop", str(results))
        write_metrics(jobs, pd.read_csv(Path(jobs.folder) / "runs.csv"))
        yield folder, results, jobs


def write_metrics(jobs, runs):
    key = pd.MultiIndex.from_frame(runs[["subject", "seed"]])
    for (group, replicate), measured in jobs.evaluations.items():
        if len(rows := runs[key.isin(measured)]):
            write_metric(jobs, group, replicate, rows)


def write_metric(jobs, group, replicate, rows):
    file = Path(jobs.folder) / "evaluate" / group / f"s{replicate}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    key = (str(rows["subject"].iloc[0]), int(rows["seed"].iloc[0]), "keep")
    fixture.write_table(file, rows, {key: np.zeros(3, dtype=np.uint8)})


def read(jobs):
    return pd.read_csv(Path(jobs.folder) / "runs.csv")


def rewrite(jobs, runs):
    fixture.write_table(Path(jobs.folder) / "runs.csv", runs)


def of_older_recipe(runs):
    """The first replicate of mega-pair as if it were of other settings."""
    mine = (runs["subject"] == "mega-pair") & (runs["seed"] == 0)
    return runs.assign(spec=runs["spec"].where(~mine, OLD))


def without_one(runs):
    return runs[(runs["subject"] != "mega-pair") | (runs["seed"] != 4)]


def with_another_seed(runs):
    more = runs[(runs["subject"] == "mega-pair") & (runs["seed"] == 4)]
    return pd.concat([runs, more.assign(seed=7)])


def with_another_subject(runs):
    more = runs[runs["subject"] == "mega-pair"]
    return pd.concat([runs, more.assign(subject="dropped-pair")])


WRONG = {
    "other settings": (of_older_recipe, r"merge/mega-pair/s0 was made with other settings.*0ld"),
    "missing": (without_one, r"merge/mega-pair/s4 is asked for .* not measured"),
    "another seed": (with_another_seed, r"mega-pair s7 was measured and is not asked for"),
    "another subject": (with_another_subject, r"dropped-pair s0 was measured and is not asked for"),
}


@pytest.mark.parametrize("change", WRONG)
def test_collect_refuses(work, change):
    spoil, message = WRONG[change]
    _, results, jobs = work
    write_metrics(jobs, spoil(read(jobs)))
    if change == "missing":
        assert (Path(jobs.folder) / "evaluate/pair/s4.csv").is_file()
    if change.startswith("another"):  # `collect` opens the files that are asked for only
        extra = spoil(read(jobs)).query("seed == 7 or subject == 'dropped-pair'")
        first = pd.read_csv(Path(jobs.folder) / "evaluate/pair/s0.csv")
        write_metric(jobs, "pair", 0, pd.concat([first, extra]))

    with pytest.raises(UserError, match=f"{message}.*{RUNS}"):
        collect.write("mega", "laptop", results)


READERS = {
    "compare": lambda folder, results: compare.write(folder, "laptop", results),
    "tables": lambda folder, results: tables.write(folder, "laptop", results),
    "figures": lambda folder, results: figures.write(folder, "laptop", results),
    "page": lambda folder, results: page.section(folder, page.Place("laptop", results)),
    "check": lambda folder, results: expected.check_paper(folder, "laptop", results),
    "accept": lambda folder, results: expected.accept_paper(
        folder, "laptop", results, "2026-01-01", {}
    ),
}


@pytest.mark.parametrize("change", WRONG)
@pytest.mark.parametrize("reader", READERS)
def test_what_reads_the_table_refuses(work, reader, change):
    spoil, message = WRONG[change]
    folder, results, jobs = work
    rewrite(jobs, spoil(read(jobs)))

    with pytest.raises(UserError, match=f"{message}.*{RUNS}"):
        READERS[reader](folder, results)

    assert not (folder / "expected.csv").exists()


def test_collect_joins_the_seeds_that_are_asked_for_and_no_others(work):
    _, results, jobs = work
    before = read(jobs)
    older = before[before["population"] == "pair"].query("seed == 4")
    write_metric(jobs, "pair", 7, older.assign(seed=7, spec=OLD, value=0.0))

    collect.write("mega", "laptop", results)

    key = ["subject", "metric", "split", "batchnorm", "seed"]
    after = read(jobs).sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(after, before.sort_values(key, ignore_index=True))
    assert {seed for _, seed, _ in hits.read(Path(jobs.folder) / "runs.csv")} <= set(range(10))


def test_figures_and_page_leave_the_folders_of_other_seeds_alone(work):
    _, results, jobs = work
    trace = pd.read_csv(Path(jobs.run("mega-pair", 0)) / "trace.csv")
    before = traces.read(jobs), traces.records(jobs)
    fixture.write_run(jobs, "mega-pair", 7, trace, spec=OLD)
    fixture.write_run(jobs, "resnet8", 12, spec=OLD)

    after = traces.read(jobs), traces.records(jobs)

    assert [(t.entry, t.seed) for t in after[0]] == [(t.entry, t.seed) for t in before[0]]
    assert after[1] == before[1]
    made = page.section(work[0], page.Place("laptop", results))
    commands = {row["subject"]: row["runs"] for row in made["commands"]}
    assert commands["mega-pair"] == fixture.REPLICATES
    assert commands["resnet8"] == 1


@pytest.mark.parametrize("what", [traces.read, traces.records])
def test_a_trace_of_other_settings_is_refused_with_the_command_that_makes_it_again(work, what):
    jobs = work[2]
    trace = pd.read_csv(Path(jobs.run("mega-pair", 1)) / "trace.csv")
    fixture.write_run(jobs, "mega-pair", 1, trace, spec=OLD)

    mend = r"snakemake --cores all .*merge/mega-pair/s1/run.json"
    with pytest.raises(UserError, match=rf"mega-pair/s1 was made with other settings.*{mend}"):
        what(jobs)


def test_the_trace_of_an_unfinished_run_is_not_drawn(work):
    jobs = work[2]
    (Path(jobs.run("mega-pair", 1)) / "run.json").unlink()

    drawn = [t.seed for t in traces.read(jobs) if (t.entry, t.population) == ("mega", "pair")]

    assert drawn == [0, 2, 3, 4]
