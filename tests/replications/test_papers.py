"""Every replication's spec and reported numbers: complete, consistent, and with their sources."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from mergesuite.cli import doctor
from mergesuite.experiment import config, declared, loading, schema, spec, yaml_file
from mergesuite.experiment.jobs import Jobs

ROOT = Path(__file__).parents[2]
REPLICATIONS = ROOT / "replications"
PAPERS = [
    file.parent.name
    for file in sorted(REPLICATIONS.glob("*/paper.yaml"))
    if re.fullmatch(config.NAME, file.parent.name)
]
WITH_TEMPLATE = [*PAPERS, "_template"]
COLLECTED = Path(
    os.environ.get("MERGESUITE_COLLECTED", ROOT.parent / "shared" / "papers" / "reported.csv")
)
"""All numbers read from the papers and their repositories, in one file."""

BELONGS = {
    "MeGA": "mega",
    "CADE": "cade",
    "SEW-ResNet": "cade",
    "Darwinian": "darwinian",
    "SWA": "darwinian",
    "SA-SHADE": "sa-shade",
    "Model soups": "sa-shade",
}
"""First words of a paper's name in the collection -> replication that holds its numbers."""

every_paper = pytest.mark.parametrize("paper", PAPERS)
every_folder = pytest.mark.parametrize("paper", WITH_TEMPLATE)


def _at_every_profile(names):
    pairs = [(name, at) for name in names for at in loading.profiles(REPLICATIONS / name)]
    return pytest.mark.parametrize(("paper", "profile"), pairs)


every_paper_at_every_profile = _at_every_profile(PAPERS)
every_folder_at_every_profile = _at_every_profile(WITH_TEMPLATE)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(paper, profile="full"):
    return loading.paper(REPLICATIONS / paper, profile)


def test_the_four_papers_are_there():
    assert set(PAPERS) >= {"mega", "darwinian", "cade", "sa-shade"}


@every_folder_at_every_profile
def test_spec_loads_and_runs_something(paper, profile):
    loaded = load(paper, profile)
    assert all(loaded.count(population) >= 1 for population in loaded.active())
    assert any(parts for parts in loaded.subjects().values())


@every_folder
def test_reported_ids_of_claims_exist(paper):
    reported = loading.reported(REPLICATIONS / paper)
    for profile in loading.profiles(REPLICATIONS / paper):
        for name, claim in load(paper, profile).claims.items():
            for row in [*claim.reported, *claim.reported_against]:
                assert row in reported, f"{profile}: claims.{name} names {row}"


@every_paper_at_every_profile
def test_every_claim_is_run_at_this_profile_or_its_population_is_left_out(paper, profile):
    loaded = load(paper, profile)
    for name, claim in loaded.claims.items():
        for subject in (claim.subject, claim.against):
            parts = loaded.all_subjects()[subject]
            left_out = parts is not None and parts[1] not in loaded.active()
            assert subject in loaded.subjects() or left_out, f"claims.{name}: {subject}"


@every_paper_at_every_profile
def test_some_claim_can_be_judged_at_every_profile(paper, profile):
    loaded = load(paper, profile)
    judged = [
        claim
        for claim in loaded.claims.values()
        if {claim.subject, claim.against} <= set(loaded.subjects())
    ]
    assert judged


@every_paper
def test_slugs_are_folder_names(paper):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", paper)
    for subject in load(paper).all_subjects():
        assert re.fullmatch(r"[a-z0-9-]+", subject)


@every_folder
def test_reported_rows_have_source_and_deviations_are_stated(paper):
    for row in loading.reported(REPLICATIONS / paper).values():
        assert row.source.strip()
        assert (row.spread is None) == (row.spread_kind == "none"), row.id
    assert load(paper).deviations


@every_paper_at_every_profile
def test_reduced_profiles_say_why_values_cannot_be_compared(paper, profile):
    if profile not in spec.SMALLER:
        pytest.skip("may be at the paper's scale")
    assert profile in load(paper, profile).reduced


def evolved(loaded):
    """Methods that a spec runs under several protocols: what its paper is about."""
    protocols = {}
    for entry in loaded.methods.values():
        if declared.method_fields(entry.use).kind == "population":
            protocols.setdefault(entry.use, set()).add(entry.protocol)
    return [name for name, found in protocols.items() if len(found) > 1]


@every_paper_at_every_profile
def test_a_method_under_several_protocols_has_a_clean_one(paper, profile):
    """Clean as a careful author would search."""
    loaded = load(paper, profile)
    for name in evolved(loaded):
        clean = [m for m in loaded.methods.values() if m.use == name and m.protocol == "clean"]
        assert clean, name
        assert clean[0].fitness.split == "search"
        assert clean[0].fitness.batchnorm == "re-estimate"
        assert clean[0].fitness.augment == "none"


@every_paper_at_every_profile
def test_the_free_controls_are_there(paper, profile):
    used = {m.use for m in load(paper, profile).methods.values()}
    assert {"best-parent", "uniform-average", "ensemble"} <= used


@_at_every_profile(["mega", "darwinian", "cade", "sa-shade"])
def test_the_four_methods_have_all_protocols_and_show_the_leak(paper, profile):
    methods = load(paper, profile).methods.values()
    protocols = {m.protocol for m in methods if m.use == paper}
    assert protocols == {"published", "released", "clean"}
    assert any(m.leaky for m in methods)


@every_folder_at_every_profile
def test_the_doctor_finds_no_error(paper, profile):
    found = doctor.findings(REPLICATIONS / paper, profile)
    assert not [finding for finding in found if finding.kind == "error"]


@pytest.mark.parametrize("profile", ["smoke", "laptop", "cifar-cpu", "full"])
def test_the_doctor_doubts_of_the_template_what_is_to_be_replaced(profile):
    found = doctor.findings(REPLICATIONS / "_template", profile)
    assert {finding.what for finding in found} == {"words of the template"}


def test_every_entry_of_mega_follows_its_profile():
    """The method is whole at every profile that decides something: population and generations."""
    whole = (20, 20)
    sizes = {"smoke": (4, 3), "laptop": whole, "cifar-cpu": whole, "full": whole}
    for profile, size in sizes.items():
        entries = [m.params for m in load("mega", profile).methods.values() if m.use == "mega"]
        assert {(p["population"], p["generations"]) for p in entries} == {size}
    line = Jobs("mega", "laptop").merge_arguments("mega-clean-pair", 0)
    assert line.startswith(
        "--method mega --set generations=20 mutation=element mutation_rate=0.02 population=20 "
        "--fitness batchnorm=re-estimate batchnorm_images=128 --model resnet8-w8 --data digits10 "
        "--sizes fit=7000 search=200 test=5000"
    )


def test_the_schema_is_up_to_date():
    file = ROOT / "workflow" / "schemas" / "paper.schema.json"
    assert file.read_text() == schema.text(), f"python -m mergesuite.experiment.schema > {file}"


@every_folder
def test_every_spec_is_valid_by_the_schema_and_names_it(paper):
    file = REPLICATIONS / paper / "paper.yaml"
    made = json.loads(schema.text())
    jsonschema.Draft202012Validator(made).validate(yaml_file.read(file))
    first = file.read_text().split("\n")[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (file.parent / first.partition("=")[2]).is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"titel": "x"},
        {"models": {"x": {"build": "a", "recipe": {"epoch": 1}}}},
        {"models": {"x": {"seeds": 2}}},
        {"methods": {"x": {"usse": "best-parent"}}},
        {"profiles": {"smoke": {"data": {"nam": "digits"}}}},
        {"profiles": {"lptop": {}}},
    ],
)
def test_the_schema_knows_a_mistake(change):
    raw = {**yaml_file.read(REPLICATIONS / "_template" / "paper.yaml"), **change}
    validator = jsonschema.Draft202012Validator(json.loads(schema.text()))
    assert not validator.is_valid(raw)


@every_paper
def test_commands_can_be_made_for_every_run(paper):
    """The workflow asks for these; a bad `start`, budget or parent would raise."""
    jobs = Jobs(paper, "smoke")
    for subject, parts in jobs.subjects.items():
        for seed in jobs.seeds(subject):
            assert jobs.spec(subject, seed)
            assert jobs.code(subject)
            if parts is None:
                assert "--model" in jobs.train_arguments(subject, seed)
            else:
                assert len(jobs.parents(subject, seed)) >= 2
                assert "--parents" in jobs.merge_arguments(subject, seed)


def numbers_of(paper):
    rows = loading.reported(REPLICATIONS / paper).values()
    return Counter(row.value for row in rows) + Counter(
        row.spread for row in rows if row.spread is not None
    )


@every_paper
def test_every_collected_number_is_reported(paper):
    if not COLLECTED.is_file():
        pytest.skip(f"the collection of reported numbers is not at {COLLECTED}")
    with COLLECTED.open(newline="", encoding="utf-8") as handle:
        rows = [
            row
            for row in csv.DictReader(handle)
            if any(row["paper"].startswith(n) and to == paper for n, to in BELONGS.items())
        ]
    assert rows or paper not in BELONGS.values()
    assert not Counter(float(row["value"]) for row in rows) - numbers_of(paper)


def test_every_collected_paper_belongs_somewhere():
    if not COLLECTED.is_file():
        pytest.skip(f"the collection of reported numbers is not at {COLLECTED}")
    with COLLECTED.open(newline="", encoding="utf-8") as handle:
        names = {row["paper"] for row in csv.DictReader(handle)}
    assert all(any(name.startswith(known) for known in BELONGS) for name in names)


@pytest.mark.parametrize(
    "file",
    sorted(REPLICATIONS.parent.glob("results/published/*/*/runs.csv")),
    ids=lambda file: "-".join(file.parts[-3:-1]),
)
def test_published_runs_are_of_the_present_spec(file):
    profile, paper = file.parts[-3:-1]
    jobs = Jobs(paper, profile)
    with file.open(newline="", encoding="utf-8") as opened:
        runs = {(row["subject"], int(row["seed"]), row["spec"]) for row in csv.DictReader(opened)}

    assert runs
    assert [of for of in sorted(runs) if jobs.spec(*of[:2]) != of[2]] == [], "run it again"
