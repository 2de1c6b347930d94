"""Mixup and CutMix against torchvision on the same draws."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mergesuite.core import streams
from mergesuite.data.mixing import Mix, draw

N = 6


def images():
    return torch.rand(N, 3, 20, 24, generator=streams.generator("mixing"))


def by_torchvision(transform, seed):
    """Their mixed images and soft labels, and the generator at their first draw."""
    labels = torch.arange(N)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return transform(images(), labels)


def drawn_by(transform, seed, cuts):
    """What their transform draws: the share, and for CutMix the pixel in the middle of the box."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        share = float(transform._dist.sample(()))
        if not cuts:
            return share, None
        x, y = int(torch.randint(24, (1,))), int(torch.randint(20, (1,)))
        return share, ((x + 0.5) / 24, (y + 0.5) / 20)


@pytest.mark.parametrize("cuts", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_mixing_is_torchvisions(cuts, seed):
    transform = (v2.CutMix if cuts else v2.MixUp)(alpha=1.0, num_classes=N)
    inputs, labels = by_torchvision(transform, seed)
    share, centre = drawn_by(transform, seed, cuts)
    partner = torch.arange(N).roll(1)
    mixed, own = Mix(partner, share, centre).mixed(images(), images()[partner])
    torch.testing.assert_close(mixed, inputs)
    one_hot = torch.eye(N)
    torch.testing.assert_close(own * one_hot + (1 - own) * one_hot[partner], labels)
    if cuts:
        assert torch.equal(mixed, inputs)


def test_mixup_alone_draws_what_it_drew_before_there_was_cutmix():
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(3):
        mix = draw(rng, N, 0.2, 0.0)
        assert mix.share == again.beta(0.2, 0.2)
        assert mix.partner.tolist() == again.permutation(N).tolist()
        assert mix.centre is None
    assert draw(rng, N, 0.0, 0.0) is None
    assert rng.random() == again.random()


def test_where_both_are_on_each_takes_its_turn():
    rng = np.random.default_rng(1)
    cut = [draw(rng, N, 0.2, 1.0).centre is not None for _ in range(400)]
    assert 150 < sum(cut) < 250
    assert all(draw(rng, N, 0.0, 1.0).centre for _ in range(20))
