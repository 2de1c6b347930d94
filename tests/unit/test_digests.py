"""The digest of code: how far it reaches, what changes it, and what does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from mergesuite import models
from mergesuite.core import digests, store, streams
from mergesuite.experiment import declared

ORIGINAL = digests.PACKAGE

# What every process here needs is imported once; each stage then runs in a fork of that. The stage
# is called without the command line, whose own imports would hide what the stage does not say.
DRIVER = """
import json, os, sys
import matplotlib.figure, numpy, pydantic.main, safetensors.torch, scipy.stats, torch
import torch._dynamo, torchvision, tqdm
from importlib import import_module
from mergesuite.core import digests
from pathlib import Path

digests.prepare()  # apart from every stage, so it may be there before

def run(stage, asked):
    if not asked:
        return import_module(f"mergesuite.{stage}")
    if stage == "data":
        from mergesuite.data import load
        return load(asked["name"], sizes=asked["sizes"]).manifest
    function = import_module(f"mergesuite.{stage}").run
    files = [import_module(f"mergesuite.experiment.{name}") for name in ("settings", "recipe")]
    kinds = vars(files[0]) | vars(files[1])
    models = [kinds[name](**fields) for name, fields in asked["models"]]
    paths = [[Path(path) for path in asked["paths"]]] if asked["paths"] else []
    function(*models, *paths, **asked["seed"], out=Path(asked["out"]), device="cpu")

for number, (stage, asked) in enumerate(json.load(open(sys.argv[1]))):
    child = os.fork()
    if not child:
        try:
            run(stage, asked)
            json.dump(list(sys.modules), open(f"{sys.argv[2]}/{number}.json", "w"))
        except BaseException as error:
            print(stage, asked, repr(error), file=sys.stderr)
        os._exit(0)
    os.waitpid(child, 0)
"""

SIZES = {"fit": 12, "search": 8, "test": 8}
METHODS = {
    "mega": {"population": 3, "generations": 1},
    "cade": {"generations": 1},
    "lshade-epsin": {"evaluations": 8},
    "cma-es": {"evaluations": 6},
    "fisher-average": {"fit_images": 2},
    "greedy-soup": {},
    "interpolation-grid": {"points": 2},
    "ensemble": {},
    "train-on": {"images": 8, "batch": 4},
    "swa": {},
    "lawa": {},
}
NETS = [
    "resnet8-w4",
    "densenet121-mega",
    "sew-small-w4",
    "torchvision:shufflenet_v2_x0_5",
    "timm:resnet10t",
]
FOREIGN = {"cma", "pandas", "spikingjelly", "timm"}
"""Libraries that some stages load; the driver imports none of them."""
AFTER = ["judge.collect", "judge.compare", "report.tables", "report.figures", "report.page"]
"""The stages after loading, which import all that they use when they are imported."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for number in range(30):
            colour = (100 * label, number, 7)
            Image.new("RGB", (32, 32), colour).save(folder / name / f"{number}.png")
    return f"folder:{folder}"


def jobs(root, images):
    """(stage, modules, what it is told) of tiny runs: nets, data and methods of every kind.

    A stage that is told nothing is imported only.
    """
    modules = declared.modules
    for data in ("digits", images):
        yield "data", modules(data=data), {"name": data, "sizes": SIZES}
    recipe = ["Recipe", {"epochs": 1, "batch": 6}]
    everything = {"augment": "resized-crop-flip", "rand_augment": 1, "ema": 0.9, "swa_start": 1,
                  "colour_jitter": [0.1, 0, 0, 0], "erasing": 0.5, "cutout": 4, "cutmix": 1.0,
                  "epochs": 2}  # fmt: skip
    for net, data in [*((net, "digits") for net in NETS), ("resnet8-w4", images)]:
        out = f"{root}/{net}-{data[:6]}"
        told = {"models": [*problem(net, data), recipe], "paths": [], "seed": {"seed": 0}}
        yield "stages.train", modules(build=net, data=data), {**told, "out": out}
    told = {"models": [*problem("resnet8-w4", "digits"), ["Recipe", {**recipe[1], **everything}]],
            "paths": [], "seed": {"seed": 0}, "out": f"{root}/everything"}  # fmt: skip
    yield "stages.train", modules(build="resnet8-w4", data="digits"), told
    parents = [f"{root}/resnet8-w4-digits/model.safetensors", *untrained(root)]
    ways = [*((name, params, "all") for name, params in METHODS.items()), ("swa", {}, "aligned")]
    for name, params, which in ways:
        count = 2 if name == "interpolation-grid" else 4
        how = ["Merge", {"use": name, "params": params, "parents": which}]
        told = {"models": [*problem("resnet8-w4", "digits"), how], "paths": parents[:count]}
        told |= {"seed": {"seed": 0}, "out": f"{root}/{name}-{which}"}
        yield "stages.merge", modules(build="resnet8-w4", data="digits", method=name), told
    measured = [(f"{name}-all", "resnet8-w4", name) for name in ("mega", "ensemble")]
    measured += [(f"{net}-digits", net, "") for net in NETS]
    for folder, net, method in measured:
        told = {"models": [], "paths": [f"{root}/{folder}"], "seed": {}, "out": f"{root}/m.csv"}
        yield "stages.evaluate", modules(build=net, data="digits", method=method), told
    for stage in AFTER:
        yield stage, (), None


def untrained(root):
    """Three more parents: files of weights only."""
    for number in range(3):
        net = models.build("resnet8-w4", 10, streams.generator("parent", number))
        store.save_weights(root / f"{number}.safetensors", net.state_dict())
        yield str(root / f"{number}.safetensors")


def problem(net, data):
    return [["Network", {"build": net}], ["Data", {"name": data, "sizes": SIZES}]]


def loaded_by(root, asked):
    """What each stage loads, run in a process of its own."""
    (root / "jobs.json").write_text(json.dumps(asked))
    environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, str(root / "jobs.json"), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for number, job in enumerate(asked):
        file = root / f"{number}.json"
        assert file.is_file(), f"{job}: {done.stderr}"
        yield json.loads(file.read_text())


def test_a_digest_covers_all_that_a_stage_loads(tmp_path, images):
    table = list(jobs(tmp_path, images))
    results = loaded_by(tmp_path, [(stage, told) for stage, _, told in table])
    for (stage, modules, told), loaded in zip(table, results, strict=True):
        ours = {n.partition(".")[2] for n in loaded if n.partition(".")[0] == "mergesuite"}
        missed = {n for n in ours - digests.closure(stage, *modules) if not digests.is_apart(n)}
        assert not missed, f"{stage} {told} loads {sorted(missed)}, which its digest lacks"
        foreign = FOREIGN & set(loaded)
        assert foreign <= digests.libraries(stage, *modules)


def test_what_is_apart_is_there_and_argued():
    for name, reason in digests.APART.items():
        assert (name == "") or digests._file(name).is_file()
        assert reason


# What an edit changes


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's source that a test may edit."""
    copy = tmp_path / "mergesuite"
    shutil.copytree(ORIGINAL, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(digests, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def forget():
    digests._read.cache_clear()
    digests._code.cache_clear()


def edit(file, old, new):
    text = file.read_text()
    assert old in text, f"{file.name} no longer has {old!r}"
    file.write_text(text.replace(old, new, 1))
    forget()


STAGES = {
    "data of digits": ("data", "data.digits"),
    "data of a folder": ("data", "data.folders"),
    "train a resnet": ("stages.train", "models.resnet", "data.digits"),
    "train a spiking net": ("stages.train", "models.spiking", "data.digits"),
    "train a timm net": ("stages.train", "models.foreign", "data.folders"),
    "merge by cade": ("stages.merge", "models.resnet", "data.digits", "methods.cade"),
    "merge by soup": ("stages.merge", "models.spiking", "data.digits", "methods.soup"),
    "evaluate": ("stages.evaluate", "models.resnet", "data.digits", "methods.cade"),
    "collect": ("judge.collect",),
    "compare": ("judge.compare",),
    "tables": ("report.tables",),
    "figures": ("report.figures",),
    "report": ("report.page",),
}
COMPUTING = {name for name in STAGES if name.split()[0] in ("train", "merge", "evaluate")}
DATA = {"data of digits", "data of a folder"}
REPORTING = {"collect", "compare", "tables", "figures", "report"}


@pytest.fixture(scope="module")
def before():
    """The digests of all stages before any edit."""
    return all_digests()


def all_digests():
    return {name: digests.code(*modules) for name, modules in STAGES.items()}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("core/store.py", "1 << 20", "1 << 21", set(STAGES)),
        (
            "core/streams.py",
            "SPARSE_RATE = 0.02",
            "SPARSE_RATE = 0.03",
            COMPUTING | DATA,
        ),
        (
            "data/digits.py",
            "NOISE = 0.15",
            "NOISE = 0.16",
            {n for n, m in STAGES.items() if "data.digits" in m},
        ),
        (
            "data/folders.py",
            "SIDE = 32",
            "SIDE = 33",
            {n for n, m in STAGES.items() if "data.folders" in m},
        ),
        (
            "models/resnet.py",
            "return self.linear(out.mean((2, 3)))",
            "return 2 * self.linear(out.mean((2, 3)))",
            {n for n, m in STAGES.items() if "models.resnet" in m},
        ),
        (
            "models/foreign.py",
            "pretrained=False",
            "pretrained=True",
            {"train a timm net"},
        ),
        (
            "methods/pool.py",
            "bars, -torch.inf)",
            "bars, torch.inf)",
            {n for n, m in STAGES.items() if "methods.cade" in m},
        ),
        (
            "methods/soup.py",
            "self._next += 1",
            "self._next += 2",
            {"merge by soup"},
        ),
        ("cli/commands.py", "import shutil", "import shutil as moved", set()),
        ("errors.py", "cutoff=0.5", "cutoff=0.6", set()),
    ],
)
def test_an_edit_changes_just_the_stages_that_run_it(before, package, file, old, new, changed):
    edit(package / file, old, new)
    after = all_digests()
    assert {name for name in STAGES if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("stages/train.py", ["train a resnet", "train a spiking net", "train a timm net"]),
        ("stages/merge.py", ["merge by cade", "merge by soup"]),
        ("stages/problem.py", sorted(COMPUTING)),
        ("fitness/evaluator.py", ["merge by cade", "merge by soup"]),
        ("judge/verdict.py", ["compare", "report"]),
        ("report/drawing.py", ["figures"]),
        ("experiment/loading.py", sorted(REPORTING)),
    ],
)
def test_new_code_counts_where_its_file_is_loaded(before, package, module, stages):
    (package / module).write_text((package / module).read_text() + "\nNEW = 1\n")
    forget()
    after = all_digests()
    changed = {name for name in STAGES if before[name] != after[name]}
    assert changed >= set(stages)
    assert not changed & DATA
    if module.startswith(("judge", "report", "experiment/loading")):
        assert not changed & COMPUTING
    if module.startswith("fitness"):
        assert not any(name.startswith("train") for name in changed)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("methods/shade.py", "TERMINAL = -1.0\n", "# A comment.\n\n\nTERMINAL = -1.0  # more\n"),
        ("methods/shade.py", '"""SHADE and L-SHADE-EpSin as published', '"""Other words'),
        ("methods/shade.py", '"""All start at 0.5."""', '"""All begin at 0.5."""'),
        ("methods/shade.py", "return min(value, 1.0)", "return min(\n        value, 1.0\n    )"),
        ("methods/shade.py", "IEEE CEC (2013)", "IEEE Congress (2013)"),
        ("methods/shade.py", 'description="generations G"', 'description="generations"'),
        ("methods/shade.py", '{"generations": 5}', '{"generations": 6}'),
        ("methods/shade.py", '@method("shade",', '@method("shade", control=True,'),
        ("models/resnet.py", "no CIFAR ResNet has depth", "there is no CIFAR ResNet of depth"),
        ("models/resnet.py", '"resnet32", ', ""),
        ("models/resnet.py", "Yun: MeGA, arXiv", "Yun, MeGA: arXiv"),
        ("data/digits.py", "embedded: composed from", "embedded, made of"),
        ("core/writing.py", "nothing was replaced. ", "nothing was lost. "),
        ("stages/record.py", "already holds this result", "holds this result"),
    ],
)
def test_words_and_layout_do_not_count(package, file, old, new):
    modules = ("stages.merge", "methods.shade", "models.resnet", "data.digits")
    before = digests.code(*modules)
    edit(package / file, old, new)
    assert digests.code(*modules) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("methods/shade.py", "return min(value, 1.0)", "return min(value, 0.9)"),
        ("methods/shade.py", "TERMINAL = -1.0", "TERMINAL = -2.0"),
        ("methods/shade.py", "Field(20, ge=1", "Field(21, ge=1"),
        ("methods/de.py", "return min(max(value, low), high)", "return max(value, low)"),
        ("methods/pool.py", "bars, -torch.inf)", "bars, torch.inf)"),
        ("core/streams.py", "SPARSE_RATE = 0.02", "SPARSE_RATE = 0.03"),
    ],
)
def test_an_edit_counts_wherever_it_is_reached_from(package, module, old, new):
    before = digests.code("methods.shade")
    edit(package / module, old, new)
    assert digests.code("methods.shade") != before


@pytest.mark.parametrize("line", ["{}\n", "def f():\n    {}\n"], ids=["file", "function"])
def test_a_new_import_brings_its_module_in(package, line):
    (package / "extra.py").write_text("VALUE = 1\n")
    statement = line.format("from mergesuite.extra import VALUE")
    pool = package / "methods" / "pool.py"
    pool.write_text(pool.read_text() + statement)
    forget()
    imported = digests.code("methods.shade")
    edit(package / "extra.py", "1", "2")
    assert digests.code("methods.shade") != imported


def test_an_import_for_annotations_brings_nothing_in(package):
    (package / "extra.py").write_text("VALUE = 1\n")
    edit(
        package / "core" / "store.py",
        "if TYPE_CHECKING:\n",
        "if TYPE_CHECKING:\n    from mergesuite.extra import VALUE\n",
    )
    assert "extra" not in digests.closure("methods.shade", "core.store")


def test_versions_of_what_computes_count(before, monkeypatch):
    monkeypatch.setattr(digests, "_version", lambda library: f"other {library}")
    digests._code.cache_clear()
    changed = {name for name, digest in all_digests().items() if digest != before[name]}
    digests._code.cache_clear()
    assert changed == set(STAGES)


@pytest.mark.parametrize(
    ("modules", "there", "absent"),
    [
        (
            ("stages.train", "models.resnet"),
            {"torch", "numpy"},
            {"timm", "spikingjelly", "cma", "pandas"},
        ),
        (("stages.train", "models.spiking"), {"spikingjelly"}, {"timm", "sklearn"}),
        (("stages.train", "models.foreign"), {"timm", "torchvision"}, {"spikingjelly"}),
        (("stages.merge", "methods.cma_es"), {"cma", "scipy"}, {"timm", "pandas", "spikingjelly"}),
        (("stages.evaluate", "models.resnet"), {"torch"}, {"pandas"}),
        (("data", "data.folders"), {"PIL"}, {"sklearn"}),
        (("report.figures",), {"matplotlib", "pandas"}, {"timm"}),
    ],
)
def test_the_libraries_are_those_of_the_stage(modules, there, absent):
    found = digests.libraries(*modules)
    assert there <= found
    assert not absent & found


def test_order_and_repetition_of_modules_do_not_matter():
    both = digests.code("methods.soup", "methods.mega")
    assert digests.code("methods.mega", "methods.soup", "methods.mega") == both
    assert digests.code("methods.mega") != both


def test_a_copy_has_the_digest_of_the_original(package, monkeypatch):
    copied = digests.code("methods.shade")
    monkeypatch.setattr(digests, "PACKAGE", ORIGINAL)
    forget()
    assert digests.code("methods.shade") == copied
    assert len(copied) == 12
    assert int(copied, 16) >= 0


def test_no_file_is_parsed_twice(package, monkeypatch):
    parsed = []
    parse = digests.ast.parse
    monkeypatch.setattr(digests.ast, "parse", lambda text: parsed.append(text) or parse(text))
    all_digests()
    first = len(parsed)
    all_digests()
    assert len(parsed) == first <= len(list(package.rglob("*.py")))


def test_what_is_no_module_counts_with_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "report" / "templates"
    folder.mkdir(parents=True)
    (folder / "a.html").write_text("one")
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)
    first = digests.contents("report/templates")

    assert digests.contents("report/templates") == first
    (folder / "a.html").write_text("two")
    second = digests.contents("report/templates")
    (folder / "a.html").rename(folder / "b.html")
    assert len({first, second, digests.contents("report/templates")}) == 3
