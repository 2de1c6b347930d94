import pytest
import timm
import torch
import torchvision.models
from pydantic import ValidationError
from torch import nn

from mergesuite.core import streams
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Network
from mergesuite.models import build
from mergesuite.models.resnet import CifarResNet


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'resnet56'") as caught:
        build("resnte56")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet9", "no CIFAR ResNet has depth 9: give 6n"),
        ("resnet2", "no CIFAR ResNet has depth 2"),
        ("resnet18-w8", "no CIFAR ResNet has depth 18"),
        ("resnet8-w0", "no model is called"),
        ("hf-hub:timm/resnet18", "no model is called"),
        ("timm:hf-hub:timm/resnet18", "no model is called"),
        ("shufflenet_v2_x0_5", "here torchvision:shufflenet_v2_x0_5; name one"),
        ("resnet10t", "here timm:resnet10t; name one"),
        ("timm:shufflenet_v2_x0_5", "no model is called"),
        ("torchvision:resnte50", "did you mean 'torchvision:resnet50'"),
    ],
)
def test_names_that_are_nearly_right_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        build(name)


@pytest.mark.parametrize("options", [{"width": 8}, {"pretrained": True}])
def test_unknown_option_is_refused(options):
    with pytest.raises(UserError, match="takes no option"):
        build("resnet8", **options)


def test_unknown_option_of_a_foreign_net_is_refused():
    with pytest.raises(UserError, match="change its options"):
        build("timm:resnet18", no_such_option=1)


def test_no_classes_are_refused():
    with pytest.raises(UserError, match="at least 1 class"):
        build("resnet8", classes=0)


def test_depth_50_is_the_imagenet_net_unless_a_width_says_cifar():
    with pytest.raises(UserError, match="timm:resnet50 or torchvision:resnet50"):
        build("resnet50")
    assert not isinstance(build("torchvision:resnet50"), CifarResNet)
    assert isinstance(build("resnet50-w4"), CifarResNet)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:shufflenet_v2_x0_5"])
def test_foreign_nets_have_the_classes_asked_for(name):
    net = build(name, classes=7).eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_options_of_foreign_nets_are_handed_on():
    net = build("timm:resnet18", in_chans=1)
    assert net.get_parameter("conv1.weight").shape[1] == 1


def test_nets_come_in_training_mode_with_clean_statistics():
    net = build("resnet8-w8")
    assert net.training
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.num_batches_tracked == 0 for m in norms)
    assert all((m.running_var == 1).all() and (m.running_mean == 0).all() for m in norms)


def test_a_generator_continues_from_net_to_net():
    rng = streams.generator("test", "models")
    first, second = (
        build("resnet8-w8", generator=rng),
        build("resnet8-w8", generator=rng),
    )
    assert not torch.equal(first.get_parameter("conv.weight"), second.get_parameter("conv.weight"))


@pytest.mark.parametrize("library", [timm, torchvision.models], ids=["timm", "torchvision"])
def test_a_prefix_says_whose_network_a_shared_name_means(library):
    # The two disagree in the names of their weights.
    name = library.__name__.partition(".")[0]
    make = getattr(library, "create_model", None) or library.get_model
    expected = make("vgg11", num_classes=4).state_dict()
    assert build(f"{name}:vgg11", classes=4).state_dict().keys() == expected.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "timm:resnet18, torchvision:resnet18"),
        ("resnte56", "did you mean 'resnet56'"),
        ("torchvision:resnet50@IMAGENET1K_V1", "build: torchvision:resnet50, and where training"),
        ("timm:resnet50.a1_in1k", "start: timm:resnet50.a1_in1k"),
    ],
)
def test_a_spec_names_networks_of_ours_or_with_a_prefix(name, message):
    with pytest.raises(ValidationError, match=message):
        Network(build=name)
    assert Network(build="timm:resnet18").build == "timm:resnet18"
