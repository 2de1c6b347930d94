import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mergesuite.errors import UserError
from mergesuite.experiment import declared, loading

SMALL = {
    "title": "t",
    "cite": {"key": "mega2024"},
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
    assert paper.parents("pair", 1) == [("net", 2, 3), ("net", 3, 3)]
    assert paper.parents("epochs", 1) == [("net", 1, 2), ("net", 1, 3)]


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
        ({"profiles": {"lptop": {}}}, r"did you mean 'laptop'"),
        ({"models": {"BAD NAME": {"build": "x"}}}, "should match pattern"),
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


def test_a_reported_number_needs_a_source(tmp_path):
    header = "id,table,row,metric,value,unit,spread,spread_kind,n,source,origin,note\n"
    (tmp_path / "reported.csv").write_text(
        header + "a,Table 1,r,accuracy,0.8,fraction,,none,,,paper,\n"
    )
    with pytest.raises(UserError, match="line 2: source"):
        loading.reported(tmp_path)


def test_the_registry_agrees_with_the_classes():
    from mergesuite.methods import create

    for name, entry in declared.methods().items():
        made = create(name)
        assert made.name == name
        assert made.cite == entry.cite
        for key, field in entry.params.model_fields.items():
            assert getattr(made, key) == field.default


def test_every_citation_is_known():
    assert {e.cite for e in declared.methods().values()} <= declared.CITATIONS.keys()


@pytest.mark.parametrize("module", ["spec", "registry", "plan", "store", "stats", "compare"])
def test_building_the_dag_needs_no_torch(module):
    code = (
        f"import sys, mergesuite.{module}; from mergesuite import registry; declared.methods(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
