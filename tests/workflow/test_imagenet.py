"""The profile `imagenet` of both papers on a small folder of JPEGs: same specs, same rules."""

import csv
import json

import numpy as np
import pytest
import timm
import yaml
from PIL import Image
from safetensors.torch import save_file
from study import copied, snakemake

from mergesuite.core import streams
from mergesuite.models import initialise

CLASSES = ("n01440764", "n02102040", "n03445777")
TRAIN, VAL, HELD_OUT = 20, 6, 4
NET, WEIGHTS = "timm:test_resnet", "timm:test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """Photographs of mixed sizes; some are grey, in CMYK, or lie on their side."""
    folder, rng = tmp_path_factory.mktemp("jpegs"), np.random.default_rng(5)
    for part, count in (("train", TRAIN), ("val", VAL)):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                height, width = rng.integers(40, 90, 2)
                pixels = rng.integers(0, 160, (height, width, 3), dtype=np.uint8)
                pixels[..., label] += 90
                image, exif = Image.fromarray(pixels), Image.Exif()
                if i % 4 == 1:
                    image = image.convert("L")
                if i % 4 == 2:
                    image = image.convert("CMYK")
                if i % 4 == 3:
                    exif[0x0112] = 6
                image.save(folder / part / name / f"{i}.JPEG", exif=exif)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """What stands in for published weights: a net of 1,000 classes, under the name of its file."""
    net = timm.create_model(NET.removeprefix("timm:"), pretrained=False)
    initialise.as_torchvision(net, streams.generator("test", "weights"))
    folder = tmp_path_factory.mktemp("weights")
    save_file(net.state_dict(), folder / f"{WEIGHTS.removeprefix('timm:')}.safetensors")
    return folder


def smaller(profile, data):
    """The profile with the folder, the net and the lengths of this test in the place of its own."""
    text = json.dumps(profile)
    text = text.replace("torchvision:resnet50@IMAGENET1K_V1", WEIGHTS)
    profile = json.loads(text.replace("torchvision:resnet50", NET))
    profile["data"] |= {"name": f"folder:{data}", "held_out": HELD_OUT, "preprocess": {"crop": 48}}
    profile["replicates"] = profile["shared"]["net"]["seeds"] = 1
    profile["shared"]["held-out"]["batchnorm_images"] = 30
    for entry in profile["methods"].values():
        if entry and "images" in entry.get("fitness", {}):
            entry["fitness"]["images"] = entry["fitness"]["images"] and 12
    return profile


def test_both_papers_run_from_published_weights_to_the_page(tmp_path, jpegs, weights):
    folder = copied(tmp_path / "checkout")
    for paper, change in (("sa-shade", _sa_shade), ("darwinian", _darwinian)):
        file = folder / "replications" / paper / "paper.yaml"
        raw = json.loads(json.dumps(yaml.safe_load(file.read_text())))
        profile = smaller(raw["profiles"]["imagenet"], jpegs)
        change(profile)
        raw["profiles"]["imagenet"] = profile
        file.write_text(yaml.safe_dump(raw, sort_keys=False))

    snakemake(
        folder, "--config", "profile=imagenet", "papers=[sa-shade,darwinian]",
        MERGESUITE_WEIGHTS=weights, MERGESUITE_CACHE=tmp_path / "cache",
    )  # fmt: skip

    results = folder / "results/imagenet"
    assert (results / "report/index.html").is_file()
    started = json.loads((results / "sa-shade/train/aug9/s0/run.json").read_text())["start"]
    assert started["path"].endswith(f"{WEIGHTS.removeprefix('timm:')}.safetensors")
    with (results / "darwinian/runs.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["split"] for row in rows} >= {"search", "test", "gaussian-noise-3"}
    images = {row["split"]: int(row["n"]) for row in rows if row["metric"] == "accuracy"}
    assert images["test"] == images["contrast-3"] == VAL * len(CLASSES)
    assert images["search"] == HELD_OUT * len(CLASSES)


def _sa_shade(profile):
    for name, model in profile["models"].items():
        if model:
            model["recipe"] |= {"epochs": 5 if name == "s1-e40" else 1, "batch": 16}
    profile["shared"]["tuned"]["recipe"]["lr"] = 0.01
    profile["shared"]["length"] = {"generations": 2}


def _darwinian(profile):
    profile["models"]["ending"]["recipe"] |= {
        "epochs": 6, "keep": 6, "batch": 16, "micro_batch": 8, "lr": 0.01,
    }  # fmt: skip
    profile["populations"]["ending"] = {"epochs": 6}
    profile["shared"]["seen"]["images"] = 20
    profile["shared"] |= {"length": {"generations": 2}, "sade": {"generations": 1, "de_epochs": 2}}
