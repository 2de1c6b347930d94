"""What is registered is read from its own file, as Python itself would read it."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import textwrap
import time
import typing
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from mergesuite.errors import UserError
from mergesuite.experiment import declared, reading

ORIGINAL = reading.PACKAGE


def forget():
    for cached in (
        reading.read, declared._declared, declared.methods, declared.families, declared.family,
        declared.datasets, declared.modules,
    ):  # fmt: skip
        cached.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's source that a test may add to."""
    copy = tmp_path / "mergesuite"
    shutil.copytree(ORIGINAL, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(reading, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def add(file: Path, text: str):
    file.write_text(textwrap.dedent(text).lstrip())
    forget()


def defaults(name):
    fields = declared.method_fields(name).params.model_fields
    return {key: field.default for key, field in fields.items()}


@pytest.mark.parametrize("name", list(declared.methods()))
def test_what_is_read_agrees_with_the_class(name):
    from mergesuite import methods

    entry, cls = declared.method_fields(name), methods.named(name)
    assert (cls.name, cls.cite, cls.control) == (name, entry.cite, entry.control)
    assert cls.__module__ == f"mergesuite.methods.{entry.module}"
    assert entry.kind == ("population" if issubclass(cls, methods.Population) else "one-step")
    assert entry.summary == (inspect.getdoc(cls) or "").split("\n")[0]
    assert "\n\n".join(entry.text) == inspect.getdoc(cls)
    assert "\n\n".join(entry.above) == inspect.getdoc(inspect.getmodule(cls))
    assert entry.facts == {fact: getattr(cls, fact, None) for fact in declared.SAID}
    hints = typing.get_type_hints(cls)
    real = {key: value for key, value in inspect.getmembers(cls) if isinstance(value, FieldInfo)}
    read = entry.params.model_fields
    assert set(read) == set(real)
    for key, field in real.items():
        assert read[key].default == field.default
        assert [repr(m) for m in read[key].metadata] == [repr(m) for m in field.metadata]
        assert read[key].annotation == hints[key]


def test_families_agree_with_the_builders():
    import importlib

    from mergesuite import models

    for family in declared.families():
        importlib.import_module(f"mergesuite.models.{family.module}")
        construct = models.FAMILIES[family.pattern.pattern].construct
        given = {"classes", *family.pattern.groupindex}
        assert set(family.options) == set(inspect.signature(construct).parameters) - given
        assert all(family.pattern.fullmatch(name) for name in family.names)
        assert family.summary
    names = [name for family in declared.families() for name in family.names]
    assert len(names) == len(set(names))
    for name in names:
        assert sum(bool(f.pattern.fullmatch(name)) for f in declared.families()) == 1


@pytest.mark.parametrize("name", list(declared.datasets()))
def test_data_sets_declare_every_fact(name):
    facts = declared.datasets()[name]
    assert all(facts[fact] for fact in declared.FACTS)
    assert set(facts["splits"]) == {"fit", "search", "test"}


def test_controls_are_declared():
    controls = {name for name, entry in declared.methods().items() if entry.control}
    assert {"uniform-average", "greedy-soup", "random-search", "cma-es", "ensemble"} <= controls
    assert not {"mega", "cade", "darwinian", "sa-shade"} & controls


def test_modules_are_the_files_behind_names():
    modules = declared.modules
    assert modules(build="resnet20", data="digits", method="cade") == (
        "models.resnet", "data.digits", "methods.cade",
    )  # fmt: skip
    assert modules(build="timm:resnet50", data="folder:/a b@64") == (
        "models.foreign",
        "data.folders",
    )
    assert modules(build="sew-resnet18-w8", data="mnist") == ("models.spiking", "data.archives")
    with pytest.raises(UserError, match="did you mean 'cade'"):
        modules(method="cadee")


def test_modules_are_fast_to_ask_for():
    declared.modules(build="resnet20", data="digits", method="cade")
    start = time.perf_counter()
    for _ in range(10_000):
        declared.modules(build="resnet20", data="digits", method="cade")
    assert time.perf_counter() - start < 1


def test_nothing_here_needs_torch():
    code = (
        "import sys; from mergesuite.experiment import declared as d; d.methods(); d.families();"
        "d.datasets(); d.modules(build='resnet8', data='mnist', method='mega');"
        "from mergesuite.experiment import pages; pages.text();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'sklearn')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_files_that_are_named_are_imported():
    code = (
        "import sys; from mergesuite import data, methods, models; data.load('digits');"
        "methods.create('greedy-soup'); models.build('resnet8'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("mergesuite.") for name in done.stdout.split()}
    assert {"data.digits", "methods.soup", "models.resnet"} <= loaded
    assert not {"data.archives", "methods.cade", "models.spiking"} & loaded


# Inheritance

TOY = '''
from mergesuite.methods import method
from mergesuite.methods.shade import Shade
from pydantic import Field
{head}

@method("toy", cite="Nobody: A Toy (2026)")
class Toy(Shade):
    """SHADE with a short memory."""

    {line}
'''


def toy(package, line, head=""):
    """The defaults of a method with one more line in its class and some above it."""
    add(package / "methods" / "toy.py", TOY.replace("{head}", head).replace("{line}", line))
    return defaults("toy")


def test_fields_come_from_a_base_in_another_file(package):
    assert toy(package, "pass") == defaults("shade")
    assert declared.method_fields("toy").kind == "population"
    assert declared.method_fields("toy").cite == "Nobody: A Toy (2026)"


def test_a_field_overrides_a_field(package):
    assert toy(package, "memory: int = Field(3, ge=1)") == {**defaults("shade"), "memory": 3}
    # The type may be the base's.
    assert toy(package, "memory = Field(4)") == {**defaults("shade"), "memory": 4}
    with pytest.raises(UserError, match=r"memory: Input should be a valid integer"):
        declared.check_params("toy", {"memory": "many"})


@pytest.mark.parametrize("line", ["memory = 5", "memory: int = 5", "def memory(self): ..."])
def test_a_plain_value_takes_the_place_of_a_field(package, line):
    assert set(toy(package, line)) == {"generations", "archive"}
    with pytest.raises(UserError, match="memory: unknown key"):
        declared.check_params("toy", {"memory": 7})


def test_an_annotation_alone_changes_no_value(package):
    assert toy(package, "memory: int") == defaults("shade")


@pytest.mark.parametrize(
    ("head", "line", "value"),
    [
        ("SLOTS = 7", "memory: int = Field(SLOTS, ge=1)", 7),
        ("BASE = 3\nSLOTS = 2 * BASE", "memory: int = Field(SLOTS)", 6),
        ("SLOTS = {'few': 2}", "memory: int = Field(SLOTS['few'])", 2),
        ("from mergesuite.methods.cade import GRID", "memory: int = Field(GRID)", 2**24),
        ("MEMORY = Field(9)", "memory: int = MEMORY", 9),
        ("import pydantic", "memory: int = pydantic.Field(8)", 8),
        ("from pydantic import Field as F", "memory: int = F(8)", 8),
        ("import math", "memory: float = Field(math.inf)", float("inf")),
        ("from typing import Annotated", "memory: Annotated[int, 'slots'] = Field(2)", 2),
        ("", "few = 2\n    memory: int = Field(few)", 2),
    ],
)
def test_a_field_may_use_what_is_known_without_running(package, head, line, value):
    assert toy(package, line, head=head)["memory"] == value


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("", "memory: int = Field(slots())", r"toy.py line \d+: .*slots"),
        ("import torch", "memory: int = Field(torch.ones(1))", r"toy.py line \d+: .*torch"),
        ("", "memory: Slots = Field(1)", r"toy.py line \d+: .*Slots"),
        ("", "other = Field(1)", r"toy.py line \d+: .*the Field other has no type"),
        ("", "memory: int = Field(", r"toy.py line \d+: not Python"),
        ("N = M\nM = N", "memory: int = Field(N)", r"toy.py line \d+: "),
    ],
)
def test_what_cannot_be_read_is_one_error_with_file_and_line(package, head, line, message):
    with pytest.raises(UserError, match=message) as caught:
        toy(package, line, head=head)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@method('x')\nclass X:\n    pass", "toy.py line 2: .*derives from one of Population"),
        ("@method('x')\nclass X(make()):\n    pass", "toy.py line 2: .*base class make"),
        ("@method('x')\nclass X(Lost):\n    pass", "toy.py line 2: .*Lost is not known"),
        (
            "@method('mega')\nclass X(Lost):\n    pass",
            "line 1: 'mega' is declared in .*mega",
        ),
        ("@method(name())\nclass X(Lost):\n    pass", "toy.py line 1: .*name is not known"),
        ("@method()\nclass X:\n    pass", "toy.py line 1: .*first argument"),
        ("@method\nclass X:\n    pass", "toy.py line 1: .*needs arguments"),
        ("class X(:\n", "toy.py line 1: not Python"),
    ],
)
def test_what_cannot_be_registered_is_one_error_with_file_and_line(package, text, message):
    add(package / "methods" / "toy.py", text)
    with pytest.raises(UserError, match=message) as caught:
        declared.methods()
    assert "\n" not in str(caught.value)


def test_two_bases_are_ordered_as_python_orders_them(package):
    add(
        package / "methods" / "toy.py",
        """
        from mergesuite import methods
        from mergesuite.methods.shade import Shade as Base
        from pydantic import Field


        class Few(Base):
            memory: int = Field(2)


        class Many(Base):
            memory: int = Field(200)
            archive = 0


        @methods.method("toy")
        class Toy(Few, Many):
            \"\"\"Both.\"\"\"
        """,
    )
    assert defaults("toy") == {"generations": 20, "memory": 2}
    assert declared.method_fields("toy").cite == declared.OURS


# A new file is all that it takes

NEW = {
    "methods/toy.py": '''
        from pydantic import Field
        from mergesuite.methods import Combination, OneStep, method


        @method("toy-first", cite="Nobody: A Toy (2026)")
        class First(OneStep):
            """The parent at a place."""

            place: int = Field(0, ge=0)

            def combine(self, parents, fitness):
                return Combination(parents[self.place][None])
    ''',
    "models/toy.py": '''
        import torch
        from torch import nn
        from mergesuite.models import family


        def initialise(module, generator):
            nn.init.uniform_(module[1].weight, generator=generator)
            nn.init.zeros_(module[1].bias)


        @family(r"toy(?P<side>\\d+)", names=("toy32",), initialise=initialise)
        def toy(side: str, classes: int, bias: bool = True) -> nn.Module:
            """One layer."""
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * int(side) ** 2, classes))
    ''',
    "data/toy.py": """
        import numpy as np
        from mergesuite.data.sources import LazySplit, Source, dataset


        @dataset(
            "grey", classes=2, size=32, splits={"fit": 4, "search": 2, "test": 2},
            origin="embedded", cite="Nobody: Grey (2026)",
        )
        def load(name, root):
            def split(n):
                rows = np.arange(n)
                grey = lambda chosen: np.full((len(chosen), 3, 32, 32), 127, np.uint8)
                return LazySplit(rows % 2, rows, grey)
            return Source({"fit": split(4), "search": split(2), "test": split(2)}, ("a", "b"), {})
    """,
}
USE = """
import torch
from mergesuite import cli, data, methods, models
from mergesuite.core import digests
from mergesuite.experiment import declared

assert data.load("grey").fit.images.shape == (4, 3, 32, 32)
net = models.build("toy32", 2)
assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
made = methods.create("toy-first", place=1)
assert made.combine(torch.eye(3), torch.zeros(3)).members.tolist() == [[0.0, 1.0, 0.0]]
modules = declared.modules(build="toy32", data="grey", method="toy-first")
assert modules == ("models.toy", "data.toy", "methods.toy")
assert set(modules) <= digests.closure("stages.merge", *modules)
cli.run(["list", "--json"])
"""


def test_adding_one_edits_no_other_file(package):
    for name, text in NEW.items():
        (package / name).write_text(textwrap.dedent(text).lstrip())
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        cwd=ORIGINAL.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("toy-first", "toy32", "grey", "Nobody: A Toy (2026)"):
        assert name in done.stdout
