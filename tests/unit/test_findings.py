"""What a workflow says at its end: a line per paper, the page, or what failed and what to do."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.cli import ending, run
from mergesuite.experiment import spec
from mergesuite.judge import findings


@pytest.fixture
def paper():
    return spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})


def row(verdict, subject="mega-clean-pair", against="best-parent-pair", **other):
    known = {
        "claim": "c", "family": "primary", "verdict": verdict, "subject": subject,
        "against": against, "metric": "accuracy", "split": "test", "effect": "difference",
        "reported_difference": 0.015, "difference": 0.0012, "low": -0.004, "high": 0.0063, "n": 8,
    }  # fmt: skip
    return {**known, **other}


def test_a_line_counts_claims_and_says_reported_and_clean(paper):
    rows = [
        row("reproduced", subject="mega-released-pair", reported_difference=0.09),
        row("no gain"),
        row("cannot tell yet", subject="mega-pair"),
        row("direction only", family="secondary"),
        row("not run", subject="mega-deep", n=0),
        row("not comparable", subject=float("nan"), against=float("nan"), metric=float("nan")),
    ]
    assert findings.line(paper, rows) == (
        "1 of 3 claims holds, 1 open; reported +1.5 points, clean +0.1 [-0.4, 0.6] points, "
        "n = 8: no gain"
    )


def test_nothing_is_made_up_where_nothing_was_reported_or_measured(paper):
    unreported = [row("contradicted", reported_difference=float("nan"), low=float("nan"))]
    assert findings.line(paper, unreported) == (
        "0 of 1 claims hold; clean +0.1 points, n = 8: contradicted"
    )
    assert "none" in findings.line(paper, [row("not comparable", n=2)])
    assert findings.line(paper, [row("no gain", subject="mega-pair")]) == "0 of 1 claims hold"


def test_the_headline_is_a_clean_entry_against_the_best_parent(paper):
    others = [
        row("no gain", against="average-pair"),
        row("no gain", subject="mega-released-pair"),
        row("no gain", metric="cross_entropy"),
        row("no gain", family="secondary"),
    ]
    own = row("no gain", claim="own")
    assert findings.headline(paper, [*others, own]) is own
    assert findings.headline(paper, others) is None


def test_the_command_prints_what_verdicts_csv_says(compared, tmp_path, capsys):
    with fixture.copied(compared, tmp_path) as (_, results):
        assert run(["findings", "--papers", "mega", "--results", str(results)]) == 0
        table = pd.read_csv(results / "laptop/mega/verdicts.csv")
    own = table[(table["family"] == "primary") & table["verdict"].isin(findings.HOLDS)]
    said = capsys.readouterr().out
    assert said.startswith(f"mega: {len(own)} of ")
    assert len(said.splitlines()) == 1


def job(rule="train", log=(), **wildcards):
    return SimpleNamespace(
        rule=SimpleNamespace(name=rule), log=list(log), wildcards=wildcards,
        params=SimpleNamespace(papers=["mega"]), output=["results/laptop/report/mega.html"],
    )  # fmt: skip


def test_findings_come_with_a_page_and_not_without(compared, tmp_path, monkeypatch):
    with fixture.copied(compared, tmp_path) as (_, results):
        monkeypatch.chdir(tmp_path)
        page = job("report", profile="laptop")
        page.wildcards = SimpleNamespace(profile="laptop", page="mega")
        said = ending.well([job(), page], results)
        assert said[0] == "findings, profile laptop:"
        assert said[1].startswith("  mega: ")
        assert said[2] == "  page: results/laptop/report/mega.html"
        assert ending.well([page], results, Path("/far"))[2].endswith("/far/" + page.output[0])
        assert ending.well([job("train")], results) == []
        (results / "laptop/mega/verdicts.csv").write_text("damaged")
        assert "is not the file" in ending.well([page], results)[1]


def test_a_failure_names_jobs_their_reason_and_what_to_do(tmp_path):
    told, traced = tmp_path / "a.log", tmp_path / "b.log"
    told.write_text("epoch 1\nmergesuite: no space left\n")
    traced.write_text("Traceback\nKeyError\n")
    one = job(log=[told], profile="smoke", paper="mega", model="resnet56", seed="3")
    two = job(log=[traced], profile="smoke", paper="cade", model="a", seed="0")
    group = SimpleNamespace(jobs=[two])
    said = ending.badly([one, group, job("merge", [tmp_path / "none"])])
    assert said[0] == "failed: 3 jobs"
    assert said[1] == "  merge: it was killed, or could not be started"
    assert said[2] == f"  train cade a s0: see {traced}"
    assert said[3] == "  train mega resnet56 s3: no space left"
    assert "same command" in said[-1]


def test_many_failures_are_counted():
    said = ending.badly([job(seed=str(n)) for n in range(9)])
    assert len(said) == 2 + ending.SHOWN + 1
    assert said[-2] == "  and 4 more"
    assert len(ending.badly([])) == 1
