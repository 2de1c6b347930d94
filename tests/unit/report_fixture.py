"""A small made-up replication with runs, traces and run.json, as the workflow leaves them.

The numbers are drawn from one named generator; the gains that are put in are constants here, so
that tests know what has to come out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import yaml

from mergesuite.core import sealed, store
from mergesuite.experiment import config
from mergesuite.experiment.jobs import Jobs
from mergesuite.stages import hits

GAINS = {
    "best-parent": 0.0,
    "mean-parent": -0.012,
    "average": -0.05,
    "grid": 0.001,
    "mega": 0.018,
    "mega-released": 0.015,
    "mega-held-out": 0.0005,
    "mega-clean": 0.0005,
    "best-parent-bn": 0.0,
    "best-parent-on-test": 0.004,
}
UNDER_OTHER = -0.003
"""What a best parent loses under the BatchNorm treatment that it was not picked under."""
LEAKY = {"mega": True, "mega-released": True, "best-parent-on-test": True}
PROTOCOL = {
    "mega": "published", "mega-released": "released", "mega-held-out": "published",
    "best-parent-on-test": "released",
}  # fmt: skip
IMAGES = 2000
REPLICATES = 5
POPULATIONS = {"pair": 0.80, "deep": 0.74}

Rows = list[dict[str, Any]]

SPEC: dict[str, Any] = {
    "title": "MeGA: merging two networks by a genetic algorithm <made up>",
    "cite": {"text": "Yun: MeGA (2024)", "arxiv": "2406.04607v1"},
    "data": {"name": "digits"},
    "models": {
        "resnet8": {"build": "resnet8", "seeds": 10, "recipe": {"epochs": 5}},
        "resnet20": {"build": "resnet20", "seeds": 10, "recipe": {"epochs": 5}},
    },
    "populations": {
        "pair": {"model": "resnet8", "take": 2},
        "deep": {"model": "resnet20", "take": 2},
    },
    "methods": {
        "best-parent": {"use": "best-parent"},
        "mean-parent": {"use": "mean-parent"},
        "average": {"use": "uniform-average"},
        "grid": {"use": "interpolation-grid"},
        "grid-loss": {"use": "interpolation-grid", "fitness": {"metric": "cross-entropy"}},
        "mega": {
            "use": "mega",
            "protocol": "published",
            "leaky": True,
            "fitness": {"split": "test"},
            "twin": "mega-held-out",
        },
        "mega-released": {
            "use": "mega",
            "protocol": "released",
            "leaky": True,
            "fitness": {"split": "test"},
        },
        "mega-held-out": {"use": "mega", "protocol": "published"},
        "mega-clean": {"use": "mega", "fitness": {"batchnorm": "re-estimate"}},
        "best-parent-bn": {"use": "best-parent", "fitness": {"batchnorm": "re-estimate"}},
        "best-parent-on-test": {
            "use": "best-parent",
            "protocol": "released",
            "leaky": True,
            "fitness": {"split": "test"},
        },
    },
    "claims": {
        "pair-gain": {
            "text": "The merged network beats the better of its two parents",
            "subject": "mega-pair",
            "against": "best-parent-pair",
            "reported": ["t1-pair"],
            "reported_against": ["t1-pair-a", "t1-pair-b"],
        },
        "deep-average": {
            "text": "Searching beats averaging the same weights",
            "subject": "mega-clean-deep",
            "against": "average-deep",
            "batchnorm": "re-estimate",
            "reported": ["t1-deep"],
            "reported_against": ["t1-deep-average"],
        },
        "grid": {
            "family": "secondary",
            "text": "Two trained networks share a valley: the middle is better than either",
            "subject": "grid-pair",
            "against": "best-parent-pair",
        },
        "cheap": {
            "text": "Merging needs ten times fewer forward passes than training",
            "subject": "mega-clean-pair",
            "against": "resnet8",
            "metric": "forward_images",
            "split": "none",
            "direction": "lower",
            "ratio": 10,
        },
        "fast": {
            "text": "Merging needs ten times fewer seconds than training",
            "subject": "mega-clean-pair",
            "against": "resnet8",
            "metric": "seconds",
            "split": "none",
            "direction": "lower",
            "ratio": 10,
        },
        "loss": {
            "family": "secondary",
            "text": "The merged network has a lower test loss than the mean parent",
            "subject": "mega-clean-pair",
            "against": "mean-parent-pair",
            "metric": "cross_entropy",
            "direction": "lower",
            "batchnorm": "re-estimate",
            "interest": 0.005,
            "because": "as much as half a point of accuracy here",
        },
    },
    "untested": {
        "scales": {
            "text": "Merging scales to <twenty> networks.",
            "why": "Twenty networks would take a day.",
        },
    },
    "waterfall": {
        "start": {"text": "the better parent", "subject": "best-parent-pair"},
        "merging": {
            "text": "merging",
            "subject": "mega-clean-pair",
            "batchnorm": "re-estimate",
        },
        "leak": {"text": "test images", "subject": "mega-pair"},
        "average": {"text": "their average", "subject": "average-pair", "beside": True},
    },
    "trends": {
        "depth": {
            "text": "Depth of the network",
            "populations": ["pair", "deep"],
            "lines": {
                "gain": {"text": "search on test", "entry": "mega", "against": "best-parent"},
                "average": {"text": "average", "entry": "average", "against": "best-parent"},
            },
        },
    },
    "replicates": REPLICATES,
    "reduced": "",
    "deviations": ["The original is in TensorFlow; this is PyTorch."],
    "profiles": {"laptop": {}},
}

REPORTED = """id,table,row,metric,value,unit,spread,spread_kind,n,source,origin,note
t1-pair,Table 1,ResNet merged,accuracy,0.822,fraction,,none,,p. 7,paper,
t1-pair-a,Table 1,ResNet parent A,accuracy,0.809,fraction,,none,,p. 7,paper,
t1-pair-b,Table 1,ResNet parent B,accuracy,0.793,fraction,,none,,p. 7,paper,
t1-deep,Table 1,Deep merged,accuracy,78.5,%,,none,,p. 7,paper,
t1-deep-average,Table 1,Deep averaged,accuracy,74.0,%,,none,,p. 7,paper,
"""


def runs(rng: np.random.Generator | None = None) -> pd.DataFrame:
    """A tidy runs.csv frame of parents, controls and three protocols of one method."""
    rng = rng or np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for (population, base), model in zip(POPULATIONS.items(), SPEC["models"], strict=True):
        for seed in range(10):
            rows += _parent(model, seed, base - 0.006 + rng.normal(0, 0.008), rng)
        for replicate in range(REPLICATES):
            best = base + rng.normal(0, 0.006)
            for entry in GAINS:
                rows += _merged(entry, population, model, replicate, best, rng)
    table = pd.DataFrame(rows)
    # The grid of the cross-entropy finds the same middle as that of the accuracy.
    grid = table[table["entry"] == "grid"]
    loss = grid.assign(subject="grid-loss-" + grid["population"], entry="grid-loss")
    return pd.concat([table, loss], ignore_index=True)


def _row(subject: str, **other: Any) -> dict[str, Any]:
    row = {
        "subject": subject, "kind": "merged", "entry": "-", "population": "-", "model": "resnet8",
        "method": "train", "protocol": "-", "leaky": False, "batchnorm": "-", "metric": "accuracy",
        "split": "-", "seed": 0, "value": 0.0, "n": IMAGES, "members": 1, "spec": "0123456789ab",
        "commit": "abcdef012345", "device": "cpu: made up",
    }  # fmt: skip
    return row | other


def _on_grid(accuracy: float) -> float:
    return round(accuracy * IMAGES) / IMAGES


def _parent(model: str, seed: int, accuracy: float, rng: np.random.Generator) -> Rows:
    common = {"kind": "parent", "model": model, "seed": seed}
    rows = [
        _row(model, **common, batchnorm=treatment, split=split, value=_on_grid(accuracy + shift))
        for treatment in ("keep", "re-estimate")
        for split, shift in (("search", 0.003), ("test", 0.0))
    ]
    cost = {"seconds": 60 + rng.normal(0, 2), "backward_images": 5e5}
    cost |= {"cpu_seconds": cost["seconds"] - 1}
    cost |= {"forward_images": 5e5 + 1e3 * seed}
    cost |= {"peak_mb": 310.0, "evaluations_asked": 0, "evaluations_computed": 0}
    return rows + [_row(model, **common, metric=m, value=v, n=1) for m, v in cost.items()]


def _merged(
    entry: str, population: str, model: str, replicate: int, best: float, rng: np.random.Generator
) -> Rows:
    subject, use = f"{entry}-{population}", SPEC["methods"][entry]["use"]
    common = {
        "entry": entry, "population": population, "model": model, "method": use,
        "protocol": PROTOCOL.get(entry, "clean"), "leaky": LEAKY.get(entry, False),
        "seed": replicate,
    }  # fmt: skip
    is_best = entry.startswith("best-parent")
    noise = 0.0 if is_best else rng.normal(0, 0.002)
    picked = SPEC["methods"][entry].get("fitness", {}).get("batchnorm", "keep")
    rows = []
    for treatment in ("keep", "re-estimate"):
        for split in ("search", "test"):
            bonus = 0.004 if split == "search" and not LEAKY.get(entry) else 0.0
            spoiled = UNDER_OTHER if is_best and treatment != picked else 0.0
            value = _on_grid(best + GAINS[entry] + noise + bonus + spoiled)
            place = {"batchnorm": treatment, "split": split}
            rows.append(_row(subject, **common, **place, value=value))
            rows.append(_row(subject, **common, **place, metric="cross_entropy", value=1.4 - value))
    asked = 400 if use == "mega" else 21 if use == "interpolation-grid" else 0
    cost = {"seconds": 4 + rng.normal(0, 0.2), "forward_images": (120.0 + replicate) * asked + 2000}
    cost |= {"backward_images": 0.0, "peak_mb": 280.0}
    cost |= {"cpu_seconds": cost["seconds"] - 1}
    cost |= {"evaluations_asked": asked, "evaluations_computed": round(asked * 0.8)}
    return rows + [_row(subject, **common, metric=m, value=v, n=1) for m, v in cost.items()]


def hits_of(table: pd.DataFrame, rng: np.random.Generator | None = None) -> hits.Hits:
    """Test images that every result gets right, as many as its accuracy says.

    All share which images are easy, so that results of one replicate differ on few of them.
    """
    rng = rng or np.random.default_rng(13)
    ease = rng.normal(size=IMAGES)
    found: hits.Hits = {}
    mine = table[(table["kind"] == "merged") & (table["entry"] != "mean-parent")]
    for row in mine[(mine["metric"] == "accuracy") & (mine["split"] == "test")].itertuples():
        order = np.argsort(ease + rng.normal(0, 0.003, IMAGES))
        right = np.isin(np.arange(IMAGES), order[: round(row.value * IMAGES)])
        found[str(row.subject), int(row.seed), str(row.batchnorm)] = np.packbits(right)
    return found


def as_asked(table: pd.DataFrame, jobs: Jobs) -> pd.DataFrame:
    """The table with the specs that `jobs` asks for."""
    keys = zip(table["subject"], table["seed"], strict=True)
    return table.assign(spec=[jobs.spec(subject, seed) for subject, seed in keys])


@contextmanager
def made(root: Path, name: str = "mega", profile: str = "laptop") -> Iterator[tuple[Path, Path]]:
    """Write replications/NAME and results/PROFILE/NAME: paper folder and results root.

    Within the context, replications are looked for below `root`.
    """
    folder = root / "replications" / name
    folder.mkdir(parents=True)
    with mock.patch.dict(os.environ, {config.FOLDER: str(folder.parent)}):
        yield folder, _make(folder, profile, root / "results")


@contextmanager
def copied(root: Path, to: Path) -> Iterator[tuple[Path, Path]]:
    """The same of a copy, in `to`, of what was `made` in `root`."""
    shutil.copytree(root, to, dirs_exist_ok=True)
    with mock.patch.dict(os.environ, {config.FOLDER: str(to / "replications")}):
        yield to / "replications/mega", to / "results"


def _make(folder: Path, profile: str, results: Path) -> Path:
    (folder / "paper.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
    (folder / "reported.csv").write_text(REPORTED)
    jobs = Jobs(folder.name, profile, str(results))
    out = Path(jobs.folder)
    out.mkdir(parents=True)
    write_table(out / "runs.csv", as_asked(runs(), jobs))
    rng = np.random.default_rng(11)
    for population, base in POPULATIONS.items():
        for replicate in range(REPLICATES):
            for entry in ("mega", "mega-released", "mega-held-out", "mega-clean"):
                trace = _search(entry, base, rng)
                write_run(jobs, f"{entry}-{population}", replicate, trace)
            trace = _segment(base, rng)
            write_run(jobs, f"grid-{population}", replicate, trace)
            # Minus 0.3 nats at the ends, minus 2.1 in the middle.
            loss = -0.3 - 1.8 * np.exp(-(((trace["alpha"] - 0.5) / 0.22) ** 2))
            trace = trace.assign(score=loss, best=np.maximum.accumulate(loss))
            write_run(jobs, f"grid-loss-{population}", replicate, trace)
    write_run(jobs, "resnet8", 0)
    return results


def write_table(path: Path, table: pd.DataFrame, right: hits.Hits | None = None) -> None:
    """Write a table, and hits beside it, with the record that says so."""
    with sealed.describing(sealed.beside(path)) as to_write:
        table.to_csv(to_write(path), index=False)
        if right is not None:
            hits.write(path, right)
            to_write(hits.beside(path))


def _search(entry: str, base: float, rng: np.random.Generator) -> pd.DataFrame:
    generations = np.arange(0, 21)
    gain = GAINS[entry] + 0.006
    best = base - 0.01 + (gain + 0.01) * (1 - np.exp(-generations / 6)) + rng.normal(0, 0.002)
    return pd.DataFrame(
        {
            "step": generations + 1,
            "evaluations": 20 * (generations + 1),
            "images": 20 * IMAGES * (generations + 1),
            "best": np.maximum.accumulate(np.round(best * IMAGES)),
            "generation": generations,
            "batchnorm": "re-estimate" if entry == "mega-clean" else "keep",
            "split": "search" if entry == "mega-clean" else "test",
            "fitness_images": IMAGES,
        }
    )


def _segment(base: float, rng: np.random.Generator) -> pd.DataFrame:
    alpha = np.linspace(0, 1, 21)
    valley = base - 0.45 * np.exp(-(((alpha - 0.5) / 0.22) ** 2)) + rng.normal(0, 0.004, 21)
    score = np.round(valley * IMAGES)
    return pd.DataFrame(
        {
            "step": np.arange(21) + 1,
            "evaluations": np.arange(21) + 1,
            "images": IMAGES * (np.arange(21) + 1),
            "best": np.maximum.accumulate(score),
            "alpha": alpha,
            "score": score,
            "batchnorm": "keep",
            "split": "search",
            "fitness_images": IMAGES,
        }
    )


def write_run(
    jobs: Jobs, subject: str, seed: int, trace: pd.DataFrame | None = None, spec: str = ""
) -> None:
    """Write the folder of one run, of the spec that `jobs` asks for or of another."""
    folder, entry = Path(jobs.run(subject, seed)), subject.rpartition("-")[0]
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    if trace is not None:
        trace.to_csv(folder / "trace.csv", index=False)
        files = {"trace.csv": store.sha256(folder / "trace.csv")}
    record = {
        "command": f"mergesuite merge --method {entry} --seed {seed} --out out",
        "seed": seed,
        "spec": spec or jobs.spec(subject, seed),
        "code": "fedcba987654",
        "commit": "abcdef012345",
        "dirty": False,
        "device": "cpu: made up",
        "platform": "Linux x86_64",
        "seconds": 4.2,
        "cpu_seconds": 4.0,
        "peak_mb": 280.0,
        "versions": {"python": "3.11.9", "torch": "2.15.0", "mergesuite": "0.1.0"},
        "cost": {"evaluations_asked": 400, "forward_images": 124000},
        "fitness_images": IMAGES,
        "metric": "accuracy",
        "files": files,
    }
    sealed.write(folder / "run.json", record)
