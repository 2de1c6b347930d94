import pandas as pd
import pytest

from mergesuite.errors import UserError
from mergesuite.report import publish


def finished(folder, text):
    (folder / "r/laptop/p/figures").mkdir(parents=True)
    (folder / "p").mkdir()
    (folder / "p/README.md").write_text(text)
    verdict = {
        "text": "a gains", "verdict": "within noise", "why": "0 is inside", "effect": "difference",
        "difference": 0.01, "low": -0.02, "high": 0.04, "n": 5,
    }  # fmt: skip
    pd.DataFrame([verdict]).to_csv(folder / "r/laptop/p/verdicts.csv")
    pd.DataFrame([{"commit": "abc", "device": "CPU X"}]).to_csv(folder / "r/laptop/p/runs.csv")
    (folder / "r/laptop/p/figures/gains.svg").write_text("<svg/>")
    return folder / "p", "laptop", folder / "r"


def test_the_block_is_replaced_and_the_rest_stays(tmp_path):
    text = f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n"
    paper = finished(tmp_path, text)
    publish.publish(*paper)
    publish.publish(*paper)
    made = (tmp_path / "p/README.md").read_text()
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert "old" not in made
    assert made.count("within noise") == 1
    assert "+1.00 [\u22122.00, +4.00]" in made
    assert "abc" in made
    assert "CPU X" in made
    assert (tmp_path / "r/published/laptop/p/figures/gains.svg").read_text() == "<svg/>"


def test_a_readme_without_markers_is_left_alone(tmp_path):
    paper = finished(tmp_path, "text")
    with pytest.raises(UserError, match="lacks the lines"):
        publish.publish(*paper)
    assert (tmp_path / "p/README.md").read_text() == "text"
