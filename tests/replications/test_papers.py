"""Every replication's spec and reported numbers: complete, consistent, and with their sources."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from mergesuite.experiment import declared, loading, spec
from mergesuite.experiment.jobs import Jobs, read_config

ROOT = Path(__file__).parents[2]
REPLICATIONS = ROOT / "replications"
PAPERS = sorted(file.parent.name for file in REPLICATIONS.glob("[!_]*/paper.yaml"))
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
every_profile = pytest.mark.parametrize("profile", spec.PROFILES)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(paper, profile="full"):
    return loading.paper(REPLICATIONS / paper, profile)


def test_the_four_papers_are_there():
    assert set(PAPERS) >= {"mega", "darwinian", "cade", "sa-shade"}


@every_profile
@every_folder
def test_spec_loads_and_runs_something(paper, profile):
    loaded = load(paper, profile)
    assert all(loaded.count(population) >= 1 for population in loaded.active())
    assert any(parts for parts in loaded.subjects().values())


@every_folder
def test_reported_ids_of_claims_exist(paper):
    reported = loading.reported(REPLICATIONS / paper)
    for profile in spec.PROFILES:
        for name, claim in load(paper, profile).claims.items():
            for row in [*claim.reported, *claim.reported_against]:
                assert row in reported, f"{profile}: claims.{name} names {row}"


@every_profile
@every_paper
def test_every_claim_is_run_at_this_profile_or_its_population_is_left_out(paper, profile):
    loaded = load(paper, profile)
    for name, claim in loaded.claims.items():
        for subject in filter(None, (claim.subject, claim.against, claim.clean)):
            parts = loaded.all_subjects()[subject]
            left_out = parts is not None and parts[1] not in loaded.active()
            assert subject in loaded.subjects() or left_out, f"claims.{name}: {subject}"


@every_profile
@every_paper
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


@every_paper
def test_subjects_of_entries_and_models_do_not_collide(paper):
    """`ENTRY-POPULATION` can be read in one way only, and is no model's name."""
    loaded = load(paper)
    entries = [
        f"{slug}-{population}"
        for slug, entry in loaded.methods.items()
        for population in entry.populations or loaded.populations
    ]
    assert not [name for name, count in Counter([*entries, *loaded.models]).items() if count > 1]


@every_folder
def test_citations_are_registered(paper):
    loaded = load(paper)
    assert loaded.cite.key in declared.CITATIONS
    for entry in loaded.methods.values():
        assert declared.method_fields(entry.use).cite in declared.CITATIONS


@every_folder
def test_reported_rows_have_source_and_deviations_are_stated(paper):
    for row in loading.reported(REPLICATIONS / paper).values():
        assert row.source.strip()
        assert (row.spread is None) == (row.spread_kind == "none"), row.id
    assert load(paper).deviations


@every_profile
@every_paper
def test_reduced_profiles_say_why_values_cannot_be_compared(paper, profile):
    if profile == "full":
        pytest.skip("the base may be at the paper's scale")
    assert profile in load(paper, profile).reduced


@every_profile
@every_paper
def test_protocols_and_controls_are_all_there(paper, profile):
    methods = load(paper, profile).methods.values()
    main = {"sa-shade": "sa-shade", "mega": "mega"}.get(paper, paper)
    if main not in declared.methods():
        pytest.skip(f"{paper} has no method of its own name")
    assert {m.protocol for m in methods if m.use == main} == {"published", "released", "clean"}
    assert any(m.leaky for m in methods)
    assert {"best-parent", "uniform-average", "ensemble"} <= {m.use for m in methods}


@every_profile
@every_paper
def test_first_clean_entry_of_the_method_searches_as_a_careful_author_would(paper, profile):
    loaded = load(paper, profile)
    clean = [m for m in loaded.methods.values() if m.use == paper and m.protocol == "clean"]
    if not clean:
        pytest.skip(f"{paper} has no clean entry of a method of its own name")
    assert clean[0].fitness.split == "search"
    assert clean[0].fitness.batchnorm == "re-estimate"
    assert clean[0].fitness.augment == "none"


@every_paper
def test_commands_can_be_made_for_every_run(paper):
    """The workflow asks for these; a bad `start`, budget or parent would raise."""
    jobs = Jobs(paper, read_config({"profile": "smoke"}))
    for subject, parts in jobs.subjects.items():
        for seed in jobs.seeds(subject):
            if parts is None:
                assert "--model" in jobs.train_arguments(subject)
                assert len(jobs.start(subject, seed)) <= 1
            else:
                assert len(jobs.parents(subject, seed)) >= 2
                assert len(jobs.budget(subject, seed)) <= 1


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
