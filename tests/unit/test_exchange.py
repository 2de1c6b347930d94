"""verdicts.json: valid by its schema, and its numbers are those of verdicts.csv."""

import json
import math
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.judge import compare, exchange
from mergesuite.report import publish

ROOT = Path(__file__).parents[2]
PLACES = {
    "reported": ("reported", "subject"),
    "reported_against": ("reported", "against"),
    "reported_difference": ("reported", "effect"),
    "measured": ("measured", "subject"),
    "measured_against": ("measured", "against"),
    "difference": ("measured", "effect"),
    "low": ("measured", "low"),
    "high": ("measured", "high"),
    "level": ("measured", "level"),
    "n": ("measured", "n"),
    "detectable": ("power", "detectable"),
    "interest": ("power", "interest"),
    "pairs_needed": ("power", "pairs_needed"),
}
"""Column of verdicts.csv -> keys of a claim."""


@pytest.fixture(scope="module")
def folder(compared):
    return compared / "results/laptop/mega"


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))


def test_it_is_valid_by_the_schema_that_is_shipped(document):
    schema = json.loads((ROOT / "workflow/schemas/verdicts.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    for key, value in (("verdict", "true"), ("text", None), ("more", 1)):
        wrong = json.loads(json.dumps(document))
        wrong["claims"][0][key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_schema_is_current():
    shipped = (ROOT / "workflow/schemas/verdicts.schema.json").read_text()
    assert shipped == exchange.schema_text(), "run python -m mergesuite.judge.exchange"


def test_its_numbers_are_those_of_the_table(folder, document):
    table = pd.read_csv(folder / "verdicts.csv")
    assert [claim["id"] for claim in document["claims"]] == list(table["claim"])
    for claim, row in zip(document["claims"], table.to_dict("records"), strict=True):
        for column, (part, key) in PLACES.items():
            value = claim[part][key]
            assert value == row[column] if math.isfinite(row[column]) else value is None, column
        for key in ("family", "text", "verdict", "leaky"):
            assert claim[key] == row[key]
        assert (claim["twin"] or {}).get("excess") == (
            None if pd.isna(row["excess"]) else row["excess"]
        )
    assert any(claim["twin"] for claim in document["claims"])


def test_each_claim_says_where_its_numbers_are_from(document):
    claims = {claim["id"]: claim for claim in document["claims"]}
    leaky = next(claim for claim in document["claims"] if claim["leaky"])
    entry = leaky["subject"].rpartition("-")[0]
    assert leaky["protocol"] == fixture.SPEC["methods"][entry].get("protocol", "clean")
    assert leaky["commits"] == ["abcdef012345"]
    assert leaky["code"] == ["fedcba987654"]
    assert leaky["specs"]
    environment = document["environments"][leaky["environments"][0]]
    assert environment["torch"] == "2.15.0"
    assert {source["id"] for source in leaky["reported"]["sources"]} <= {
        line.split(",")[0] for line in fixture.REPORTED.splitlines()
    }
    assert claims["scales"]["metric"] is None
    assert document["paper"]["doi"].startswith("10.48550/arXiv.")
    assert "v" not in document["paper"]["doi"].rpartition("arXiv.")[2]


def test_it_is_published_and_the_same_each_time(compared, tmp_path):
    assert "verdicts.json" in publish.KEPT
    with fixture.copied(compared, tmp_path) as (paper, results):
        file = results / "laptop/mega/verdicts.json"
        before = file.read_bytes()
        compare.write(paper, "laptop", results)
        assert file.read_bytes() == before
