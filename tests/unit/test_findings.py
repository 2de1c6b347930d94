"""What a workflow says at its end: a line per paper, the page, or what failed and what to do."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import report_fixture as fixture

from mergesuite.cli import ending, run
from mergesuite.judge.verdict import MEANINGS
from mergesuite.report import answers, findings


def words(*verdicts, family="primary"):
    return pd.DataFrame([{"family": family, "verdict": verdict} for verdict in verdicts])


def test_claims_are_counted_that_are_the_papers_own_and_can_be_judged():
    own = words("reproduced", "no gain", "cannot tell yet", "not run", "not comparable")
    ours = words("direction only", family="secondary")
    assert findings.counted(pd.concat([own, ours])) == "1 of 3 claims holds, 1 open."
    assert findings.counted(words("contradicted", "direction only", "smaller than reported")) == (
        "2 of 3 claims hold."
    )
    assert findings.counted(words("not run", "not comparable")) == ""


def test_the_command_prints_what_verdicts_csv_says(compared, tmp_path, capsys):
    with fixture.copied(compared, tmp_path) as (_, results):
        assert run(["findings", "--papers", "mega", "--results", str(results)]) == 0
        table = pd.read_csv(results / "laptop/mega/verdicts.csv")
        judged = answers.read("mega", "laptop", results)
    own = table[(table["family"] == "primary") & table["verdict"].isin(findings.HOLDS)]
    said = capsys.readouterr().out
    assert said.startswith(f"mega: {len(own)} of ")
    assert answers.find(*judged).answer in said
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


def test_the_readme_says_what_was_published_and_what_its_words_mean(capsys):
    root = Path(__file__).parents[2]
    published = str(root / "results/published")
    readme = (root / "README.md").read_text(encoding="utf-8")
    for profile in ("laptop", "cifar-cpu"):
        assert run(["findings", "--results", published, "--profile", profile, "--markdown"]) == 0
        assert capsys.readouterr().out in readme, f"paste what findings prints at {profile}"
    assert [word for word, text in MEANINGS.items() if f"| {word} | {text} |" not in readme] == []
