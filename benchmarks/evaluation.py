"""How much faster than the released loop is our evaluation, with the same trials accepted?

One run, in turn: the released loop (described in replications/cade/README.md: the parent is scored
again beside every trial, the state dict is loaded for every candidate and batch, every image is
computed), then ours, then ours with each lever off. All play the same DE from the same members
with the same draws; the script fails if they do not accept the same trials and end in the same
bytes.

    python benchmarks/evaluation.py --out docs --pairs 5
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mergesuite import data, models, provenance, store, streams
from mergesuite.fitness import Evaluator, Scores
from mergesuite.images import Normalise
from mergesuite.methods import create
from mergesuite.runtime import Meter
from mergesuite.spec import Recipe
from mergesuite.train import Trainer
from mergesuite.weights import WeightSpace

STEPS = {
    "ordinary": {"f_init": 0.5, "cr_init": 0.5},
    "tiny": {"f_init": 1e-6, "cr_init": 1e-6},
}
LEVERS = ("fold", "reject", "order", "remember")


class Released:
    """The released evaluation loop, counted in integers so that selections can be compared."""

    def __init__(
        self, module: nn.Module, space: WeightSpace, images: Tensor, labels: Tensor, batch: int
    ) -> None:
        """Score on all of `images`, `batch` at a time."""
        self._module, self._space = module, space
        self._images, self._labels, self._batch = images, labels, batch

    def count(self, vector: Tensor) -> int:
        """Images that a vector gets right."""
        correct = 0
        for x, y in zip(
            self._images.split(self._batch), self._labels.split(self._batch), strict=True
        ):
            state = {**self._module.state_dict(), **self._space.unflatten(vector)}
            self._module.load_state_dict(state)
            self._module.eval()
            with torch.no_grad():
                correct += int((self._module(x.float() / 255).argmax(1) == y).sum())
        return correct

    def scores(self, candidates: Tensor, thresholds: Tensor | None = None) -> Scores:
        """Every candidate to the end, its parent beside it."""
        counts = []
        for vector in candidates:
            if thresholds is not None:
                self.count(vector)  # the parent beside it: the same work on another vector
            counts.append(self.count(vector))
        correct = torch.tensor(counts)
        passes = 1 if thresholds is None else 2
        limit = torch.full((len(counts),), -torch.inf) if thresholds is None else thresholds
        return Scores(
            correct=correct,
            images=torch.full_like(correct, passes * len(self._images)),
            exact=torch.ones(len(counts), dtype=torch.bool),
            exceeded=correct > limit,
            fitness=correct.double(),
        )


def ending_epochs(name: str, members: int, epochs: int, fit: int) -> tuple[nn.Module, Tensor]:
    """A net and the weights of its last epochs on `digits`: `(members, d)`."""
    module = models.build(name, 10, streams.generator("benchmark", name))
    space = WeightSpace(module, "parameters+statistics")
    images, labels = data.load("digits", sizes={"fit": fit}).fit
    recipe = Recipe.model_validate({"epochs": epochs, "batch": 64, "schedule": "cosine"})
    trainer = Trainer(
        module, recipe, images, labels,
        normalise=Normalise(), stream=("benchmark", name), meter=Meter(),
    )  # fmt: skip
    kept = []
    for epoch in range(epochs):
        trainer.epoch(epoch)
        kept.append(space.flatten(module.state_dict()))
    return module.to(memory_format=torch.contiguous_format), torch.stack(kept[-members:])  # pyright: ignore[reportCallIssue]


def play(evaluator: Released | Evaluator, members: Tensor, step: str, generations: int):
    """One DE run; returns final bytes, seconds, CPU seconds and images computed."""
    method = create("cade", schedule="constant", granular=False, generations=generations,
                    **STEPS[step])  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    first = evaluator.scores(members)
    images = int(first.images.sum())
    method.start(members, first.fitness, streams.generator("benchmark", step))
    accepted = []
    while (proposal := method.ask()) is not None:
        scores = evaluator.scores(proposal.candidates, proposal.thresholds)
        accepted += scores.exceeded.tolist()
        images += int(scores.images.sum())
        method.tell(scores.fitness, scores.exceeded)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    vector, score = method.best
    return (accepted, score, vector.numpy().tobytes()), *seconds, images


def convolution_peak() -> float:
    """The machine's best measured float32 convolution, in GFLOP/s on the threads in use."""
    rates = []
    for channels, side in ((64, 8), (64, 16), (256, 8)):
        layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        x = torch.rand(50, channels, side, side).to(memory_format=torch.channels_last)
        flops = 2 * 50 * side * side * 9 * channels * channels
        with torch.inference_mode():
            for _ in range(15):
                start = time.perf_counter()
                layer(x)
                rates.append(flops / (time.perf_counter() - start) / 1e9)
    return max(rates)


def forward_flops(module: nn.Module) -> float:
    """Floating-point operations of one image's forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(torch.zeros(1, 3, 32, 32))
    return float(counter.get_total_flops())


def compare(name: str, step: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one net and step size: released, ours, and ours without each lever."""
    module, members = ending_epochs(name, options.members, options.epochs, options.fit)
    space = WeightSpace(module, "parameters+statistics")
    images, labels = data.load("digits", sizes={"search": options.images}).search

    def ours(off: str = "") -> Evaluator:
        on = {lever: lever != off for lever in LEVERS}
        return Evaluator(
            module, space, images, labels,
            fold=on["fold"], reject=on["reject"], order=on["order"], remember=on["remember"],
        )  # fmt: skip

    variants = {
        "released": lambda: Released(module, space, images, labels, 500),
        "ours": ours,
        **{f"without {lever}": lambda lever=lever: ours(lever) for lever in LEVERS},
    }
    times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
    results, computed = {}, {}
    for _ in tqdm(range(options.pairs), desc=f"{name}, {step}"):
        for variant, make in variants.items():
            outcome, wall, cpu, count = play(make(), members, step, options.generations)
            times[variant].append((wall, cpu))
            if results.setdefault(variant, outcome) != results["released"]:
                raise SystemExit(f"{name}, {step}: {variant} accepted other trials")
            computed[variant] = count
    flops, peak = forward_flops(module), convolution_peak()
    rows = []
    for variant, pairs in times.items():
        ratios = [base[0] / own[0] for base, own in zip(times["released"], pairs, strict=True)]
        seconds = statistics.median(wall for wall, _ in pairs)
        rate = flops * computed[variant] / seconds / 1e9
        rows.append(
            {
                "net": name,
                "step": step,
                "variant": variant,
                "seconds": round(seconds, 3),
                "cpu_seconds": round(statistics.median(cpu for _, cpu in pairs), 3),
                "speedup": round(statistics.median(ratios), 2),
                "speedup_low": round(min(ratios), 2),
                "speedup_high": round(max(ratios), 2),
                "share_of_images": round(computed[variant] / computed["released"], 3),
                "gflops": round(rate, 1),
                "share_of_peak": round(rate / peak, 3),
                "accepted": sum(results[variant][0]),
                "trials": len(results[variant][0]),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    return rows


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Bars of the speed-up over the released loop."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "mergesuite"
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys((row["net"], row["step"]) for row in rows))
    figure, axes = plt.subplots(1, len(cases), figsize=(3.4 * len(cases), 2.6), sharey=True)
    for ax, case in zip(axes if len(cases) > 1 else [axes], cases, strict=True):
        own = [row for row in rows if (row["net"], row["step"]) == case]
        names = [str(row["variant"]) for row in own][::-1]
        values = [float(str(row["speedup"])) for row in own][::-1]
        ax.barh(names, values, color=["#0072B2" if n == "ours" else "#BBBBBB" for n in names])
        ax.bar_label(ax.containers[0], fmt="%.1f", padding=2)
        ax.set_title(f"{case[0]}, {case[1]} F and CR", fontsize=9)
        ax.set_xlabel("times the released loop")
        ax.margins(x=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with store.whole(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def main() -> None:
    """Run every case, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Our evaluation against the released loop, in one run.",
        epilog="example: python benchmarks/evaluation.py --nets resnet8 --pairs 3",
    )
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet8"])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--members", type=int, default=4, help="ending epochs; at least 4")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--fit", type=int, default=4000)
    parser.add_argument("--images", type=int, default=1000, help="of the search split")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for net in options.nets for step in options.steps
            for row in compare(net, step, options)]  # fmt: skip
    head, dirty = provenance.commit()
    origin = {
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "threads": 1,
        "torch": provenance.versions()["torch"],
        "malloc": os.environ.get("MALLOC_MMAP_THRESHOLD_", "default"),
        "pairs": options.pairs,
    }
    store.write_rows(options.out / "evaluation.csv", [{**row, **origin} for row in rows])
    draw(rows, options.out / "evaluation.svg")
    writer = csv.DictWriter(sys.stdout, rows[0], delimiter="\t")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
