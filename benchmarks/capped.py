r"""A whole study on a folder of images that is larger than the memory it may use.

    systemd-run --user --scope -p MemoryMax=1G -p MemorySwapMax=0 \
        python benchmarks/capped.py --out docs

JPEGs of mixed sizes are made. Then the workflow trains two networks on them at 224 x 224 pixels,
merges with the methods of all four papers and with every control, measures and reports, as
`snakemake --cores 1` runs any paper. All the while the memory of Snakemake and of everything that
it has started is watched together, daemons too: their proportional set size (PSS), in which memory
that several share counts once, and mapped pages of decoded images count too. The script fails if it
was more than `--cap`. Generations are few: what is shown is memory, and not what the methods reach.

Where the kernel sets a limit (a memory cgroup, as above), the study has ended under it, and this
script and the system's cache of the files that it reads were under it too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import memory
import pandas as pd
import photographs
import planning
import yaml
from tabulate import tabulate

from mergesuite.core import frames, provenance

SCORED = 200
"""Images of the splits fit and search."""
SIDES = (450, 750)
"""Pixels on a side of the JPEGs: together larger than the memory, as are their decoded pixels."""
NET = "timm:mobilenetv3_small_050"
GENERATIONS = 2
SAVING = {"MERGESUITE_FORK": "no", "MALLOC_MMAP_THRESHOLD_": "1000000"}
"""No process that waits with everything imported; and glibc gives large blocks back at once."""
PAPER = """
title: Two networks on a folder of images
cite: {{text: "made up: what a study needs, not what it finds"}}
data: {{name: "folder:{folder}", normalise: true, preprocess: {{resize: 256, crop: 224}}}}
shared:
  held-out: {{split: search, images: {scored}, batchnorm: re-estimate, batchnorm_images: {scored}}}
  length: {{generations: {generations}}}
models:
  net:
    build: "{net}"
    seeds: 2
    recipe:
      {{optimiser: adam, lr: 0.003, epochs: 6, keep: 6, batch: 50, micro_batch: 5,
        augment: resized-crop-flip}}
populations:
  pair: {{model: net, take: 2, entries: [mega, average, interpolation, ens-logits]}}
  ending: {{model: net, epochs: 6}}
replicates: 1
methods:
  mega:
    use: mega
    populations: [pair]
    fitness: {{like: held-out}}
    params: {{like: length, population: 10}}
  darwinian: {{use: darwinian, fitness: {{like: held-out}}, params: {{like: length}}}}
  cade: {{use: cade, part: parameters, fitness: {{like: held-out}}, params: {{like: length}}}}
  sa-shade: {{use: sa-shade, fitness: {{like: held-out}}, params: {{like: length}}}}
  interpolation:
    use: interpolation-grid
    populations: [pair]
    fitness: {{like: held-out}}
    params: {{points: 5}}
  swa: {{use: swa, populations: [ending]}}
  train-on: {{params: {{batch: 5}}}}
  lawa: {{use: lawa, populations: [ending], fitness: {{like: held-out}}}}
controls: {{budget_of: darwinian, fitness: {{like: held-out}}}}
"""


def study(folder: Path, images: Path, scored: int) -> None:
    """A copy of the workflow with one paper, on `images`; a search scores so many of them."""
    planning.study(folder, 1)
    for other in (folder / "replications").iterdir():
        other.rename(folder / other.name)
    paper = folder / "replications" / "folder"
    paper.mkdir()
    text = PAPER.format(folder=images, net=NET, generations=GENERATIONS, scored=scored)
    raw = yaml.safe_load(text)
    (paper / "paper.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    header = (folder / "_template" / "reported.csv").read_text(encoding="utf-8").splitlines()[0]
    (paper / "reported.csv").write_text(header + "\n", encoding="utf-8")


def run(folder: Path) -> dict[str, Any]:
    """Run it to the page: seconds and the most bytes that were held.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    words = [
        "--cores",
        "1",
        "--config",
        "profile=full",
        "papers=folder",
        "device=cpu",
        "--show-failed-logs",
    ]
    mark = f"MERGESUITE_STUDY={folder}"
    environment = os.environ | SAVING | {"MERGESUITE_STUDY": str(folder)}
    workflow = subprocess.Popen(["snakemake", *words], cwd=folder, env=environment)
    with memory.Watch(lambda: memory.marked(mark)) as watch:
        failed = workflow.wait()
    if failed or not (folder / "results/full/report/index.html").is_file():
        raise SystemExit("the study failed")
    return {"seconds": round(time.perf_counter() - start), "peak_mb": round(watch.peak / 2**20)}


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description="The memory of a whole study on a folder of images.",
        epilog="example: python benchmarks/capped.py --images 300",
    )
    parser.add_argument("--images", type=int, default=7200, help="JPEGs of the split test")
    parser.add_argument("--cap", type=int, default=1024, help="MB that it may take")
    parser.add_argument("--out", type=Path, help="writes capped.csv there")
    options = parser.parse_args()
    (head, dirty), limit = provenance.commit(), memory.limit()
    with tempfile.TemporaryDirectory() as scratch:
        cache, images, work = (Path(scratch) / name for name in ("cache", "images", "work"))
        os.environ["MERGESUITE_CACHE"] = str(cache)
        splits = {"fit": SCORED, "search": SCORED, "test": options.images}
        photographs.make(images, splits, SIDES)
        work.mkdir()
        study(work, images, SCORED)
        row = run(work)
        runs = pd.read_csv(work / "results/full/folder/runs.csv", usecols=["subject"])
        row |= {
            "cap_mb": options.cap,
            "decoded_mb": round(_bytes(cache) / 2**20),
            "folder_mb": round(_bytes(images) / 2**20),
            "images": sum(splits.values()),
            "limit_mb": limit and limit >> 20,
            "results": runs["subject"].nunique(),
            "commit": head + ("+" if dirty else ""),
            "device": provenance.processor(),
            "torch": provenance.versions()["torch"],
        }
    print(tabulate([row], headers="keys"))
    if row["peak_mb"] > options.cap:
        sys.exit(f"the study took {row['peak_mb']} MB")
    if options.out:
        frames.write_csv(options.out / "capped.csv", pd.DataFrame([row]))


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
