"""From a paper.yaml to jobs: arguments that the command line reads back, groups, measurements."""

import shlex

import pytest
import yaml

from mergesuite.cli import build_parser
from mergesuite.errors import UserError
from mergesuite.experiment import declared, loading, spec
from mergesuite.experiment import jobs as plan
from mergesuite.stages import runs

PAPER = {
    "title": "t",
    "cite": {"key": "mega2024"},
    "data": {"name": "digits", "sizes": {"fit": 300, "test": 50}, "normalise": True},
    "models": {
        "net": {
            "build": "resnet8-w8",
            "seeds": 6,
            "recipe": {
                "optimiser": "sgd", "lr": 1e-3, "eps": 1e-9, "nesterov": True, "epochs": 6,
                "schedule": "cyclic", "cycles": 2, "keep": 2, "keep_every": "cycle",
            },
        },
        "spiking": {
            "build": "sew-resnet18",
            "seeds": 3,
            "options": {"T": 4, "backend": "on", "decay": 1e-5, "detach": False},
            "data": {"name": "folder:my images/a b", "sizes": {"search": 9}},
            "start": "net",
        },
    },
    "populations": {
        "pair": {"model": "net", "take": 2},
        "cycles": {"model": "net", "epochs": 2},
        "mixed": {"models": ["net", "spiking"]},
        "spikes": {"model": "spiking", "take": 1},
    },
    "replicates": 5,
    "methods": {
        "mega": {
            "use": "mega",
            "protocol": "released",
            "leaky": True,
            "populations": ["pair"],
            "params": {"population": 5, "mutation_rate": 1e-7, "mutation": "tensor"},
            "fitness": {"split": "test", "images": 40, "metric": "cross-entropy", "redraw": True},
        },
        "polish": {
            "use": "mega",
            "populations": ["pair"],
            "parents": "best",
            "part": "parameters",
            "budget_of": "mega",
            "fitness": {"batchnorm": "re-estimate", "batchnorm_images": 64},
        },
        "average": {"use": "uniform-average"},
    },
    "profiles": {"smoke": {"run": ["pair"], "models": {"net": {"seeds": 2}}}},
}  # fmt: skip


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A maker of the jobs of PAPER with changes laid over it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "replications" / "mine"
    folder.mkdir(parents=True)

    def make(profile="full", change=None, **config):
        text = yaml.safe_dump(loading.overlay(PAPER, change or {}), sort_keys=False)
        (folder / "paper.yaml").write_text(text)
        plan.paper.cache_clear()
        return plan.Jobs("mine", plan.read_config({"profile": profile, **config}))

    yield make
    plan.paper.cache_clear()


def read_back(stage, arguments, *rest):
    """What the command line makes of arguments that went through a shell."""
    words = [stage, *shlex.split(arguments), *rest, "--seed", "0", "--out", "x"]
    return build_parser().parse_args(words)


def read_data(options):
    return settings.Data.model_validate(
        {
            "name": options.data,
            "sizes": runs.pairs(options.sizes, "--sizes"),
            "normalise": options.normalise,
        }
    )


@pytest.mark.parametrize("model", ["net", "spiking"])
def test_train_arguments_read_back_to_the_same_settings(jobs, model):
    work = jobs()
    options = read_back("train", work.train_arguments(model))
    entry = work.paper.models[model]
    assert options.model == entry.build
    assert runs.pairs(options.option, "--option") == entry.options
    assert read_data(options) == work.paper.data_of(model)
    given = runs.pairs(options.set, "--set")
    assert spec.check_settings(settings.Recipe, given, "--set") == entry.recipe


@pytest.mark.parametrize(
    "subject", ["mega-pair", "polish-pair", "average-cycles", "average-mixed", "average-spikes"]
)
def test_merge_arguments_read_back_to_the_same_settings(jobs, subject):
    work = jobs()
    options = read_back("merge", work.merge_arguments(subject), "--parents", "a", "b")
    slug, population = subject.split("-")
    entry = work.paper.methods[slug]
    model = work.paper.model_of(population)
    assert (options.method, options.model) == (entry.use, model.build)
    assert runs.pairs(options.option, "--option") == model.options
    assert read_data(options) == work.data_of(subject)
    params = runs.pairs(options.set, "--set")
    assert params == entry.params
    assert declared.check_params(entry.use, params) == declared.check_params(
        entry.use, entry.params
    )
    given = runs.pairs(options.fitness, "--fitness")
    assert spec.check_settings(settings.Fitness, given, "--fitness") == entry.fitness
    assert (options.protocol, options.part) == (entry.protocol, entry.part)
    assert (options.start_from, options.leaky) == (entry.parents, entry.leaky)


def test_an_edit_of_one_entry_changes_the_arguments_of_its_jobs_only(jobs):
    before = jobs()
    after = jobs(change={"methods": {"mega": {"params": {"population": 6}}}})
    changed = {
        subject
        for subject, parts in before.subjects.items()
        if parts and before.merge_arguments(subject) != after.merge_arguments(subject)
    }
    assert changed == {"mega-pair"}
    assert before.train_arguments("net") == after.train_arguments("net")


def test_defaults_are_left_out_of_the_arguments(jobs):
    words = shlex.split(jobs().merge_arguments("average-cycles"))
    assert not {"--set", "--fitness", "--from", "--leaky", "--option"} & set(words)


def test_data_arguments_read_back():
    data = settings.Data(name="folder:my images/a b", sizes={"fit": 3, "test": 4}, normalise=True)
    words = ["data", *shlex.split(plan.data_arguments(data)), "--out", "x"]
    assert read_data(build_parser().parse_args(words)) == data


@pytest.mark.parametrize(
    ("size", "pair", "mixed"),
    [
        (0, [[0, 1, 2]], [[0, 1, 2]]),
        (1, [[0], [1], [2]], [[0], [1], [2]]),
        (2, [[0, 1], [2]], [[0, 1], [2]]),
        (7, [[0, 1, 2]], [[0, 1, 2]]),
    ],
)
def test_jobs_divide_the_seeds_of_merged_subjects(jobs, size, pair, mixed):
    work = jobs(seeds_per_job={"merge": size, "evaluate": size})
    found = work.merges()
    of = lambda name: [seeds for _, subjects, seeds in found if name in subjects]  # noqa: E731
    assert of("mega-pair") == of("average-pair") == pair
    assert of("average-mixed") == mixed
    merged = {subject for _, subjects, _ in found for subject in subjects}
    assert merged == {s for s, parts in work.subjects.items() if parts}
    cycles = [seed for seeds in of("average-cycles") for seed in seeds]
    assert cycles == [0, 1, 2, 3, 4]  # six seeds, five replicates
    assert [seeds for group, seeds in work.evaluations() if group == "pair"] == pair


def test_trainings_divide_the_seeds_of_models(jobs):
    found = jobs(seeds_per_job={"train": 4}).trainings()
    assert found[:2] == [("net", [0, 1, 2, 3]), ("net", [4, 5])]
    assert {model for model, _ in found} == {"net", "spiking"}


def test_a_job_of_controls_is_one_batch_of_commands(jobs):
    work = jobs()
    (single,) = [w for name, w, _ in work.merges() if name == "mega-pair"]
    assert work.merge_command(single, [0, 1]).startswith("merge --method mega ")
    words = shlex.split(work.merge_command(["average-pair", "average-cycles"], [2]))
    assert words[0] == "batch"
    for command, subject in zip(words[1:], ("average-pair", "average-cycles"), strict=True):
        options = build_parser().parse_args(shlex.split(command))
        assert [str(file) for file in options.parents] == work.parents(subject, 2)
        assert options.seeds == [2]
        assert str(options.out) == work.run_folder(subject)


def test_what_others_wait_for_is_urgent(jobs):
    work = jobs()
    assert work.urgency("mega-pair") > work.urgency("polish-pair") > work.urgency("average-pair")


def test_measured_is_each_model_and_each_population_with_its_entries(jobs):
    work = jobs()
    assert work.measured() == {
        "trained_models": ["net", "spiking"],
        "pair": ["mega-pair", "polish-pair", "average-pair"],
        "cycles": ["average-cycles"],
        "mixed": ["average-mixed"],
        "spikes": ["average-spikes"],
    }
    assert work.folders("pair")[0] == "results/full/mine/merge/mega-pair"
    assert work.folders("trained_models")[0] == "results/full/mine/train/net"
    assert work.population("pair") == ["pair"]
    assert work.population("trained_models") == []


def test_a_profile_runs_only_its_populations(jobs):
    work = jobs("smoke", results="elsewhere")
    assert set(work.measured()) == {"trained_models", "pair"}
    assert [(name, seeds) for name, _, seeds in work.merges()] == [
        ("mega-pair", [0]), ("polish-pair", [0]), ("controls_pair", [0])
    ]  # fmt: skip
    assert work.run("net", 1) == "elsewhere/smoke/mine/train/net/s1"


def test_parents_budget_and_start_are_files_of_other_jobs(jobs):
    work = jobs()
    net = "results/full/mine/train/net"
    assert work.parents("mega-pair", 1) == [
        f"{net}/s2/model.safetensors",
        f"{net}/s3/model.safetensors",
    ]
    assert work.parents("average-cycles", 4) == [
        f"{net}/s4/epoch-003.safetensors",
        f"{net}/s4/model.safetensors",
    ]
    assert work.kept("net") == ["epoch-003.safetensors"]
    assert work.budget("polish-pair", 2) == ["results/full/mine/merge/mega-pair/s2/run.json"]
    assert work.budget("mega-pair", 2) == []
    assert work.start("spiking", 1) == [f"{net}/s1/model.safetensors"]
    assert work.start("net", 1) == []


def test_code_of_a_merge_is_that_of_its_method(jobs):
    work = jobs()
    assert work.merge_code(["mega-pair"]) == work.merge_code(["polish-pair"])
    assert work.merge_code(["mega-pair"]) != work.merge_code(["average-pair"])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"profile": "labtop"}, "did you mean 'laptop'"),
        ({"papers": "mine,yours"}, "no replications/yours"),
        ({"paper": "mine"}, "did you mean 'papers'"),
        ({"seeds_per_job": {"merge": -1}}, "seeds_per_job"),
    ],
)
def test_a_wrong_configuration_is_named(jobs, raw, message):
    jobs()
    with pytest.raises(UserError, match=message):
        plan.read_config(raw)


def test_papers_may_be_one_string(jobs):
    jobs()
    assert plan.read_config({"papers": "mine,"}).papers == ["mine"]
    assert plan.read_config({}).papers == ["mine"]


def test_manifests_are_named_by_all_that_is_set(jobs):
    work = jobs()
    named = plan.manifests([work])
    assert sorted(d.name for d in named.values()) == ["digits", "folder:my images/a b"]
    assert all("/" not in slug and ":" not in slug for slug in named)
    assert plan.slug(settings.Data.model_validate({"name": "digits"})) != plan.slug(work.paper.data)
