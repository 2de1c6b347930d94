"""What breeding costs beside scoring: one generation's vector arithmetic, in time and memory.

Each method breeds generations of 20 members of 25 million weights in a process of its own. Told
scores accept every other trial, so members are replaced as in a search. Beside it stands one
fitness evaluation of a network of that size, SEW-ResNet-34 on the images of a search split.

    python benchmarks/arithmetic.py --out docs
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store, streams
from mergesuite.fitness import Evaluator
from mergesuite.methods import create
from mergesuite.weights import WeightSpace

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cade, in place, F = CR = 0.5": ("cade", {"f_init": 0.5, "cr_init": 0.5}),
    "cade, in place, F = CR = 1e-6": ("cade", {"f_init": 1e-6, "cr_init": 1e-6}),
    "cade, synchronous, F = CR = 0.5": (
        "cade", {"f_init": 0.5, "cr_init": 0.5, "synchronous": True},
    ),
    "de, F = 0.5, CR = 0.9": ("de", {}),
    "shade": ("shade", {}),
    "darwinian, SaDE": ("darwinian", {"variant": "sade"}),
    "sa-shade": ("sa-shade", {"variant": "named"}),
    "mega": ("mega", {}),
}  # fmt: skip


def peak_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def breed(case: str, dim: int, size: int, generations: int) -> dict[str, Any]:
    """Generations of one method in this process: seconds of each, memory beside the population."""
    torch.set_num_threads(1)
    runtime.settle()
    name, params = CASES[case]
    special = {"cade": {"schedule": "constant"}, "mega": {"population": size}}.get(name, {})
    method = create(name, generations=generations + 1, **params, **special)
    method.tensors = [dim // 10] * 10  # the largest of SEW-ResNet-34 hold a tenth of its weights
    rng = streams.generator("arithmetic", case)
    parents = torch.randn(2 if name == "mega" else size, dim, generator=rng)
    before = peak_mb()
    scores = torch.arange(len(parents), dtype=torch.float64)
    method.start(parents, scores, streams.generator("search", case))
    seconds, breeding, asked = [], 0.0, 0
    top = float(scores.max())
    while len(seconds) < generations:
        start = time.perf_counter()
        proposal = method.ask()
        assert proposal is not None
        bred = time.perf_counter()
        n = len(proposal)
        exceeded = torch.arange(asked, asked + n) % 2 == 0
        answers = torch.where(exceeded, top + 1 + torch.arange(n), -torch.inf).double()
        top += n
        told = time.perf_counter()
        method.tell(answers, exceeded)
        del proposal  # as `merge.search` does
        breeding += bred - start + time.perf_counter() - told
        asked += n
        if asked >= size * (len(seconds) + 1):
            seconds.append(breeding)
            breeding = 0.0
    # `start` copies the parents, so what was added is the population and what breeding needs.
    return {"seconds": seconds, "extra_mb": peak_mb() - before}


def one_evaluation(images: int) -> tuple[float, int]:
    """Seconds to score SEW-ResNet-34 (four time steps) on `images` images, and its weights."""
    torch.set_num_threads(1)
    runtime.settle()
    module = models.build("sew-resnet34", 100, streams.generator("arithmetic"))
    space = WeightSpace(module, "parameters+statistics")
    pictures, labels = data.load("digits", sizes={"search": images}).search
    evaluator = Evaluator(module, space, pictures, labels, chunk=images, remember=False)
    vector = space.flatten(module.state_dict())
    evaluator.scores(vector[None])
    start = time.perf_counter()
    evaluator.scores(vector[None])
    return time.perf_counter() - start, space.dim


def alone(function, *arguments):
    """A call in a new process, so that memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        {
            "method": row["case"],
            "seconds": f"{float(row['seconds_per_generation']):.1f}",
            "memory, in populations": f"{float(row['times_population']):.2f}",
            "of one evaluation": f"{100 * float(row['share_of_evaluation']):.1f} %",
        }
        for row in rows
    ]
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Run every case, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Time and memory of breeding, beside one fitness evaluation.",
        epilog="example: python benchmarks/arithmetic.py --dim 1000000 --out docs",
    )
    parser.add_argument("--dim", type=int, default=25_000_000, help="weights of a member")
    parser.add_argument("--size", type=int, default=20, help="members")
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--images", type=int, default=100, help="scored to time one evaluation")
    parser.add_argument("--search", type=int, default=5000, help="images of a fitness evaluation")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    seconds, weights = alone(one_evaluation, options.images)
    evaluation = seconds / options.images * options.search * options.dim / weights
    head, dirty = provenance.commit()
    population = 4 * options.dim * options.size / 2**20
    rows = []
    for case in tqdm(options.cases, desc="breeding"):
        bred = alone(breed, case, options.dim, options.size, options.generations)
        generation = statistics.median(bred["seconds"])
        rows.append(
            {
                "case": case,
                "members": options.size,
                "weights": options.dim,
                "seconds_per_generation": round(generation, 3),
                "population_mb": round(population),
                "peak_mb": round(bred["extra_mb"]),
                "times_population": round(bred["extra_mb"] / population, 2),
                "evaluation_seconds": round(evaluation, 1),
                "share_of_evaluation": round(generation / evaluation, 4),
                "share_of_generation": round(generation / (evaluation * options.size), 5),
                "commit": head + ("+" if dirty else ""),
                "device": provenance.processor(),
                "threads": 1,
                "torch": provenance.versions()["torch"],
            }
        )
    store.write_rows(options.out / "arithmetic.csv", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
