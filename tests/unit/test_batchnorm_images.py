"""Statistics of BatchNorm are made of images as training saw them, wherever they are made anew."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from mergesuite import data
from mergesuite.core.runtime import Meter
from mergesuite.data.images import PAD
from mergesuite.data.stored import kept
from mergesuite.experiment.settings import Data, Fitness, Network
from mergesuite.models.batchnorm import statistics_names
from mergesuite.stages.averages import estimate_statistics
from mergesuite.stages.measure import Outputs
from mergesuite.stages.problem import Problem
from mergesuite.stages.search import make_evaluator
from mergesuite.trying.given import Given
from mergesuite.weights import WeightSpace

FIT, SEARCH = 300, 200


def made(kind: str) -> Problem:
    asked = {"name": "digits", "sizes": {"fit": FIT, "search": SEARCH, "test": 50}}
    wanted = Data.model_validate({**asked, "batchnorm_augment": kind})
    return Problem(Network(build="resnet8-w4"), wanted, torch.device("cpu"))


@pytest.fixture
def problem() -> Problem:
    torch.set_num_threads(1)
    return made("crop-flip")


def crops(image: Tensor, flips: bool) -> list[Tensor]:
    """Every image that padded crops (He et al. 2016, section 4.2) and flips make of one."""
    _, height, width = image.shape
    padded = F.pad(image, (PAD,) * 4)
    shifts = range(2 * PAD + 1)
    found = [padded[:, y : y + height, x : x + width] for y in shifts for x in shifts]
    return found + ([one.flip(-1) for one in found] if flips else [])


def updated(problem: Problem, module: nn.Module, images: Tensor) -> nn.Module:
    """What torch makes of a network's statistics, in passes that are equally large."""
    module = copy.deepcopy(module)
    update_bn(map(problem.normalise, images.split(100)), module)
    return module.eval()


@pytest.mark.parametrize("kind", ["crop-flip", "crop", "flip"])
def test_each_image_is_one_that_training_could_have_seen(kind):
    problem = made(kind)
    plain, seen = problem.scored("fit", 60), problem.calibration(60)
    for image, shown in zip(plain, seen, strict=True):
        possible = [image, image.flip(-1)] if kind == "flip" else crops(image, kind != "crop")
        assert any(torch.equal(shown, one) for one in possible)
    assert (seen != plain).any(3).any(2).any(1).double().mean() > 0.3
    assert torch.equal(seen, problem.calibration(60))


def test_nothing_is_done_where_nothing_is_asked_for():
    assert torch.equal(made("none").calibration(60), made("none").scored("fit", 60))


def test_images_in_a_file_are_changed_as_those_in_memory(problem, tmp_path, monkeypatch):
    plain = problem.scored("fit", 60)

    class Held:
        shape = plain.shape

        def all(self):
            yield plain

    expected = problem.calibration(60)
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path))
    monkeypatch.setattr(problem, "scored", lambda split, count: kept(Held(), "pixels"))
    assert torch.equal(torch.cat(list(problem.calibration(60).split(7))), expected)


def test_an_evaluation_and_a_search_measure_with_such_statistics(problem, monkeypatch):
    monkeypatch.setattr("mergesuite.models.batchnorm.statistics_batch", lambda shape: 100)
    module = problem.network()
    state = copy.deepcopy(module.state_dict())
    logits = Outputs(problem).of(state, "re-estimate", [])["search"]
    right = updated(problem, module, problem.calibration(FIT))
    plain = updated(problem, module, problem.scored("fit"))
    images, labels = problem.normalise(problem.scored("search")), problem.labels("search")
    with torch.no_grad():
        assert torch.allclose(logits, right(images), atol=1e-4)
        assert not torch.allclose(logits, plain(images), atol=1e-2)
        loss = F.cross_entropy(right(images), labels).item()

    fitness = Fitness(batchnorm="re-estimate", batchnorm_images=FIT, metric="cross-entropy")
    space = WeightSpace(module)
    evaluator = make_evaluator(problem, space, module, fitness, seed=0)
    (score,) = evaluator.scores(space.flatten(state)[None]).fitness.tolist()
    assert -score == pytest.approx(loss, abs=1e-4)


def test_weights_averaged_in_training_get_such_statistics(problem, monkeypatch):
    monkeypatch.setattr("mergesuite.stages.averages.statistics_batch", lambda shape: 100)
    module = problem.network()
    expected = updated(problem, module, problem.calibration(FIT)).state_dict()
    meter = Meter()
    estimate_statistics(module, problem.pictures("fit"), problem, stream=("test",), meter=meter)
    for name in statistics_names(module):
        assert torch.allclose(module.state_dict()[name], expected[name], rtol=1e-5, atol=1e-6)


def test_so_do_the_networks_that_a_user_compares(problem):
    splits = data.load("digits", sizes={"fit": 60, "search": 20, "test": 20})
    parents = [problem.network(seed) for seed in (0, 1)]
    cpu = torch.device("cpu")
    given = Given(parents, None, splits, None, cpu, "crop-flip")
    assert torch.equal(given.calibration(60), problem_of(splits).calibration(60))


def problem_of(splits: data.Splits) -> Problem:
    found = made("crop-flip")
    found._splits = splits
    return found
