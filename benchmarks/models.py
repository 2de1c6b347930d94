"""Every network of every paper: how large, how dear, and whether it learns.

* parameters, next to the number that a paper or a library prints, as it counts them;
* operations of one image's forward pass, counted by `torch.utils.flop_counter` (a multiplication
  and an addition are two; of a spiking net all time steps);
* CPU seconds of one training epoch at the paper's scale on this machine: *extrapolated* from a few
  batches, forward, backward and update, in float32 on one thread;
* the loss of a net from scratch before and after a training: one epoch over images of the
  embedded `digits`, as many as fit the time that a network gets (`--seconds`), or, of nets for
  ImageNet, a few updates on a few generated images of 224 pixels, which shows no more than that
  gradients point downhill.

    python benchmarks/models.py --out docs
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store, streams
from mergesuite.experiment import config, declared, loading, resources
from mergesuite.models.batchnorm import scaled

Row = dict[str, Any]

IMAGENET = 1_281_167
HE, MEGA = "He et al. 2016, table 6", "MeGA, table 1, BatchNorm statistics included"
FANG = "as quoted of Fang et al. 2021"
PUBLISHED = {
    "resnet20-torch": (0.27e6, HE),
    "resnet56": (0.86e6, MEGA),
    "resnet110": (1.78e6, f"{MEGA}; its code has 1.74"),
    "resnet152-mega": (3.51e6, MEGA),
    "xception-mega": (22.96e6, MEGA),
    "densenet121-mega": (7.04e6, MEGA),
    "densenet169-mega": (12.65e6, MEGA),
    "sew-resnet34": (21_328_292, "CADE's SEW.py for 100 classes, without its projector heads"),
    "sew-resnet18-imagenet": (11_689_512, "torchvision's ResNet-18: neurons have none"),
    "sew-resnet34-imagenet": (21.79e6, FANG),
    "sew-resnet50-imagenet": (25_557_032, "torchvision's ResNet-50: neurons have none"),
    "sew-resnet101-imagenet": (44.55e6, FANG),
    "sew-resnet152-imagenet": (60.19e6, FANG),
    "torchvision:resnet50": (25_557_032, "torchvision, meta of its weights"),
}
"""Network -> parameters that are printed of it, and where."""
ON_IMAGENET = {
    "torchvision:resnet50": ["sa-shade", "darwinian"],
    **{f"sew-resnet{depth}-imagenet": ["Fang et al."] for depth in (18, 34, 50, 101, 152)},
}
"""Network -> who uses it on ImageNet."""


@dataclass
class Case:
    """One network as some paper uses it."""

    build: str
    options: Row
    classes: int
    side: int
    epoch_images: int
    batch: int
    papers: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The network and those of its options that change its cost."""
        steps = self.options.get("steps")
        return f"{self.build} (T = {steps})" if steps else self.build

    def module(self) -> nn.Module:
        """The network, in training mode."""
        rng = streams.generator("benchmark", self.build)
        return models.build(self.build, self.classes, rng, **self.options)


def cases() -> list[Case]:
    """The networks of all papers at all profiles, and those of ImageNet."""
    found: dict[str, Case] = {}
    for paper in config.papers_there():
        for profile in loading.profiles(config.folder_of(paper)):
            spec = config.paper(paper, profile)
            for name in spec.active_models():
                entry, images = spec.models[name], spec.data_of(name)
                facts = declared.datasets()[images.name]
                case = Case(
                    entry.build, dict(entry.options), facts["classes"], facts["size"],
                    resources.images(images, "fit"), entry.recipe.batch,
                )  # fmt: skip
                known = found.setdefault(case.name, case)
                known.epoch_images = max(known.epoch_images, case.epoch_images)
                known.side = max(known.side, case.side)
                known.classes = max(10, min(known.classes, case.classes))  # as many as digits
                known.papers += [paper] if paper not in known.papers else []
    for build, papers in ON_IMAGENET.items():
        found.setdefault(build, Case(build, {}, 1000, 224, IMAGENET, 256, papers))
    return sorted(found.values(), key=lambda case: (case.side, case.build))


def operations(case: Case) -> int:
    """Of one image's forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        case.module().eval()(torch.zeros(1, 3, case.side, case.side))
    return counter.get_total_flops()


class Training:
    """A network from scratch on given images, with Adam; batches in a fixed order."""

    def __init__(self, case: Case, images: Tensor, labels: Tensor, batch: int) -> None:
        """uint8 `images` `(n, 3, side, side)`; the last short batch is left out."""
        self.module = case.module().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=1e-3)
        whole = len(images) // batch * batch
        self.batches = list(zip(images[:whole].split(batch), labels[:whole].split(batch),
                                strict=True))  # fmt: skip

    def epoch(self) -> Iterator[tuple[float, float]]:
        """Loss before each update, and its CPU seconds."""
        self.module.train()
        for images, labels in self.batches:
            began = time.process_time()
            loss = nn.functional.cross_entropy(self.module(scaled(images)), labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            yield loss.item(), time.process_time() - began

    def loss(self) -> float:
        """The mean over all images, BatchNorm with the statistics of each batch.

        Not running ones: a few updates do not settle them.
        """
        with torch.no_grad():
            losses = [
                nn.functional.cross_entropy(self.module(scaled(images)), labels).item()
                for images, labels in self.batches
            ]
        return statistics.fmean(losses)


def images_for(case: Case, count: int) -> tuple[Tensor, Tensor]:
    """Real digits of 32 pixels, or noise of 224 with labels in turn."""
    if case.side <= 32:
        return data.load("digits", sizes={"fit": count}).fit
    rng = streams.generator("benchmark", "images")
    images = torch.randint(256, (count, 3, case.side, case.side), generator=rng, dtype=torch.uint8)
    return images, torch.arange(count) % case.classes


def measured(case: Case, seconds: float) -> Row:
    """One row of the table."""
    module = case.module()
    batch = min(case.batch, 64) if case.side <= 32 else 2
    if case.side <= 32:
        probe = list(Training(case, *images_for(case, 3 * batch), batch).epoch())
        per_image = statistics.median(spent for _, spent in probe[1:]) / batch
        count = max(4 * batch, min(8000, int(seconds / per_image))) // batch * batch
        what = f"an epoch of {count:,} digits"
        training = Training(case, *images_for(case, count), batch)
        before = training.loss()
        updates = len(list(training.epoch()))
    else:
        what = f"3 updates on {batch} generated images"
        training = Training(case, *images_for(case, batch), batch)
        steps = [step for _ in range(3) for step in training.epoch()]
        before, updates = steps[0][0], len(steps)
        per_image = statistics.median(spent for _, spent in steps[1:]) / batch
    after = training.loss()
    if not after < before:
        raise ValueError(f"{case.name}: the loss went from {before:.3f} to {after:.3f}")
    published, source = PUBLISHED.get(case.build, ("", ""))
    counted = [p.numel() for p in module.parameters()]
    kept = [b.numel() for n, b in module.named_buffers() if n.endswith(("_mean", "_var"))]
    return {
        "network": case.name,
        "papers": ", ".join(case.papers),
        "classes": case.classes,
        "side": case.side,
        "parameters": sum(counted),
        "with_statistics": sum(counted) + sum(kept),
        "published": published,
        "source": source,
        "forward_operations": operations(case),
        "batch": batch,
        "seconds_per_image": per_image,
        "epoch_images": case.epoch_images,
        "epoch_seconds": per_image * case.epoch_images,
        "trained_on": what,
        "updates": updates,
        "loss_before": before,
        "loss_after": after,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows, measured or read from models.csv, as docs/models.md shows them."""
    return tabulate([_shown(row) for row in rows], headers="keys", tablefmt="github")


def _shown(row: Mapping[str, Any]) -> Row:
    trainable, all_of_it = int(row["parameters"]), int(row["with_statistics"])
    printed = f"{float(row['published']) / 1e6:.4g} M: {row['source']}" if row["source"] else ""
    before, after = float(row["loss_before"]), float(row["loss_after"])
    return {
        "network": f"`{row['network']}`",
        "used by": row["papers"],
        "parameters (with statistics)": f"{trainable:,} ({all_of_it:,})",
        "printed": printed,
        "10⁹ operations": f"{float(row['forward_operations']) / 1e9:.3g} at {row['side']} px",
        "epoch here": f"{_time(float(row['epoch_seconds']))}, {int(row['epoch_images']):,} images",
        "loss": f"{before:.3g} → {after:.3g}, {row['trained_on']}",
    }


def _time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def main() -> None:
    """Measure every network, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Size, cost and a first training of every network.",
        epilog="example: python benchmarks/models.py --only resnet20-torch --seconds 5",
    )
    parser.add_argument("--only", nargs="+", help="names of networks; default: all")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of CPU for an epoch of digits, about"
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    runtime.settle()
    torch.set_num_threads(1)
    head, dirty = provenance.commit()
    origin = {
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "threads": 1,
        "torch": provenance.versions()["torch"],
    }
    rows: list[Row] = []
    for case in cases():
        if options.only and case.build not in options.only:
            continue
        rows.append(measured(case, options.seconds))
        print(f"{case.name}: {rows[-1]['epoch_seconds']:.0f} s an epoch", flush=True)
        store.write_rows(options.out / "models.csv", [{**row, **origin} for row in rows])
    print(table(rows))


if __name__ == "__main__":
    main()
