"""The digest of code: what changes it, what does not, and how far it reaches."""

import shutil
import subprocess
import sys

import pytest

from mergesuite.core import provenance

ORIGINAL = provenance.PACKAGE


def forget():
    for cached in (provenance.code_digest, provenance._imports, provenance._syntax):
        cached.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's source that a test may edit."""
    copy = tmp_path / "mergesuite"
    shutil.copytree(ORIGINAL, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def edit(file, old, new):
    text = file.read_text()
    assert old in text, f"{file.name} no longer has {old!r}"
    file.write_text(text.replace(old, new, 1))
    forget()


def test_a_copy_has_the_digest_of_the_original(package, monkeypatch):
    copied = provenance.code_digest("methods.shade")
    monkeypatch.setattr(provenance, "PACKAGE", ORIGINAL)
    forget()
    assert provenance.code_digest("methods.shade") == copied
    assert len(copied) == 12
    assert int(copied, 16) >= 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('TERMINAL = -1.0\n', '# A comment.\n\n\nTERMINAL = -1.0  # and another\n'),
        ('"""SHADE and L-SHADE-EpSin as published', '"""Other words'),
        ('        """All start at 0.5."""', '        """All begin at 0.5."""'),
        ("return min(value, 1.0)", "return min(\n        value,\n        1.0,\n    )"),
    ],
    ids=["comment", "module docstring", "function docstring", "layout"],
)  # fmt: skip
def test_words_and_layout_do_not_count(package, old, new):
    before = provenance.code_digest("methods.shade")
    edit(package / "methods" / "shade.py", old, new)
    assert provenance.code_digest("methods.shade") == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("methods/shade.py", "return min(value, 1.0)", "return min(value, 0.9)"),
        ("methods/shade.py", "TERMINAL = -1.0", "TERMINAL = -2.0"),
        ("methods/de.py", "return min(max(value, low), high)", "return max(value, low)"),
        ("methods/pool.py", "bars, -torch.inf)", "bars, torch.inf)"),
        ("streams.py", "SPARSE_RATE = 0.02", "SPARSE_RATE = 0.03"),
    ],
)
def test_an_edit_counts_wherever_it_is_reached_from(package, module, old, new):
    before = provenance.code_digest("methods.shade")
    edit(package / module, old, new)
    assert provenance.code_digest("methods.shade") != before


def test_code_that_is_not_imported_does_not_count(package):
    before = provenance.code_digest("methods.shade")
    edit(package / "methods" / "soup.py", "self._next += 1", "self._next += 2")
    (package / "methods" / "another.py").write_text("VALUE = 1\n")
    assert provenance.code_digest("methods.shade") == before
    assert provenance.code_digest("methods.shade", "methods.soup") != before


def test_how_a_spec_is_read_does_not_count_for_a_training(package):
    stages = ("train", "merge", "compare", "tables", "figures", "report")
    before = {stage: provenance.code_digest(stage) for stage in stages}
    edit(package / "loading.py", "merged.pop(key, None)", "merged[key] = None")
    changed = {stage for stage in stages if provenance.code_digest(stage) != before[stage]}
    assert changed == {"compare", "tables", "figures", "report"}
    edit(package / "spec.py", "lr: float = Field(0.01", "lr: float = Field(0.02")
    assert provenance.code_digest("train") != before["train"]


def test_a_new_import_brings_its_module_in(package):
    before = provenance.code_digest("methods.shade")
    (package / "extra.py").write_text("VALUE = 1\n")
    edit(
        package / "methods" / "pool.py",
        "from mergesuite.methods import started",
        "from mergesuite.extra import VALUE\nfrom mergesuite.methods import started",
    )
    imported = provenance.code_digest("methods.shade")
    assert imported != before
    edit(package / "extra.py", "1", "2")
    assert provenance.code_digest("methods.shade") != imported


def test_order_and_repetition_of_modules_do_not_matter():
    both = provenance.code_digest("methods.soup", "methods.mega")
    assert provenance.code_digest("methods.mega", "methods.soup", "methods.mega") == both
    assert provenance.code_digest("methods.mega") != both


@pytest.mark.parametrize("module", ["plan", "spec", "tables"])
def test_the_closure_has_all_that_python_itself_loads(module):
    script = (
        f"import sys, mergesuite.{module}\n"
        "print(*[m for m in sys.modules if m.startswith('mergesuite.')], sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.removeprefix("mergesuite.") for name in done.stdout.split()}
    closure = provenance._closure((module,))
    assert module in loaded
    assert loaded <= closure
    assert "cli" not in closure


def test_a_stamp_says_where_a_number_comes_from():
    stamp = provenance.stamp("some processor")
    assert stamp["device"] == "some processor"
    assert set(provenance.PACKAGES) < set(stamp["versions"])
    assert stamp["versions"]["python"] == ".".join(str(n) for n in sys.version_info[:3])
