"""How much faster than the released loop is our evaluation, with the same trials accepted?

Differential evolution from the ending epochs of one run, played with the same draws by

* `released`: the loop of CADE's code (replications/cade/README.md): the parent is scored again
  beside every trial, the state dict is loaded for every candidate and batch, batches of 128;
* `tuned`: the same loop as a careful user would write it: channels last, memory kept, weights
  loaded once per candidate, the parent's score kept;
* `ours`, and ours without each lever.

Each play is a process of its own, in turn (A B C A B C ...), so that peak memory is its own too.
The script fails if they do not accept the same trials and end in the same bytes. `every image`
scores the members to the end: the kernel alone, and there also all candidates in one forward pass.
Then ours alone, with one size varied at a time.

    python benchmarks/evaluation.py --out docs
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store, streams
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment.recipe import Recipe
from mergesuite.fitness import Evaluator, Scores
from mergesuite.fitness.fold import Folded
from mergesuite.fitness.passes import CHUNK
from mergesuite.methods import create
from mergesuite.stages.trainer import Trainer
from mergesuite.weights import WeightSpace

Row = dict[str, Any]

STEPS = {
    "ordinary": {"f_init": 0.5, "cr_init": 0.5},
    "tiny": {"f_init": 1e-6, "cr_init": 1e-6},
    "every image": None,
}
LEVERS = ("fold", "reject", "order", "remember")
TOGETHER = "candidates together"
OPTIONS: dict[str, Row] = {"sew-small": {"steps": 2}}
RECIPES: dict[str, Row] = {"sew-small": {"batch": 16}}
BATCH = 128
"""Images per batch of the released loops (`--batch_size`)."""


@dataclass(frozen=True)
class Case:
    """One net, one kind of step, and the sizes of a run."""

    net: str
    step: str
    members: int
    images: int
    generations: int
    weights: Path


class Together:
    """All candidates in one forward pass per batch (`torch.func.vmap`), BatchNorm folded."""

    def __init__(self, case: Case) -> None:
        """Score on all images of a case. Raises ValueError for a net that is not folded."""
        self._module, self._space, self._images, self._labels = problem(case)
        self._folded = Folded(self._module.eval())

    @torch.inference_mode()
    def scores(self, candidates: Tensor, _thresholds: Tensor | None = None) -> Scores:
        """Every candidate to the end."""
        folded = []
        for vector in candidates:
            self._space.load(self._module, vector)
            self._folded.load()
            state = self._folded.network.state_dict()
            folded.append({name: tensor.clone() for name, tensor in state.items()})
        weights = {name: torch.stack([one[name] for one in folded]) for name in folded[0]}

        def logits(own: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self._folded.network, own, (x,))

        correct = torch.zeros(len(candidates), dtype=torch.int64)
        for x, y in zip(self._images.split(CHUNK), self._labels.split(CHUNK), strict=True):
            inputs = (x.float() * (1 / 255)).contiguous(memory_format=torch.channels_last)
            answers = torch.func.vmap(logits, (0, None))(weights, inputs).argmax(-1)
            correct += (answers == y).sum(-1)
        every = torch.ones(len(candidates), dtype=torch.bool)
        images = torch.full_like(correct, len(self._images))
        return Scores(correct, images, every, every, correct.double())


class Loop:
    """The released evaluation loop, counted in integers so that selections can be compared."""

    def __init__(self, case: Case, *, tuned: bool) -> None:
        """Score on all images of a case."""
        self._module, self._space, self._images, self._labels = problem(case)
        self._tuned = tuned
        if tuned:
            runtime.settle()
            self._module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def count(self, vector: Tensor) -> int:
        """Images that a vector gets right."""
        correct = 0
        state = {**self._module.state_dict(), **self._space.unflatten(vector)}
        self._module.load_state_dict(state)
        layout = torch.channels_last if self._tuned else torch.contiguous_format
        for x, y in zip(self._images.split(BATCH), self._labels.split(BATCH), strict=True):
            if not self._tuned:
                self._module.load_state_dict(state)
            self._module.eval()
            with torch.no_grad():
                inputs = (x.float() * (1 / 255)).contiguous(memory_format=layout)
                correct += int((self._module(inputs).argmax(1) == y).sum())
        return correct

    def scores(self, candidates: Tensor, thresholds: Tensor | None = None) -> Scores:
        """Every candidate to the end; as released, its parent beside it."""
        counts, passes = [], 1 if thresholds is None or self._tuned else 2
        for vector in candidates:
            # Beside a trial its parent is scored: the same work, whichever vector it is done on.
            counts += [self.count(vector) for _ in range(passes)][:1]
        correct = torch.tensor(counts)
        limit = torch.full((len(counts),), -torch.inf) if thresholds is None else thresholds
        return Scores(
            correct=correct,
            images=torch.full_like(correct, passes * len(self._images)),
            exact=torch.ones(len(counts), dtype=torch.bool),
            exceeded=correct > limit,
            fitness=correct.double(),
        )


Scorer = Loop | Together | Evaluator


def problem(case: Case) -> tuple[nn.Module, WeightSpace, Tensor, Tensor]:
    """Network, layout, and search images with labels."""
    module = models.build(case.net, 10, **OPTIONS.get(case.net, {}))
    images, labels = data.load("digits", sizes={"search": case.images}).search
    return module, WeightSpace(module, "parameters+statistics"), images, labels


def scorer(case: Case, variant: str) -> Scorer:
    """What scores under a variant's name."""
    if variant in ("released", "tuned"):
        return Loop(case, tuned=variant == "tuned")
    runtime.settle()
    if variant == TOGETHER:
        return Together(case)
    levers: Row = {lever: variant != f"without {lever}" for lever in LEVERS}
    if case.step == "every image":
        levers["remember"] = False
    return Evaluator(*problem(case), **levers)


def ending_epochs(net: str, members: int, epochs: int, fit: int) -> Tensor:
    """The weights of a net's last epochs on `digits`: `(members, d)`."""
    rng = streams.generator("benchmark", net)
    module = models.build(net, 10, rng, **OPTIONS.get(net, {}))
    space = WeightSpace(module, "parameters+statistics")
    images, labels = data.load("digits", sizes={"fit": fit}).fit
    recipe = Recipe.model_validate(
        {"epochs": epochs, "batch": 64, "schedule": "cosine", **RECIPES.get(net, {})}
    )
    trainer = Trainer(
        module, recipe, InMemory(images, labels),
        normalise=Normalise(), stream=("benchmark", net), meter=Meter(),
    )  # fmt: skip
    kept = []
    for epoch in range(epochs):
        trainer.epoch(epoch)
        kept.append(space.flatten(module.state_dict()))
    return torch.stack(kept[-members:])


def play(case: Case, variant: str) -> Row:
    """One run in this process: outcome, seconds, images computed, peak memory."""
    torch.set_num_threads(1)
    evaluator = scorer(case, variant)
    members = store.load_weights(case.weights)["members"][-case.members :].clone()
    Path("/proc/self/clear_refs").write_text("5")  # or the peak would be that of loading data
    before = memory_mb("VmRSS")
    evaluator.scores(members[:1])  # kernels are chosen and memory is fetched before the clock runs
    if isinstance(evaluator, Evaluator):
        evaluator.forget()
    wall, cpu = time.perf_counter(), time.process_time()
    search = every_image if STEPS[case.step] is None else evolve
    outcome, accepted, trials, images, top = search(case, evaluator, members)
    return {
        "accuracy": round(top / case.images, 3),
        "outcome": outcome,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "images": images,
        "accepted": accepted,
        "trials": trials,
        "added_mb": memory_mb("VmHWM") - before,
    }


def memory_mb(which: str) -> float:
    """This process's memory: `VmRSS` now, `VmHWM` the most so far (Linux only)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status[which].split()[0]) / 1024


def every_image(case: Case, evaluator: Scorer, members: Tensor):
    """The members, scored to the end again and again."""
    images, counts = 0, []
    for _ in range(case.generations):
        scores = evaluator.scores(members)
        images += int(scores.images.sum())
        counts.append(scores.correct.tolist())
    return str(counts), 0, case.generations * len(members), images, max(counts[0])


def evolve(case: Case, evaluator: Scorer, members: Tensor):
    """One DE run of CADE with constant F and CR."""
    method = create("cade", schedule="constant", granular=False, generations=case.generations,
                    **(STEPS[case.step] or {}))  # fmt: skip
    first = evaluator.scores(members)
    images = int(first.images.sum())
    method.start(members, first.fitness, streams.generator("benchmark", case.step))
    accepted: list[bool] = []
    while (proposal := method.ask()) is not None:
        scores = evaluator.scores(proposal.candidates, proposal.thresholds)
        accepted += scores.exceeded.tolist()
        images += int(scores.images.sum())
        method.tell(scores.fitness, scores.exceeded)
    vector, score = method.best
    outcome = f"{accepted} {score} {hashlib.sha256(vector.numpy().tobytes()).hexdigest()}"
    return outcome, sum(accepted), len(accepted), images, int(first.correct.max())


def alone(case: Case, variant: str) -> Row:
    """`play` in a new process."""
    return side_by_side(case, variant, 1)[0]


def side_by_side(case: Case, variant: str, jobs: int) -> list[Row]:
    """`play` in several new processes at once."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return pool.starmap(play, [(case, variant)] * jobs, chunksize=1)


def convolution_peak() -> float:
    """The machine's best measured float32 convolution, in GFLOP/s on one thread."""
    torch.set_num_threads(1)
    rates = []
    for channels, side in ((64, 8), (64, 16), (128, 8), (256, 8)):
        layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        x = torch.rand(50, channels, side, side).to(memory_format=torch.channels_last)
        flops = 2 * 50 * side * side * 9 * channels * channels
        with torch.inference_mode():
            for _ in range(20):
                start = time.perf_counter()
                layer(x)
                rates.append(flops / (time.perf_counter() - start) / 1e9)
    return max(rates)


def forward_flops(net: str) -> float:
    """Floating-point operations of one image's forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    module = models.build(net, 10, **OPTIONS.get(net, {}))
    with counter, torch.no_grad():
        module.eval()(torch.zeros(1, 3, 32, 32))
    return float(counter.get_total_flops())


def compare(case: Case, pairs: int, lever_pairs: int, peak: float) -> list[Row]:
    """Rows of one case: all variants in turn, `pairs` times (single levers `lever_pairs` times)."""
    variants = ["released", "tuned", "ours", *(f"without {lever}" for lever in LEVERS)]
    if case.step == "every image":  # nothing to reject, nothing seen twice
        variants = ["released", "tuned", "ours", "without fold"]
        if folds(case.net):
            variants.append(TOGETHER)
    plays: dict[str, list[Row]] = {variant: [] for variant in variants}
    for turn in tqdm(range(pairs), desc=f"{case.net}, {case.step}"):
        for variant in variants[: 3 if turn >= lever_pairs else None]:
            played = alone(case, variant)
            plays[variant].append(played)
            if played["outcome"] != plays["released"][0]["outcome"]:
                raise SystemExit(f"{case.net}, {case.step}: {variant} accepted other trials")
    flops = forward_flops(case.net)
    return [row(case, variant, plays, flops, peak) for variant in variants if plays[variant]]


def folds(net: str) -> bool:
    """Whether BatchNorm of a net can be folded."""
    try:
        Folded(models.build(net, 10, **OPTIONS.get(net, {})))
    except ValueError:
        return False
    return True


def row(case: Case, variant: str, plays: dict[str, list[Row]], flops: float, peak: float) -> Row:
    """One variant's line of the table."""
    own, base = plays[variant], plays["released"]
    ratios = [b["seconds"] / o["seconds"] for b, o in zip(base, own, strict=False)]
    cpu_ratios = [b["cpu_seconds"] / o["cpu_seconds"] for b, o in zip(base, own, strict=False)]
    cpu = statistics.median(played["cpu_seconds"] for played in own)
    rate = flops * own[0]["images"] / cpu / 1e9
    return {
        "net": case.net,
        "step": case.step,
        "variant": variant,
        "seconds": round(statistics.median(played["seconds"] for played in own), 3),
        "cpu_seconds": round(cpu, 3),
        "speedup": round(statistics.median(ratios), 2),
        "speedup_low": round(min(ratios), 2),
        "speedup_high": round(max(ratios), 2),
        "cpu_speedup": round(statistics.median(cpu_ratios), 2),
        "share_of_images": round(own[0]["images"] / base[0]["images"], 3),
        "gflops": round(rate, 1),
        "share_of_peak": round(rate / peak, 3),
        "best_accuracy": own[0]["accuracy"],
        "accepted": own[0]["accepted"],
        "trials": own[0]["trials"],
        "members": case.members,
        "images": case.images,
        "generations": case.generations,
        "pairs": len(own),
        "added_mb": round(statistics.median(played["added_mb"] for played in own), 1),
    }


def growth(options: argparse.Namespace, weights: dict[str, Path]) -> list[Row]:
    """Ours alone when members, images, parameters or jobs side by side grow, the others fixed."""
    net, n, m = options.nets[-1], options.images, options.members
    cases = [
        *(("members", value, net, value, n, 1) for value in (4, 6, 8)),
        *(("images", value, net, m, value, 1) for value in (n // 4, n // 2, n)),
        *(("parameters", 0, name, m, n, 1) for name in options.nets),
        *(("jobs", value, net, m, n, value) for value in (1, 2)),
    ]
    rows = []
    for varied, value, name, members, images, jobs in tqdm(cases, desc="growth"):
        case = Case(name, "ordinary", members, images, options.generations, weights[name])
        played = side_by_side(case, "ours", jobs)
        cpu = statistics.mean(one["cpu_seconds"] for one in played)
        computed = played[0]["images"]
        rows.append(
            {
                "varied": varied,
                "value": value or store.load_weights(weights[name])["members"].shape[1],
                "net": name,
                "seconds": round(max(one["seconds"] for one in played), 3),
                "cpu_seconds": round(cpu, 3),
                "images_computed": computed,
                "trials": played[0]["trials"],
                "added_mb": round(played[0]["added_mb"], 1),
                "milliseconds_per_image": round(1e3 * cpu / computed, 3),
                "mflop_per_image": round(forward_flops(name) / 1e6, 1),
            }
        )
    return rows


def speeds(rows: Sequence[Row]) -> str:
    """The comparison as a Markdown table."""
    lines = []
    for (net, step), own in by_case(rows).items():
        ours, tuned = own["ours"], own["tuned"]
        low, high = float(ours["speedup_low"]), float(ours["speedup_high"])
        lines.append(
            {
                "net": net,
                "F and CR": step,
                **{f"{name}, s": seconds(own[name]) for name in ("released", "tuned", "ours")},
                "released / ours": f"{float(ours['speedup']):.1f} [{low:.1f}, {high:.1f}]",
                "tuned / ours": f"{float(tuned['seconds']) / float(ours['seconds']):.1f}",
                "accepted": f"{ours['accepted']} of {ours['trials']}" if STEPS[step] else "-",
                "images computed": f"{float(ours['share_of_images']):.3f}",
                "of peak": f"{float(ours['share_of_peak']):.2f}",
            }
        )
    return markdown(lines)


def levers(rows: Sequence[Row]) -> str:
    """Times the released loop with one lever off, as a Markdown table."""
    shown = ["ours", *(f"without {lever}" for lever in LEVERS), TOGETHER]
    lines = []
    for (net, step), own in by_case(rows).items():
        times = {n: f"{float(own[n]['speedup']):.1f}" if n in own else "-" for n in shown}
        lines.append({"net": net, "F and CR": step, **times})
    return markdown(lines)


def costs(grown: Sequence[Row]) -> str:
    """How cost grows, as a Markdown table."""
    return markdown(
        [
            {
                "varied": f"{one['varied']}: {int(one['value']):,}",
                "net": one["net"],
                "seconds": seconds(one),
                "images computed": f"{int(one['images_computed']):,}",
                "trials": one["trials"],
                "CPU ms / image": f"{float(one['milliseconds_per_image']):.3f}",
                "MFLOP / image": f"{float(one['mflop_per_image']):.1f}",
                "MB added": f"{float(one['added_mb']):.1f}",
            }
            for one in grown
        ]
    )


def seconds(row: Row) -> str:
    """A row's seconds, as a table shows them."""
    return f"{float(row['seconds']):.1f}"


def markdown(lines: Sequence[Row]) -> str:
    """Lines, by heading, as a Markdown table."""
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def by_case(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Row]]:
    """Rows by (net, step) and variant."""
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for one in rows:
        cases.setdefault((one["net"], one["step"]), {})[one["variant"]] = one
    return cases


def draw(rows: list[Row], path: Path) -> None:
    """Bars of the speed-up over the released loop."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "mergesuite"
    import matplotlib.pyplot as plt

    nets = list(dict.fromkeys(row["net"] for row in rows))
    steps = list(dict.fromkeys(row["step"] for row in rows))
    size = (3.2 * len(steps), 1.9 * len(nets) + 0.4)
    figure, axes = plt.subplots(len(nets), len(steps), figsize=size, squeeze=False)
    for i, net in enumerate(nets):
        for j, step in enumerate(steps):
            ax = axes[i][j]
            own = [row for row in rows if (row["net"], row["step"]) == (net, step)][::-1]
            names = [row["variant"] for row in own]
            colours = ["#0072B2" if name == "ours" else "#BBBBBB" for name in names]
            bars = ax.barh(names, [row["speedup"] for row in own], color=colours)
            ax.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
            ax.set_title(
                f"{net}, {step}" + (" F and CR" if step != "every image" else ""), fontsize=9
            )
            ax.tick_params(labelsize=8)
            ax.margins(x=0.2)
            ax.spines[["top", "right"]].set_visible(False)
            if i == len(nets) - 1:
                ax.set_xlabel("times the released loop", fontsize=8)
    figure.tight_layout()
    with store.whole(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def main() -> None:
    """Run every case, print and write the tables."""
    parser = argparse.ArgumentParser(
        description="Our evaluation against the released loop, in one run.",
        epilog="example: python benchmarks/evaluation.py --nets resnet8-w8 --pairs 3",
    )
    parser.add_argument("--nets", nargs="+", default=["resnet20", "sew-small", "resnet8-w8"])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--members", type=int, default=4, help="ending epochs; at least 4")
    parser.add_argument("--epochs", type=int, default=12, help="at least 8 for the table of growth")
    parser.add_argument("--fit", type=int, default=8000, help="training images")
    parser.add_argument("--images", type=int, default=800, help="of the search split")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--lever-pairs", type=int, default=1, help="of ours without one lever")
    parser.add_argument("--no-growth", action="store_true", help="only the comparison")
    parser.add_argument("--only-growth", action="store_true", help="no comparison")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    head, dirty = provenance.commit()
    peak = convolution_peak()
    origin = {
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "threads": 1,
        "torch": provenance.versions()["torch"],
        "peak_gflops": round(peak, 1),
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = {}
        for net in tqdm(options.nets, desc="training members"):
            weights[net] = Path(folder) / f"{net}.safetensors"
            kept = ending_epochs(net, max(8, options.members), options.epochs, options.fit)
            store.save_weights(weights[net], {"members": kept}, {})
        for net in [] if options.only_growth else options.nets:
            for step in options.steps:
                passes = options.generations if STEPS[step] else -(-options.generations // 4)
                case = Case(net, step, options.members, options.images, passes, weights[net])
                rows += compare(case, options.pairs, options.lever_pairs, peak)
                store.write_rows(options.out / "evaluation.csv", [{**r, **origin} for r in rows])
                draw(rows, options.out / "evaluation.svg")
        grown = [] if options.no_growth else growth(options, weights)
    if grown:
        store.write_rows(options.out / "evaluation-growth.csv", [{**r, **origin} for r in grown])
    tables = [speeds(rows), levers(rows)] if rows else []
    print("\n\n".join([*tables, *([costs(grown)] if grown else [])]))


if __name__ == "__main__":
    main()
