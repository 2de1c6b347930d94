"""What paper.yaml and reported.csv may say, and how each mistake in them is named."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mergesuite.errors import UserError
from mergesuite.experiment import declared, loading, shorthand
from mergesuite.experiment.spec import Checkpoint

SMALL = {
    "title": "t",
    "cite": {"text": "someone"},
    "data": {"name": "digits"},
    "models": {"net": {"build": "resnet8-w8", "seeds": 4, "recipe": {"epochs": 3, "keep": 2}}},
    "populations": {
        "pair": {"model": "net", "take": 2},
        "epochs": {"model": "net", "epochs": 2},
    },
    "methods": {
        "mega": {"use": "mega", "populations": ["pair"], "params": {"population": 5}},
        "best": {"use": "best-parent"},
    },
    "claims": {"c": {"text": "x", "subject": "mega-pair", "against": "best-pair"}},
    "profiles": {"smoke": {"models": {"net": {"seeds": 2}}}},
}


def write(folder, change=None):
    raw = loading.overlay(SMALL, change or {})
    (folder / "paper.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return folder


def test_a_paper_becomes_subjects_and_parents(tmp_path):
    paper = loading.paper(write(tmp_path))
    assert list(paper.subjects()) == ["net", "mega-pair", "best-pair", "best-epochs"]
    assert paper.count("pair") == 2
    assert paper.parents("pair", 1) == [Checkpoint("net", 2), Checkpoint("net", 3)]
    assert paper.parents("epochs", 1) == [Checkpoint("net", 1, "002"), Checkpoint("net", 1)]


def test_an_entry_may_have_fewer_replicates_than_its_population(tmp_path):
    change = {"methods": {"mega": {"replicates": 1, "searches": 2}, "best": {"replicates": 9}}}
    paper = loading.paper(write(tmp_path, change))
    assert paper.seeds("mega-pair") == [0, 1000]
    assert paper.seeds("best-pair") == [0, 1]


def test_a_profile_is_laid_over_the_base(tmp_path):
    paper = loading.paper(write(tmp_path), "smoke")
    assert paper.models["net"].seeds == 2
    assert paper.models["net"].recipe.epochs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, r"titel: unknown key \(did you mean 'title'\?\)"),
        ({"models": {"net": {"recipe": {"epoch": 3}}}}, r"did you mean 'epochs'"),
        ({"methods": {"best": {"use": "best-parnt"}}}, r"did you mean 'best-parent'"),
        ({"methods": {"mega": {"params": {"populaton": 3}}}}, r"did you mean 'population'"),
        ({"methods": {"mega": {"params": {"mutation_rate": 2}}}}, "less than or equal to 1"),
        ({"methods": {"mega": {"fitness": {"split": "test"}}}}, "leaky: true"),
        ({"methods": {"mega": {"leaky": True}}}, "never leaky"),
        ({"methods": {"mega": {"populations": ["pairs"]}}}, r"did you mean 'pair'"),
        ({"data": {"name": "cifar"}}, r"no data set is called 'cifar'"),
        ({"populations": {"pair": {"take": 5}}}, "5 asked, models.net.seeds is 4"),
        ({"populations": {"epochs": {"epochs": 3}}}, "recipe.keep is 2"),
        ({"claims": {"c": {"subject": "mega-par"}}}, r"did you mean 'mega-pair'"),
        ({"claims": {"c": {"split": "noise"}}}, "claims.c.split: there is no 'noise'"),
        (
            {"evaluate": {"test": {"name": "imagenet-v2"}}},
            "evaluate.test: a split has this name: choose another",
        ),
        ({"evaluate": {"noise": {"corruption": "noise", "severity": 1}}}, "is made here"),
        ({"data": {"preprocess": {"crop": 32}}}, "are for image folders, not digits"),
        ({"profiles": {"lptop": {}}}, r"did you mean 'laptop'"),
        ({"models": {"BAD NAME": {"build": "resnet8"}}}, "should match pattern"),
        ({"profiles": ["smoke"]}, "profiles: expected smoke, laptop"),
        ({"profiles": {"laptop": "net"}}, "profiles.laptop: expected a mapping, found str"),
        # Two things of one name
        (
            {"models": {"best-pair": {"build": "resnet8"}}},
            "model best-pair and entry best on population pair are both",
        ),
        (
            {
                "populations": {"x-pair": {"model": "net"}},
                "methods": {"best-x": {"use": "best-parent"}},
            },
            "entry best on population x-pair and entry best-x on population pair are both called",
        ),
        # Budgets
        ({"methods": {"mega": {"budget_of": "best"}}}, "so no budget to set: remove"),
        (
            {"methods": {"t": {"use": "train-on", "budget_of": "best", "params": {"images": 9}}}},
            "budget_of and params.images both say how much: remove one",
        ),
        (
            {"methods": {"t": {"use": "train-on", "budget_of": "mega", "params": {"epochs": 9}}}},
            "budget_of and params.epochs both say how much: remove one",
        ),
        (
            {"methods": {"t": {"use": "train-on", "budget_of": "mega"}}},
            "mega is not run on epochs, so there is no budget for t-epochs",
        ),
        (
            {
                "methods": {
                    "mega": {"replicates": 1},
                    "t": {"use": "train-on", "budget_of": "mega", "populations": ["pair"]},
                }
            },
            "mega has 1 replicates on pair, fewer than t-pair: give both the same",
        ),
        (
            {
                "methods": {
                    "a": {"use": "random-search", "budget_of": "b"},
                    "b": {"use": "random-search", "budget_of": "a"},
                }
            },
            "methods: budget_of goes in a circle .a -> b -> a.",
        ),
        # Starts
        ({"models": {"net": {"start": "net"}}}, "start goes in a circle .net -> net."),
        (
            {"models": {"net": {"start": "other"}, "other": {"build": "resnet8", "start": "net"}}},
            "net -> other -> net",
        ),
        ({"models": {"net": {"start": "nett"}}}, r"models.net.start: .*did you mean 'net'"),
        (
            {"models": {"net": {"start": "old"}, "old": {"build": "resnet8", "seeds": 2}}},
            "4 seeds start at 2 of old: give models.old.seeds as many, or 1",
        ),
        # Populations
        (
            {"populations": {"p": {"models": ["net"], "epochs": 2}}},
            "models are all merged: remove epochs",
        ),
        (
            {"populations": {"p": {"models": ["net"], "take": 2}}},
            "models are all merged: remove take",
        ),
        (
            {"populations": {"p": {"model": "net", "epochs": 2, "take": 2}}},
            "takes one run: remove take",
        ),
        ({"populations": {"p": {"files": ["a.pt", "b.pt"]}}}, "give either model"),
        ({"populations": {"p": {"model": "net", "files": ["a{b}.pt"]}}}, "should match pattern"),
        ({"populations": {"p": {"model": "net", "files": ["a.pt"]}}}, "populations.p.files are 1"),
        ({"populations": {"p": {"models": ["best-pear", "net"]}}}, "did you mean 'best-pair'"),
        (
            {"populations": {"p": {"models": ["best-p", "net"]}}},
            "populations: models goes in a circle .p -> p.",
        ),
        (
            {
                "methods": {"ens": {"use": "ensemble"}},
                "populations": {"p": {"models": ["ens-pair", "net"]}},
            },
            "ens is an ensemble, which is no network",
        ),
        # Twins, searches, claims
        ({"methods": {"mega": {"twin": "best"}}}, "methods.mega.twin: a leaky entry has a twin"),
        (
            {
                "methods": {
                    "seen": {
                        "use": "mega",
                        "protocol": "released",
                        "leaky": True,
                        "fitness": {"split": "test"},
                        "twin": "seen",
                    }
                }
            },
            "methods.seen.twin: a leaky entry has a twin that is not leaky",
        ),
        ({"methods": {"mega": {"twin": "bestt"}}}, r"twin: .* \(did you mean 'best'"),
        ({"methods": {"mega": {"searches": 0}}}, "searches"),
        (
            {"methods": {"few": {"use": "sade", "fitness": {"split": "search"}}}},
            "methods.few: sade needs 6 parents, population pair has 2",
        ),
        ({"models": {"net": {"seeds": 1001}}}, "models.net.seeds"),
        ({"claims": {"c": {"family": "tertiary"}}}, "family"),
        ({"claims": {"c": {"interest": 0.01, "because": "x"}}}, "may be 0.005 at most"),
        ({"claims": {"c": {"interest": 0.001}}}, "interest needs a reason"),
        ({"claims": {"c": {"margin": 0.01}}}, "claims.c.margin: unknown key"),
        ({"untested": {"d": {"text": "x"}}}, "untested.d.why"),
        ({"untested": {"c": {"text": "x", "why": "y"}}}, "untested.c: a claim that is tested"),
        # Shorthands
        ({"shared": {"ga": {"population": 4}}}, "shared.ga: nothing is like it"),
        (
            {"methods": {"mega": {"params": {"like": "ga"}}}},
            "methods.mega.params.like: there is no shared.ga",
        ),
        (
            {"shared": {"a": {"like": "b"}, "b": {"like": "a"}}, "data": {"like": "a"}},
            "a -> b -> a goes in a circle",
        ),
        (
            {"controls": {"budget": "mega"}},
            "controls: budget_of: Field required; budget: unknown key",
        ),
        (
            {"claims": {"c": {"over": {"one": {"population": "pair"}}, "text": "{populaton}"}}},
            r"claims.c.over.one: there is no {populaton} \(did you mean 'population'",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        loading.paper(write(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_listed_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        loading.paper(write(tmp_path, {"titel": 1, "data": {"nam": "x"}, "replicates": 0}))
    for key in ("titel", "data.nam", "replicates"):
        assert key in str(caught.value)


def with_rows(folder, *rows):
    header = "id,table,row,metric,value,unit,spread,spread_kind,n,source,origin,note"
    (folder / "reported.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,Table 1,r,accuracy,0.8,fraction,,none,,,paper,", "line 2: source"),
        (
            "a,Table 1,r,accuracy,79.3,persent,,none,,p. 3,paper,",
            "line 2: unit: .*did you mean 'percent'",
        ),
        ("a,Table 1,r,accuracy,0.8,fraction,,none,,p. 3, 4,paper,", "more values than columns"),
    ],
)
def test_a_wrong_row_of_reported_numbers_is_named(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        loading.reported(with_rows(tmp_path, row))


@pytest.mark.parametrize(
    ("value", "unit", "measured"),
    [
        ("79.3", "percent", 0.793), ("79.3", "%", 0.793), ("0.52", "percentage points", 0.0052),
        ("0.793", "fraction", 0.793), ("2.5", "nats", 2.5), ("1.5", "hours", 5400),
    ],
)  # fmt: skip
def test_reported_values_are_in_the_unit_that_is_measured(tmp_path, value, unit, measured):
    folder = with_rows(tmp_path, f"a,T,r,m,{value},{unit},,none,,p. 3,paper,")
    assert loading.reported(folder)["a"].measured_value == pytest.approx(measured)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: a\ntitle: b\n", "line 2: title is given twice"),
        ("a: &a [*a]\n", "an alias stands inside what it stands for"),
        ("a: [1\n", "is not YAML"),
        ("a: 2020-13-45\n", "is not YAML"),
        ("[1, 2]\n", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_odd_yaml_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "paper.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        loading.paper(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_yaml_that_unfolds_without_end_is_refused_at_once(tmp_path):
    levels = "abcdefghijklmnop"
    lines = [f"{k}: &{k} [*{j}, *{j}, *{j}]" for j, k in itertools.pairwise(levels)]
    (tmp_path / "paper.yaml").write_text("\n".join(["a: &a [x, x]", *lines]))
    with pytest.raises(UserError, match="unfold to more than 100,000 values"):
        loading.paper(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "paper.yaml").write_bytes(b"title: \xff\xfe")
    (tmp_path / "reported.csv").write_bytes(b"id\n\xff\xfe")
    with pytest.raises(UserError, match="not YAML in UTF-8"):
        loading.paper(tmp_path)
    with pytest.raises(UserError, match="not CSV in UTF-8"):
        loading.reported(tmp_path)


SHORT = {
    "shared": {
        "ga": {"population": 5, "generations": 9},
        "held-out": {"split": "search", "batchnorm": "re-estimate"},
    },
    "methods": {
        "mega": {
            "populations": ["pair", "four"],
            "params": {"like": "ga", "population": 6},
            "fitness": {"like": "held-out"},
        },
        "train-on": {"params": {"lr": 0.5}},
        "mean-parent": None,
        "best": None,
    },
    "controls": {"budget_of": "mega", "fitness": {"like": "held-out"}},
    "populations": {"four": {"model": "net", "take": 4}, "epochs": None},
    "claims": {
        "c": {
            "over": {"two": {"population": "pair"}, "four": {"population": "four", "word": 4}},
            "text": "{name}",
            "subject": "mega-{population}",
            "against": "best-parent-{population}",
            "reported": ["{name}-row"],
        },
        "c-four": {"text": "another"},
    },
    "profiles": {
        "smoke": {
            "shared": {"ga": {"generations": 2}, "held-out": {"batchnorm_images": 50}},
            "methods": {"cma-es": None},
            "claims": {"c-two": {"batchnorm": "re-estimate"}, "c-four": None},
            "models": {"net": {"seeds": 4}},
        }
    },
}


def short(folder, profile="full"):
    """SMALL in short; `write` would drop the nulls that remove controls."""
    (folder / "paper.yaml").write_text(
        yaml.safe_dump(shorthand.laid(SMALL, SHORT), sort_keys=False)
    )
    return loading.paper(folder, profile)


def test_what_is_shared_is_taken_over_and_a_profile_changes_it_everywhere(tmp_path):
    base, small = short(tmp_path), short(tmp_path, "smoke")
    assert base.methods["mega"].params == {"population": 6, "generations": 9}
    assert small.methods["mega"].params == {"population": 6, "generations": 2}
    searching = ("mega", "random-search", "greedy-soup")
    assert {base.methods[name].fitness.batchnorm_images for name in searching} == {512}
    assert {small.methods[name].fitness.batchnorm_images for name in searching} == {50}


def test_controls_come_after_the_entries_and_may_be_changed_or_removed(tmp_path):
    base, small = short(tmp_path), short(tmp_path, "smoke")
    assert list(base.methods) == [
        "mega", "cma-es", "affine", "random-search", "train-on", "best-parent", "best-parent-bn",
        "best-parent-on-test", "average", "greedy-soup", "ens-logits", "ens-probs",
    ]  # fmt: skip
    assert "cma-es" not in small.methods
    assert base.methods["train-on"].budget_of == "mega"
    assert base.methods["train-on"].params == {"lr": 0.5}
    assert base.methods["greedy-soup"].fitness == base.methods["mega"].fitness


def test_the_best_parent_is_picked_as_trained_reestimated_and_on_test(tmp_path):
    methods = short(tmp_path).methods
    names = ("best-parent", "best-parent-bn", "best-parent-on-test")
    found = {
        name: (m.use, m.leaky, m.fitness.split, m.fitness.batchnorm, m.fitness.images)
        for name in names for m in [methods[name]]
    }  # fmt: skip
    assert found == {
        "best-parent": ("best-parent", False, "search", "keep", None),
        "best-parent-bn": ("best-parent", False, "search", "re-estimate", None),
        "best-parent-on-test": ("best-parent", True, "test", "keep", None),
    }
    assert methods["best-parent-bn"].fitness == methods["greedy-soup"].fitness
    assert methods["best-parent-on-test"].protocol == "released"


def test_a_search_seed_belongs_to_its_replicate(tmp_path):
    paper = loading.paper(write(tmp_path, {"methods": {"mega": {"searches": 3}}}))
    assert paper.seeds("mega-pair") == [0, 1, 1000, 1001, 2000, 2001]
    assert paper.seeds("best-pair") == [0, 1]
    assert paper.parents("pair", 2001) == paper.parents("pair", 1)
    assert paper.parents("epochs", 1003) == paper.parents("epochs", 3)


LEAKY = {
    "use": "mega", "protocol": "released", "leaky": True, "fitness": {"split": "test"},
    "populations": ["pair"],
}  # fmt: skip


def test_a_leaky_result_has_the_twin_of_its_entry(tmp_path):
    change = {"methods": {"seen": {**LEAKY, "twin": "mega"}}}
    paper = loading.paper(write(tmp_path, change))
    assert paper.twin_of("seen-pair") == "mega-pair"
    assert paper.twin_of("mega-pair") is paper.twin_of("net") is None
    more = {"methods": {"seen": {**LEAKY, "twin": "mega", "populations": ["pair", "epochs"]}}}
    assert loading.paper(write(tmp_path, more)).twin_of("seen-epochs") is None


def test_a_claim_over_rows_is_one_claim_for_each(tmp_path):
    base, small = short(tmp_path), short(tmp_path, "smoke")
    assert list(base.claims) == ["c-two", "c-four"]
    assert base.claims["c-two"].text == "c-two"
    assert base.claims["c-four"].text == "another"
    assert base.claims["c-four"].subject == "mega-four"
    assert base.claims["c-four"].reported == ["c-four-row"]
    assert list(small.claims) == ["c-two"]
    assert small.claims["c-two"].batchnorm == "re-estimate"


def test_a_claim_may_be_about_a_set_that_is_evaluated(tmp_path):
    change = {
        "evaluate": {"noise": {"corruption": "jpeg", "severity": 1}},
        "claims": {"c": {"split": "noise"}},
    }
    paper = loading.paper(write(tmp_path, change))
    assert paper.claims["c"].split == "noise"
    assert paper.evaluate["noise"].made_here


def test_the_registry_agrees_with_the_classes():
    from mergesuite.methods import create

    for name, entry in declared.methods().items():
        made = create(name)
        assert made.name == name
        assert made.cite == entry.cite
        for key, field in entry.params.model_fields.items():
            assert getattr(made, key) == field.default


@pytest.mark.parametrize("module", ["spec", "loading", "jobs", "declared", "config", "schema"])
def test_building_the_dag_needs_no_torch(module):
    code = (
        f"import sys, mergesuite.experiment.{module}; from mergesuite.experiment import declared; "
        "declared.methods(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("name", ["nan", "Net", "nét", "-net", "a_b", "n" * 25, "", "a b", "{x}"])
def test_a_name_is_lower_case_and_short_and_no_gap_in_a_table(tmp_path, name):
    models = {name: {"build": "resnet8"}}
    with pytest.raises(UserError, match="models"):
        loading.paper(write(tmp_path, {"models": models}))


def test_the_nearest_name_is_looked_for_among_names_that_are_numbers(tmp_path):
    over = {"r": {"net": "x", 0: "y"}}
    claims = {"c": {"text": "{nett}", "over": over}}
    with pytest.raises(UserError, match=r"there is no {nett}.*did you mean 'net'"):
        loading.paper(write(tmp_path, {"claims": claims}))


def test_what_an_error_repeats_stays_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        loading.paper(write(tmp_path, {"a\nb\u202e": 1}))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_of_a_spec_are_finite(tmp_path, value):
    recipe = {"models": {"net": {"recipe": {"lr": value}}}}
    with pytest.raises(UserError, match=r"recipe\.lr: Input should be"):
        loading.paper(write(tmp_path, recipe))
