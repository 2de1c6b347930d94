"""What the network sees does not depend on how a batch is divided, nor among how many."""

import itertools

import pytest
import torch

from mergesuite.core import streams
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.feed import Feed

N = 50
RECIPES = [
    {},
    {"augment": "crop-flip", "mixup": 0.4},
    {"augment": "resized-crop-flip", "cutmix": 1.0, "mixup": 0.2, "colour_jitter": [0.4, 0, 0, 0]},
    {"augment": "flip", "rand_augment": 2, "erasing": 0.5, "cutout": 6, "drop_last": True},
]


def feed(ranks=ALONE, **settings):
    recipe = Recipe.model_validate({"epochs": 2, "batch": 20, **settings})
    rng = streams.generator("feed")
    x = torch.randint(256, (N, 3, 16, 16), generator=rng, dtype=torch.uint8)
    pictures = InMemory(x, torch.randint(10, (N,), generator=rng))
    return Feed(recipe, pictures, Normalise(), ("f",), torch.device("cpu"), ranks)


def updates(made, epoch=1):
    """For each update its pieces as they are seen."""
    pieces = made.pieces(epoch, made.batches(epoch))
    seen = made.seen(epoch, list(itertools.chain.from_iterable(pieces)))
    return [list(itertools.islice(seen, len(mine))) for mine in pieces]


def joined(pieces):
    """Inputs, labels, partners' labels and share of an update whose pieces may be in any order."""
    ordered = sorted(pieces, key=lambda one: one.piece.number)
    shares = {one.share for one in ordered}
    assert len(shares) == 1
    others = [one.others for one in ordered]
    return (
        torch.cat([one.inputs for one in ordered]),
        torch.cat([one.labels for one in ordered]),
        torch.cat(others) if others[0] is not None else None,
        shares.pop(),
    )


@pytest.mark.parametrize("settings", RECIPES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_number_of_processes_sees_what_one_sees_at_once(settings, size):
    whole = updates(feed(**settings))
    divided = [updates(feed(Ranks(rank, size), micro_batch=6, **settings)) for rank in range(size)]
    assert [len(update) for update in whole] == [1] * len(whole)
    for number, (alone,) in enumerate(whole):
        together = joined([one for rank in divided for one in rank[number]])
        assert torch.equal(together[0], alone.inputs)
        assert torch.equal(together[1], alone.labels)
        assert together[2] is None if alone.others is None else torch.equal(
            together[2], alone.others
        )  # fmt: skip
        assert together[3] == alone.share


@pytest.mark.parametrize("settings", RECIPES)
def test_epochs_differ_and_come_again(settings):
    first, second = updates(feed(**settings), 0), updates(feed(**settings), 1)
    again = updates(feed(**settings), 0)
    assert torch.equal(first[0][0].inputs, again[0][0].inputs)
    assert not torch.equal(first[0][0].inputs, second[0][0].inputs)


def test_pieces_are_even_and_no_larger_than_asked():
    made = feed(batch=49, micro_batch=15)
    sizes = [[piece.size for piece in update] for update in made.pieces(0, made.batches(0))]
    assert sizes == [[13, 12, 12, 12]]
    made = feed(Ranks(2, 3), micro_batch=6)
    sizes = [[piece.size for piece in update] for update in made.pieces(0, made.batches(0))]
    assert sizes == [[5], [5], []]


def test_a_short_batch_is_left_out_where_the_recipe_says_so():
    assert [len(batch) for batch in feed().batches(0)] == [20, 20, 10]
    assert [len(batch) for batch in feed(drop_last=True).batches(0)] == [20, 20]
    assert [len(batch) for batch in feed(batch=49).batches(0)] == [49]
