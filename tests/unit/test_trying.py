"""`compare` and `mergesuite try`: every method on one set of parents, honestly and in order."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mergesuite import cli, compare
from mergesuite.core import sealed, store
from mergesuite.errors import UserError
from mergesuite.experiment import loading
from mergesuite.experiment.settings import Data
from mergesuite.methods import Population, Proposal, create
from mergesuite.stages import merge
from mergesuite.trying import entries
from mergesuite.trying.given import Given

ROOT = Path(__file__).parents[2]
COUNTS = {"fit": 90, "search": 45, "test": 60}


def images(split, seed):
    """Noise with a tint of the class: hard enough that networks err."""
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNTS[split]) % 3
    pixels = rng.integers(0, 200, (len(labels), 3, 8, 8))
    pixels[np.arange(len(labels)), labels] += 30
    return torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def data():
    torch.set_num_threads(1)
    return {split: images(split, seed) for seed, split in enumerate(COUNTS)}


@pytest.fixture(scope="module")
def parents(data):
    """Four networks that go on from one start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
        )
    start = trained(start, data, 0, 6)
    return {f"p{seed}": trained(start, data, seed, 3) for seed in range(1, 5)}


def trained(module, data, seed, epochs):
    module = copy.deepcopy(module).train()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    order = torch.Generator().manual_seed(seed)
    pictures, labels = data["fit"]
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=order).split(15):
            loss = nn.functional.cross_entropy(module(pictures[rows].float() / 255), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return module.eval()


@pytest.fixture(scope="module")
def found(parents, data):
    return compare(parents, data=data, budget=24)


def test_every_method_is_run_or_named_with_the_reason(found):
    names = {row.name for row in found.results if row.kind != "parent"}
    skipped = {one.name: one.why for one in found.skipped}

    assert names | set(skipped) == set(entries.MAKERS)
    assert not names & set(skipped)
    assert skipped["darwinian"] == "it needs 6 parents, there are 4"
    assert "4 parents" in skipped["interpolation-grid"]


def test_a_row_is_what_its_network_does(found, data):
    """Counted by torch alone, from the weights that are handed out."""
    pictures, labels = data["test"]
    for row in found.results:
        module = network()
        logits = 0
        for state in row.states:
            module.load_state_dict(state)
            with torch.no_grad():
                logits = logits + module.eval()(pictures.float() / 255)
        hits = (logits.argmax(1) == labels).numpy()
        assert (hits == row.test_hits).mean() > 0.98, row.name
    assert found.best.keys() == module.state_dict().keys()
    assert found.chosen.search == max(r.search for r in found.results if len(r.states) == 1)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


def test_the_table_has_intervals_that_hold_at_once(found):
    table = found.table().set_index("result")
    made = table[table["kind"] != "parent"]
    beside = made["against_average"].notna().sum()

    assert (made["low"] <= made["difference"]).all()
    assert (made["difference"] <= made["high"]).all()
    assert table["level"].iloc[0] == pytest.approx(1 - 0.05 / (len(made) + beside))
    best = table[table["best_parent"]]
    assert len(best) == 1
    assert (made["test"] - best["test"].iloc[0]).to_numpy() == pytest.approx(made["difference"])
    assert (made["evaluations"] <= 24).all()
    assert made.loc["random-search", "evaluations"] == 24
    assert found.sentence.endswith("points.")
    assert "these very networks" in found.scope
    assert found.plot().axes


def test_the_same_seed_gives_the_same_answer(parents, data):
    only = ["random-search", "mega"]
    tables = [compare(parents, data=data, budget=12, only=only).table() for _ in range(2)]

    pd.testing.assert_frame_equal(*tables)


def test_the_test_split_is_opened_once_after_everything_else(parents, data, monkeypatch):
    seen = []
    scored, merging = Given.scored, merge.merge
    monkeypatch.setattr(
        Given, "scored", lambda self, split, n=None: seen.append(split) or scored(self, split, n)
    )
    monkeypatch.setattr(
        merge, "merge", lambda *args, **more: seen.append("merge") or merging(*args, **more)
    )
    compare(parents, data=data, budget=8, only=["uniform-average", "greedy-soup", "ensemble"])

    assert seen.count("merge") == 3
    assert seen[-1] == "test"
    assert seen.count("test") == 1


def test_what_is_handed_over_stays_as_it_is(parents, data):
    before = {name: copy.deepcopy(one.state_dict()) for name, one in parents.items()}
    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    compare(parents, data=data, budget=4, only=["uniform-average", "random-search"])

    for name, one in parents.items():
        assert all(torch.equal(t, one.state_dict()[key]) for key, t in before[name].items())
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (threads, tf32)


def test_loaders_and_floats_are_the_same_images(parents, data):
    only = ["uniform-average"]
    as_floats = {
        "fit": TensorDataset(data["fit"][0].float() / 255, data["fit"][1]),
        "search": DataLoader(TensorDataset(*data["search"]), batch_size=7),
        "test": data["test"],
    }
    one, other = (compare(parents, data=given, only=only).table() for given in (data, as_floats))
    states = [parent.state_dict() for parent in parents.values()]
    third = compare(states, model=network(), data=data, only=only).table()

    pd.testing.assert_frame_equal(one, other)
    assert third["test"].tolist() == one["test"].tolist()


def test_a_function_and_a_search_of_ones_own(parents, data):
    def best_of_parents(vectors, fitness):
        assert fitness(vectors).dtype == torch.float64
        return vectors[fitness(vectors).argmax()]

    class Twice(Population):
        def start(self, vectors, fitness, rng):
            self.vectors, self.left, self.top = vectors, 2, (vectors[0], float("-inf"))

        def ask(self):
            return Proposal(self.vectors) if self.left else None

        def tell(self, scores, exceeded):
            self.left -= 1
            self.top = (self.vectors[int(scores.argmax())], float(scores.max()))

        @property
        def best(self):
            return self.top

        def state(self):
            return {}

        def restore(self, state):
            raise NotImplementedError

    own = {"function": best_of_parents, "twice": Twice(), "made": create("uniform-average")}
    found = compare(parents, data=data, methods=own, only=["uniform-average"])
    rows = {row.name: row for row in found.results}

    assert (rows["function"].test_hits == rows["twice"].test_hits).all()
    assert (rows["made"].test_hits == rows["uniform-average"].test_hits).all()
    assert rows["function"].cost["evaluations_asked"] == 8
    assert rows["twice"].cost["evaluations_asked"] == 8


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (lambda vectors, fitness: vectors, r"should return a vector \(\d+,\), found one of shape"),
        (lambda vectors, fitness: None, "should return a vector"),
        (lambda vectors, fitness: vectors[0] * torch.nan, "without a finite score"),
    ],
)
def test_a_function_that_returns_no_weights_is_skipped_with_the_reason(parents, data, method, why):
    found = compare(parents, data=data, methods={"mine": method}, only=["uniform-average"])

    assert [one.name for one in found.skipped] == ["mine"]
    assert re.search(why, found.skipped[0].why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: {**d, "fit": (d["fit"][0].float() - 0.5, d["fit"][1])}, "say mean and std"),
        (lambda d: {k: d[k] for k in ("fit", "test")}, "see to search"),
        (lambda d: {**d, "test": (d["test"][0][:3, :, :4], d["test"][1][:3])}, "one shape"),
        (lambda d: {**d, "test": (d["test"][0][:2], d["test"][1][:2])}, "class '2' has no test"),
        (lambda d: {**d, "search": 5}, "two tensors, a data set or a loader"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(parents, data, change, why):
    with pytest.raises(UserError, match=why):
        compare(parents, data=change(data))


def test_parents_that_cannot_be_compared_are_refused(parents, data):
    one = parents["p1"]
    odd = nn.Sequential(*list(network())[:-1], nn.Linear(144, 4))
    for given, more, why in (
        ([one], {}, "2 parents or more"),
        ([one, copy.deepcopy(one)], {}, "the same weights"),
        ([one, odd], {}, "has shape"),
        ([one.state_dict(), odd.state_dict()], {}, "give model"),
        (parents, {"only": ["mgea"]}, "did you mean 'mega'"),
        (parents, {"batchnorm_augment": "crops"}, "crop-flip, crop, flip, found 'crops'"),
        (parents, {"only": ["darwinian"]}, "nothing is left to run: darwinian: it needs 6"),
        (parents, {"budget": 0}, "1 evaluation or more"),
        (parents, {"mean": [0.5] * 3}, "belong together"),
        (parents, {"methods": {"mega": lambda p, f: p[0]}}, "name of a documented method"),
        (parents, {"methods": {"mine": 3}}, "should be a function"),
    ):
        with pytest.raises(UserError, match=why):
            compare(given, data=data, **more)


def test_doubts_about_parents(parents, data):
    lost, near = copy.deepcopy(parents["p1"]), copy.deepcopy(parents["p1"])
    with torch.no_grad():
        lost[-1].weight.zero_()
        near[0].weight.mul_(1.001)
    given = {"p1": parents["p1"], "lost": lost, "near": near}
    found = compare(given, data=data, only=["uniform-average"])

    said = "\n".join(found.warnings)
    assert "at chance on the search images: lost (33 %" in said
    assert "p1 and near are nearly equal" in said


def test_parents_between_which_the_network_is_worse(parents, data):
    """The same function with its units in another order: the average is neither."""
    other = copy.deepcopy(parents["p2"])
    state = other.state_dict()
    order = [2, 3, 0, 1]
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        state[name] = state[name][order]
    state["4.weight"] = state["4.weight"].view(3, 4, 36)[:, order].reshape(3, 144)
    other.load_state_dict(state)
    found = compare([parents["p1"], other], data=data, only=["uniform-average", "aligned-average"])

    assert any("the parents are far apart" in said for said in found.warnings)
    rows = {row.name: row.search for row in found.results}
    assert rows["aligned-average"] > rows["uniform-average"]


@pytest.mark.parametrize("parents", [2, 3, 4, 6, 10])
@pytest.mark.parametrize("budget", [1, 7, 45, 100, 400])
def test_no_search_asks_for_more_than_its_budget(parents, budget):
    made, skipped = entries.entries(parents, budget, batchnorm=True)

    for entry in made:
        assert entry.evaluations <= max(budget, parents - 1)
        kind = create(entry.how.use, **entry.how.params)
        if entry.name != "greedy-soup" and isinstance(kind, Population):
            kind.start(torch.randn(parents, 5), torch.zeros(parents), torch.Generator())
            asked = 0
            while (proposal := kind.ask()) is not None:
                asked += len(proposal)
                kind.tell(torch.zeros(len(proposal)), torch.zeros(len(proposal), dtype=torch.bool))
            assert asked == entry.evaluations, entry.name
    assert {e.name for e in made} | {s.name for s in skipped} == set(entries.MAKERS)


def test_searches_are_the_clean_entries_of_the_papers():
    for paper, entry in (
        ("mega", "mega-clean"), ("darwinian", "darwinian-clean"), ("cade", "cade-clean"),
        ("sa-shade", "shade-clean"),
    ):  # fmt: skip
        theirs = loading.paper(ROOT / "replications" / paper).methods[entry]
        made, _ = entries.entries(8, 10_000, batchnorm=True, only=[paper])
        mine = made[0].how
        fitness = mine.fitness.model_dump(exclude={"batchnorm_images"})
        assert (mine.use, mine.params, mine.part) == (theirs.use, theirs.params, theirs.part)
        assert fitness == theirs.fitness.model_dump(exclude={"batchnorm_images"})
        assert made[0].note == ""


def test_what_a_small_budget_changes_is_said():
    made, _ = entries.entries(3, 25, batchnorm=False, only=["mega", "sa-shade"])

    notes = {entry.name: entry.note for entry in made}
    assert (
        notes["mega"]
        == "population 12 of 20, 1 of 20 generations, a parent left over goes up a level"
    )
    assert notes["sa-shade"] == "8 of 60 generations"
    assert made[0].how.fitness.batchnorm == "keep"


@pytest.fixture
def folder(tmp_path, data, monkeypatch):
    """The images as files in one folder, and two parents as files of torch."""
    monkeypatch.chdir(tmp_path)
    pictures, labels = (torch.cat([data[s][i] for s in COUNTS]) for i in (0, 1))
    for number, (image, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
        file = tmp_path / f"img/c{label}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return tmp_path


MODEL = ["--model", "resnet8-w8", "--data", "folder:img@8"]


@pytest.fixture
def files(folder):
    from mergesuite.models import build

    torch.manual_seed(0)
    for name in ("a<b>.pt", "c.pt"):
        module = build("resnet8-w8", 3, torch.Generator().manual_seed(len(name)))
        torch.save(module.state_dict(), folder / name)
    return ["a<b>.pt", "c.pt"]


def test_the_command(files, folder, capsys):
    words = ["try", *files, *MODEL, "--only", "uniform-average", "random-search", "--budget", "6"]
    assert cli.run([*words, "--out", "out"]) == 0
    out, err = capsys.readouterr()

    assert "uniform-average" in out
    assert "resolve" in out
    assert "best.safetensors is" in out
    assert re.search(r"try: 6 of 6 evaluations, random-search has \d+\.\d % on search", err)
    assert "careful: the test images were divided off by us, and a<b>.pt, c.pt may have" in err
    page = (folder / "out/index.html").read_text()
    assert "a&lt;b&gt;.pt" in page
    assert "a<b>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    table = pd.read_csv(folder / "out/results.csv")
    assert {"a<b>.pt", "c.pt", "random-search"} <= set(table["result"])
    sealed.check(folder / "out/results.record.json")
    assert store.read_metadata(folder / "out/best.safetensors")["by"] == "search"
    assert cli.run([*words, "--out", "out"]) == 2
    assert "say --force" in capsys.readouterr().err
    assert cli.run([*words, "--out", "out", "--force"]) == 0


def test_scaled_images_are_said_and_own_trainings_are_known(folder, capsys):
    for seed in (0, 1):
        words = ["--set", "epochs=1", "batch=60", "--seed", str(seed), "--out", f"run/{seed}"]
        assert cli.run(["train", "--model", "resnet8-w8", "--data", "folder:img@16", *words]) == 0
    runs = [f"run/{seed}/model.safetensors" for seed in (0, 1)]
    words = ["try", *runs, "--model", "resnet8-w8", "--data", "folder:img@16"]
    assert cli.run([*words, "--only", "uniform-average"]) == 0
    err = capsys.readouterr().err

    assert "images are scaled by us (one of 8 x 8 pixels to 16 x 16)" in err
    assert "divided off" not in err
    assert cli.run([*words, "--only", "uniform-average", "--held-out", "5", "--out", "b"]) == 0
    assert "divided off by us, and 0, 1 may have been trained on them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--only", "nothing"], 2, "no method 'nothing' is compared"),
        (["--out", "a<b>.pt"], 2, "no folder a<b>.pt can be made"),
        (["--sizes", "test=2"], 2, "has no test images"),
        (["--model", "resnet20"], 2, "that of model resnet20 with 3 classes"),
        (["--budget", "0"], 2, "1 evaluation or more"),
        (["--budget", "x"], 2, "invalid int value"),
        (["--out", "/proc/nothing"], 2, "can be made"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_computed(
    files, words, status, why, capsys, monkeypatch
):
    def computed(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(merge, "merge", computed)
    assert cli.run(["try", *files, *MODEL, *words]) == status
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_ctrl_c_leaves_what_is_done(files, folder, capsys, monkeypatch):
    merging, count = merge.merge, []

    def stopped(*args, **more):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return merging(*args, **more)

    monkeypatch.setattr(merge, "merge", stopped)
    assert cli.run(["try", *files, *MODEL, "--budget", "4", "--out", "out"]) == 130
    out, err = capsys.readouterr()

    assert "interrupted: out holds what was done by then" in err
    assert "sa-shade was not run: interrupted" in out
    assert len(pd.read_csv(folder / "out/results.csv")) >= 4


def test_a_search_part_that_is_taken_out_of_train_is_said(folder, data):
    for part, names in (("train", range(2)), ("test", range(1))):
        for label in range(3):
            for number in names:
                for source in sorted((folder / f"img/c{label}").iterdir())[number::3]:
                    target = folder / f"own/{part}/c{label}/{source.name}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read_bytes())
    from mergesuite.models import build

    made = {
        name: build("resnet8-w8", 3, torch.Generator().manual_seed(i))
        for i, name in enumerate("ab")
    }
    own = Data.model_validate({"name": "folder:own@8"})
    found = compare(made, data=own, only=["uniform-average"])

    assert any("the search images are a part of own/train" in said for said in found.warnings)
    assert json.loads(found.table().to_json(orient="records"))
