import pytest
import torch
from torch import nn

from mergesuite.errors import UserError
from mergesuite.weights import WeightSpace, check_same


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize(("part", "extra"), [("parameters", 0), ("parameters+statistics", 8)])
def test_a_vector_holds_its_part_and_comes_back(part, extra):
    module = net()
    space = WeightSpace(module, part)
    assert space.dim == sum(p.numel() for p in module.parameters()) + extra
    assert space.dim == sum(space.sizes) == len(space.statistics)
    vector = space.flatten(module.state_dict())
    for name, view in space.unflatten(vector).items():
        assert torch.equal(view, module.state_dict()[name])
    assert "1.num_batches_tracked" not in space.names


def test_unflatten_gives_views():
    space = WeightSpace(net())
    vector = torch.zeros(space.dim)
    space.unflatten(vector)["0.weight"].fill_(1)
    assert vector.sum() == 4 * 3 * 9


def test_loading_a_vector_leaves_the_rest():
    module = net()
    space = WeightSpace(module, "parameters")
    module[1].running_mean.fill_(7)
    space.load(module, torch.ones(space.dim))
    assert torch.equal(module[1].running_mean, torch.full((4,), 7.0))
    assert torch.equal(space.flatten(module.state_dict()), torch.ones(space.dim))


def test_only_running_variances_are_clamped():
    space = WeightSpace(net(), "parameters+statistics")
    vectors = -torch.ones(2, space.dim)
    space.clamp(vectors)
    assert (vectors == 0).sum() == 2 * 4
    assert torch.equal(vectors[0] == 0, space.variances)


def test_an_unknown_part_is_refused():
    with pytest.raises(UserError, match=r"parameters\+statistics"):
        WeightSpace(net(), "everything")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.weight"), "lack '0.weight'"),
        (lambda s: s.update({"0.weight": torch.zeros(4, 3, 5, 5)}), "has shape"),
        (lambda s: s["3.bias"].fill_(torch.nan), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    module = net()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    change(state)
    with pytest.raises(UserError, match=message):
        WeightSpace(module).flatten(state)


def test_parents_must_fit_and_differ():
    a, b = net().state_dict(), net().state_dict()
    check_same({"a": a, "b": b})
    with pytest.raises(UserError, match="same weights"):
        check_same({"a": a, "b": {k: v.clone() for k, v in a.items()}})
    with pytest.raises(UserError, match=r"\(4, 3, 3, 3\) in a but \(4, 3, 5, 5\) in b"):
        check_same({"a": a, "b": {**b, "0.weight": torch.zeros(4, 3, 5, 5)}})
    with pytest.raises(UserError, match="only one has 'extra'"):
        check_same({"a": a, "b": {**b, "extra": torch.zeros(1)}})
