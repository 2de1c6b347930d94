"""The price of a decision: components taken apart, and the cheapest design among all."""

import math

import pytest
import report_fixture as fixture

from mergesuite.experiment import loading
from mergesuite.judge import compare, plan, power
from mergesuite.judge.plan import Components, Costs, cheapest, components
from mergesuite.report.plan import shown

PILOT = {"sd_pairs": 0.013, "sd_search": 0.004, "sd_images": 0.003, "se_images": 0.001}


def test_components_add_up_to_the_pilot():
    found = components(PILOT, searches=3, images=5000)

    assert found.of_pair(3, 5000) == pytest.approx(0.013**2)
    assert found.search / 3 == pytest.approx(0.004**2)
    assert found.images / 5000 == pytest.approx(0.001**2)


def test_what_a_pilot_does_not_know_is_its_parents():
    row = {**PILOT, "sd_search": math.nan, "sd_images": math.nan}

    assert components(row, 1, 5000).parents == pytest.approx(0.013**2)


def test_the_cheapest_of_all_designs_is_taken():
    found, costs = Components(0.003**2, 0.02**2, 0.0, 0.0), Costs(parents=60, search=5)

    best = cheapest(found, costs, 0.005, 0.99, 5000, 5000)

    prices = {}
    for searches in range(1, plan.MOST_SEARCHES + 1):
        pairs = power.pairs_needed(0.005, found.of_pair(searches, 5000), 0.0, 0.99)
        prices[searches] = costs.minutes(pairs, searches)
    assert best.searches == min(prices, key=prices.get) > 1
    assert best.minutes == pytest.approx(min(prices.values()))


def test_no_design_where_the_images_alone_leave_too_much_open():
    found = Components(0.001**2, 0.0, 0.0, images=(0.01**2) * 5000)

    assert cheapest(found, Costs(1, 1), 0.005, 0.95, 5000, 5000) is None


def test_more_images_are_taken_where_only_they_help():
    found = Components(0.001**2, 0.0, 0.0, images=(0.003**2) * 1000)

    assert cheapest(found, Costs(1, 1), 0.005, 0.95, 1000, 9000).images == 9000


def test_a_leaky_claim_is_planned_on_the_images_that_its_search_saw(tmp_path):
    with fixture.made(tmp_path) as (folder, results):
        verdicts = compare.write(folder, "laptop", results)
        paper = loading.paper(folder, "laptop")
    leaky = verdicts[verdicts["leaky"] & (verdicts["metric"] == "accuracy")]
    name = str(leaky["subject"].iloc[0])
    entry = paper.entry_of(name)
    seen = entry.model_copy(update={"fitness": entry.fitness.model_copy(update={"images": 200})})
    slug = paper.all_subjects()[name][0]
    paper = paper.model_copy(update={"methods": {**paper.methods, slug: seen}})

    table = plan.plan(paper, verdicts, {}, images=300, most_images=9000).set_index("claim")

    of_it = leaky[leaky["subject"] == name]["claim"]
    assert set(table.loc[of_it, "best_images"].dropna()) == {200}
    assert 200 not in set(table.drop(of_it)["best_images"])


def test_the_plan_of_a_run_is_a_table_of_its_claims(tmp_path):
    with fixture.made(tmp_path) as (folder, results):
        verdicts = compare.write(folder, "laptop", results)
        table = plan.of_results(folder.name, "laptop", results)

    measured = verdicts[(verdicts["metric"] == "accuracy") & (verdicts["n"] >= 2)]
    assert set(table["claim"]) == set(measured[measured["effect"] == "difference"]["claim"])
    assert (table["cpu_minutes"] > 0).all()
    assert all(name in shown(table) for name in table["claim"])
