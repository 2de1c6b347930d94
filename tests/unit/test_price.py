"""What a paper costs is counted from its spec, and a dry run says it."""

from pathlib import Path

import pandas as pd
import pytest

from mergesuite.cli import doctor
from mergesuite.experiment import config, price, resources
from mergesuite.experiment.jobs import Jobs
from mergesuite.experiment.settings import Data, Merge, Network

ROOT = Path(__file__).parents[2]
COUNTED = pd.read_csv(ROOT / "docs/models.csv").set_index("network")


@pytest.fixture(autouse=True)
def papers(monkeypatch):
    monkeypatch.setenv(config.FOLDER, str(ROOT / "replications"))


@pytest.mark.parametrize("network", COUNTED.index)
def test_multiply_adds_are_those_that_a_library_counts(network):
    name, _, steps = network.partition(" (T = ")
    ours, _ = resources.size(name)
    share = float(steps.rstrip(")")) / 4 if steps else 1.0  # the table has four time steps
    assert ours * share == pytest.approx(COUNTED["forward_operations"][network] / 2e9, rel=0.5)


def test_a_paper_s_trainings_are_counted_by_hand():
    jobs = Jobs("mega", "full")
    trained = [job for job in price.jobs_of(jobs) if job.stage == "train"]
    each = {job.name: job.need.multiply_adds for job in trained}
    # Fifty epochs: 45,000 images forward and backward, 5,000 to validate on.
    counted = COUNTED["forward_operations"]["resnet56"] / 2 * 50 * (3 * 45_000 + 5_000)
    assert each["resnet56"] == pytest.approx(counted, rel=0.05)
    assert sum(job.name == "resnet56" for job in trained) == 16


def test_training_on_costs_its_backward_passes_too():
    network, data = Network(build="resnet20"), Data(name="cifar10")
    search = Merge(use="de", params={"generations": 10}, fitness={"images": 100})
    on = Merge(use="train-on")
    searched = resources.merge(network, data, search, 6, "cpu").multiply_adds
    assert resources.merge(network, data, on, 6, "cpu", search).multiply_adds == pytest.approx(
        3 * searched
    )
    for told in ({"images": 90_000}, {"epochs": 2}):
        need = resources.merge(network, data, Merge(use="train-on", params=told), 6, "cpu")
        assert need.multiply_adds == pytest.approx(3 * 90_000 * resources.size("resnet20")[0] * 1e9)


@pytest.mark.parametrize("paper", ["mega", "darwinian", "cade", "sa-shade"])
def test_a_dry_run_says_the_hours_of_the_docs(paper):
    table = pd.read_csv(ROOT / "docs/scale.csv").query("profile == 'full' and gpus == 1")
    (hours,) = table[table["paper"] == paper]["gpu_hours"]  # with the start of each process
    assert price.gpu_hours(Jobs(paper, "full")) == pytest.approx(hours, rel=0.1, abs=1.5)
    (line,) = [line for line in doctor.summary([(paper, "full")]) if "GPU hours" in line]
    assert line.startswith(f"{paper}: about ")
    assert not [line for line in doctor.summary([(paper, "laptop")]) if "GPU hours" in line]
