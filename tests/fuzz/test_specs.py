"""paper.yaml and reported.csv: written with harsh values, or with bytes changed."""

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mergesuite.cli import doctor
from mergesuite.experiment import loading
from mergesuite.experiment.spec import PROFILES

from .outcome import changed, settled, values, words

ROOT = Path(__file__).parents[2] / "replications"
TEXTS = [(ROOT / name / "paper.yaml").read_bytes() for name in ("mega", "sa-shade", "_template")]
RAWS = [yaml.safe_load(text) for text in TEXTS]
ROWS = (ROOT / "mega" / "reported.csv").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spec") / "paper"


def loads(folder: Path, paper: bytes, rows: bytes, profile: str) -> None:
    """A paper from these files: every reader of it, and the doctor, who knows all errors."""
    folder.mkdir(exist_ok=True)
    (folder / "paper.yaml").write_bytes(paper)
    (folder / "reported.csv").write_bytes(rows)
    settled(loading.paper, folder, profile)
    settled(loading.profiles, folder)
    settled(loading.reported, folder)
    settled(doctor.findings, folder, profile)


def places(raw, path=()):
    """The way to every value of a spec."""
    found = [path] if path else []
    parts = (
        raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    )
    for key, value in parts:
        found += places(value, (*path, key))
    return found


PLACES = [places(raw) for raw in RAWS]


@given(st.data())
def test_a_spec_with_other_values_and_keys(folder, data):
    which = data.draw(st.integers(0, len(RAWS) - 1))
    raw = copy.deepcopy(RAWS[which])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(PLACES[which]))
        at = raw
        try:
            for key in path[:-1]:
                at = at[key]
            match data.draw(st.sampled_from(["value", "key", "add", "drop"])):
                case "value":
                    at[path[-1]] = data.draw(values)
                case "key":
                    at[data.draw(st.one_of(words, st.integers()))] = at.pop(path[-1])
                case "add":
                    at[path[-1]][data.draw(words)] = data.draw(values)
                case "drop":
                    del at[path[-1]]
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took the place away
    text = yaml.dump(raw, allow_unicode=data.draw(st.booleans()), sort_keys=False)
    loads(folder, text.encode("utf-8", "surrogatepass"), ROWS, data.draw(st.sampled_from(PROFILES)))


@given(st.data())
def test_a_spec_with_other_bytes(folder, data):
    text = changed(data.draw, data.draw(st.sampled_from(TEXTS)))
    loads(folder, text, ROWS, data.draw(st.sampled_from(PROFILES)))


@given(st.data())
def test_reported_numbers_with_other_bytes(folder, data):
    (folder / "paper.yaml").parent.mkdir(exist_ok=True)
    (folder / "reported.csv").write_bytes(changed(data.draw, ROWS))
    settled(loading.reported, folder)


@given(st.text(alphabet="[]{}&*!|>'\"-:,#?%@ab \n\t\\", max_size=80))
def test_yaml_of_nothing_but_its_marks(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "paper.yaml").write_text(text)
    settled(loading.paper, folder)
