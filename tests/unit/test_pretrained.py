"""Weights of timm and torchvision by name: found, fetched with a checksum, refused, used."""

import shlex
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import torch
import yaml
from torchvision.models import ShuffleNet_V2_X0_5_Weights

from mergesuite.cli import commands, doctor
from mergesuite.cli.parser import parse
from mergesuite.core import sealed, store, streams
from mergesuite.errors import UserError
from mergesuite.experiment import config, foreign, identity
from mergesuite.experiment import jobs as planning
from mergesuite.models import build, pretrained

SHUFFLE = "torchvision:shufflenet_v2_x0_5"
V1 = f"{SHUFFLE}@IMAGENET1K_V1"
TINY = "timm:test_resnet.r160_in1k"
"""timm's smallest network; its weights are on the hub only, so that no name carries a checksum."""


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """The folder that MERGESUITE_WEIGHTS names."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(foreign.FOLDER, str(folder))
    return folder


def state_of(name, seed=1):
    return build(name, 1000, streams.generator("test", "pretrained", seed)).state_dict()


@pytest.fixture
def tiny(weights):
    """A file with weights in the place of those that timm publishes."""
    store.save_weights(weights / "test_resnet.r160_in1k.safetensors", state_of("timm:test_resnet"))
    return weights / "test_resnet.r160_in1k.safetensors"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Keep the test output quiet."""


@pytest.fixture
def released(tmp_path, monkeypatch):
    """torchvision's weights at an address of this machine; the file that is served."""
    torch.save(state_of(SHUFFLE), tmp_path / "made.pth")
    file = tmp_path / "served" / f"shuffle-{store.sha256(tmp_path / 'made.pth')[:8]}.pth"
    file.parent.mkdir()
    (tmp_path / "made.pth").rename(file)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=file.parent)) as server:
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.01)).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/{file.name}"
        monkeypatch.setattr(ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.value, "url", address)
        yield file
        server.shutdown()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_names_say_library_network_and_weights():
    assert foreign.parsed("torchvision:resnet50") == ("torchvision", "resnet50", "")
    assert foreign.parsed("torchvision:resnet50@IMAGENET1K_V1")[1:] == ("resnet50", "IMAGENET1K_V1")
    assert foreign.parsed("timm:resnet50.a1_in1k") == ("timm", "resnet50", "a1_in1k")
    assert [foreign.parsed(odd) for odd in ("resnet50", "timm:", "hf-hub:a/b", "timm:a/b")] == [
        None
    ] * 4


def test_published_files_are_those_of_the_libraries():
    resnet = foreign.published("torchvision:resnet50@IMAGENET1K_V1")
    assert (resnet.files, resnet.sha256) == (("resnet50-0676ba61.pth",), "0676ba61")
    assert foreign.published("torchvision:resnet50@IMAGENET1K_V2").sha256 == "11ad3fa6"
    timm = foreign.published("timm:resnet50.a1_in1k")
    assert timm.files[:2] == ("resnet50_a1_0-14fe96d1.pth", "resnet50.a1_in1k.safetensors")
    hub = foreign.published(TINY)
    assert hub.files[0] == "test_resnet.r160_in1k.safetensors"
    assert (
        hub.url
        == "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet50", "torchvision:resnet50@IMAGENET1K_V1 or .*_V2"),
        ("torchvision:resnet50@V9", "say which weights"),
        ("torchvision:resnte50@IMAGENET1K_V1", "did you mean 'resnet50'"),
        ("timm:resnet50", "timm:resnet50.a1_in1k"),
        ("timm:resnet50.a9_in1k", "did you mean 'timm:resnet50.ra_in1k'"),
        ("timm:resnte50.a1", "did you mean 'resnet50'"),
        ("timm:a/b", "expected torchvision:NETWORK@WEIGHTS or timm:NETWORK.TAG"),
    ],
)
def test_weights_that_nobody_publishes_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        pretrained.find(name)


def test_weights_are_fetched_once_and_checked(released, weights):
    found = pretrained.find(V1)
    assert found == weights / released.name
    assert found.read_bytes() == released.read_bytes()
    released.unlink()
    assert pretrained.find(V1) == found


def test_a_pretrained_network_has_these_weights(released):
    expected = store.load_weights(released)
    assert same(build(V1, classes=1000).state_dict(), expected)
    assert not same(build(SHUFFLE, classes=1000).state_dict(), expected)


def test_a_pretrained_network_has_the_classes_of_its_weights(released):
    with pytest.raises(UserError, match=r"do not fit .* with 10 classes .*fc"):
        build(V1)


def test_a_download_of_other_content_is_refused(released, weights, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with released.open("ab") as file:
        file.write(b"?")
    with pytest.raises(UserError, match="wrong checksum"):
        pretrained.find(V1)
    assert not (weights / released.name).exists()


def test_a_file_that_is_not_what_its_name_says_is_refused(weights):
    (weights / "resnet50-0676ba61.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not what its name says"):
        pretrained.find("torchvision:resnet50@IMAGENET1K_V1")


def test_without_a_network_the_error_says_which_file_goes_where(released, weights, monkeypatch):
    def refuse(*_, **__):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests, "head", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(
        UserError, match=f"set MERGESUITE_WEIGHTS to a folder that holds {released.name}"
    ):
        pretrained.find(V1)
    with pytest.raises(UserError, match=r"holds test_resnet.r160_in1k.safetensors"):
        pretrained.find(TINY)
    with pytest.raises(UserError, match=rf"no weights {TINY} in {weights}: put test_resnet"):
        foreign.there(TINY)


def test_a_folder_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(foreign.FOLDER, "nowhere")
    with pytest.raises(UserError, match="MERGESUITE_WEIGHTS should name a folder"):
        pretrained.find(TINY)


PAPER = {
    "title": "t",
    "cite": {"text": "someone"},
    "data": {"name": "digits12", "sizes": {"fit": 64, "search": 32, "test": 32}},
    "models": {
        "net": {
            "build": "timm:test_resnet",
            "start": TINY,
            "recipe": {"epochs": 1, "batch": 32, "lr": 0.001},
        },
    },
    "populations": {
        "pair": {"model": "net", "take": 2, "files": [TINY, "own.safetensors"]},
        "one": {"model": "net", "take": 1},
    },
    "replicates": 1,
    "methods": {"average": {"use": "uniform-average"}},
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The jobs of a paper that starts at published weights and merges them with a file."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "replications" / "mine"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(yaml.safe_dump(PAPER))
    config._paper.cache_clear()
    yield planning.Jobs("mine", "full")
    config._paper.cache_clear()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_paper_starts_at_published_weights(work, tiny, tmp_path):
    assert work.train_arguments("net", 0).endswith(f"--start {TINY}")
    assert work.train_files("net", 0) == [work.manifest("net")]
    words = ["train", *shlex.split(work.train_arguments("net", 0))]
    commands.run(parse([*words, "--seed", "0", "--device", "cpu", "--out", work.run("net", 0)]))
    there = sealed.read(tmp_path / work.run("net", 0) / "run.json")
    assert there["spec"] == work.spec("net", 0)
    assert there["start"]["sha256"] == store.sha256(tiny)

    before = work.spec("net", 0)
    store.save_weights(tiny, state_of("timm:test_resnet", seed=2))
    planning.Jobs.spec.cache_clear()
    assert work.spec("net", 0) != before  # what the file holds counts, not its name


def test_published_weights_are_members_beside_files(work, tiny, tmp_path):
    own = tmp_path / "replications" / "mine" / "own.safetensors"
    store.save_weights(own, state_of("timm:test_resnet", seed=3))
    subject = "average-pair"
    assert work.parents(subject, 0)[0] == TINY
    assert work.merge_files(subject, 0) == [str(own.relative_to(tmp_path))]
    expected = [identity.file_spec(store.sha256(file)) for file in (tiny, own)]
    assert [work._spec_of(of) for of in work._parents(subject, 0)] == expected


def test_the_command_line_takes_published_weights_as_parents(tiny):
    # They are found; that ten digits are not their thousand classes is said of the file.
    words = (
        f"merge --method uniform-average --parents {TINY} --model timm:test_resnet "
        "--data digits12 --sizes fit=20 search=20 test=20 --seed 0 --out merged"
    )
    with pytest.raises(UserError, match=rf"{tiny.name}.*with 10 classes"):
        commands.run(parse(shlex.split(words)))


def test_the_doctor_knows_published_weights(work, weights, tmp_path):
    folder = tmp_path / "replications" / "mine"
    found = {f.where: f for f in doctor.findings(folder, "full") if f.where.endswith("start")}
    assert found["models.net.start"].kind == "doubt"
    assert "will be downloaded" in found["models.net.start"].what
    (folder / "paper.yaml").write_text(yaml.safe_dump(PAPER).replace("r160_in1k", "r9"))
    found = {f.where: f for f in doctor.findings(folder, "full") if f.where.endswith("start")}
    assert found["models.net.start"].kind == "error"
