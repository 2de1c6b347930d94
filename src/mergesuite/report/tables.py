"""The four tables of a paper, each as CSV (numbers), Markdown and LaTeX (as they are read).

A `Table` is made once and written three times. Every table says its n and what its spread is, and
a row whose search saw test images carries a dagger, which the note below explains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames, store
from mergesuite.experiment import spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect
from mergesuite.judge.gains import gains, leakage
from mergesuite.judge.samples import Where, samples
from mergesuite.report.markup import Table, latex, markdown
from mergesuite.report.wording import (
    LEAK,
    LEAK_NOTE,
    MINUS,
    NOTHING,
    TIMES,
    factor,
    interval,
    share,
    spread,
    there,
)

NAMES = ("results", "reported", "leakage", "cost")
SD_NOTE = (
    "Accuracies in per cent, mean ± standard deviation over n replicates (models: training seeds)."
)
GAIN_NOTE = (
    "Gains in percentage points with 95 % t interval over n pairs of the same parents and the same "
    "BatchNorm treatment (average: against the parent as trained)."
)

IMAGE_NOTE = (
    "Pairs by image: in how many the subject is right on significantly more, or fewer, test images "
    "than what it is compared with (McNemar's exact test over the images of one pair, 5 %)."
)


def results(paper: spec.Paper, runs: pd.DataFrame) -> Table:
    """Every subject and BatchNorm treatment: accuracies, n, gain over the best parent."""
    gained = gains(paper, runs)
    gained = gained[(gained["against"] == "best-parent") & (gained["split"] == "test")]
    by_key = {(r["subject"], r["batchnorm"]): r for r in gained.to_dict("records")}
    numbers, shown = [], []
    for subject, batchnorm, row in _subjects(paper, runs):
        key = (subject, batchnorm)
        where = {s: Where("accuracy", s, batchnorm) for s in ("search", "test")}
        values = {s: list(samples(runs, subject, where[s]).values()) for s in where}
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
                "search": spread(values["search"]),
                "test": spread(values["test"]),
                "n": str(len(values["test"])),
                "gain over best parent": _interval(gain),
            }
        )
    caption = "Accuracy of every model, control and method."
    return _table("results", caption, numbers, shown, [SD_NOTE, GAIN_NOTE], _any_leaky(numbers))


def reported(verdicts: pd.DataFrame) -> Table:
    """Reported against measured, claim by claim."""
    shown = []
    for row in verdicts.to_dict("records"):
        metric = str(row["metric"])
        ratio = row["effect"] == "ratio"
        ends = [row[k] for k in ("difference", "low", "high")]
        clean = [row[k] for k in ("clean_difference", "clean_low", "clean_high")]
        shown.append(
            {
                "claim": _marked(str(row["claim"]), row["leaky"]),
                "verdict": row["verdict"],
                "metric": metric.replace("_", " "),
                "reported": _effect(ratio, metric, row["reported_difference"]),
                "measured": _effect(ratio, metric, *ends),
                "n": str(row["n"]),
                "p (Holm)": f"{row['p_holm']:.2g}" if there(row["p_holm"]) else NOTHING,
                "pairs by image": _by_image(row),
                "under protocol clean": _effect(ratio, metric, *clean),
            }
        )
    notes = [
        f"Differences (subject {MINUS} against), accuracies in percentage points, or factors "
        f"({TIMES}), with 95 % t interval over n pairs; against a model's own "
        "seeds unpaired (Welch). P values are adjusted over the paper's claims.",
        IMAGE_NOTE,
    ]
    caption = "Reported against measured, claim by claim."
    leaky = bool(len(verdicts)) and bool(verdicts["leaky"].any())
    return Table(
        "reported", caption, verdicts, pd.DataFrame(shown), [*notes, *([LEAK_NOTE] * leaky)]
    )


def leaks(paper: spec.Paper, runs: pd.DataFrame) -> Table:
    """One method under several protocols: what of a gain is left when nobody peeks."""
    table = leakage(paper, runs)
    shown = []
    for row in table[table["own"].astype(bool)].to_dict("records"):
        shown.append(
            {
                "method": f"{row['method']} on {row['population']}",
                "protocol": _marked(str(row["protocol"]), row["leaky"]),
                "BatchNorm": _dashed(row["batchnorm"]),
                "gain over best parent": interval(row["gain"], row["low"], row["high"]),
                "n": str(row["n"]),
                "beyond clean": interval(row["excess"], row["excess_low"], row["excess_high"]),
                "kept by clean": share(row["share"]),
            }
        )
    notes = [
        GAIN_NOTE,
        "Beyond clean: this protocol's gain minus the clean protocol's with the same BatchNorm "
        "treatment, over the same pairs. Kept by clean: the clean gain as a share of this one, "
        "where this one is above zero.",
    ]
    caption = "How much of the gain each protocol explains."
    return _table(
        "leakage", caption, table, shown, notes, any(LEAK in r["protocol"] for r in shown)
    )


def cost(paper: spec.Paper, runs: pd.DataFrame) -> Table:
    """What each subject costs."""
    titles = {
        "evaluations_asked": "evaluations",
        "evaluations_computed": "computed",
        "forward_images": "forward images",
        "backward_images": "backward images",
        "seconds": "seconds",
        "peak_mb": "peak MB",
    }
    numbers, shown = [], []
    for subject in dict.fromkeys(s for s, _, _ in _subjects(paper, runs)):
        values = {m: list(samples(runs, subject, Where(m, "-", "-")).values()) for m in titles}
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
        "Mean ± standard deviation over n runs; no ± where all runs cost the same. Evaluations are "
        "candidates whose fitness was asked for; computed are those that were not known before."
    ]
    caption = "What a result costs, searches and trainings alike."
    return _table("cost", caption, numbers, shown, notes, _any_leaky(numbers))


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


def _interval(row: Mapping[Any, Any]) -> str:
    return interval(row.get("mean"), row.get("low"), row.get("high"))


def _summary(values: list[float]) -> dict[str, float]:
    column = pd.Series(values, dtype=float)
    return {"mean": float(column.mean()), "sd": float(column.std())}


def _cost(values: list[float], metric: str) -> str:
    return spread(values if len(set(values)) > 1 else values[:1], metric)


def _effect(ratio: bool, metric: str, mean: Any, low: Any = None, high: Any = None) -> str:
    return factor(mean, low, high) if ratio else interval(mean, low, high, metric)


def _by_image(row: Mapping[Any, Any]) -> str:
    if not there(row["image_p"]):
        return NOTHING
    return f"{row['pairs_more']} more, {row['pairs_fewer']} fewer"


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


def make(paper: spec.Paper, runs: pd.DataFrame, verdicts: pd.DataFrame) -> list[Table]:
    """All tables of a paper, in the order of `NAMES`."""
    return [results(paper, runs), reported(verdicts), leaks(paper, runs), cost(paper, runs)]


def write(paper_folder: Path, profile: str, results: Path) -> list[Table]:
    """Write `tables/{results,reported,leakage,cost}.{csv,md,tex}` of `results/profile/paper`."""
    jobs = Jobs(paper_folder.name, profile, str(results))
    folder = Path(jobs.folder)
    made = make(jobs.paper, collect.measured(jobs), frames.read_csv(folder / "verdicts.csv"))
    for table in made:
        frames.write_csv(folder / "tables" / f"{table.name}.csv", table.numbers)
        store.write_text(folder / "tables" / f"{table.name}.md", markdown(table))
        store.write_text(folder / "tables" / f"{table.name}.tex", latex(table))
    return made
