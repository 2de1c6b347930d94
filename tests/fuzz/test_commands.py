"""Command lines: options with harsh values, up to where a stage would begin to compute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergesuite.cli import commands, parser
from mergesuite.experiment import config, declared, flags
from mergesuite.experiment.config import Config
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Fitness, Merge, Network, Preprocess
from mergesuite.experiment.strict import checked

from .outcome import called, settled, values, words

KEYS = {
    "--set": Recipe, "--fitness": Fitness, "--sizes": None, "--preprocess": Preprocess,
    "--option": None,
}  # fmt: skip
METHODS = sorted(declared.methods())
STAGES = sorted(commands.COMMANDS)
OPTIONS = [
    "--set", "--fitness", "--sizes", "--preprocess", "--option", "--model", "--data", "--method",
    "--from", "--part", "--protocol", "--leaky", "--normalise", "--seed", "--out", "--parents",
    "--budget-of", "--start", "--device", "--runs", "--population", "--on", "--paper", "--papers",
    "--profile", "--results", "--json", "--force", "--only-pin", "--held-out", "-h", "--version",
]  # fmt: skip
no_nul = words.map(lambda word: word.replace("\0", "")).filter(
    lambda word: not any("\ud800" <= c <= "\udfff" for c in word)
)
"""What a shell can hand to a program."""


def settings_of(stage, options):
    """What a stage reads of its options before it imports what computes."""
    if stage == "train":
        checked(Recipe, flags.pairs(options.set, "--set"), "--set")
    if stage == "merge":
        flags.read(Merge, options)
    if stage in ("train", "merge"):
        flags.read(Network, options)
    if stage in ("train", "merge", "data"):
        flags.words(flags.read(Data, options))
    if stage == "evaluate":
        commands._others(options.on)


@st.composite
def lines(draw):
    """A command line that says what its stage needs, and more."""
    stage = draw(st.sampled_from(["train", "merge", "data", "evaluate"]))
    said = {
        "train": ["--model", "resnet8", "--data", "digits", "--seed", "0", "--out", "a"],
        "merge": ["--method", draw(st.sampled_from(METHODS)), "--parents", "a", "b", "--model",
                  "resnet8", "--data", "digits", "--seed", "0", "--out", "a"],
        "data": ["--data", "digits", "--out", "a"],
        "evaluate": ["--runs", "a", "--out", "a"],
    }[stage]  # fmt: skip
    for _ in range(draw(st.integers(0, 4))):
        said.append(draw(st.sampled_from(OPTIONS[:26])))
        known = KEYS.get(said[-1])
        for _ in range(draw(st.integers(0, 2))):
            key = draw(st.sampled_from(sorted(known.model_fields)) if known else no_nul)
            value = draw(no_nul)
            said.append(f"{key}={value}" if draw(st.booleans()) else value)
    return stage, said


@given(lines())
def test_options_are_understood_or_refused(line):
    stage, said = line
    if {"-h", "--version", "--help"} & set(said):
        return
    options = settled(parser.parse, [stage, *said])
    if options:
        settled(settings_of, options.stage, options)


@given(st.sampled_from(sorted(Recipe.model_fields)), no_nul, st.sampled_from(["--set", "--on"]))
def test_every_key_of_a_recipe_with_every_word(key, value, flag):
    found = settled(flags.pairs, [f"{key}={value}"], flag)
    if found is not None:
        made = settled(checked, Recipe, found, flag)
        if made:  # and back: what a job is told is what it reads
            again = flags.pairs(flags.mapping("--set", made.model_dump())[1:], "--set")
            assert checked(Recipe, again, "--set") == made


@given(st.sampled_from(METHODS), st.data())
def test_parameters_of_methods(name, data):
    known = sorted(declared.method_fields(name).params.model_fields)
    given_ = data.draw(
        st.dictionaries(st.sampled_from(known) if known else words, values, max_size=3)
    )
    settled(declared.check_params, name, given_)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "more"]), values, max_size=4))
def test_configurations(raw):
    settled(config.read_config, raw)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return tmp_path_factory.mktemp("empty")


@given(st.data())
def test_commands_on_a_folder_with_nothing_in_it(empty, data):
    stage = data.draw(st.sampled_from([s for s in STAGES if s not in ("list", "train", "data")]))
    said = data.draw(st.lists(st.one_of(no_nul, st.sampled_from(OPTIONS)), max_size=6))
    if "--out" in said or (stage == "new-paper" and any("/" in word for word in said)):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(empty)
        patch.setenv(config.FOLDER, str(empty / "replications"))
        called(stage, *said)
    assert not {"x", "executed"} & {file.name for file in empty.iterdir()}
