"""Model Stock against its formula, and against the geometry that the formula comes from."""

import itertools
import math

import pytest
import torch

from mergesuite.core.streams import generator
from mergesuite.errors import UserError
from mergesuite.methods import create
from mergesuite.methods.model_stock import ratio


def merged(parents, tensors=None, statistics=None, **params):
    method = create("model-stock", **params)
    method.tensors, method.statistics = tensors, statistics
    (found,) = method.combine(parents, torch.zeros(len(parents))).members
    return found


def fine_tuned(k, d=30):
    """An anchor, a centre, and k vectors around it in directions at right angles to all others."""
    rows = torch.randn(d, k + 2, generator=generator("stock", k), dtype=torch.float64)
    axes = torch.linalg.qr(rows)[0].T
    anchor = 3 * axes[-1]
    centre = anchor + 2 * axes[k]
    return anchor, centre, centre + 1.5 * axes[:k]


def dot(x, y):
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_result_is_the_formula_in_each_tensor(k):
    sizes = [9, 1, 20]
    parents = torch.randn(1, 30, generator=generator("stock")) + torch.cat(
        [torch.zeros(1, 30), 1 + 0.4 * torch.randn(k, 30, generator=generator("stock", "ft"))]
    )
    found = merged(parents, sizes)
    start = 0
    for size in sizes:
        anchor, *tuned = (p[start : start + size].double().tolist() for p in parents)
        ways = [[w - a for w, a in zip(t, anchor, strict=True)] for t in tuned]
        pairs = [dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))
                 for x, y in itertools.combinations(ways, 2)]  # fmt: skip
        cos = sum(pairs) / len(pairs)
        t = k * cos / (1 + (k - 1) * cos)
        assert 0 < t <= 1 + 1e-12
        for i in range(size):
            mean = sum(x[i] for x in tuned) / k
            assert float(found[start + i]) == pytest.approx(
                t * mean + (1 - t) * anchor[i], abs=1e-6
            )
        start += size


def test_two_networks_at_sixty_degrees():
    parents = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)
    # t = 2 (1/2) / (1 + 1/2); the triangle is equilateral, so this is its centre.
    torch.testing.assert_close(merged(parents), parents.mean(0))


@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_result_is_at_right_angles_to_what_the_formula_is_derived_from(k):
    """It lies where the ways to each network are orthogonal to those between anchor and others."""
    anchor, _, tuned = fine_tuned(k)
    found = merged(torch.cat([anchor[None], tuned]))
    for i, j in itertools.permutations(range(k), 2):
        assert abs(float((tuned[i] - found) @ (tuned[j] - anchor))) < 1e-10
        assert abs(float((anchor - found) @ (tuned[i] - tuned[j]))) < 1e-10


@pytest.mark.parametrize("k", [2, 4])
def test_the_result_is_the_foot_of_the_perpendicular_from_the_centre(k):
    anchor, centre, tuned = fine_tuned(k)
    found = merged(torch.cat([anchor[None], tuned]))
    plane = (tuned - anchor).T
    onto = torch.linalg.lstsq(plane, (centre - anchor)[:, None]).solution[:, 0]
    torch.testing.assert_close(found, anchor + plane @ onto)
    for way in plane.T:
        assert abs(float((centre - found) @ way)) < 1e-10


def test_the_anchor_is_the_parent_that_is_named():
    anchor, _, tuned = fine_tuned(2)
    first = merged(torch.cat([anchor[None], tuned]))
    last = merged(torch.cat([tuned, anchor[None]]), anchor="last")
    assert torch.equal(first, last)
    assert not torch.allclose(first, merged(torch.cat([tuned, anchor[None]])))


def test_obtuse_angles_and_what_did_not_move_stay_at_the_anchor():
    assert ratio(torch.tensor([[1.0, 0.0], [-1.0, 0.1]])) == 0
    assert ratio(torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == 0
    assert ratio(torch.zeros(3, 4)) == 0


def test_equal_networks_give_themselves_to_the_bit():
    anchor, other = torch.randn(2, 50, generator=generator("stock", "equal"))
    assert torch.equal(merged(anchor.repeat(4, 1)), anchor)
    assert torch.equal(merged(torch.stack([anchor, other, other])), other)


def test_statistics_are_the_mean_of_the_fine_tuned():
    parents = torch.randn(3, 6, generator=generator("stock", "statistics"))
    mask = torch.tensor([False] * 4 + [True] * 2)
    found = merged(parents, [4, 2], mask)
    torch.testing.assert_close(found[4:], parents[1:, 4:].mean(0))
    torch.testing.assert_close(found[:4], merged(parents[:, :4]))


def test_two_fine_tuned_networks_are_needed():
    with pytest.raises(UserError, match="at least 2 fine-tuned"):
        merged(torch.zeros(2, 3))
