import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.core import frames, sealed
from mergesuite.errors import UserError
from mergesuite.judge.compare import VERDICT_COLUMNS
from mergesuite.report import publish
from mergesuite.stages.columns import COLUMNS, WHOLE


def finished(folder, text):
    (folder / "r/laptop/p/figures").mkdir(parents=True)
    (folder / "p").mkdir()
    (folder / "p/README.md").write_text(text)
    common = {"verdict": "no gain", "why": "0 is inside", "effect": "difference", "n": 5}
    common |= {"family": "primary", "level": 0.9875, "claim": "c"}
    verdicts = [
        {"text": "a gains", "metric": "accuracy", "difference": 0.01, "low": -0.02, "high": 0.04}
        | {"pairs_needed": 12, "claim": "b"},
        {"text": "less loss", "metric": "cross_entropy", "difference": -0.0297, "low": -0.04}
        | {"high": -0.019, "pairs_needed": float("nan"), "family": "secondary", "claim": "d"},
        {"text": "cheap", "metric": "forward_images", "difference": 9.9, "low": 9.1, "high": 10.4}
        | {"effect": "ratio", "pairs_needed": 3},
        {"text": "large", "verdict": "not comparable", "why": "no data", "n": 0, "effect": None},
    ]
    table = pd.DataFrame([common | row for row in verdicts])
    out = folder / "r/laptop/p"
    fixture.write_table(out / "verdicts.csv", table.reindex(columns=VERDICT_COLUMNS))
    run = dict.fromkeys(WHOLE, 1) | {"commit": "abc", "device": "CPU X"}
    fixture.write_table(out / "runs.csv", pd.DataFrame([run]).reindex(columns=COLUMNS))
    with sealed.describing(sealed.beside(out / "figures")) as to_write:
        to_write(out / "figures/gains.svg").write_text("<svg/>")
    with sealed.describing(sealed.beside(out / "tables")) as to_write:
        price = {"claim": ["b", "d"], "core_hours": [1.234, None], "images_needed": [None, 41234]}
        frames.write_csv(to_write(out / "tables/price.csv"), pd.DataFrame(price))
    return folder / "p", "laptop", folder / "r"


def put_out(*run):
    publish.publish(*run, publish.readme(*run))


def test_the_block_is_replaced_and_the_rest_stays(tmp_path):
    text = f"before\n{publish.BEGIN}\nreplace me\n{publish.END}\nafter\n"
    paper = finished(tmp_path, text)
    put_out(*paper)
    put_out(*paper)
    made = (tmp_path / "p/README.md").read_text()
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert "replace me" not in made
    assert made.count("a gains") == 1
    assert "abc" in made
    assert "CPU X" in made
    assert (tmp_path / "r/published/laptop/p/figures/gains.svg").read_text() == "<svg/>"


def test_only_the_last_run_is_published_and_what_others_put_beside_it_stays(tmp_path):
    paper = finished(tmp_path, f"{publish.BEGIN}\n{publish.END}\n")
    published = tmp_path / "r/published/laptop/p"
    (published / "figures").mkdir(parents=True)
    for name in ("trends.csv", "figures/old.svg", "notes.txt"):
        (published / name).write_text("of an earlier run")
    put_out(*paper)

    assert sorted(str(f.relative_to(published)) for f in published.rglob("*") if f.is_file()) == [
        "figures/gains.svg",
        "notes.txt",
        "runs.csv",
        "verdicts.csv",
    ]


def test_every_effect_is_in_its_own_unit_with_family_and_pairs_needed(tmp_path):
    put_out(*finished(tmp_path, f"{publish.BEGIN}\n{publish.END}\n"))
    lines = (tmp_path / "p/README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    head, rows = cells[0], {row[0]: row for row in cells[2:]}

    assert head == [
        "claim", "family", "verdict", "measured", "level", "n", "pairs needed", "why",
    ]  # fmt: skip
    assert rows["a gains"][3:7] == ["+1.00 [\u22122.00, +4.00] points", "98.8 %", "5", "12 (1.2 h)"]
    assert rows["less loss"][3] == "\u22120.030 [\u22120.040, \u22120.019] nats"
    assert rows["less loss"][1::5] == ["secondary", "no number (> 41,000 images)"]
    assert rows["cheap"][3] == "9.9 [9.1, 10.4] \u00d7"
    assert rows["large"][2:7] == ["not comparable", *["\u2013"] * 4]


def test_a_readme_without_markers_is_left_alone(tmp_path):
    paper = finished(tmp_path, "text")
    with pytest.raises(UserError, match="lacks the lines"):
        put_out(*paper)
    assert (tmp_path / "p/README.md").read_text() == "text"


def test_a_marker_in_a_claim_does_not_make_the_readme_grow(tmp_path):
    paper = finished(tmp_path, f"a\n{publish.BEGIN}\n{publish.END}\nb\n")
    file = tmp_path / "r/laptop/p/verdicts.csv"
    table = pd.read_csv(file)
    table["text"] = f"it {publish.END} gains | {publish.BEGIN} <b>"
    fixture.write_table(file, table)
    sizes = []
    for _ in range(3):
        put_out(*paper)
        sizes.append(len((tmp_path / "p/README.md").read_text()))
    text = (tmp_path / "p/README.md").read_text()
    assert len(set(sizes)) == 1
    assert (text.count(publish.BEGIN), text.count(publish.END)) == (1, 1)
    assert "<b>" not in text
