"""What is done to single images: torchvision's transforms with the draws of each image's stream."""

import pytest
import torch
from torchvision.transforms import v2

from mergesuite.core import streams
from mergesuite.data import perturb
from mergesuite.data.images import Augment
from mergesuite.experiment.recipe import Recipe

N = 12


def images(n=N):
    rng = streams.generator("perturb")
    return torch.randint(256, (n, 3, 20, 24), generator=rng, dtype=torch.uint8)


def recipe(**settings):
    return Recipe.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"rand_augment": 2, "rand_magnitude": 12}, [v2.RandAugment(2, 12)]),
        ({"colour_jitter": [0.4, 0.3, 0.2, 0.1]}, [v2.ColorJitter(0.4, 0.3, 0.2, 0.1)]),
        (
            {"rand_augment": 1, "colour_jitter": [0.4, 0, 0, 0]},
            [v2.RandAugment(1, 9), v2.ColorJitter(0.4)],
        ),
    ],
)
def test_pixels_are_changed_as_torchvision_changes_them(settings, theirs):
    found = perturb.perturbed(
        images(), torch.arange(N), perturb.on_pixels(recipe(**settings)), ("p",)
    )
    for i, image in enumerate(images()):
        with torch.random.fork_rng([]):
            torch.manual_seed(streams.derive("p", i))
            for transform in theirs:
                image = transform(image)
        assert torch.equal(found[i], image)
    assert not torch.equal(found, images())


def test_parts_are_erased_as_torchvision_erases_them():
    inputs = images().float() + 1
    found = perturb.perturbed(
        inputs, torch.arange(N), perturb.on_inputs(recipe(erasing=0.5)), ("p",)
    )
    erased = 0
    for i, image in enumerate(inputs):
        with torch.random.fork_rng([]):
            torch.manual_seed(streams.derive("p", i))
            assert torch.equal(found[i], v2.RandomErasing(0.5)(image))
        erased += bool((found[i] == 0).any())
    assert 0 < erased < N


def test_cutout_is_one_square_around_a_pixel():
    found = perturb.perturbed(
        torch.ones(200, 3, 20, 24), torch.arange(200), perturb.on_inputs(recipe(cutout=8)), ("c",)
    )
    areas = set()
    for image in found:
        rows, columns = (image[0] == 0).nonzero(as_tuple=True)
        height, width = (int(x.max() - x.min()) + 1 for x in (rows, columns))
        assert len(rows) == height * width
        assert (image[1:] == image[0]).all()
        # Around the pixels 0 to 3 and those 4 or less from the end it is cut off.
        assert 4 <= height <= 8
        assert 4 <= width <= 8
        areas.add(height * width)
    assert max(areas) == 64
    assert len(areas) > 3


@pytest.mark.parametrize("settings", [{"rand_augment": 2}, {"colour_jitter": [0.4, 0.4, 0.4, 0.1]}])
def test_what_happens_to_an_image_does_not_depend_on_its_batch(settings):
    transforms = perturb.on_pixels(recipe(**settings))
    together = perturb.perturbed(images(), torch.arange(N), transforms, ("p",))
    order = torch.randperm(N, generator=streams.generator("order"))
    shuffled = perturb.perturbed(images()[order], order, transforms, ("p",))
    assert torch.equal(shuffled, together[order])
    alone = perturb.perturbed(images()[5:6], torch.tensor([5]), transforms, ("p",))
    assert torch.equal(alone[0], together[5])


def test_the_global_generator_stays_where_it_is():
    before = torch.get_rng_state()
    perturb.perturbed(images(), torch.arange(N), perturb.on_pixels(recipe(rand_augment=2)), ("p",))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["flip", "resized-crop-flip"])
def test_a_flip_alone_moves_nothing_else(kind):
    augment = Augment(kind, N, streams.generator("a"))
    found = augment(images(), torch.arange(N))
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(found, images(), strict=True)]
    same = [torch.equal(a, b) for a, b in zip(found, images(), strict=True)]
    assert sum(flipped) + sum(same) == N
    assert 0 < sum(flipped) < N
    both = Augment("crop-flip", N, streams.generator("a"))(images(), torch.arange(N))
    assert not torch.equal(both, found)
