"""Whoever has results but no torch can still judge them, draw them and read the page."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import report_fixture as fixture

PROGRAM = """
import json, sys

class Refusing:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "spikingjelly", "sklearn"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refusing())
from mergesuite import cli
for words in json.loads(sys.argv[1]):
    print(words[0], cli.run(words), file=sys.stderr)
"""
PAGE = (Path(__file__).parents[2] / "docs/in-a-paper.md").read_text(encoding="utf-8")
PAPER = ["--paper", "mega"]
COMMANDS = [
    ["compare", *PAPER],
    ["tables", *PAPER],
    *[shlex.split(line)[1:] for line in re.findall(r"^mergesuite .*$", PAGE, re.M)],
    ["report", "--papers", "mega"],
    ["accept", *PAPER, "--only-pin"],
    ["check", "--papers", "mega"],
    ["verify", "results/laptop/mega"],
    ["list"],
    ["doctor", "mega", "--profile", "laptop"],
]


def test_results_are_judged_drawn_and_checked_where_torch_cannot_be_imported(tmp_path):
    with fixture.made(tmp_path):
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment["MERGESUITE_REPLICATIONS"] = str(tmp_path / "replications")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert [words[0] for words in COMMANDS].count("figures") == 1
    assert done.stderr.splitlines() == [f"{words[0]} 0" for words in COMMANDS]
    run = tmp_path / "results/laptop"
    assert f"{Path('results/laptop/mega/for-paper/double')}\n" in done.stdout
    shown = {file.stem for file in (run / "mega/for-paper/double").glob("*.pdf")}
    # The figure null is in words.
    assert shown == {"fitness", "segment", "gains", "reported", "waterfall", "trends", "leakage"}
    assert list((run / "mega/for-paper/tables").glob("mega-*.tex"))
    assert "mega" in (run / "report/index.html").read_text()
