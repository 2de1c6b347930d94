"""Shortcuts in training: the same numbers, and nothing written past the end of memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.models import build
from mergesuite.models.pointwise import thinned


def gradients(layer, x):
    """Output, and gradients of weights, bias and input."""
    x = x.clone().requires_grad_()
    out = layer(x)
    out.square().sum().backward()
    found = [out.detach(), *(p.grad.clone() for p in layer.parameters()), x.grad]
    layer.zero_grad()
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("side", "stride"), [(12, 2), (7, 2), (9, (3, 1))])
def test_a_thinned_layer_computes_the_same(side, stride, bias):
    layer = nn.Conv2d(8, 16, 1, stride, bias=bias).double()
    x = torch.randn(3, 8, side, side, dtype=torch.float64, generator=streams.generator("test"))
    expected = gradients(layer, x)
    with thinned(layer):
        assert "forward" in vars(layer)
        found = gradients(layer, x)
    assert "forward" not in vars(layer)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 1, 2), nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 3, 2),
        nn.Conv2d(8, 16, 1, 2, padding=1), nn.Conv2d(8, 16, 1, 2, groups=2),
    ],
)  # fmt: skip
def test_other_layers_stay_as_they_are(layer):
    with thinned(layer):
        assert "forward" not in vars(layer)


@pytest.mark.parametrize("name", ["resnet8-w8", "sew-small"])
def test_the_narrow_shortcuts_of_our_networks_are_found(name):
    module = build(name, 10)
    with thinned(module):
        found = [layer for layer in module.modules() if "forward" in vars(layer)]
    assert found
    assert not [layer for layer in module.modules() if "forward" in vars(layer)]


TRAINS = """
import torch
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment.recipe import Recipe
from mergesuite.models import build
from mergesuite.stages.trainer import Trainer

images = torch.zeros(8, 3, 224, 224, dtype=torch.uint8)
pictures = InMemory(images, torch.arange(8) % 4)
recipe = Recipe.model_validate({"epochs": 1, "batch": 4})
normalise = Normalise(torch.zeros(3), torch.ones(3))
Trainer(build("resnet8-w8", 4), recipe, pictures, normalise=normalise, stream=("test",),
        meter=Meter()).epoch(0)
"""


def test_a_narrow_network_trains_on_large_images():
    """Where registers hold 16 numbers this ended in a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
