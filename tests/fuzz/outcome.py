"""The only two outcomes: success, or an error of ours in one line."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from mergesuite.cli import run
from mergesuite.errors import UserError

HARSH = [
    "", " ", "nan", ".nan", ".inf", "-.inf", "1e400", "-1e400", "9" * 400, "null", "~", "yes", "=",
    "<<", "*a", "&a [*a]", "!!bool x", "!!python/name:os.system", "2020-13-45", "2020-01-01", "1_0",
    "0x1F", "0o17", "1:30", "[", "{", "[[[[", "]" * 60, "[" * 60, "{a: {a: {a: 1}}}", "a: b: c",
    "'", '"', "\\", "%s", "{}", "{input}", "{0.__class__}", "$(touch x)", "`x`", "; x", "| x", "-x",
    "--help", "--", "../../x", "/dev/zero", "/dev/null", "~", "a\nb", "a\rb", "\0", "\x1b[31m",
    "\u202e", "\ufeff", "Ü", "日本", "<script>", "<!-- verdicts:end -->", "$x$", r"\input{x}",
    "digits", "resnet8", "mega", "folder:", "folder:.", "folder:\0", "timm:x", "torchvision:x@y",
]  # fmt: skip
"""Words that have broken something somewhere."""
words = st.one_of(st.sampled_from(HARSH), st.text(max_size=30))
scalars = st.one_of(
    words,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.integers(min_value=-3, max_value=3),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(words, st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)


def settled(ask: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of `ask`, or None where it refused in one line; nothing else may come of it."""
    try:
        return ask(*arguments)
    except UserError as error:
        said = str(error)
        assert said
        assert "\n" not in said
        assert len(said) < 20_000
        return None


def called(*said: str) -> int:
    """The status of a command line."""
    try:
        status = run([str(word) for word in said])
    except SystemExit as end:  # argparse after --help and --version
        status = int(end.code or 0)
    assert status in (0, 1, 2, 3)
    return status


def changed(draw: Any, content: bytes) -> bytes:
    """`content` with a few of its bytes lost, doubled or replaced."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not made:
            return bytes(draw(st.binary(max_size=50)))
        at = draw(st.integers(0, len(made) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert", "copy"])):
            case "flip":
                made[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                made[at] = draw(st.integers(0, 255))
            case "cut":
                del made[at:]
            case "drop":
                del made[at : at + draw(st.integers(1, 30))]
            case "insert":
                made[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "copy":
                made[at:at] = made[at : at + draw(st.integers(1, 99))]
    return bytes(made)
