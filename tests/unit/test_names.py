"""Plain names: what the field says, one for each subject, and an id's own words where none does."""

import pytest

from mergesuite.experiment import config, declared
from mergesuite.report.names import METHODS, Names

PAPERS = ("cade", "darwinian", "mega", "sa-shade")


def names(paper, profile="laptop"):
    spec = config.paper(paper, profile)
    return spec, Names(spec, [claim.subject for claim in spec.claims.values()])


def test_names_are_those_of_the_field():
    _, called = names("mega")

    assert called("train-on-pair") == "best parent, trained on"
    assert called("mega-published-pair") == "MeGA, as published"
    assert called("average-aligned-pair") == "average of the weights, parents aligned"
    assert called("best-parent-bn-pair") == "best parent, BatchNorm re-estimated"
    assert called("best-parent-eight") == "best parent (eight)"
    assert called("polish-published-pair") == "MeGA: polish, as published"
    assert called("null-labels-pair") == "nothing to gain: permuted labels"
    assert called("resnet56") == "resnet56"
    assert called("nobody") == "nobody"


def test_a_papers_own_method_goes_by_how_it_searches():
    _, called = names("sa-shade")

    assert called.short("shade-clean-tuned") == "clean"
    assert called.short("shade-tuned") == "SHADE"
    assert called.short("best-parent-bn-tuned") == "best parent (BN)"
    assert called.brief("sa-shade") == "SA-SHADE"
    assert called.brief("again") == "SA-SHADE (again)"


def test_a_variant_does_not_repeat_the_name_of_its_method():
    _, called = names("cade", "full")
    assert called("greedy-soup-cade-hyper") == "greedy soup: CADE"
    _, called = names("mega", "full")
    assert called("grid-bn-loss-pair") == "grid between the parents: bn loss"


@pytest.mark.parametrize("profile", ["laptop", "full"])
@pytest.mark.parametrize("paper", PAPERS)
def test_no_two_subjects_share_a_name(paper, profile):
    spec, called = names(paper, profile)
    said = [called(subject) for subject in spec.all_subjects()]

    assert len(said) == len(set(said))


def test_only_what_is_registered_is_renamed():
    assert set(METHODS) <= set(declared.methods())
