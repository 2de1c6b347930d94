import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from mergesuite.core import streams
from mergesuite.core.runtime import Meter
from mergesuite.data.pictures import InMemory
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network
from mergesuite.models import batchnorm, build
from mergesuite.stages import averages
from mergesuite.stages.problem import Problem


def random_images(n, size=8):
    rng = streams.generator("test", "batchnorm")
    return torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=rng)


def test_reestimate_gives_the_mean_and_the_unbiased_variance_worked_out_by_hand():
    # One channel of 2x1 images. First batch: 1, 3, 5, 7 (mean 4, variance 20/3); second batch:
    # 0, 0, 6, 6 (mean 3, variance 12). Averages over batches: 3.5 and 28/3.
    net = nn.BatchNorm2d(1)
    images = torch.tensor([[1, 3], [5, 7], [0, 0], [6, 6]], dtype=torch.uint8)
    batchnorm.reestimate(net, images.reshape(4, 1, 2, 1), batch=2, normalise=torch.Tensor.float)
    assert net.running_mean is not None
    assert net.running_var is not None
    assert net.running_mean.item() == 3.5
    assert net.running_var.item() == pytest.approx(28 / 3, rel=1e-6)


def test_reestimate_counts_an_unequal_batch_by_its_images():
    # 3 images in batches of 2 and 1; means 2 and 8: (2 * 2 + 1 * 8) / 3.
    net = nn.BatchNorm2d(1)
    images = torch.tensor([[1, 1], [3, 3], [8, 8]], dtype=torch.uint8).reshape(3, 1, 2, 1)
    batchnorm.reestimate(net, images, batch=2, normalise=torch.Tensor.float)
    assert net.running_mean is not None
    assert net.running_mean.item() == pytest.approx(4.0)


def by_torch(net, images, batch):
    """The same net with statistics by torch's own function, scaled without our code."""
    theirs = copy.deepcopy(net)
    batches = [part.to(memory_format=torch.channels_last) / 255 for part in images.split(batch)]
    update_bn(batches, theirs)
    return theirs


def exact(net, images):
    """Mean and unbiased variance of what each BatchNorm layer is given, in float64."""
    found = {}
    net = copy.deepcopy(net).double()
    for name, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(
                lambda _, x, name=name: found.update(
                    {
                        f"{name}.running_mean": x[0].mean((0, 2, 3)),
                        f"{name}.running_var": x[0].var((0, 2, 3)),
                    }
                )
            )
    with torch.no_grad():
        net(images.double() / 255)
    return found


def test_reestimate_gives_the_bits_of_torch_update_bn():
    ours = build("resnet8")
    images = random_images(60, size=16)
    theirs = by_torch(ours, images, 20)
    batchnorm.reestimate(ours, images, batch=20)
    for name in batchnorm.statistics_names(ours):
        assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name]), name


@pytest.mark.parametrize("name", ["resnet8-w2", "resnet8-w4", "resnet8-w8"])
@pytest.mark.parametrize("side", [15, 16])
def test_reestimate_of_narrow_layers_is_no_further_from_the_exact_statistics_than_torch(name, side):
    ours = build(name)
    images = random_images(64, side)
    theirs = by_torch(ours, images, 64).state_dict()
    batchnorm.reestimate(ours, images)
    worst = {"ours": 0.0, "theirs": 0.0}
    for key, value in exact(build(name), images).items():
        torch.testing.assert_close(ours.state_dict()[key], theirs[key], rtol=1e-4, atol=1e-5)
        for who, state in (("ours", ours.state_dict()), ("theirs", theirs)):
            worst[who] = max(worst[who], float((state[key] - value).abs().max()))
    assert worst["ours"] <= 1.2 * worst["theirs"]


def test_reestimate_forgets_what_was_there_even_nan():
    net = build("resnet8-w8")
    reference = copy.deepcopy(net)
    images = random_images(10)
    batchnorm.reestimate(reference, images)
    for name in batchnorm.statistics_names(net):
        net.state_dict()[name].fill_(float("nan"))
    batchnorm.reestimate(net, images)
    torch.testing.assert_close(net.state_dict(), reference.state_dict(), rtol=0, atol=0)


def test_reestimate_restores_modes_and_momenta_and_leaves_parameters():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout())
    net[2].eval()
    before = [p.clone() for p in net.parameters()]
    batchnorm.reestimate(net, random_images(4))
    assert [part.training for part in net.modules()] == [True, True, True, False]
    assert net[1].momentum == 0.3
    assert not net[1]._forward_pre_hooks
    assert all("forward" not in vars(part) for part in net)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_network_that_is_re_estimated_again_and_again_stays_in_eval_mode():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    again = batchnorm.Reestimation(net)
    for images in (random_images(4), random_images(6)):
        again(images)
        found = {k: v.clone() for k, v in net.state_dict().items()}
        assert not any(part.training for part in net.modules())
        batchnorm.reestimate(net, images)
        assert all(torch.equal(v, found[k]) for k, v in net.state_dict().items())


def test_reestimate_keeps_dropout_off():
    # With dropout on, the mean of all-white images after it would be other than exactly 1.
    norm = nn.BatchNorm2d(3)
    net = nn.Sequential(nn.Dropout(0.5), norm)
    batchnorm.reestimate(net, torch.full((4, 3, 5, 5), 255, dtype=torch.uint8))
    assert norm.state_dict()["running_mean"].tolist() == [1.0, 1.0, 1.0]


def test_reestimate_keeps_the_statistics_of_a_layer_that_never_runs():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.live = nn.BatchNorm2d(3)
            self.dead = nn.BatchNorm2d(3)
            self.dead.state_dict()["running_mean"].fill_(7)

        def forward(self, x):
            return self.live(x)

    net = Dead()
    batchnorm.reestimate(net, random_images(4))
    assert net.state_dict()["dead.running_mean"].tolist() == [7, 7, 7]


@pytest.mark.parametrize(("side", "most"), [(8, 250), (32, 250), (64, 62), (224, 32)])
def test_a_pass_over_large_images_takes_fewer(side, most):
    images = random_images(300 if side < 64 else 70, side)
    batches = []
    net = nn.Sequential(nn.AvgPool2d(side), nn.BatchNorm2d(3))
    net[1].register_forward_pre_hook(lambda _, x: batches.append(len(x[0])))

    batchnorm.reestimate(net, images)
    estimated, batches[:] = list(batches), []
    data = Data.model_validate({"name": "digits"})
    problem = Problem(Network(build="resnet8-w4"), data, torch.device("cpu"))
    averages.estimate_statistics(
        net, InMemory(images, torch.zeros(len(images), dtype=torch.int64)), problem,
        stream=("test",), meter=Meter(),
    )  # fmt: skip

    assert estimated == batches
    assert sum(batches) == len(images)
    assert most / 2 < max(batches) <= most


def test_reestimate_refuses_no_images():
    with pytest.raises(UserError, match="at least one image"):
        batchnorm.reestimate(build("resnet8-w8"), random_images(0))


def test_reestimate_leaves_a_net_without_batchnorm_alone():
    net = nn.Conv2d(3, 1, 1)
    batchnorm.reestimate(net, random_images(2))
    assert not batchnorm.has_batchnorm(net)
    assert net.training


def test_statistics_names_are_state_dict_names_in_order():
    net = build("resnet8-w8")
    expected = [name for name in net.state_dict() if name.split(".")[-1].startswith("running_")]
    assert batchnorm.statistics_names(net) == expected
    assert batchnorm.has_batchnorm(net)
    assert batchnorm.statistics_names(nn.BatchNorm1d(2)) == [
        "running_mean",
        "running_var",
    ]
