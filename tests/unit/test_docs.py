"""What the documents name is there: files, modules, keys of the configuration."""

import ast
import importlib
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mergesuite.experiment import declared, pages
from mergesuite.experiment.config import Config, read_config

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "config" / "README.md"]
PACKAGES = "cli|core|data|experiment|fitness|judge|methods|models|report|stages|trying"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_names_of_the_package_are_there(page):
    text = page.read_text(encoding="utf-8")
    files = re.findall(rf"`(?:src/mergesuite/)?((?:{PACKAGES})/[a-z_]+\.py)`", text)
    names = re.findall(r"mergesuite((?:\.[a-z_]+)+)", text)

    assert [f for f in files if not (ROOT / "src" / "mergesuite" / f).is_file()] == []
    assert [name for name in names if not exists(f"mergesuite{name}")] == []


def test_the_page_of_methods_is_current():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")

    assert page == pages.text(), f"run {pages.COMMAND}"


def test_the_page_of_methods_links_to_each_and_says_what_each_parameter_is():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", page, re.M)

    assert sorted(headings) == sorted(re.findall(r"\]\(#([a-z0-9-]+)\)", page))
    assert sorted(headings) == list(declared.methods())
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []


def exists(name):
    """Whether a dotted name is a module, or something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), attribute)
    return True


def test_each_key_of_the_configuration_is_explained_and_has_its_default():
    explained = re.findall(r"^\| `(\w+)` \|", (ROOT / "config/README.md").read_text(), re.M)
    written = yaml.safe_load((ROOT / "config/config.yaml").read_text())

    assert set(explained) == set(Config.model_fields)
    assert read_config(written) == Config()


def test_the_small_configuration_is_of_smoke():
    small = read_config(yaml.safe_load((ROOT / ".test/config/config.yaml").read_text()))

    assert (small.profile, small.papers) == ("smoke", ["mega"])


def test_the_errors_that_are_explained_are_said_somewhere():
    page = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.+?)`(?: or `(.+?)`)?(?: \(status \d\))? \|", page, re.M)
    said = [*literals()]

    parts = [part.strip() for pair in quoted for text in pair for part in text.split("...")]
    assert len(quoted) >= 8
    assert [part for part in parts if part and not any(part in text for text in said)] == []


def literals():
    """Every string of the package, parts of one message joined, what is filled in left out."""
    for file in (ROOT / "src" / "mergesuite").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_page_of_data_says_what_the_study_under_a_limit_held():
    (row,) = pd.read_csv(ROOT / "docs" / "capped.csv").to_dict("records")
    text = " ".join((ROOT / "docs" / "data.md").read_text(encoding="utf-8").split())

    assert row["peak_mb"] < row["limit_mb"] == row["cap_mb"] < row["decoded_mb"]
    for number in (row["images"], row["folder_mb"], row["decoded_mb"]):
        assert f"{number:,}" in text
    assert f"{row['peak_mb']} MB at most" in text
    assert f"{row['seconds'] / 60:.0f} minutes" in text
