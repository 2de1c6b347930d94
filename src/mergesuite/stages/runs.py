"""One run of a stage: settings from the command line in, files of a run folder out.

Every run folder holds what it made and a run.json that says from what, by which code, at what cost.
"""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mergesuite.core import provenance, store
from mergesuite.errors import UserError
from mergesuite.experiment import declared, spec

if TYPE_CHECKING:
    from mergesuite.core.ranks import Ranks
    from mergesuite.core.runtime import Meter
    from mergesuite.stages.evaluate import Outputs
    from mergesuite.stages.problem import Problem

COLUMNS = [
    "subject", "kind", "entry", "population", "model", "method", "protocol", "leaky", "batchnorm",
    "metric", "split", "seed", "value", "n", "members", "spec", "commit", "device",
]  # fmt: skip


def pairs(words: list[str], flag: str) -> dict[str, Any]:
    """`key=value` words as a mapping; values are read as YAML.

    Raises:
        UserError: a word without "=", or a key given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"{flag}: expected key=value, found {word!r}")
        if key in found:
            raise UserError(f"{flag}: {key} is given twice")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key] = value
    # YAML 1.1 reads 1e-9 as a string; a number is meant.
    return {k: _number(v) if isinstance(v, str) else v for k, v in found.items()}


def _number(text: str) -> str | float:
    return float(text) if re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", text) else text


def data_settings(options: Namespace) -> spec.Data:
    """What `--data`, `--sizes` and `--normalise` say."""
    return spec.check_settings(
        spec.Data,
        {
            "name": options.data,
            "sizes": pairs(options.sizes, "--sizes"),
            "normalise": options.normalise,
        },
        "--data/--sizes",
    )


def _problem(options: Namespace) -> Problem:
    from mergesuite.core import runtime
    from mergesuite.stages.problem import Problem

    runtime.settle()
    return Problem(
        options.model,
        data_settings(options),
        runtime.device(options.device),
        pairs(options.option, "--option"),
    )


def _run_record(
    words: Sequence[str],
    problem: Problem,
    seed: int,
    settings: dict[str, Any],
    code: str,
    meter: Meter,
) -> dict[str, Any]:
    """What every run.json says: settings, where from, what it cost."""
    from mergesuite.core import runtime

    args = {
        "model": problem.build,
        "options": dict(problem.options),
        "data": problem.data.model_dump(),
        "seed": seed,
        **settings,
    }
    return {
        "command": shlex.join(["mergesuite", *words]),
        "args": args,
        "seed": seed,
        "spec": spec.digest({k: v for k, v in args.items() if k != "seed"}),
        "code": code,
        "cost": dict(meter.cost),
        "seconds": round(meter.seconds, 3),
        "peak_mb": round(meter.peak_mb(problem.device), 1),
        **provenance.stamp(runtime.describe(problem.device)),
    }


def train(options: Namespace) -> None:
    """Train a network, once per seed; what an earlier process finished is kept."""
    from mergesuite.core import ranks

    ranks.refuse("train")
    recipe = spec.check_settings(spec.Recipe, pairs(options.set, "--set"), "--set")
    outs = _run_folders(options)
    starts = _share(options.start, list(outs), "--start") if options.start else None
    shas = {path: _sha(path) for path in options.start}
    problem = _problem(options)
    for number, (seed, out) in enumerate(outs.items()):
        start = starts[number][0] if starts else None
        settings = {"recipe": recipe.model_dump(), "start": shas[start] if start else None}
        _train_once(options.words, problem, recipe, seed, start, settings, out)
    _forget_resume(outs)


def _run_folders(options: Namespace) -> dict[int, Path]:
    """The folder of each seed: OUT itself for --seed, OUT/sN for --seeds.

    Raises:
        UserError: a seed is given twice.
    """
    if not options.seeds:
        return {options.seed: options.out}
    if len(set(options.seeds)) < len(options.seeds):
        raise UserError("--seeds names a seed twice: give each once")
    return {seed: options.out / f"s{seed}" for seed in options.seeds}


def _forget_resume(outs: Mapping[int, Path]) -> None:
    """Drop the resume states once all runs are finished.

    Not sooner: Snakemake deletes the outputs of a job that it starts again, finished seeds too.
    """
    for out in outs.values():
        (out / "resume.pt").unlink(missing_ok=True)


def _train_once(
    words: Sequence[str],
    problem: Problem,
    recipe: spec.Recipe,
    seed: int,
    start: Path | None,
    settings: dict[str, Any],
    out: Path,
) -> None:
    from mergesuite.core.runtime import Meter
    from mergesuite.stages.train import Trainer
    from mergesuite.stages.train import train as train_to_the_end

    meter, code = Meter(), provenance.code_digest("train")
    record = _run_record(words, problem, seed, settings, code, meter)
    module = problem.network(seed)
    if start:
        _start_from(module, start)
    metadata = {"model": problem.build, "classes": str(problem.classes), "spec": record["spec"]}
    images, labels = problem.images("fit")
    trainer = Trainer(
        module, recipe, images, labels,
        normalise=problem.normalise, stream=("train", seed), meter=meter,
    )  # fmt: skip

    def save(path: Path, trained: Any) -> None:
        state = {name: tensor.cpu() for name, tensor in trained.state_dict().items()}
        store.save_weights(path, state, metadata)

    curve = train_to_the_end(
        trainer,
        out=out,
        key=f"{record['spec']} {seed} {code}",
        held_out=problem.images("search"),
        normalise=problem.normalise,
        meter=meter,
        save=save,
    )
    store.write_rows(out / "curve.csv", curve)
    record |= _run_record(words, problem, seed, settings, code, meter)
    store.write_json(
        out / "run.json", {**record, "kind": "parent", "method": "train", "parents": []}
    )


def _sha(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: check the path")
    return store.sha256(path)


def _start_from(module: Any, path: Path) -> None:
    """Take over a checkpoint; a classifier of another shape keeps its fresh weights.

    Source: CADE's `create_model.py` lines 47-48.
    """
    from mergesuite.core.runtime import log

    state = store.load_weights(path)
    own = module.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    fresh = sorted(own.keys() - fitting.keys())
    if len({name.rpartition(".")[0] for name in fresh}) > 1:
        raise UserError(
            f"{path} does not fit this model: {fresh[0]!r} and {len(fresh) - 1} more differ; "
            "only the classifier may"
        )
    module.load_state_dict({**own, **fitting})
    log(f"starting from {path}; fresh: {', '.join(fresh) or 'nothing'}")


def merge(options: Namespace) -> None:
    """Run a method on parents, once per seed; what an earlier process finished is kept."""
    from mergesuite.core import ranks

    params = pairs(options.set, "--set")
    declared.check_params(options.method, params)
    fitness = spec.check_settings(spec.Fitness, pairs(options.fitness, "--fitness"), "--fitness")
    outs = _run_folders(options)
    groups = _share(options.parents, list(outs), "--parents")
    budgets = _share(options.budget_of, list(outs), "--budget-of") if options.budget_of else None
    shas = {path: _sha(path) for path in options.parents}
    problem = _problem(options)
    group = ranks.join(problem.device)
    for number, (seed, out) in enumerate(outs.items()):
        parents = [{"path": str(p), "sha256": shas[p], **_origin(p)} for p in groups[number]]
        budget = store.read_json(budgets[number][0])["cost"] if budgets else None
        described = {
            "method": options.method,
            "params": params,
            "protocol": options.protocol,
            "part": options.part,
            "fitness": fitness.model_dump(),
            "from": options.start_from,
            "leaky": options.leaky,
            "budget": budget,
        }
        _merge_once(options, problem, group, seed, parents, described, out)
    if ranks.first():
        _forget_resume(outs)
    ranks.leave()


def _share(paths: Sequence[Path], seeds: Sequence[int], flag: str) -> Sequence[Sequence[Path]]:
    """`paths` divided evenly among the seeds.

    Raises:
        UserError: they cannot be.
    """
    each, over = divmod(len(paths), len(seeds))
    if over or not each:
        raise UserError(
            f"{flag}: {len(paths)} files cannot be divided evenly among {len(seeds)} seeds"
        )
    return [paths[first : first + each] for first in range(0, len(paths), each)]


def _merge_once(
    options: Namespace,
    problem: Problem,
    ranks: Ranks,
    seed: int,
    parents: Sequence[dict[str, Any]],
    described: dict[str, Any],
    out: Path,
) -> None:
    from mergesuite.core.runtime import Meter
    from mergesuite.stages.evaluate import save_members
    from mergesuite.stages.merge import Settings
    from mergesuite.stages.merge import merge as run_method

    entry, fitness, meter = declared.method_fields(options.method), described["fitness"], Meter()
    code = provenance.code_digest("merge", f"methods.{entry.module}")
    record = _run_record(options.words, problem, seed, described, code, meter)
    key = " ".join([record["spec"], str(seed), code, *(p["sha256"] for p in parents)])
    merged = run_method(
        problem,
        options.method,
        described["params"],
        [Path(parent["path"]) for parent in parents],
        Settings(
            protocol=options.protocol,
            part=options.part,
            fitness=spec.Fitness.model_validate(fitness),
            parents=options.start_from,
            leaky=options.leaky,
            seed=seed,
            budget=described["budget"],
        ),
        out=out,
        key=key,
        meter=meter,
        ranks=ranks,
    )
    if ranks.rank > 0:
        return
    metadata = {"model": problem.build, "classes": str(problem.classes), "spec": record["spec"]}
    save_members(out / "model.safetensors", merged.state_dicts, merged.combine, metadata)
    how = {"batchnorm": fitness["batchnorm"], "split": fitness["split"]}
    store.write_rows(
        out / "trace.csv",
        [{**row, **how, "fitness_images": merged.fitness_images} for row in merged.trace],
        ["step", "evaluations", "images", "best"],
    )
    record = {
        **_run_record(options.words, problem, seed, described, code, meter),
        "kind": "merged",
        "processes": ranks.size,
        "method": options.method,
        "cite": entry.cite,
        "protocol": options.protocol,
        "leaky": options.leaky,
        "parents": parents,
        "score": merged.score,
        "metric": fitness["metric"],
        "fitness_images": merged.fitness_images,
        "combine": merged.combine,
    }
    store.write_json(out / "run.json", record)


def _origin(path: Path) -> dict[str, Any]:
    """Model, seed and epoch of a checkpoint that this program trained; else nothing."""
    file = path.parent / "run.json"
    if not file.is_file():
        return {}
    record = store.read_json(file)
    epoch = re.search(r"epoch-(\d+)", path.name)
    recipe = record["args"].get("recipe", {})
    return {
        "model": record["args"]["model"],
        "seed": record["seed"],
        "epoch": int(epoch[1]) if epoch else recipe.get("epochs"),
    }


def evaluate(options: Namespace) -> None:
    """Measure finished runs; a folder that holds runs s0, s1, ... is one subject."""
    from mergesuite.core import ranks
    from mergesuite.core.runtime import log
    from mergesuite.stages import hits
    from mergesuite.stages.evaluate import Outputs

    ranks.refuse("evaluate")
    rows: list[dict[str, Any]] = []
    right: dict[hits.Key, Any] = {}
    problem: Problem | None = None
    outputs: Outputs | None = None
    for subject, folder in _subjects(options.runs, options.seeds):
        record = store.read_json(folder / "run.json")
        if problem is None or outputs is None or not _same_problem(problem, record):
            problem = _recorded_problem(record, options.device)
            outputs = Outputs(problem)
        population = "" if record["kind"] == "parent" else options.population
        entry = subject.removesuffix(f"-{population}") if population else ""
        named = {"subject": subject, "entry": entry, "population": population}
        measured, by_image = _evaluate_run(named, folder, record, problem, outputs)
        rows += measured
        right |= {(subject, record["seed"], t): bits for t, bits in by_image.items()}
        log(f"{folder} measured")
    hits.write(options.out, right)
    store.write_rows(options.out, rows, COLUMNS)


def _subjects(folders: Sequence[Path], seeds: Sequence[int] | None) -> Iterator[tuple[str, Path]]:
    """(subject, run folder) of every run in `folders`, or of those with `seeds`, in order."""
    for folder in folders:
        if (folder / "run.json").is_file():
            yield folder.resolve().name, folder
            continue
        runs = {int(file.parent.name[1:]): file.parent for file in folder.glob("s*/run.json")}
        missing = sorted(set(seeds or ()) - set(runs))
        if missing or not runs:
            where = f"{folder}/s{missing[0]}" if missing else f"{folder} or {folder}/s*"
            raise UserError(f"no run.json in {where}: give folders of finished runs")
        for seed in seeds or sorted(runs):
            yield folder.resolve().name, runs[seed]


def _same_problem(problem: Problem, record: dict[str, Any]) -> bool:
    args = record["args"]
    return (problem.build, dict(problem.options), problem.data.model_dump()) == (
        args["model"],
        args["options"],
        args["data"],
    )


def _recorded_problem(record: dict[str, Any], device: str) -> Problem:
    from mergesuite.core import runtime
    from mergesuite.stages.problem import Problem

    runtime.settle()
    args = record["args"]
    data = spec.Data.model_validate(args["data"])
    return Problem(args["model"], data, runtime.device(device), args["options"])


def _evaluate_run(
    named: dict[str, str],
    folder: Path,
    record: dict[str, Any],
    problem: Problem,
    outputs: Outputs,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and packed hits of one run: see `mergesuite.evaluate.evaluate`."""
    import numpy as np

    from mergesuite.stages.evaluate import evaluate as measure
    from mergesuite.stages.evaluate import members_of, mixes

    members, rule = members_of(folder / "model.safetensors")
    sources = record["parents"] if mixes(record) else []
    parents = [problem.load(Path(source["path"])) for source in sources]
    cost = {**record["cost"], "seconds": record["seconds"], "peak_mb": record["peak_mb"]}
    costs = [
        {"batchnorm": "-", "metric": k, "split": "-", "value": v, "n": 1, "members": len(members)}
        for k, v in cost.items()
    ]
    common = {
        **named,
        "kind": record["kind"],
        "model": record["args"]["model"],
        "method": record["method"],
        "protocol": record.get("protocol", "-"),
        "leaky": record.get("leaky", False),
        "seed": record["seed"],
        "spec": record["spec"],
        "commit": record["commit"] + ("+" if record["dirty"] else ""),
        "device": record["device"],
    }
    rows, hits = measure(problem, outputs, members, rule, parents)
    packed = {treatment: np.packbits(bits.numpy()) for treatment, bits in hits.items()}
    return [{**common, **row} for row in [*rows, *costs]], packed
