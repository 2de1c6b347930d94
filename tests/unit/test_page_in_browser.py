"""The page in a real browser without a network: silent, accessible, of use with and without script.

It needs Chromium or Chrome, and for one test axe-core (docs/contributing.md says where from).
Pictures of the first screen are written to the test's folder, or, with others of the whole page, to
the one that MERGESUITE_PICTURES names.
"""

import math
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import report_fixture as fixture
from browser import PROGRAM, Browser

from mergesuite.report import page, tried

AXE = Path(os.environ.get("MERGESUITE_AXE", "~/.cache/mergesuite/axe.min.js")).expanduser()
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
MOST_BYTES = 3_000_000
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither Chromium nor Chrome is installed")

SIDEWAYS = "document.documentElement.scrollWidth > innerWidth"
SHOWN = "[...document.querySelectorAll('#table-of-claims tbody tr')].filter((row) => !row.hidden)"
TEXTS = f"{SHOWN}.map((row) => row.cells[COLUMN].innerText.trim())"
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
CHOOSE = """(() => {
  const form = document.querySelector('.filters');
  form.elements[NAME].value = VALUE;
  form.dispatchEvent(new Event('input'));
})()"""


@pytest.fixture(scope="module")
def address(drawn, tmp_path_factory):
    with fixture.copied(drawn, tmp_path_factory.mktemp("browsed")) as (folder, results):
        folders = [folder, folder.with_name("other")]
        shutil.copytree(folder, folders[1])
        shutil.copytree(results / "laptop" / "mega", results / "laptop" / "other")
        page.write(folders, "laptop", results, results / "index.html")
        assert (results / "index.html").stat().st_size < MOST_BYTES
        yield (results / "index.html").as_uri()


@pytest.fixture(scope="module")
def addresses(address, tmp_path_factory):
    """The page of a study, and that of `mergesuite try`."""
    rows = [
        ("a/" * 30 + "model.safetensors", "parent", 0.91, math.nan, 0),
        ("uniform-average", "merge", 0.905, -0.005, 0),
        ("mega", "merge", 0.925, 0.015, 380),
        ("ensemble", "ensemble", 0.93, 0.02, 0),
    ]
    table = pd.DataFrame(
        {
            "result": result, "kind": kind, "best_parent": kind == "parent", "chosen": not evals,
            "networks": 2 if kind == "ensemble" else 1, "search": test, "test": test,
            "difference": gain, "low": gain - 0.03, "high": gain + 0.03, "level": 0.99,
            "against_average": gain, "against_average_low": gain - 0.03,
            "against_average_high": gain + 0.03, "images": 266, "evaluations": evals,
            "forward_images": 100 * evals, "note": "12 of 60 generations" if evals else "",
        }
        for result, kind, test, gain, evals in rows
    )  # fmt: skip
    file = tmp_path_factory.mktemp("tried") / "index.html"
    file.write_text(
        tried.page(
            table, sentence="No merge is distinguishable.", scope="Of these very networks.",
            warnings=["images are scaled by us"], skipped=[("cade", "it needs 4 parents")],
            chosen="best.safetensors is uniform-average.", command="mergesuite try a b",
        ),
        encoding="utf-8",
    )  # fmt: skip
    return {"study": address, "tried": file.as_uri()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("user")) as made:
        yield made


@pytest.fixture
def pictures(tmp_path):
    folder = Path(os.environ.get("MERGESUITE_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_asked_for_nothing_complains_nothing_sticks_out(
    browser, address, pictures, size, dark
):
    browser.requests.clear()
    browser.complaints.clear()

    browser.open(address, *SIZES[size], dark=dark)
    name = f"{size}-{'dark' if dark else 'light'}"
    browser.picture(pictures / f"{name}.png")
    folded = browser[SIDEWAYS]
    if os.environ.get("MERGESUITE_PICTURES"):
        browser.picture(pictures / f"{name}-whole.png", whole=True)
    browser[OPEN_ALL]

    assert set(browser.requests) == {address}
    assert browser.complaints == []
    assert not folded
    assert not browser[SIDEWAYS]
    shown = "getComputedStyle(document.querySelector('.plot .{}')).display != 'none'"
    assert browser[shown.format("wide")] == (size == "desk")
    assert browser[shown.format("narrow")] == (size == "phone")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_of_two_checkpoints_fits_too(browser, addresses, pictures, size, dark):
    browser.requests.clear()
    browser.complaints.clear()

    browser.open(addresses["tried"], *SIZES[size], dark=dark)
    browser.picture(pictures / f"tried-{size}-{'dark' if dark else 'light'}.png", whole=True)

    assert set(browser.requests) == {addresses["tried"]}
    assert browser.complaints == []
    assert not browser[SIDEWAYS]
    drawing, card = (
        browser[f"document.querySelector('{name}').getBoundingClientRect().width"]
        for name in (".card svg", ".card")
    )
    assert drawing <= card


def test_the_first_screen_holds_every_card(browser, address):
    browser.open(address, *SIZES["desk"])

    assert browser["[...document.querySelectorAll('.card')].length"] == 2
    ends = browser[
        "[...document.querySelectorAll('.card')].map((c) => c.getBoundingClientRect().bottom)"
    ]
    assert max(ends) < SIZES["desk"][1]
    assert browser["document.querySelector('.plot').getBoundingClientRect().top"] < 200


@pytest.mark.skipif(not AXE.is_file(), reason=f"no axe-core at {AXE}: see docs/contributing.md")
@pytest.mark.parametrize(("size", "dark"), [("desk", False), ("phone", True)])
@pytest.mark.parametrize("which", ["study", "tried"])
def test_axe_finds_nothing(browser, addresses, which, size, dark):
    browser.open(addresses[which], *SIZES[size], dark=dark)
    browser[OPEN_ALL]
    browser[AXE.read_text(encoding="utf-8") + "; 0"]

    found = browser[
        "axe.run().then((found) => [found.passes.length, found.violations.map((v) =>"
        " `${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 200)}`)])"
    ]

    assert found[0] > 20
    assert found[1] == []


def column(name):
    return (
        "[...document.querySelectorAll('#table-of-claims thead th')]"
        f".findIndex((head) => head.innerText.trim().startsWith('{name}'))"
    )


def press(browser, name):
    browser[f"document.querySelectorAll('#table-of-claims thead button')[{column(name)}].click()"]


def test_claims_are_sorted_by_number_and_by_word(browser, address):
    browser.open(address, *SIZES["desk"])
    sides = []
    for _ in range(2):
        press(browser, "Could see")
        values = browser[f"{SHOWN}.map((row) => row.cells[{column('Could see')}].dataset.sort)"]
        sides.append([float(value) for value in values if value])
        assert len(values) == 12
    press(browser, "Paper")
    papers = browser[TEXTS.replace("COLUMN", column("Paper"))]

    assert sides[0] == sorted(sides[0])
    assert sides[1] == sorted(sides[1], reverse=True)
    assert papers == sorted(papers)
    said = browser["document.querySelectorAll('#table-of-claims th[aria-sort]').length"]
    assert said == 1


def choose(browser, name, value):
    browser[CHOOSE.replace("NAME", repr(name)).replace("VALUE", repr(value))]
    return browser[f"{SHOWN}.length"], browser[
        "document.querySelector('.filters output').innerText"
    ]


def test_claims_are_filtered_and_what_is_folded_opens_for_a_match(browser, address):
    browser.open(address, *SIZES["desk"])

    assert choose(browser, "paper", "other") == (6, "7 of 14 claims")
    assert choose(browser, "verdict", "reproduced") == (2, "2 of 14 claims")
    assert choose(browser, "paper", "") == (4, "4 of 14 claims")
    assert choose(browser, "text", "FEWER forward") == (2, "2 of 14 claims")
    assert not browser["document.querySelector('#not-run').open"]
    choose(browser, "verdict", "")
    assert choose(browser, "text", "twenty") == (0, "2 of 14 claims")
    assert browser["document.querySelector('#not-run').open"]
    browser["document.querySelector('.filters').reset()"]
    browser["new Promise((done) => setTimeout(done))"]
    assert browser[f"{SHOWN}.length"] == 12


def test_a_link_to_a_claim_opens_its_evidence_and_a_click_on_the_plot_leads_there(browser, address):
    browser.open(f"{address}#mega/grid", *SIZES["desk"])
    opened = "document.getElementById('{}').querySelector('details').open"
    assert browser[opened.format("mega/grid")]
    assert not browser[opened.format("mega/loss")]

    browser[
        "document.querySelector('.wide g[data-target=\"mega/loss\"] .area')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    ]

    assert browser["location.hash"] == "#mega/loss"
    assert browser[opened.format("mega/loss")]
    browser.open(f"{address}#other/table/cost", *SIZES["desk"])
    assert browser["document.getElementById('other').open"]


def test_tables_are_copied_as_they_are_shown(browser, address):
    browser.open(address, *SIZES["desk"])
    choose(browser, "text", "valley")
    browser["navigator.clipboard.writeText = async (said) => { window.said = said; }"]
    copied = {}
    for kind in ("CSV", "Markdown", "LaTeX"):
        browser[
            "document.querySelector('#table-of-claims').closest('.scroll').nextElementSibling"
            f".querySelector('[aria-label=\"Copy as {kind}\"]').click()"
        ]
        copied[kind] = browser["window.said"].splitlines()

    text = "Two trained networks share a valley: the middle is better than either"
    assert copied["CSV"][0] == "Paper,Claim,Verdict,Reported,Measured,Could see,n,Protocol"
    assert [line.split(",")[1] for line in copied["CSV"][1:]] == [text] * 2
    assert copied["Markdown"][1] == "|" + " --- |" * 8
    assert len(copied["Markdown"]) == 4
    assert copied["LaTeX"][1] == r"\begin{tabular}{llllllll}"
    assert r"{$\pm$" in copied["LaTeX"][5]
    assert copied["LaTeX"][-1] == r"\end{tabular}"


def test_without_script_everything_is_there(browser, address):
    browser("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(address, *SIZES["desk"])
        hidden = browser("DOM.getDocument", depth=-1)
        found = browser("DOM.querySelector", nodeId=hidden["root"]["nodeId"], selector=".filters")
        filters = browser("DOM.getAttributes", nodeId=found["nodeId"])["attributes"]
        rows = browser(
            "DOM.querySelectorAll", nodeId=hidden["root"]["nodeId"], selector=".claims tbody tr"
        )
        tools = browser(
            "DOM.querySelectorAll", nodeId=hidden["root"]["nodeId"], selector=".tools, th button"
        )
        browser("Page.printToPDF")
    finally:
        browser("Emulation.setScriptExecutionDisabled", value=False)

    assert "hidden" in filters  # what would not work is not shown
    assert tools["nodeIds"] == []
    assert len(rows["nodeIds"]) == 14
