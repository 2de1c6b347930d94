"""The examples of the library's page and the notebook run as they stand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run(cells, folder, monkeypatch):
    """Cells one after the other, as a reader runs them; what they leave."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(mpl, "rcParams", mpl.rcParams.copy())
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"cell {number}", "exec"), names)
    return names


def test_the_examples_of_the_page(tmp_path, monkeypatch, capsys):
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    names = run(re.findall(r"```python\n(.*?)```", page, re.S), tmp_path, monkeypatch)

    said = capsys.readouterr().out
    assert (tmp_path / "compared/index.html").is_file()
    assert "direction only" in said  # the verdict
    assert names["score"] >= float(names["scores"].correct.min())
    assert {"mine", "halfway"} & set(names["found"].table()["result"])


def test_every_public_name_has_an_example():
    page = (DOCS / "library.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))

    for name in ("WeightSpace", "create", "Evaluator", "build", "load", "compare", "verdict"):
        assert re.search(rf"^(from|import).*\b{name}\b", code, re.M), name


def test_the_notebook(tmp_path, monkeypatch, capsys):
    notebook = json.loads((DOCS / "compare.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = run(["".join(cell["source"]) for cell in cells], tmp_path, monkeypatch)

    assert all(cell["outputs"] for cell in cells if "print" in "".join(cell["source"]))
    assert names["found"].sentence


def test_to_import_the_package_is_cheap():
    said = "import sys, mergesuite; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False"]


def test_a_name_that_the_package_has_not():
    import mergesuite

    with pytest.raises(AttributeError, match="no attribute 'comparison'"):
        _ = mergesuite.comparison
