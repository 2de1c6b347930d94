"""What the doctor finds in a spec, one disease at a time."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from mergesuite.cli import doctor, run
from mergesuite.experiment import config, loading, shorthand, yaml_file
from mergesuite.report.publish import BEGIN, END

TEMPLATE = Path(__file__).parents[2] / "replications" / "_template"


@pytest.fixture
def papers(tmp_path, monkeypatch):
    """A folder for replications, empty."""
    monkeypatch.setenv(config.FOLDER, str(tmp_path / "replications"))
    return tmp_path / "replications"


@pytest.fixture
def ill(papers):
    """The template, written to the end, with changes laid over it, as replications/mine."""
    folder = papers / "mine"
    shutil.copytree(TEMPLATE, folder)
    for file in folder.iterdir():
        file.write_text(file.read_text().replace(doctor.TODO, ""))

    def make(change):
        raw = shorthand.laid(yaml_file.read(folder / "paper.yaml"), change)
        (folder / "paper.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return folder

    return make


MEGA = {"use": "mega", "protocol": "released", "params": {"population": 4, "generations": 3}}
LEAKY = {**MEGA, "leaky": True, "fitness": {"split": "test"}}
SMALLER = {"params": {"population": 3}}


@pytest.mark.parametrize(
    ("change", "kind", "where", "what", "profile"),
    [
        ({"titel": 1}, "error", "paper.yaml", "titel: unknown key (did you mean 'title'?)", "full"),
        ({"replicates": 0}, "error", "paper.yaml", "replicates", "full"),
        (
            {"claims": {"beats-average": {"reported": ["t1-sopu"]}}},
            "error", "claims.beats-average", "did you mean 't1-soup'", "full",
        ),
        (
            {"populations": {"p": {"model": "parent", "files": ["a.pt", "b.pt"]}}},
            "error", "populations.p.files", "a.pt", "full",
        ),
        (
            {"models": {"parent": {"start": "w.pt"}}},
            "error", "models.parent.start", "w.pt", "full",
        ),
        (
            {"claims": {"beats-average": {"batchnorm": "keep"}}},
            "doubt", "claims.beats-average.batchnorm", "soup-clean optimised re-estimate", "full",
        ),
        (
            {"claims": {"gain-two": {"against": "best-parent-bn-pair"}}},
            "doubt", "claims.gain-two.against", "best-parent-bn was picked under re-est", "laptop",
        ),
        (
            {"claims": {"x": {"text": "x", "subject": "soup-clean-pair", "batchnorm": "re-estimate",
                              "against": "best-parent-pair"}}},
            "doubt", "claims.x.against", "best-parent was picked under keep", "laptop",
        ),
        (
            {"claims": {"gain": {"interest": 0.005, "because": "x"}}},
            "error", "claims.gain-two.interest", "more than half of the reported", "full",
        ),
        (
            {"claims": {"beats-average": {"metric": "cross_entropy", "direction": "lower"}}},
            "error", "claims.beats-average", "say how much cross_entropy", "full",
        ),
        ({"replicates": 2}, "doubt", "claims.beats-average", "2 replicates", "laptop"),
        (
            {"methods": {"m": {**MEGA, "leaky": True, "fitness": {"split": "test"}}}},
            "doubt", "methods.m", "leaky, and no twin", "full",
        ),
        (
            {"methods": {"m": {**LEAKY, "twin": "n"}, "n": {**MEGA, "part": "parameters",
                         "fitness": {"batchnorm": "re-estimate"}}}},
            "doubt", "methods.m.twin", "more than its images: part, fitness.batchnorm", "full",
        ),
        (
            {"populations": {"p": {"model": "parent"}}, "claims": {"x": {"text": "x", "subject":
             "m-p", "against": "average-p"}},
             "methods": {"m": {**LEAKY, "twin": "n"}, "n": {**MEGA, "populations": ["pair"]}}},
            "doubt", "claims.x", "n, the twin of m, is not run on its population", "full",
        ),
        (
            {"methods": {"m": MEGA}, "profiles": {"smoke": {"methods": {"m": SMALLER}}}},
            "doubt", "methods.m", "population is 3, at full 4", "smoke",
        ),
        ({"data": {"sizes": {"search": 150}}}, "doubt", "data.sizes.search", "150 images", "full"),
        (
            {"data": {"batchnorm_augment": "none"}},
            "doubt", "populations.pair", "re-estimated on plain", "full",
        ),
        ({"models": {"lone": {"build": "resnet8"}}}, "doubt", "models.lone", "in no pop", "full"),
        (
            {"models": {"parent": {"shared_with": "another"}}},
            "doubt", "models.parent.shared_with", "another does not train the same", "full",
        ),
        (
            {
                "populations": {"p": {"model": "parent"}},
                "methods": {"m": {**MEGA, "populations": ["p"]}},
                "run": ["pair"],
            },
            "doubt", "methods.m", "run on no population", "full",
        ),
        (
            {"methods": {"best-parent": None, "best-parent-bn": None}, "claims": None,
             "waterfall": None, "trends": None},
            "doubt", "methods", "no entry uses best-parent", "full",
        ),
        ({"profiles": {"laptop": {"reduced": None}}}, "doubt", "reduced", "does not say", "laptop"),
    ],
)  # fmt: skip
def test_each_disease_is_found(ill, change, kind, where, what, profile):
    found = doctor.findings(ill(change), profile)
    matching = [f for f in found if (f.kind, f.where) == (kind, where) and what in f.what]
    assert len(matching) == 1
    assert matching[0].change
    assert {f.kind for f in found} == {kind}  # nothing else is wrong with the patient


def test_a_profile_that_is_missing_is_an_error(ill):
    folder = ill({})
    raw = yaml_file.read(folder / "paper.yaml")
    del raw["profiles"]["smoke"]
    (folder / "paper.yaml").write_text(yaml.safe_dump(raw))
    (found,) = doctor.findings(folder, "smoke")
    assert (found.kind, "add profiles.smoke" in found.what) == ("error", True)
    assert doctor.findings(folder, "laptop") == []


def test_all_errors_of_a_spec_are_found(ill):
    found = doctor.findings(ill({"titel": 1, "data": {"nam": "x"}}), "full")
    assert [f.what.partition(":")[0] for f in found] == ["data.nam", "titel"]


def test_a_leaky_entry_with_a_twin_is_no_doubt(ill):
    methods = {"seen": {**LEAKY, "twin": "held-out"}, "held-out": MEGA}
    assert doctor.findings(ill({"methods": methods}), "full") == []


def test_more_searches_are_no_replicates(ill):
    change = {"replicates": 2, "methods": {"soup": {"searches": 5}, "soup-clean": {"searches": 5}}}
    found = doctor.findings(ill(change), "full")
    assert {f.where for f in found} == {"claims.gain-two", "claims.beats-average"}
    assert all("2 replicates" in f.what for f in found)


def test_a_readme_without_markers_is_a_doubt(ill):
    folder = ill({})
    (folder / "README.md").write_text("# No place\n")
    assert [f.where for f in doctor.findings(folder, "full")] == ["README.md"]


def test_a_new_paper_has_its_name_and_nothing_to_doubt_but_what_is_to_be_written(papers):
    assert run(["new-paper", "mine"]) == 0
    readme, spec = ((papers / "mine" / name).read_text() for name in ("README.md", "paper.yaml"))
    assert "my-paper" not in readme + spec
    assert readme.startswith("# mine ")
    assert 'title: "mine ' in spec
    assert "mergesuite doctor mine" in readme
    for profile in ("full", "laptop"):
        found = doctor.findings(papers / "mine", profile)
        assert {f.what for f in found} == {"words of the template"}
        assert {f.where.partition(":")[0] for f in found} == {
            "README.md",
            "paper.yaml",
            "reported.csv",
        }


def test_words_of_the_template_are_found_by_their_lines(ill):
    folder = ill({"title": "TODO: title"})
    (folder / "README.md").write_text(f"TODO:\n{BEGIN}\n{END}\nTODO: more\n")
    assert [f.where for f in doctor.findings(folder, "full")] == ["paper.yaml:1", "README.md:1, 4"]


def test_a_reported_row_that_no_claim_uses_is_no_doubt(ill):
    folder = ill({"claims": {"gain": {"reported": None}}})
    assert "t1-soup" in loading.reported(folder)
    assert doctor.findings(folder, "full") == []


@pytest.mark.parametrize(
    ("change", "status", "shown"),
    [
        ({}, 0, "papers: 1, errors: 0, doubts: 0"),
        ({"replicates": 2}, 0, "smoke,"),
        ({"titel": 1}, 1, "unknown key"),
    ],
)
def test_an_error_fails_and_a_doubt_does_not(ill, capsys, change, status, shown):
    ill(change)
    assert run(["doctor"]) == status
    assert shown in capsys.readouterr().out


def test_the_same_of_several_profiles_is_said_once(ill, capsys):
    ill({"replicates": 2})
    assert run(["doctor", "mine"]) == 0
    assert "papers: 1, errors: 0, doubts: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("-n --cores 1 mine", [("mine", "laptop")]),
        ("-n", []),
        ("-n train --config papers=mine profile=laptop", []),
        ("a(b)/smoke/mine/runs.csv", [("mine", "smoke")]),
        ("a(b)/full/report/mine.html a(b)/full/mine/a a(b)/full/mine/b", [("mine", "full")]),
        ("a(b)/smoke/report/index.html a(b)/smoke/yours/runs.csv results/smoke/mine/a", []),
        ("a(b)/labtop/mine/runs.csv", []),
    ],
)
def test_the_papers_among_the_words_of_a_command(ill, words, named):
    ill({})
    assert doctor.targets(words.split(), "a(b)", "laptop") == named


@pytest.mark.parametrize("words", [["yours"], ["--profile", "labtop"]])
def test_what_is_not_there_is_refused(ill, words):
    ill({})
    assert run(["doctor", *words]) == 2


def test_a_draft_that_does_not_load_hides_no_other_paper(ill, capsys):
    folder = ill({})
    shutil.copytree(folder, folder.parent / "draft")
    (folder.parent / "draft" / "paper.yaml").write_text("titel: x\n")
    assert run(["list", "papers", "--json"]) == 0
    draft, mine = json.loads(capsys.readouterr().out)
    assert "did you mean 'title'" in draft["title"]
    assert mine["claims"] == 2


def test_a_file_that_is_no_yaml_is_an_error(ill, capsys):
    (ill({}) / "paper.yaml").write_text("a: [")
    assert run(["doctor"]) == 1
    assert "is not YAML" in capsys.readouterr().out
