"""What a YAML file may be: attacks on the parser, the memory and the time, each in one line."""

import subprocess
import sys
import time

import pytest

from mergesuite.errors import UserError
from mergesuite.experiment import flags, yaml_file

ROWS = "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 13))
BOMB = "b0: &b0 [x, x, x, x, x, x, x, x, x]\n" + ROWS
CHAIN = "b0: &b0 [x]\n" + "".join(f"b{i}: &b{i} [*b{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "more than 50 levels"),
        ("{a: " * 100_000, "more than 50 levels"),
        ("\n".join(" " * i + "a:" for i in range(200)), "more than 50 levels"),
        (CHAIN, "more than 50 levels"),
        (BOMB, "unfold to more than 100,000 values"),
        ("[" + "x," * 400_000 + "]", "unfold to more than"),
        ("a: " + "x" * (1 << 20), "larger than 1 MiB"),
        ("a: 1" + ":59" * 100_000, "a text of 300,001 characters"),
        ("a: !!python/object/apply:os.system [id]", "a tag"),
        ("a: !!bool x", "a tag"),
        ("a: !!timestamp x", "a tag"),
        ('a: "\\e[31m"', "cannot be shown"),
        ('a: "\\ud800"', "is not YAML"),
        ("a: *b", "has the anchor 'b'"),
        ("a: &a {b: *a}", "an alias stands inside"),
        ("? [a]\n: 1", "is not YAML"),
        ("? &a b\n: 1\n*a : 2", "b is given twice"),
        ("a: 1\n---\nb: 2", "is not YAML"),
    ],
)
def test_what_no_spec_needs_is_refused_in_one_line_at_once(tmp_path, text, message):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    begun = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        yaml_file.read(file)
    assert time.process_time() - begun < 3
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_no_nesting_ends_the_process(tmp_path):
    (tmp_path / "a.yaml").write_text("[" * 500_000)
    code = (
        "import sys, pathlib; from mergesuite.experiment import yaml_file;"
        "yaml_file.read(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "UserError" in done.stderr


@pytest.mark.parametrize(
    "value", ["[" * 100_000, "&a [*a]", "!!bool x", "!!timestamp x", '"\\0"', "x" * 30_000]
)
def test_values_of_options_have_the_same_limits(value):
    with pytest.raises(UserError, match="--set lr"):
        flags.pairs([f"lr={value}"], "--set")


def test_what_is_no_yaml_is_text_in_an_option():
    words = ["a=2020-13-45", "b={{x}", "c=a: b: c", "d=1e-3", "e=[1, 2]", "f="]
    said = {"a": "2020-13-45", "b": "{{x}", "c": "a: b: c", "d": 1e-3, "e": [1, 2], "f": None}
    assert flags.pairs(words, "--set") == said


def test_aliases_and_merge_keys_mean_what_they_mean(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n")
    assert yaml_file.read(tmp_path / "a.yaml")["b"] == {"x": 1, "y": [{"x": 1}, {"x": 1}]}
