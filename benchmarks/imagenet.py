"""What the profile `imagenet` costs: counted from the specs, hours at a throughput that is assumed.

Nothing is run but one image, for its operations (`torch.utils.flop_counter`) and for the memory
that its training keeps. What jobs compute is what a dry run counts (`experiment.price`): as if no
candidate were rejected early, so a search costs less. A backward pass is two forward passes.

    python benchmarks/imagenet.py --tflops 60
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from mergesuite import models
from mergesuite.experiment import config, declared, price
from mergesuite.experiment.jobs import Jobs

Row = dict[str, Any]


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


def files(jobs: Jobs, job: price.Job) -> int:
    """Files of weights that a job leaves."""
    if job.stage == "evaluate":
        return 0
    if job.stage == "train":
        return jobs.paper.models[job.name].recipe.keep
    slug, population = jobs.subjects[job.name] or ("", "")
    ensemble = jobs.paper.methods[slug].use == "ensemble"
    return len(jobs.paper.parents(population, 0)) if ensemble else 1


def priced(paper: str, tflops: float) -> tuple[list[Row], Row]:
    """Rows of one paper, and what it sums up to."""
    jobs = Jobs(paper, "imagenet")
    (build,) = {jobs.paper.models[name].build for name in jobs.paper.active_models()}
    operations, kept, parameters = counted(build)
    rows: dict[str, Row] = {}
    for job in price.jobs_of(jobs):
        what = f"{job.stage} {job.name}"
        row = rows.setdefault(what, {"what": what, "runs": 0, "files": 0, "GPU hours": 0.0})
        row["runs"] += 1
        row["files"] += files(jobs, job)
        row["GPU hours"] += 2 * job.need.multiply_adds / (tflops * 1e12) / 3600
    splits = declared.datasets()[jobs.paper.data.name]["splits"]
    total = {
        "paper": paper,
        "network": build,
        "10⁹ operations an image": round(operations / 1e9, 2),
        "MB kept to train an image (float32)": round(kept / 1e6),
        "GPU hours": round(sum(row["GPU hours"] for row in rows.values())),
        "GB of weights": round(sum(row["files"] for row in rows.values()) * 4 * parameters / 1e9),
        "GB decoded": round((splits["search"] + splits["test"]) * 3 * 224 * 224 / 1e9, 1),
    }
    return [*rows.values()], total


def main() -> None:
    """Print what each paper costs, stage by stage and in sum."""
    parser = argparse.ArgumentParser(
        description="The price of the profile imagenet, for a throughput that you name.",
        epilog="example: python benchmarks/imagenet.py --tflops 60",
    )
    parser.add_argument(
        "--tflops", type=float, default=price.FILES / 1e12, help="10^12 operations a second"
    )
    options = parser.parse_args()
    totals = []
    for paper in config.usable("imagenet")[0]:
        rows, total = priced(paper, options.tflops)
        totals.append(total)
        print(f"{paper}\n{tabulate(rows, headers='keys', floatfmt='.3g')}\n")
    print(tabulate(totals, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
