"""Every number of docs/findings.md is in the published files, where the page says."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mergesuite.report.wording import MINUS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
TITLES = {"MeGA": "mega", "Darwinian DE": "darwinian", "CADE": "cade"} | {
    "SA-SHADE-tri-ensin": "sa-shade"
}
NUMBER = rf"([+{MINUS}]\d+\.\d\d)"
QUOTED = rf"{NUMBER}\s+\[{NUMBER}, {NUMBER}\]\s*\(`([^`]+)`,\s+n\s+=\s+(\d+)\)"


def quoted():
    """Paper, profile, row, n and the three numbers of each quotation."""
    for part in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        title = part.split("\n", 1)[0]
        for section in re.split(r"^### ", part, flags=re.M)[1:]:
            (profile,) = re.findall(r"^`([\w-]+)`", section)
            for *numbers, row, n in re.findall(QUOTED, section):
                yield pytest.param(
                    TITLES[title], profile, " ".join(row.split()), int(n),
                    [float(x.replace(MINUS, "-")) for x in numbers],
                    id=f"{TITLES[title]}-{profile}-{row}",
                )  # fmt: skip


QUOTATIONS = list(quoted())


def published(paper, profile, row):
    """The row of the published table that a quotation names."""
    folder = ROOT / "results/published" / profile / paper
    kind, *names = row.split() if " " in row else ("claim", row)
    file, keys = {
        "claim": ("verdicts", ["claim"]),
        "step": ("waterfall", ["step"]),
        "control": ("controls", ["subject", "against"]),
        "trend": ("trends", ["trend", "line", "population"]),
    }[kind]
    table = pd.read_csv(folder / f"{file}.csv")
    for key, name in zip(keys, names, strict=True):
        table = table[table[key] == name]
    (found,) = table.to_dict("records")
    return found


@pytest.mark.parametrize(("paper", "profile", "row", "n", "numbers"), QUOTATIONS)
def test_a_number_is_the_published_one(paper, profile, row, n, numbers):
    found = published(paper, profile, row)

    assert [100 * found[key] for key in ("difference", "low", "high")] == pytest.approx(
        numbers, abs=0.0051
    )
    assert found["n"] == n


def test_no_interval_is_quoted_without_its_row():
    assert len(re.findall(rf"\[{NUMBER}, {NUMBER}\]", PAGE)) == len(QUOTATIONS)
    papers = {quotation.values[0] for quotation in QUOTATIONS}
    assert papers == set(TITLES.values())
