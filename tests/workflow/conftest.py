"""A checkout of its own, and one in which the smoke profile of MeGA has run."""

import json

import pytest
import yaml
from study import copied, snakemake


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def finished(checkout):
    """The smoke profile of MeGA, run to the end by its own target."""
    done = snakemake(checkout, "mega", "--config", "profile=smoke")
    (checkout / "said.txt").write_text(done.stderr)
    return checkout


@pytest.fixture
def spec(finished):
    """A maker of changes to MeGA's paper.yaml that are taken back afterwards."""
    file = finished / "replications/mega/paper.yaml"
    before = file.read_text()

    def change(edit):
        raw = json.loads(json.dumps(yaml.safe_load(before)))  # anchors become entries of their own
        edit(raw)
        file.write_text(yaml.safe_dump(raw, sort_keys=False))

    yield change
    file.write_text(before)
