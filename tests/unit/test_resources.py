"""What jobs ask a scheduler for: enough, and the same on every machine."""

from pathlib import Path

import pandas as pd
import pytest

from mergesuite.experiment import config, resources
from mergesuite.experiment.jobs import Jobs
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "results/published/laptop").glob("*/runs.csv"))
DIGITS = Data(name="digits", sizes={"fit": 4000, "search": 400, "test": 800})
CIFAR = Data(name="cifar10")


@pytest.fixture(autouse=True)
def papers(monkeypatch):
    monkeypatch.setenv(config.FOLDER, str(ROOT / "replications"))


def needs(profile):
    found = {}
    for paper in config.usable(profile)[0]:
        jobs = Jobs(paper, profile)
        for subject, parts in jobs.subjects.items():
            ask = jobs.merge_need if parts else jobs.train_need
            found[paper, subject] = ask(subject, "auto")
    return found


def test_the_machine_that_submits_does_not_matter(monkeypatch):
    before = needs("full")
    monkeypatch.setattr(resources, "gpus_here", lambda: 8)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert needs("full") == before


def test_trainings_of_full_size_want_a_gpu_and_small_ones_do_not():
    full, laptop = needs("full"), needs("laptop")
    assert full["mega", "resnet56"].gpu == full["cade", "source"].gpu == 1
    assert {need.gpu for need in laptop.values()} == {0}


@pytest.mark.parametrize(
    "published", sorted((ROOT / "results/published/laptop").glob("*/runs.csv"))
)
def test_no_laptop_job_measured_needs_more_than_it_asks_for(published):
    runs = pd.read_csv(published)
    asked = needs("laptop")
    for (subject, metric), part in runs.groupby(["subject", "metric"]):
        need = asked.get((published.parent.name, subject))
        if need and metric == "peak_mb":
            assert part["value"].max() < need.mem_mb
        if need and metric == "seconds":
            assert part["value"].max() < need.runtime * 60


def test_more_work_asks_for_more():
    small, large = Network(build="resnet8-w8"), Network(build="resnet110")
    recipe, longer = Recipe(epochs=50), Recipe(epochs=500)
    need = resources.train(small, DIGITS, recipe, "auto")
    assert resources.train(large, CIFAR, recipe, "auto").runtime > need.runtime
    assert resources.train(large, CIFAR, longer, "cuda").runtime > need.runtime
    assert resources.train(small, DIGITS, recipe, "cuda").gpu == 1
    assert resources.train(large, CIFAR, longer, "cpu").gpu == 0
    few, many = (Merge(use="mega", params={"population": n}) for n in (4, 4000))
    wide = Network(build="sew-resnet34")
    needed = [resources.merge(wide, CIFAR, how, 2, "auto").mem_mb for how in (few, many)]
    assert needed[1] > needed[0] + 4000 * 4 * 20


@pytest.mark.parametrize(
    ("use", "params", "parents", "expected"),
    [
        ("mega", {"population": 20, "generations": 20}, 2, 400),
        ("mega", {"population": 20, "generations": 20}, 8, 2800),
        ("de", {"generations": 10}, 6, 60),
        ("darwinian", {"generations": 10, "de_epochs": 10}, 20, 2000),
        ("random-search", {"evaluations": 77}, 2, 77),
        ("uniform-average", {}, 5, 0),
    ],
)
def test_evaluations_are_estimated_from_the_method(use, params, parents, expected):
    assert resources.evaluations(Merge(use=use, params=params), parents) == expected


@pytest.mark.parametrize(
    ("build", "parameters"),
    [("resnet56", 0.862), ("resnet8-w8", 0.02), ("resnet152-mega", 3.51), ("sew-resnet34", 21.3),
     ("densenet121-mega", 7.0), ("timm:anything", 26.0)],
)  # fmt: skip
def test_sizes_are_about_those_of_the_networks(build, parameters):
    assert resources.size(build)[1] == pytest.approx(parameters, rel=0.6)


def test_a_folder_of_images_asks_for_the_time_of_its_own_images(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 10), (many, 1000)):
        (folder / "train" / "cat").mkdir(parents=True)
        for number in range(count):
            (folder / "train" / "cat" / f"{number}.png").touch()
    minutes = [
        resources.evaluate(Network(build="timm:net"), Data(name=f"folder:{where}"), 20, 0, "cpu")
        for where in (few, many, tmp_path / "none")
    ]
    assert minutes[0].runtime < 60 < minutes[1].runtime < minutes[2].runtime / 10
