"""The evaluator against the plain loop: a network, its weights loaded, argmax, one batch."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mergesuite import models
from mergesuite.core import streams
from mergesuite.data.images import Normalise
from mergesuite.fitness import Evaluator
from mergesuite.fitness.graphed import graphed
from mergesuite.fitness.passes import Passes
from mergesuite.models.batchnorm import reestimate
from mergesuite.weights import WeightSpace

N = 211  # two chunks, of which the last is short
SIDE = 16


def draw(*shape, name="x"):
    return torch.randn(*shape, generator=streams.generator("test", name))


@pytest.fixture(scope="module")
def problem():
    """A net whose statistics fit its weights, images, and labels that it gets right by half."""
    torch.set_num_threads(1)
    module = models.build("resnet8-w8", 10, streams.generator("net"))
    rng = streams.generator("images")
    images = torch.randint(256, (N, 3, SIDE, SIDE), generator=rng, dtype=torch.uint8)
    reestimate(module, images)
    module.eval()
    with torch.no_grad():
        guess = module(images.float() / 255).argmax(1)
    other = torch.randint(10, (N,), generator=rng)
    labels = torch.where(torch.rand(N, generator=rng) < 0.5, guess, other)
    space = WeightSpace(module, "parameters+statistics")
    base = space.flatten(module.state_dict())
    sizes = torch.logspace(-4, -0.5, 12)
    noise = draw(12, space.dim) * base.abs().mean()
    candidates = torch.cat([base[None], base + sizes[:, None] * noise])
    return module, space, images, labels, space.clamp(candidates)


def plain_counts(module, space, images, labels, candidates):
    """Correct answers per candidate, as the released loops count them."""
    counts = []
    for vector in candidates:
        space.load(module, vector)
        with torch.no_grad():
            logits = module.eval()(images.float() / 255)
        finite = torch.isfinite(logits).all(1)
        counts.append(int(((logits.argmax(1) == labels) & finite).sum()))
    return counts


LEVERS = ["fold", "reject", "order", "remember"]


@pytest.mark.parametrize("off", [[], LEVERS, *[[lever] for lever in LEVERS]])
def test_counts_are_those_of_the_plain_loop_with_any_lever_off(problem, off):
    module, space, images, labels, candidates = problem
    expected = plain_counts(*problem)
    evaluator = Evaluator(module, space, images, labels, **dict.fromkeys(off, False))
    scores = evaluator.scores(candidates)
    assert scores.correct.tolist() == expected
    assert scores.exact.all()
    assert scores.exceeded.all()
    assert len(set(expected)) > 4  # the case says something


@pytest.mark.parametrize("off", [[], *[[lever] for lever in LEVERS]])
def test_thresholds_do_not_change_who_is_accepted(problem, off):
    module, space, images, labels, candidates = problem
    counts = torch.tensor(plain_counts(*problem), dtype=torch.float64)
    for shift in (-20.0, -1.0, -0.5, 0.0, 0.5, 1.0, 30.0, 500.0):
        evaluator = Evaluator(module, space, images, labels, **dict.fromkeys(off, False))
        evaluator.scores(candidates[:3])
        thresholds = counts + shift
        scores = evaluator.scores(candidates, thresholds)
        assert torch.equal(scores.exceeded, counts > thresholds)
        assert torch.equal(scores.fitness[scores.exceeded], counts[scores.exceeded])
        assert bool((scores.fitness[~scores.exceeded] <= thresholds[~scores.exceeded]).all())


def test_a_hopeless_candidate_stops_early_and_hardest_first_stops_earlier(problem):
    module, space, images, labels, candidates = problem
    target = plain_counts(module, space, images, labels, candidates[:1])
    threshold = torch.tensor(target, dtype=torch.float64)
    images_used = {}
    for order in (False, True):
        evaluator = Evaluator(module, space, images, labels, order=order, chunk=10)
        evaluator.scores(candidates[:1])
        scores = evaluator.scores(candidates[-1:], threshold)
        assert not scores.exceeded[0]
        images_used[order] = int(scores.images[0])
    assert images_used[True] < images_used[False] <= N


def test_what_was_scored_is_not_computed_again(problem):
    module, space, images, labels, candidates = problem
    evaluator = Evaluator(module, space, images, labels)
    first = evaluator.scores(candidates[:2])
    again = evaluator.scores(candidates[:2])
    assert again.images.tolist() == [0, 0]
    assert again.correct.tolist() == first.correct.tolist()
    evaluator.forget()
    assert evaluator.scores(candidates[:1]).images[0] >= N


@pytest.mark.parametrize("damage", ["nan weight", "infinite weight", "negative variance"])
@pytest.mark.parametrize("metric", ["accuracy", "cross-entropy"])
def test_a_broken_candidate_never_wins(problem, damage, metric):
    module, space, images, labels, candidates = problem
    broken = candidates[:1].clone()
    if damage == "negative variance":
        broken[:, space.variances] = -1.0
    else:
        broken[0, 0] = torch.nan if damage == "nan weight" else torch.inf
    evaluator = Evaluator(module, space, images, labels, metric=metric)
    scores = evaluator.scores(broken, torch.tensor([0.0 if metric == "accuracy" else -1e9]))
    assert not scores.exceeded[0]
    assert not scores.fitness[0] > (0 if metric == "accuracy" else -1e9)


def test_cross_entropy_is_that_of_torch_and_rejection_does_not_change_it(problem):
    module, space, images, labels, candidates = problem
    expected = []
    for vector in candidates:
        space.load(module, vector)
        with torch.no_grad():
            logits = module(images.float() / 255)
        expected.append(-float(F.cross_entropy(logits.double(), labels)))
    evaluator = Evaluator(module, space, images, labels, metric="cross-entropy")
    full = evaluator.scores(candidates).fitness
    assert full.tolist() == pytest.approx(expected, rel=1e-5)
    for shift in (-0.1, -1e-9, 0.0, 1e-9, 0.1):
        fresh = Evaluator(module, space, images, labels, metric="cross-entropy", chunk=10)
        fresh.scores(candidates[:1])
        scores = fresh.scores(candidates, full + shift)
        assert torch.equal(scores.exceeded, full > full + shift)


def test_statistics_are_re_estimated_for_every_candidate(problem):
    module, space, images, labels, candidates = problem
    spoilt = candidates.clone()
    spoilt[:, space.statistics] = 1.0
    evaluator = Evaluator(module, space, images, labels, reestimate_on=images[:60])
    got = evaluator.scores(spoilt).correct.tolist()
    expected = []
    for vector in candidates:
        space.load(module, vector)
        reestimate(module, images[:60])
        with torch.no_grad():
            expected.append(int((module(images.float() / 255).argmax(1) == labels).sum()))
    assert got == expected
    assert evaluator.calibration_images == 60 * len(candidates)


def test_the_released_score_is_the_unweighted_mean_of_batches(problem):
    module, space, images, labels, candidates = problem
    space.load(module, candidates[0])
    with torch.no_grad():
        hits = (module(images.float() / 255).argmax(1) == labels).double()
    expected = 100 * float(torch.stack([part.mean() for part in hits.split(100)]).mean())
    evaluator = Evaluator(module, space, images, labels, batch_mean=100)
    assert float(evaluator.scores(candidates[:1]).fitness[0]) == pytest.approx(expected, rel=1e-12)


def test_inputs_are_normalised_as_asked():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    images = torch.randint(256, (2, 3, 4, 4), generator=streams.generator("n"), dtype=torch.uint8)
    expected = (images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(Normalise(mean, std)(images), expected)


def test_a_network_without_batchnorm_is_scored(problem):
    _, _, images, labels, _ = problem
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 10))
    space = WeightSpace(module)
    vectors = draw(2, space.dim, name="linear")
    evaluator = Evaluator(module, space, images, labels)
    expected = plain_counts(module, space, images, labels, vectors)
    assert evaluator.scores(vectors).correct.tolist() == expected


@pytest.mark.parametrize("features", [6, 8])
def test_the_order_of_images_does_not_show_in_a_cross_entropy(problem, features):
    """With six features, the place in a batch moves a logit's last digit on many CPUs."""
    _, _, _, labels, _ = problem
    rng = streams.generator("large images")
    images = torch.randint(256, (N, 3, 32, 32), generator=rng, dtype=torch.uint8)
    module = nn.Sequential(nn.Conv2d(3, features, 32), nn.Flatten(), nn.Linear(features, 10))
    space = WeightSpace(module)
    vectors = 0.1 * draw(6, space.dim, name="six features")
    ordered = Evaluator(module, space, images, labels, metric="cross-entropy")
    found = [float(ordered.scores(vector[None]).fitness) for vector in vectors]
    for vector, fitness in zip(vectors, found, strict=True):
        fresh = Evaluator(module, space, images, labels, metric="cross-entropy")
        assert float(fresh.scores(vector[None]).fitness) == fitness


def test_near_ties_are_decided_by_the_network_itself(problem):
    """Two classes with equal weights tie on every image: argmax takes the first of them."""
    module, space, images, _, candidates = problem
    vector = candidates[0].clone()
    entries = space.unflatten(vector)
    name = next(n for n in reversed(space.names) if n.endswith("weight"))
    entries[name][1] = entries[name][0]
    bias = name.replace("weight", "bias")
    entries[bias][:2] = 50.0
    for label, expected in ((0, N), (1, 0)):
        labels = torch.full((N,), label)
        evaluator = Evaluator(module, space, images, labels)
        assert int(evaluator.scores(vector[None]).correct[0]) == expected


def test_a_redraw_forgets_and_takes_the_asked_number(problem):
    module, space, images, labels, candidates = problem
    evaluator = Evaluator(module, space, images, labels)
    evaluator.scores(candidates[:1])
    evaluator.redraw(streams.generator("r"), augment="crop-flip", size=40)
    assert evaluator.n == 40
    scores = evaluator.scores(candidates[:1])
    assert scores.images[0] >= 40
    assert math.isfinite(float(scores.fitness[0]))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_chosen_precision_keeps_its_own_accepted_set(problem, precision):
    module, space, images, labels, candidates = problem
    plain = Evaluator(
        module, space, images, labels, precision=precision, **dict.fromkeys(LEVERS, False)
    )
    counts = plain.scores(candidates).fitness
    if precision == "bfloat16":
        assert counts.tolist() != [float(n) for n in plain_counts(*problem)]  # the choice is real
    for shift in (-1.0, 0.0, 1.0):
        evaluator = Evaluator(module, space, images, labels, precision=precision)
        evaluator.scores(candidates[:3])
        scores = evaluator.scores(candidates, counts + shift)
        assert torch.equal(scores.exceeded, counts > counts + shift)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("off", [[], LEVERS, *[[lever] for lever in LEVERS]])
def test_counts_on_a_gpu_are_those_of_the_plain_loop_there(problem, off):
    _, space, images, labels, candidates = problem
    theirs = [models.build("resnet8-w8", 10).cuda(), space, images.cuda(), labels.cuda()]
    expected = plain_counts(*theirs, candidates.cuda())
    evaluator = Evaluator(*theirs, **dict.fromkeys(off, False))
    scores = evaluator.scores(candidates.cuda())
    assert scores.correct.tolist() == expected
    counts = scores.fitness
    again = evaluator.scores(candidates.cuda(), counts - 1)
    assert bool(again.exceeded.all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_recorded_forward_pass_reads_the_weights_of_the_moment():
    network = nn.Conv2d(3, 4, 3).cuda().eval()
    x = torch.rand(8, 3, 32, 32, device="cuda")
    with torch.inference_mode():
        replayed = graphed(network, x)
        assert replayed is not network
        network.weight.data.mul_(2)
        assert torch.equal(replayed(x), network(x))


def test_on_a_cpu_nothing_is_recorded():
    network = nn.Conv2d(3, 4, 3)
    assert graphed(network, torch.zeros(1, 3, 8, 8)) is network


def test_images_that_folding_leaves_in_doubt_are_decided_without_it(problem):
    """Two classes with nearly the same weights: rounding of the folded net alone would tip them."""
    module, space, images, _, candidates = problem
    space.load(module, candidates[0])
    near = copy.deepcopy(module)
    weight, bias = [p.data for p in near.parameters()][-2:]
    weight[1:] = weight[0] * (1 + 1e-6 * draw(weight.shape[1], name="twin"))
    bias.zero_()
    with torch.no_grad():
        logits = copy.deepcopy(near).double()(images.double() / 255)
    bias[1:] = (logits[:, 0] - logits[:, 1]).median()  # so that each class wins half
    vectors = space.flatten(near.state_dict())[None]
    labels = torch.zeros(len(images), dtype=torch.int64)
    folded, plain = (
        Evaluator(module, space, images, labels, fold=fold).scores(vectors)
        for fold in (True, False)
    )
    assert folded.correct.tolist() == plain.correct.tolist()
    assert 0.2 * N < plain.correct[0] < 0.8 * N  # the case says something


@pytest.mark.parametrize(
    ("count", "side", "chunk"),
    [(40, 32, 40), (130, 32, 44), (300, 12, 150), (200, 12, 200), (211, 16, 106), (90, 64, 12)],
)
def test_all_passes_are_alike_and_small_images_share_a_larger_one(count, side, chunk):
    module = models.build("resnet8-w8", 10, streams.generator("net")).eval()
    shape, cpu = torch.Size((count, 3, side, side)), torch.device("cpu")
    how = {"precision": "float32", "chunk": None, "fold": True, "exact": True}

    assert Passes(module, Normalise(), shape, cpu, **how).chunk == chunk


@pytest.mark.parametrize(("side", "chunk"), [(10, 200), (32, 100)])
def test_small_images_of_a_spiking_network_share_a_larger_pass(side, chunk):
    module = models.build("sew-small", 10, streams.generator("net"), steps=2).eval()
    shape, cpu = torch.Size((200, 3, side, side)), torch.device("cpu")
    how = {"precision": "float32", "chunk": None, "fold": True, "exact": True}

    assert Passes(module, Normalise(), shape, cpu, **how).chunk == chunk


def test_a_few_images_in_doubt_are_decided_in_a_small_pass_with_the_same_bits():
    module = models.build("resnet8-w8", 10, streams.generator("net")).eval()
    images = torch.randint(256, (40, 3, 16, 16), generator=streams.generator("few"))
    images = images.to(torch.uint8)
    how = {"precision": "float32", "chunk": None, "fold": True, "exact": True}
    passes = Passes(module, Normalise(), images.shape, torch.device("cpu"), **how)
    sizes = []
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    with torch.inference_mode():
        whole = passes.unfolded(images, torch.arange(40))
        few = passes.unfolded(images, torch.tensor([31, 2]))

    assert sizes == [40, passes.few] == [40, 8]
    assert torch.equal(few, whole[[31, 2]])


def test_where_small_passes_give_other_bits_all_are_alike():
    module = models.build("resnet8-w8", 10, streams.generator("net")).eval()
    module.register_forward_hook(lambda _, x, out: out * (1 + 1e-6 * (len(x[0]) == 8)))
    shape, cpu = torch.Size((40, 3, 16, 16)), torch.device("cpu")
    how = {"precision": "float32", "chunk": None, "fold": True, "exact": True}
    passes = Passes(module, Normalise(), shape, cpu, **how)
    assert passes.folded
    assert passes.few == passes.chunk == 40


def test_nothing_exceeds_an_infinite_threshold(problem):
    module, space, images, labels, candidates = problem
    bars = torch.tensor([math.inf, 0.0], dtype=torch.float64)
    for metric in ("accuracy", "cross-entropy"):
        found = Evaluator(module, space, images, labels, metric=metric).scores(candidates[:2], bars)
        assert not found.exceeded[0]


def test_weights_that_overflow_once_they_are_folded_count_as_they_are():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2, bias=False),
    ).eval()  # fmt: skip
    space = WeightSpace(module, "parameters+statistics")
    state = {name: tensor.zero_() for name, tensor in module.state_dict().items()}
    # The folded weight is 1e38 / sqrt(1e-5), beyond float32; times a dark pixel it would not be.
    state["0.weight"][0, 0] = 1e38
    state["1.weight"].fill_(1.0)
    state["4.weight"][1, 0] = 1.0
    images = torch.zeros(30, 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0, 0, 0] = 1
    labels = torch.arange(30) % 2
    vector = space.flatten(state)[None]
    counts = [
        int(Evaluator(module, space, images, labels, fold=fold).scores(vector).correct)
        for fold in (False, True)
    ]
    assert counts == [15, 15]
