"""The tables of a paper, each as CSV (numbers), Markdown and LaTeX (as they are read).

A `Table` is made once and written three times. Every table says its n and what its spread is, and
a row whose search saw test images carries a dagger, which the note below explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames, sealed, store
from mergesuite.experiment import spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare, prices
from mergesuite.judge.controls import read as read_controls
from mergesuite.judge.gains import gains, leakage
from mergesuite.judge.samples import Where, by_replicate, samples
from mergesuite.judge.selection import selection
from mergesuite.report import claims, controls
from mergesuite.report.excerpts import excerpts
from mergesuite.report.markup import Table, latex, markdown
from mergesuite.report.wording import (
    LEAK,
    LEAK_NOTE,
    MINUS,
    NOTHING,
    interval,
    number,
    spread,
)

NAMES = ("results", "reported", "price", "controls", "leakage", "selection", "cost")
ENDS = ("", "_low", "_high")
IN_ALL = "CPU hours of all runs"
SD_NOTE = (
    "Accuracies in per cent, mean ± standard deviation over n replicates (models: training seeds); "
    "of several searches for the same parents the mean counts."
)
GAIN_NOTE = (
    "Gains in percentage points with 95 % t interval over n pairs of the same parents and the same "
    "BatchNorm treatment, over the best parent that was picked under it on held-out images "
    "(average: the parent as trained)."
)


def results(paper: spec.Paper, runs: pd.DataFrame, gained: pd.DataFrame) -> Table:
    """Every subject and BatchNorm treatment: accuracies, n, gain over the best parent."""
    gained = gained[(gained["against"] == "best-parent") & (gained["split"] == "test")]
    by_key = {(r["subject"], r["batchnorm"]): r for r in gained.to_dict("records")}
    numbers, shown = [], []
    for subject, batchnorm, row in _subjects(paper, runs):
        key = (subject, batchnorm)
        splits = ("search", "test", *paper.evaluate)
        where = {s: Where("accuracy", s, batchnorm) for s in splits}
        values = {s: _values(runs, subject, where[s]) for s in where}
        gain = by_key.get(key, {})
        numbers.append(
            {"subject": subject, "protocol": row["protocol"], "leaky": row["leaky"]}
            | {"batchnorm": batchnorm}
            | {f"{s}_{name}": _summary(values[s])[name] for s in values for name in ("mean", "sd")}
            | {"n": len(values["test"])}
            | {f"gain_{k}": gain.get(k, math.nan) for k in ("mean", "low", "high", "n")}
        )
        shown.append(
            {
                "subject": _marked(subject, row["leaky"]),
                "protocol": _dashed(row["protocol"]),
                "BatchNorm": _dashed(batchnorm),
                **{split: spread(values[split]) for split in splits},
                "n": str(len(values["test"])),
                "gain over best parent": _interval(gain),
            }
        )
    caption = "Accuracy of every model, control and method."
    return _table("results", caption, numbers, shown, [SD_NOTE, GAIN_NOTE], _any_leaky(numbers))


def leaks(paper: spec.Paper, runs: pd.DataFrame, gained: pd.DataFrame) -> Table:
    """Every leaky search beside its held-out twin: what of a gain is left when nobody peeks."""
    table = leakage(paper, runs, gained)
    shown = [
        {
            "subject": _marked(str(row["subject"]), True),
            "protocol": str(row["protocol"]),
            "BatchNorm": _dashed(row["batchnorm"]),
            "held-out twin": str(row["twin"]),
            "gain of the twin": interval(row["twin_gain"], row["twin_low"], row["twin_high"]),
            "the leak adds": interval(row["excess"], row["excess_low"], row["excess_high"]),
            "leaky gain": interval(row["gain"], row["low"], row["high"]),
            "n": str(row["n"]),
        }
        for row in table.to_dict("records")
    ]
    notes = [
        GAIN_NOTE,
        "The leak adds: leaky minus twin, the same search on held-out images, over pairs of the "
        "same parents. The leaky gain is that of the twin and what the leak adds.",
    ]
    caption = "What a leak is worth: each leaky search beside its held-out twin."
    return _table("leakage", caption, table, shown, notes, bool(shown))


def picked(paper: spec.Paper, runs: pd.DataFrame) -> Table:
    """What picking the best parent does to its accuracy."""
    table = selection(paper, runs)
    shown = [
        {
            "subject": str(row["subject"]),
            "picked under BatchNorm": str(row["batchnorm"]),
            "n": str(row["n"]),
            "search": number(row["search"]),
            "test": number(row["test"]),
            f"search {MINUS} test": interval(*(row[f"optimism{k}"] for k in ENDS)),
            "of the mean parent": number(row["mean_optimism"], sign=True),
            "picked on test": number(row["on_test"]),
            "more than picked on search": interval(
                row["on_test_more"], row["on_test_low"], row["on_test_high"]
            ),
        }
        for row in table.to_dict("records")
    ]
    notes = [
        "Accuracies in per cent, differences in points with 95 % t interval over n replicates. The "
        "best parent is partly the luckiest on the images it was picked by, and falls back on "
        "others; the mean parent shows what the two splits differ by. A baseline that was picked "
        "on test looks better by the last column, and no gain is measured against it.",
    ]
    caption = "What picking the best parent does to its accuracy."
    return _table("selection", caption, table, shown, notes, False)


def cost(paper: spec.Paper, runs: pd.DataFrame) -> Table:
    """What each subject costs."""
    titles = {
        "evaluations_asked": "evaluations",
        "evaluations_computed": "computed",
        "forward_images": "forward images",
        "backward_images": "backward images",
        "seconds": "seconds",
        "cpu_seconds": "CPU seconds",
        "peak_mb": "peak MB",
    }
    numbers, shown = [], []
    for subject in dict.fromkeys(s for s, _, _ in _subjects(paper, runs)):
        values = {m: _values(runs, subject, Where(m, "-", "-")) for m in titles}
        if not any(values.values()):
            continue
        leaky = bool(runs[runs["subject"] == subject]["leaky"].any())
        n = max(len(v) for v in values.values())
        numbers.append(
            {"subject": subject, "n": n, "leaky": leaky}
            | {f"{m}_{k}": _summary(values[m])[k] for m in titles for k in ("mean", "sd")}
        )
        shown.append(
            {"subject": _marked(subject, leaky), "n": str(n)}
            | {title: _cost(values[m], m) for m, title in titles.items()}
        )
    notes = [
        "Mean ± standard deviation over n replicates, of one search each; no ± where all cost the "
        "same. Evaluations are candidates whose fitness was asked for; computed are those that "
        "were not known before.",
        *_in_all(runs),
    ]
    caption = "What a result costs, searches and trainings alike."
    return _table("cost", caption, numbers, shown, notes, _any_leaky(numbers))


def _in_all(runs: pd.DataFrame) -> Iterator[str]:
    """What trainings and merges took together, where every run knows it."""
    spent = runs[runs["metric"] == "cpu_seconds"]
    stages = {
        "training": spent[spent["kind"] == "parent"],
        "merging": spent[spent["kind"] != "parent"],
    }
    if len(spent) and len(spent) == (runs["metric"] == "seconds").sum():
        hours = {stage: part["value"].sum() / 3600 for stage, part in stages.items()}
        said = ", ".join(f"{stage} {each:.2g}" for stage, each in hours.items())
        yield f"{IN_ALL}: {said}."


def _subjects(paper: spec.Paper, runs: pd.DataFrame) -> list[tuple[str, str, dict[str, Any]]]:
    """(subject, BatchNorm treatment, one of its rows), in the order of the spec."""
    found = []
    known = runs[runs["metric"] == "accuracy"]
    for subject in paper.subjects():
        rows = known[known["subject"] == subject]
        for batchnorm in ("keep", "average", "re-estimate", "-"):
            if len(part := rows[rows["batchnorm"] == batchnorm]):
                found.append((subject, batchnorm, part.iloc[0].to_dict()))
    return found


def _values(runs: pd.DataFrame, subject: str, where: Where) -> list[float]:
    """One value per replicate, the mean over its searches."""
    return list(by_replicate(samples(runs, subject, where)).values())


def _interval(row: Mapping[Any, Any]) -> str:
    return interval(row.get("mean"), row.get("low"), row.get("high"))


def _summary(values: list[float]) -> dict[str, float]:
    column = pd.Series(values, dtype=float)
    return {"mean": float(column.mean()), "sd": float(column.std())}


def _cost(values: list[float], metric: str) -> str:
    return spread(values if len(set(values)) > 1 else values[:1], metric)


def _marked(name: str, leaky: Any) -> str:
    return f"{name} {LEAK}" if leaky else name


def _dashed(text: Any) -> str:
    return NOTHING if text == "-" else str(text)


def _any_leaky(rows: list[dict[str, Any]]) -> bool:
    return any(row["leaky"] for row in rows)


def _table(
    name: str,
    caption: str,
    numbers: pd.DataFrame | list[dict[str, Any]],
    shown: list[dict[str, str]],
    notes: list[str],
    leaky: bool,
) -> Table:
    notes = [*notes, *([LEAK_NOTE] if leaky else [])]
    return Table(name, caption, pd.DataFrame(numbers), pd.DataFrame(shown), notes)


def make(
    paper: spec.Paper, runs: pd.DataFrame, verdicts: pd.DataFrame, beside: pd.DataFrame
) -> list[Table]:
    """All tables of a paper, in the order of `NAMES`; `beside` is controls.csv."""
    gained = gains(paper, runs)
    return [
        results(paper, runs, gained),
        claims.reported(verdicts),
        claims.undecided(prices.prices(paper, verdicts, runs)),
        controls.table(beside),
        leaks(paper, runs, gained),
        picked(paper, runs),
        cost(paper, runs),
    ]


def write(paper_folder: Path, profile: str, results: Path) -> list[Table]:
    """Write `tables/NAME.{csv,md,tex}` of a paper's results, for each of `NAMES`."""
    jobs = Jobs(paper_folder.name, profile, str(results))
    results = Path(jobs.folder)
    judged = (compare.read(results), read_controls(results))
    made = make(jobs.paper, collect.measured(jobs), *judged)
    with sealed.describing(sealed.beside(results / "tables")) as to_write:
        for table in made:
            file = results / "tables" / f"{table.name}.csv"
            frames.write_csv(to_write(file), table.numbers)
            store.write_text(to_write(file.with_suffix(".md")), markdown(table))
            store.write_text(
                to_write(file.with_suffix(".tex")), latex(table, f"{jobs.name}-{table.name}")
            )
    return made


def write_for_paper(paper_folder: Path, profile: str, results: Path) -> Path:
    """Write `for-paper/tables/SLUG-NAME.tex`: excerpts, to be printed; returns the folder."""
    slug = paper_folder.name
    jobs = Jobs(slug, profile, str(results))
    run = Path(jobs.folder)
    runs = collect.measured(jobs)
    made = make(jobs.paper, runs, compare.read(run), read_controls(run))
    folder = run / "for-paper" / "tables"
    with sealed.describing(sealed.beside(folder)) as to_write:
        for table in excerpts(jobs.paper, slug, profile, made):
            store.write_text(to_write(folder / f"{table.name}.tex"), latex(table, table.name))
    return folder
