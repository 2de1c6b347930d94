"""What makes evaluation fast changes no search, to the byte.

Every population method runs for about 14 generations on a trained net, and a local, a wide and a
recombining one on a net that does not fold, scored by a plain loop that is written out here, then
by the evaluator with all levers on and with all off; in some of them also with each alone off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from mergesuite import models
from mergesuite.core.runtime import Meter
from mergesuite.core.streams import generator
from mergesuite.data import digits
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe
from mergesuite.fitness import Evaluator
from mergesuite.methods import create
from mergesuite.models import spiking
from mergesuite.models.batchnorm import reestimate
from mergesuite.stages.trainer import Trainer
from mergesuite.weights import WeightSpace

LEVERS = ("fold", "reject", "order", "remember")
OFF = [(), LEVERS, *[(lever,) for lever in LEVERS]]
GENERATIONS, EPOCHS, MEMBERS = 14, 7, 4
FIT, SEARCH = 500, 100
CHUNK = 50
"""Images per forward pass, in the plain loop too: the last digits of logits depend on it."""

COUNTS = {"interpolation-grid": 2, "mega": 2, "cma-es": 2, "sade": 6}
RAND1BIN = {"variant": "rand1bin", "generations": GENERATIONS}
SADE = {"variant": "sade", "generations": 10, "de_epochs": 2}
LARGE = {"f_init": 0.5, "cr_init": 0.5}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "mega": [{"population": 4}],
    "de": [{}],
    "darwinian": [RAND1BIN, SADE],
    "cade": [{}, LARGE, {**LARGE, "synchronous": True, "forced": True, "schedule": 2}],
    "random-copy": [LARGE],
    "evolver": [{}, {"synchronous": True, "reference": "random"}],
    "sade": [{"learning": 5}],
    "sa-shade": [{}, {"variant": "named"}],
    "lshade-epsin": [{"evaluations": GENERATIONS * MEMBERS}],
    "cma-es": [{"evaluations": GENERATIONS * 6}],
    "affine": [{"evaluations": GENERATIONS * 6}, {"evaluations": 60, "per": "tensor"}],
    "lcsc": [{"evaluations": GENERATIONS * 6, "population": 6, "elite": 4}],
    "random-search": [
        {"evaluations": GENERATIONS * MEMBERS, "batch": MEMBERS, "mutation": "tensor"}
    ],
}
"""Parameters that differ from the defaults; a method that is not here runs with those."""

CASES = [
    pytest.param(name, params, id=f"{name}-{number}")
    for name, entry in declared.methods().items()
    if entry.kind == "population"
    for number, params in enumerate(SETTINGS.get(name, [{}]))
]


def resnet() -> nn.Module:
    """A net that folds."""
    return models.build("resnet8-w8", 10, generator("levers"))


def spiking_net() -> nn.Module:
    """Two SEW blocks over two time steps; it does not fold."""
    module = spiking.SewResNet(spiking.Shape((1, 1), (8, 16), stem_stride=2), 10, steps=2)
    spiking.initialise(module, generator("levers"))
    return module


@dataclass
class Trained:
    """A net, its last epochs as vectors, and images that it partly gets wrong."""

    build: Callable[[], nn.Module]
    space: WeightSpace
    state: dict[str, Tensor]
    members: Tensor
    images: Tensor
    labels: Tensor
    calibration: Tensor

    def network(self) -> nn.Module:
        module = self.build()
        module.load_state_dict(self.state)
        return module.eval()


def handwriting() -> tuple[Tensor, Tensor]:
    """The embedded 8x8 digits as uint8 `(n, 3, 8, 8)`, and labels."""
    glyphs, labels = digits.handwriting()
    grey = torch.from_numpy(glyphs * 15)[:, None]
    return grey.repeat(1, 3, 1, 1), torch.from_numpy(labels)


def with_twins(space: WeightSpace, vector: Tensor, rng: torch.Generator) -> Tensor:
    """The classifier's last class made one with the last but one, up to the last digits.

    Images of both are then decided by rounding alone, in every mixture of the members.
    """
    state = space.unflatten(vector.clone())
    weight, bias = (state[name] for name in space.names[-2:])
    last_digits = 1 + 1e-7 * torch.randn(weight.shape[1], generator=rng)
    weight[-1], bias[-1] = weight[-2] * last_digits, bias[-2]
    return space.flatten(state)


def wide_resnet() -> nn.Module:
    """One whose BatchNorm is torch's to the bit; that of narrow layers is so up to rounding."""
    return models.build("resnet8", 10, generator("levers"))


UNFOLDED = ("random-copy", "darwinian", "mega")
"""A method sees scores and no network: these three are asked on the spiking net too."""
SEARCHES = [
    pytest.param(build, *case.values, id=f"{build.__name__}-{case.id}")
    for build in (resnet, spiking_net)
    for case in CASES
    if build is resnet or case.values[0] in UNFOLDED
]


@pytest.fixture(scope="module", params=[resnet, spiking_net])
def net(request):
    return trained(request.param)


@pytest.fixture(scope="module", params=[wide_resnet, resnet, spiking_net])
def any_net(request):
    return trained(request.param)


@functools.cache
def trained(build: Callable[[], nn.Module]) -> Trained:
    torch.set_num_threads(1)
    images, labels = handwriting()
    module = build()
    space = WeightSpace(module, "parameters+statistics")
    recipe = Recipe(lr=0.01, batch=25, epochs=EPOCHS)
    trainer = Trainer(
        module, recipe, InMemory(images[:FIT], labels[:FIT]),
        normalise=Normalise(), stream=("levers",), meter=Meter(),
    )  # fmt: skip
    members = []
    for epoch in range(EPOCHS):
        trainer.epoch(epoch)
        members.append(space.flatten(module.state_dict()))
    return Trained(
        build,
        space,
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        torch.stack([with_twins(space, v, generator("levers", "twins")) for v in members]),
        images[FIT : FIT + SEARCH],
        labels[FIT : FIT + SEARCH],
        images[:CHUNK],
    )


@dataclass
class Answer:
    fitness: Tensor
    exceeded: Tensor


class PlainLoop:
    """Load, compute, compare, count: each candidate on each image, in order, to the end."""

    def __init__(self, net, metric="accuracy", reestimate_on=None):
        self.net, self.metric, self.reestimate_on = net, metric, reestimate_on
        self.module = net.network()

    @torch.no_grad()
    def scores(self, candidates, thresholds=None):
        fitness = torch.tensor([self.fitness(v) for v in candidates], dtype=torch.float64)
        return Answer(fitness, fitness > (-torch.inf if thresholds is None else thresholds))

    def fitness(self, vector):
        self.module.load_state_dict({**self.net.state, **self.net.space.unflatten(vector)})
        if self.reestimate_on is not None:
            self.reestimate(self.reestimate_on)
        inputs = self.net.images.float() * (1 / 255)
        if self.metric == "cross-entropy":  # no tie to decide, but its last digits know the layout
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        logits = torch.cat([self.module(part) for part in inputs.split(CHUNK)])
        if self.metric == "cross-entropy":
            losses = F.cross_entropy(logits.double(), self.net.labels, reduction="none")
            return -float(losses.nan_to_num(nan=torch.inf).sum()) / len(losses)
        finite = torch.isfinite(logits).all(1)
        return float(((logits.argmax(1) == self.net.labels) & finite).sum())

    def reestimate(self, images):
        """By torch's function, but of narrow layers: ours has other last digits there."""
        if self.net.build is resnet:
            reestimate(self.module, images, normalise=Normalise())
            return
        inputs = images.float() * (1 / 255)
        update_bn([inputs.contiguous(memory_format=torch.channels_last)], self.module)
        self.module.eval()


def evaluator(net, off=(), **options):
    return Evaluator(
        net.network(), net.space, net.images, net.labels,
        chunk=CHUNK, **dict.fromkeys(off, False), **options,
    )  # fmt: skip


def frozen(value):
    """Nested containers with every tensor and number as its bytes: NaN equals itself."""
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, Mapping):
        return {key: frozen(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(entry) for entry in value]
    return repr(value)


def history(net, scorer, name, params):
    """Who was accepted at each step, the best after it, and the state at the end."""
    members = net.members[-COUNTS.get(name, 6 if "de_epochs" in params else MEMBERS) :]
    method = create(name, **params)
    method.tensors = net.space.sizes
    method.start(members, scorer.scores(members).fitness, generator("levers", name))
    steps, asked, generation = [], 0, len(members)
    while asked < GENERATIONS * generation and (proposal := method.ask()) is not None:
        answer = scorer.scores(proposal.candidates, proposal.thresholds)
        method.tell(answer.fitness, answer.exceeded)
        steps.append((answer.exceeded.tolist(), frozen(method.best)))
        asked += len(proposal)
        generation = max(generation, len(proposal))
    return steps, frozen(method.state())


def agree(found, expected, off):
    for step, (here, there) in enumerate(zip(found[0], expected[0], strict=True)):
        assert here[0] == there[0], f"accepted at step {step} without {off}"
        assert here[1] == there[1], f"best after step {step} without {off}"
    for key, value in expected[1].items():
        assert found[1][key] == value, f"{key} at the end without {off}"


def switched_off(net, name):
    """A method sees only scores, so what each lever does to them is asked in a few searches.

    In a local and a wide one; on the nets that take twice as long, in the local one.
    """
    few = {"random-copy", "darwinian", ""} if net.build is resnet else {"random-copy"}
    return OFF if name in few else OFF[:2]


@pytest.mark.parametrize(("build", "name", "params"), SEARCHES)
def test_a_search_is_that_of_the_plain_loop_with_any_lever_off(build, name, params):
    net = trained(build)
    expected = history(net, PlainLoop(net), name, params)
    for off in switched_off(net, name):
        agree(history(net, evaluator(net, off), name, params), expected, off)


@pytest.mark.parametrize(
    ("name", "params", "metric", "again"),
    [
        ("darwinian", RAND1BIN, "cross-entropy", True),
        ("cade", LARGE, "cross-entropy", False),
        ("de", {}, "accuracy", True),
    ],
)
def test_it_is_with_other_metrics_and_statistics_taken_again(any_net, name, params, metric, again):
    net = any_net
    options = {"metric": metric, "reestimate_on": net.calibration if again else None}
    expected = history(net, PlainLoop(net, **options), name, params)
    for off in switched_off(net, name):
        agree(history(net, evaluator(net, off, **options), name, params), expected, off)


def mixtures(net):
    shares = torch.rand(12, len(net.members), generator=generator("levers", "shares"))
    return (shares / shares.sum(1, keepdim=True)) @ net.members


def test_the_nets_make_errors_and_near_ties(net):
    """Else the other tests here would say little."""
    counts = PlainLoop(net).scores(mixtures(net)).fitness
    assert len(counts.unique()) > 3
    assert SEARCH / 4 < counts.max() < SEARCH
    if net.build is resnet:  # near-ties of the folded net are computed twice
        assert (evaluator(net).scores(mixtures(net)).images > SEARCH).all()


def test_a_falling_threshold_accepts_who_the_plain_loop_accepts(net):
    """Bars above, at and below each mixture's count: what was bound enough for one is not again."""
    candidates = mixtures(net)
    counts = PlainLoop(net).scores(candidates).fitness
    for off in switched_off(net, ""):
        scorer = evaluator(net, off)
        for shift in (30, 1, 0, -0.5, -1, -2):
            found = scorer.scores(candidates, counts + shift)
            assert found.exceeded.tolist() == [shift < 0] * len(counts), f"{shift} without {off}"
            assert torch.equal(found.fitness[found.exceeded], counts[found.exceeded])
