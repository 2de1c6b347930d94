"""What the profile `imagenet` costs: counted from the specs, hours at a throughput that is assumed.

Nothing is run but one image, for its operations (`torch.utils.flop_counter`) and for the memory
that its training keeps. Images are counted as if no candidate were rejected early, so a search
costs less. A backward pass is taken as two forward passes.

    python benchmarks/imagenet.py --tflops 60
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from mergesuite import models
from mergesuite.experiment import config, declared, resources
from mergesuite.experiment.jobs import Jobs

Row = dict[str, Any]
BACKWARD = 3
"""Forward passes that an image costs when it is trained on."""
TREATMENTS = 3
"""Of BatchNorm, under which every network is measured."""


def counted(build: str, classes: int = 1000, side: int = 224) -> tuple[int, int, int]:
    """Operations of an image's forward pass, bytes that its training keeps, parameters."""
    module = models.build(build, classes)
    image = torch.zeros(2, 3, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image)
    kept: dict[int, int] = {}
    own = {p.data_ptr() for p in module.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(image)
    parameters = sum(p.numel() for p in module.parameters())
    return counter.get_total_flops() // 2, sum(kept.values()) // 2, parameters


def trained(jobs: Jobs) -> Iterator[Row]:
    """Images of every training, as forward passes, and the files that it leaves."""
    for name in jobs.paper.active_models():
        entry, data = jobs.paper.models[name], jobs.paper.data_of(name)
        fit, search = (resources.images(data, split) for split in ("fit", "search"))
        passes = entry.recipe.epochs * (BACKWARD * fit + search)
        yield {
            "what": f"train {name}",
            "runs": entry.seeds,
            "passes": entry.seeds * passes,
            "files": entry.seeds * entry.recipe.keep,
        }


def merged(jobs: Jobs) -> Iterator[Row]:
    """The same of every search and of what only combines."""
    for subject, parts in jobs.subjects.items():
        if parts is None:
            continue
        seeds = jobs.seeds(subject)
        yield {
            "what": f"merge {subject}",
            "runs": len(seeds),
            "passes": len(seeds) * searched(jobs, *parts),
            "files": len(seeds) * (len(jobs.paper.parents(parts[1], 0)) if
                                   jobs.paper.methods[parts[0]].use == "ensemble" else 1),
        }  # fmt: skip


def searched(jobs: Jobs, slug: str, population: str) -> int:
    """Forward passes of one merge: its candidates and parents on the images of its fitness."""
    entry = jobs.paper.methods[slug]
    budget = jobs.paper.methods[entry.budget_of] if entry.budget_of else entry
    parents = len(jobs.paper.parents(population, 0))
    data = jobs.paper.data_of(jobs.paper.model_of(f"{slug}-{population}"))
    scored = budget.fitness.images or resources.images(data, budget.fitness.split)
    candidates = resources.evaluations(budget, parents)
    if entry.use == "train-on":
        return BACKWARD * scored * candidates
    if entry.fitness.batchnorm == "re-estimate":
        scored += entry.fitness.batchnorm_images
    return scored * (parents + candidates)


def measured(jobs: Jobs) -> Row:
    """The same of all evaluations."""
    rows = [*trained(jobs), *merged(jobs)]
    data = jobs.paper.data
    images = sum(resources.images(data, split) for split in ("search", "test"))
    networks = sum(row["files"] for row in rows)
    return {"what": "evaluate", "runs": len(jobs.metrics()), "files": 0,
            "passes": TREATMENTS * networks * images}  # fmt: skip


def price(paper: str, tflops: float) -> tuple[list[Row], Row]:
    """Rows of one paper, and what it sums up to."""
    jobs = Jobs(paper, "imagenet")
    (build,) = {jobs.paper.models[name].build for name in jobs.paper.active_models()}
    operations, kept, parameters = counted(build)
    rows = [*trained(jobs), *merged(jobs), measured(jobs)]
    for row in rows:
        row["GPU hours"] = row["passes"] * operations / (tflops * 1e12) / 3600
    splits = declared.datasets()[jobs.paper.data.name]["splits"]
    total = {
        "paper": paper,
        "network": build,
        "10⁹ operations an image": round(operations / 1e9, 2),
        "MB kept to train an image (float32)": round(kept / 1e6),
        "10⁹ images": round(sum(row["passes"] for row in rows) / 1e9, 2),
        "GPU hours": round(sum(row["GPU hours"] for row in rows)),
        "GB of weights": round(sum(row["files"] for row in rows) * 4 * parameters / 1e9),
        "GB decoded": round((splits["search"] + splits["test"]) * 3 * 224 * 224 / 1e9, 1),
    }
    return rows, total


def main() -> None:
    """Print what each paper costs, stage by stage and in sum."""
    parser = argparse.ArgumentParser(
        description="The price of the profile imagenet, for a throughput that you name.",
        epilog="example: python benchmarks/imagenet.py --tflops 60",
    )
    parser.add_argument("--tflops", type=float, default=60.0, help="10^12 operations a second")
    options = parser.parse_args()
    totals = []
    for paper in config.usable("imagenet")[0]:
        rows, total = price(paper, options.tflops)
        totals.append(total)
        print(f"{paper}\n{tabulate(rows, headers='keys', floatfmt='.3g')}\n")
    print(tabulate(totals, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
