"""Fisher information against torch.func and closed forms, and the average weighted by it."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from mergesuite.core import store
from mergesuite.core.runtime import Meter
from mergesuite.core.streams import generator
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.methods import Gradients, create
from mergesuite.models import alignment, build, spiking
from mergesuite.stages import fisher, merge
from mergesuite.stages.problem import Problem
from mergesuite.weights import WeightSpace

NAN = float("nan")
FIT, CLASSES = 30, 10


@pytest.fixture(scope="module")
def problem():
    torch.set_num_threads(1)
    data = Data.model_validate({"name": "digits", "sizes": {"fit": FIT, "search": 20, "test": 10}})
    return Problem(Network(build="resnet8-w4"), data, torch.device("cpu"))


def inputs(n):
    return torch.rand(n, 3, 16, 16, generator=generator("fisher", "inputs"))


def by_vmap(net, space, images):
    """Per-image gradients by torch.func, weighted by the predicted probabilities."""
    weights = {name: tensor.detach() for name, tensor in net.named_parameters()}
    buffers = {name: tensor.detach() for name, tensor in net.named_buffers()}

    def log_probability(weights, image, label):
        logits = functional_call(net, {**weights, **buffers}, (image[None],))
        return logits.log_softmax(1)[0, label]

    slopes = vmap(grad(log_probability), in_dims=(None, 0, None))
    chances = net(images).softmax(1).detach()
    total = torch.zeros(space.dim)
    for label in range(chances.shape[1]):
        found = slopes(weights, images, label)
        parts = {
            name: torch.einsum("n,n...->...", chances[:, label], found[name] ** 2) for name in found
        }
        zeros = {name: torch.zeros_like(value) for name, value in buffers.items()}
        total += space.flatten({**zeros, **parts})
    return total / len(images)


@pytest.mark.parametrize("part", ["parameters", "parameters+statistics"])
def test_the_diagonal_is_that_of_per_image_gradients(part):
    net = build("resnet8-w4", CLASSES, generator("fisher")).eval()
    space, images = WeightSpace(net, part), inputs(6)
    found = fisher.diagonal(net, space, images.split(1))
    torch.testing.assert_close(found.float(), by_vmap(net, space, images), rtol=1e-3, atol=1e-9)
    assert bool((found[space.statistics] == 0).all())
    assert float((found[~space.statistics] > 0).double().mean()) > 0.5


def test_the_diagonal_of_a_linear_network_in_closed_form():
    """Of softmax(W x + b) at one image it is p (1 - p) x^2, and p (1 - p) of the bias."""
    net = nn.Linear(3, 4)
    x = torch.randn(5, 3, generator=generator("fisher", "linear"))
    p = net(x).softmax(1).detach()
    spread = p * (1 - p)
    expected = torch.cat([torch.einsum("nc,nd->cd", spread, x**2).flatten(), spread.sum(0)]) / 5
    found = fisher.diagonal(net, WeightSpace(net), x.split(1))
    torch.testing.assert_close(found.float(), expected)


def test_drawn_labels_have_the_expectation_of_all():
    net = nn.Linear(2, 3)
    x = torch.randn(4, 2, generator=generator("fisher", "drawn"))
    space = WeightSpace(net)
    often = x.repeat(1000, 1)
    found = fisher.diagonal(net, space, often.split(1), generator("fisher", "labels"))
    expected = fisher.diagonal(net, space, x.split(1))
    torch.testing.assert_close(found, expected, rtol=0.15, atol=0.01)
    assert not torch.allclose(found, expected, rtol=1e-4)


def test_spiking_networks_have_one_too():
    net = spiking.SewResNet(spiking.Shape((1, 1), (8, 16), stem_stride=2), 10, steps=2)
    spiking.initialise(net, generator("fisher"))
    net.eval()
    space = WeightSpace(net)
    one, other = (fisher.diagonal(net, space, [x]) for x in inputs(2).split(1))
    both = fisher.diagonal(net, space, inputs(2).split(1))
    torch.testing.assert_close(both, (one + other) / 2)
    assert float(both.max()) > 0


@pytest.mark.parametrize(("labels", "each"), [("expected", CLASSES), ("sampled", 1)])
def test_the_stage_counts_what_it_costs_and_takes_images_of_the_fit_split(problem, labels, each):
    states = [problem.network(seed).state_dict() for seed in range(2)]
    space, meter = WeightSpace(problem.network(), "parameters+statistics"), Meter()
    wanted = Gradients(8, labels)
    found = fisher.squared_gradients(problem, space, states, wanted, seed=3, meter=meter)
    assert (meter.cost["forward_images"], meter.cost["backward_images"]) == (16, 16 * each)
    again = fisher.squared_gradients(problem, space, states, wanted, seed=3, meter=Meter())
    other = fisher.squared_gradients(problem, space, states, wanted, seed=4, meter=Meter())
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    if labels == "expected":
        index = torch.randperm(FIT, generator=generator("fisher", 3))[:8]
        images = problem.normalise(problem.scored("fit")[index])
        for state, row in zip(states, found, strict=True):
            net = problem.network()
            net.load_state_dict(state)
            expected = by_vmap(net.eval(), space, images)
            torch.testing.assert_close(row, expected, rtol=1e-3, atol=1e-9)


def test_more_images_than_there_are_are_all(problem):
    space, meter = WeightSpace(problem.network()), Meter()
    states = [problem.network().state_dict()]
    fisher.squared_gradients(
        problem, space, states, Gradients(4096, "sampled"), seed=0, meter=meter
    )
    assert meter.cost["forward_images"] == FIT


# The average


def averaged(parents, squared, statistics=None, **params):
    method = create("fisher-average", **params)
    method.squared, method.statistics = squared, statistics
    (found,) = method.combine(parents, torch.zeros(len(parents))).members
    return found


@pytest.fixture
def parents():
    return torch.randn(3, 40, generator=generator("fisher", "parents"))


@pytest.fixture
def squared():
    return torch.rand(3, 40, generator=generator("fisher", "squared"))


def test_the_average_is_the_formula(parents, squared):
    f, x = squared.double(), parents.double()
    torch.testing.assert_close(averaged(parents, squared), ((f * x).sum(0) / f.sum(0)).float())


def test_the_released_floor_and_norm(parents, squared):
    squared = squared * 2e-6 * torch.tensor([[1.0], [1.0], [30.0]])
    f, x = squared.double(), parents.double()
    floored = f.clamp_min(1e-6) / f.norm(dim=1, keepdim=True)
    expected = (floored * x).sum(0) / floored.sum(0)
    found = averaged(parents, squared, normalise=True)
    torch.testing.assert_close(found, expected.float())
    assert not torch.allclose(found, averaged(parents, squared), atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 0.0])
def test_equal_fishers_are_the_uniform_average(parents, scale):
    squared = scale * torch.rand(40, generator=generator("fisher", "equal")).repeat(3, 1)
    uniform = create("uniform-average").combine(parents, torch.zeros(3)).members[0]
    torch.testing.assert_close(averaged(parents, squared, floor=0), uniform)


@pytest.mark.parametrize("one", [0, 1, 2])
def test_a_parent_that_alone_has_information_is_the_result(parents, squared, one):
    known = torch.zeros_like(squared)
    known[one] = squared[one] + 1e-3
    assert torch.equal(averaged(parents, known, floor=0), parents[one])


def test_equal_parents_give_themselves_to_the_bit(parents, squared):
    assert torch.equal(averaged(parents[:1].repeat(3, 1), squared), parents[0])


def test_regressions_on_parts_of_the_data_make_that_on_all():
    """Linear, Gaussian, with orthogonal regressors: the Fisher is diagonal, and this is exact."""
    d, thetas, fishers, moments = 6, [], [], []
    for part, n in enumerate((8, 20, 50)):
        rng = generator("fisher", "regression", part)
        axes, _ = torch.linalg.qr(torch.randn(n, d, generator=rng, dtype=torch.float64))
        x = axes * (1 + 3 * torch.rand(d, generator=rng, dtype=torch.float64))
        y = torch.randn(n, generator=rng, dtype=torch.float64)
        thetas.append(torch.linalg.lstsq(x, y[:, None]).solution[:, 0])
        fishers.append((x**2).sum(0))
        moments.append((x, y))
    all_x, all_y = (torch.cat(parts) for parts in zip(*moments, strict=True))
    expected = torch.linalg.lstsq(all_x, all_y[:, None]).solution[:, 0]
    found = averaged(torch.stack(thetas), torch.stack(fishers))
    torch.testing.assert_close(found, expected)


def test_statistics_have_the_plain_mean(parents, squared):
    mask = torch.zeros(40, dtype=torch.bool)
    mask[30:] = True
    found = averaged(parents, squared, mask, normalise=True)
    torch.testing.assert_close(found[30:], parents[:, 30:].mean(0))
    expected = averaged(parents, squared, normalise=True)[:30]
    torch.testing.assert_close(found[:30], expected)


def test_what_is_not_finite_is_no_information(parents, squared):
    squared[0], squared[1, :20] = NAN, float("inf")
    found = averaged(parents, squared, floor=0)
    torch.testing.assert_close(found[:20], parents[2, :20])
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("how_taken", ["all", "aligned"])
def test_a_merge_weights_parents_by_what_their_own_networks_say(problem, tmp_path, how_taken):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.safetensors")
        store.save_weights(paths[-1], problem.network(seed).state_dict())
    how = Merge.model_validate({"use": "fisher-average", "params": {"fit_images": 5}})
    how = how.model_copy(update={"parents": how_taken})
    meter = Meter()
    result = merge.merge(problem, how, paths, seed=2, out=tmp_path, key="k", meter=meter)
    assert meter.cost["forward_images"] == 2 * 5
    assert meter.cost["backward_images"] == 2 * 5 * CLASSES

    states = [problem.load(path) for path in paths]
    if how_taken == "aligned":
        image = problem.scored("fit", 1).shape[1:]
        named = {str(i): state for i, state in enumerate(states)}
        states = list(alignment.aligned(problem.network(), named, image).values())
    space = WeightSpace(problem.network(), how.part)
    squared = fisher.squared_gradients(
        problem, space, states, Gradients(5, "expected"), seed=2, meter=Meter()
    )
    expected = averaged(torch.stack([space.flatten(s) for s in states]), squared, space.statistics)
    assert torch.equal(space.flatten(result.state_dicts[0]), expected)


def test_copies_of_one_parent_are_weighted_by_its_own_network(problem, tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.safetensors")
        store.save_weights(paths[-1], problem.network(seed).state_dict())
    how = {"use": "fisher-average", "params": {"fit_images": 2}, "part": "parameters"}
    how = Merge.model_validate({**how, "parents": "best"})
    result = merge.merge(problem, how, paths, seed=0, out=tmp_path, key="k", meter=Meter())
    (found,) = result.state_dicts
    assert any(
        all(torch.equal(found[name], state[name]) for name in state)
        for state in map(problem.load, paths)
    )
