"""From a paper.yaml to jobs: arguments that the command line reads back, groups, measurements."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from mergesuite import models
from mergesuite.cli import commands
from mergesuite.cli.parser import build_parser, parse
from mergesuite.core import sealed, store, streams
from mergesuite.errors import UserError
from mergesuite.experiment import config, declared, flags, identity, loading
from mergesuite.experiment import jobs as planning
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.experiment.strict import checked
from mergesuite.stages import hits, record

PAPER = {
    "title": "t",
    "cite": {"text": "someone"},
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
            "use": "cma-es",
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
    """A maker of the jobs of a paper, PAPER unless another is given, with changes laid over it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "replications" / "mine"
    folder.mkdir(parents=True)

    def make(profile="full", change=None, paper=PAPER, results="results"):
        text = yaml.safe_dump(loading.overlay(paper, change or {}), sort_keys=False)
        (folder / "paper.yaml").write_text(text)
        config._paper.cache_clear()
        return planning.Jobs("mine", profile, results)

    yield make
    config._paper.cache_clear()


def read_back(stage, arguments, *rest):
    """What the command line makes of arguments that went through a shell."""
    words = [stage, *shlex.split(arguments), *rest, "--seed", "0", "--out", "x"]
    return build_parser().parse_args(words)


@pytest.mark.parametrize("model", ["net", "spiking"])
def test_train_arguments_read_back_to_the_same_settings(jobs, model):
    work = jobs()
    options = read_back("train", work.train_arguments(model, 0))
    entry = work.paper.models[model]
    assert flags.read(Network, options) == Network(build=entry.build, options=entry.options)
    assert flags.read(Data, options) == work.paper.data_of(model)
    assert checked(Recipe, flags.pairs(options.set, "--set"), "--set") == entry.recipe


@pytest.mark.parametrize(
    "subject", ["mega-pair", "polish-pair", "average-cycles", "average-mixed", "average-spikes"]
)
def test_merge_arguments_read_back_to_the_same_settings(jobs, subject):
    work = jobs()
    options = read_back("merge", work.merge_arguments(subject, 0))
    assert [str(file) for file in options.parents] == work.parents(subject, 0)
    entry = work.paper.methods[subject.split("-")[0]]
    model = work.paper.models[work.paper.model_of(subject)]
    assert flags.read(Network, options) == Network(build=model.build, options=model.options)
    assert flags.read(Data, options) == (model.data or work.paper.data)
    how = flags.read(Merge, options)
    assert how == Merge.model_validate({n: getattr(entry, n) for n in Merge.model_fields})
    assert declared.check_params(how.use, how.params).items() >= how.params.items()


def test_an_edit_of_one_entry_changes_the_arguments_of_its_jobs_only(jobs):
    before = jobs()
    after = jobs(change={"methods": {"mega": {"params": {"population": 6}}}})
    changed = {
        subject
        for subject, parts in before.subjects.items()
        if parts and before.merge_arguments(subject, 0) != after.merge_arguments(subject, 0)
    }
    assert changed == {"mega-pair"}
    assert before.train_arguments("net", 0) == after.train_arguments("net", 0)


def test_an_edit_changes_the_spec_of_what_is_made_of_it_and_of_nothing_else(jobs):
    before = jobs()
    after = jobs(change={"methods": {"mega": {"params": {"population": 6}}}})
    changed = {s for s in before.subjects if before.spec(s, 0) != after.spec(s, 0)}
    assert changed == {"mega-pair", "polish-pair"}  # polish gets the budget of mega
    recipe = jobs(change={"models": {"net": {"recipe": {"lr": 0.5}}}})
    assert all(before.spec(s, 0) != recipe.spec(s, 0) for s in before.subjects)


def test_defaults_are_left_out_of_the_arguments(jobs):
    words = shlex.split(jobs().merge_arguments("average-cycles", 0))
    assert not {"--set", "--fitness", "--from", "--leaky", "--option"} & set(words)


def test_data_arguments_read_back():
    data = Data(name="folder:my images/a b", sizes={"fit": 3, "test": 4}, normalise=True)
    words = ["data", *shlex.split(planning.data_arguments(data)), "--out", "x"]
    assert flags.read(Data, build_parser().parse_args(words)) == data


def test_measured_is_each_population_with_its_entries_and_members(jobs):
    work = jobs()
    assert work.groups == {
        "pair": ["mega-pair", "polish-pair", "average-pair", "net"],
        "cycles": ["average-cycles"],  # of the same trainings, measured with the pair
        "mixed": ["average-mixed", "spiking"],
        "spikes": ["average-spikes"],
    }
    folder = "results/full/mine"
    assert work.measured("pair", 1)[0] == f"{folder}/merge/mega-pair/s1"
    assert work.measured("pair", 1)[-2:] == [f"{folder}/train/net/s2", f"{folder}/train/net/s3"]
    assert work.measured_files("mixed", 0) == [
        f"{folder}/{run}/{name}"
        for run in ("merge/average-mixed/s0", "train/spiking/s0")
        for name in ("model.safetensors", "run.json")
    ]
    assert "--population pair" in work.evaluate_arguments("pair", 0)


def test_a_model_that_is_no_member_is_measured_by_itself(jobs):
    work = jobs(change={"run": ["spikes"]})  # which starts at net
    assert work.groups == {"spikes": ["average-spikes", "spiking"], "trained_models": ["net"]}
    assert work.measured("trained_models", 2) == ["results/full/mine/train/net/s2"]
    assert "--population" not in work.evaluate_arguments("trained_models", 0)


@pytest.mark.parametrize("change", [None, {"run": ["spikes"]}, {"run": ["cycles", "pair"]}])
def test_every_run_is_measured_once(jobs, change):
    work = jobs(change=change or {})
    found = [run for runs in work.evaluations.values() for run in runs]
    assert sorted(found) == sorted((s, seed) for s in work.subjects for seed in work.seeds(s))


@pytest.mark.parametrize(("group", "replicate"), [("trained_models", 0), ("pairs", 0), ("pair", 9)])
def test_an_evaluation_that_there_is_not_is_an_error_that_names_those_there_are(
    jobs, group, replicate
):
    with pytest.raises(UserError, match=rf"no evaluation {group}/s{replicate}.*are pair,"):
        jobs().measured(group, replicate)


def test_there_is_one_evaluation_of_each_seed_of_a_group(jobs):
    found = jobs().metrics()
    of = [name for name in found if "/evaluate/cycles/" in name]
    assert [name[-2:] for name in of] == [
        "s0",
        "s1",
        "s2",
        "s3",
        "s4",
    ]  # six seeds, five replicates


def test_a_profile_runs_only_its_populations(jobs):
    work = jobs("smoke", results="elsewhere")
    assert set(work.groups) == {"pair"}
    assert list(work.subjects) == ["net", "mega-pair", "polish-pair", "average-pair"]
    assert work.runs("net")[1] == "elsewhere/smoke/mine/train/net/s1"


def test_parents_budget_and_start_are_files_of_other_jobs(jobs):
    work = jobs()
    net = "results/full/mine/train/net"
    assert work.parents("mega-pair", 1) == [
        f"{net}/s2/model.safetensors",
        f"{net}/s3/model.safetensors",
    ]
    assert work.parents("average-cycles", 4) == [
        f"{net}/s4/epochs/003.safetensors",
        f"{net}/s4/model.safetensors",
    ]
    assert work.merge_files("average-cycles", 4) == [
        f"{net}/s4/epochs",
        f"{net}/s4/run.json",
        f"{net}/s4/model.safetensors",
    ]
    assert work.train_files("spiking", 1) == [
        work.manifest("spiking"), f"{net}/s1/model.safetensors", f"{net}/s1/run.json",
    ]  # fmt: skip
    assert work.merge_files("polish-pair", 2)[-1] == work.budget("polish-pair", 2)
    assert work.budget("polish-pair", 2) == "results/full/mine/merge/mega-pair/s2/run.json"
    assert work.budget("mega-pair", 2) is None
    assert work.start("spiking", 1) == f"{net}/s1/model.safetensors"
    assert work.start("net", 1) is None


def test_a_shared_model_is_trained_once_where_the_other_paper_says_the_same(jobs, tmp_path):
    other = tmp_path / "replications" / "theirs"
    other.mkdir()
    text = yaml.safe_dump(PAPER, sort_keys=False)
    (other / "paper.yaml").write_text(text)
    shared = {"models": {"net": {"shared_with": "theirs"}}}

    work = jobs(change=shared)
    assert work.runs("net")[0] == "results/full/theirs/train/net/s0"
    assert work.parents("mega-pair", 1)[0] == "results/full/theirs/train/net/s2/model.safetensors"
    assert work.run("mega-pair", 1) == "results/full/mine/merge/mega-pair/s1"
    assert work.spec("net", 3) == jobs().spec("net", 3)

    for change in ({"recipe": {"lr": 1e-4}}, {"seeds": 7}):
        ours = jobs(change=loading.overlay(shared, {"models": {"net": change}}))
        assert ours.trains("net")
        assert ours.runs("net")[0] == "results/full/mine/train/net/s0"


def test_a_broken_paper_costs_those_that_share_with_it_a_training_and_no_more(jobs, tmp_path):
    other = tmp_path / "replications" / "theirs"
    other.mkdir()
    (other / "paper.yaml").write_text("title: [")

    for name in ("theirs", "nobody"):
        work = jobs(change={"models": {"net": {"shared_with": name}}})
        assert work.runs("net")[0] == "results/full/mine/train/net/s0"


def test_several_fine_tunes_may_start_at_the_only_seed_of_one_ancestor(jobs):
    work = jobs(
        change={"models": {"ancestor": {"build": "resnet8-w8"}, "spiking": {"start": "ancestor"}}}
    )
    one = "results/full/mine/train/ancestor/s0/model.safetensors"
    assert [work.start("spiking", seed) for seed in range(3)] == [one, one, one]
    assert work.seeds("ancestor") == [0]


OFTEN = {"methods": {"mega": {"searches": 2}, "polish": {"searches": 3}}}


def test_several_searches_of_the_same_parents_are_runs_of_their_own(jobs):
    work = jobs(change=OFTEN)
    merged = "results/full/mine/merge"
    assert work.seeds("mega-pair") == [0, 1, 2, 1000, 1001, 1002]
    assert work.runs("mega-pair")[3] == f"{merged}/mega-pair/s1000"
    assert work.parents("mega-pair", 1001) == work.parents("mega-pair", 1)
    assert work.merge_files("mega-pair", 2001) == work.merge_files("mega-pair", 1)
    assert "--seed" not in work.merge_arguments("mega-pair", 1001)  # the rule says it
    assert work.merge_arguments("mega-pair", 1001) == work.merge_arguments("mega-pair", 1)


def test_a_budget_is_that_of_the_same_search_or_of_the_only_one(jobs):
    merged, work = "results/full/mine/merge", jobs(change=OFTEN)
    budgets = [work.budget("polish-pair", seed) for seed in (2, 1002, 2002)]
    assert budgets == [f"{merged}/mega-pair/s{seed}/run.json" for seed in (2, 1002, 2)]
    assert len({work.spec("polish-pair", seed) for seed in (2, 1002, 2002)}) == 1


def test_one_evaluation_measures_all_searches_of_a_replicate(jobs):
    work = jobs(change=OFTEN)
    folders = [f"results/full/mine/merge/{run}" for run in (
        "mega-pair/s1", "mega-pair/s1001", "polish-pair/s1", "polish-pair/s1001",
        "polish-pair/s2001", "average-pair/s1",
    )]  # fmt: skip
    folders += [f"results/full/mine/train/net/s{seed}" for seed in (2, 3)]
    assert work.measured("pair", 1) == folders
    words = shlex.split(work.evaluate_arguments("pair", 1))
    assert words[1 : 1 + len(folders)] == folders
    assert work.measured_files("pair", 1)[2] == f"{folders[1]}/model.safetensors"
    of_pair = [name for name in work.metrics() if "/pair/" in name]
    assert [name[-2:] for name in of_pair] == ["s0", "s1", "s2"]


def test_more_searches_leave_the_others_as_they_are(jobs):
    before, after = jobs(), jobs(change=OFTEN)
    for subject in ("mega-pair", "polish-pair", "average-pair"):
        for seed in range(3):
            assert before.spec(subject, seed) == after.spec(subject, seed)


STACKED = {
    "populations": {"second": {"models": ["average-pair", "average-cycles"]}},
    "methods": {"soup": {"use": "greedy-soup", "populations": ["second"]}},
    "run": ["second"],
}


def test_the_result_of_a_merge_may_be_merged_again(jobs):
    work = jobs(change=STACKED)
    merged = "results/full/mine/merge"
    files = [f"{merged}/{name}/s2/model.safetensors" for name in ("average-pair", "average-cycles")]
    assert work.parents("soup-second", 2) == files
    records = [file.replace("model.safetensors", "run.json") for file in files]
    assert work.merge_files("soup-second", 2) == [
        files[0], records[0], files[1], records[1],
    ]  # fmt: skip
    assert work.seeds("soup-second") == [0, 1, 2]  # as many as there are of the fewest
    assert set(work.groups) == {"second", "pair", "cycles"}
    assert work.merge_arguments("soup-second", 0).count("--model resnet8-w8") == 1
    edited = jobs(change=loading.overlay(STACKED, {"models": {"net": {"recipe": {"lr": 0.5}}}}))
    assert edited.spec("soup-second", 0) != work.spec("soup-second", 0)


GIVEN = {
    "populations": {
        "given": {
            "model": "net",
            "files": ["a.safetensors", "w/b.safetensors", "w/c c.safetensors"],
            "take": 1,
        }
    },
    "models": {"tuned": {"build": "resnet8-w8", "start": "w/b.safetensors"}},
    "run": ["given"],
}


def files_of(folder):
    """Three networks where GIVEN says they are."""
    (folder / "w").mkdir()
    for i, name in enumerate(GIVEN["populations"]["given"]["files"]):
        module = models.build("resnet8-w8", 10, streams.generator("given", i))
        store.save_weights(folder / name, module.state_dict())


def test_a_population_may_be_made_of_files(jobs, tmp_path):
    work = jobs(change=GIVEN)
    assert work.seeds("average-given") == [0, 1, 2]
    assert set(work.groups) == {"given"}  # net is not trained: it says what the files are of
    with pytest.raises(UserError, match="put the file there") as caught:
        work.parents("average-given", 0)
    assert "a.safetensors" in str(caught.value)
    files_of(tmp_path / "replications" / "mine")
    assert work.parents("average-given", 2) == ["replications/mine/w/c c.safetensors"]
    assert work.merge_files("average-given", 2) == ["replications/mine/w/c c.safetensors"]
    assert work.spec("average-given", 0) != work.spec("average-given", 1)
    assert "--data digits" in work.merge_arguments("average-given", 0)


def test_a_start_may_be_a_file(jobs, tmp_path):
    work = jobs(change=GIVEN)
    assert work.paper.models["tuned"].start_model is None
    with pytest.raises(UserError, match=r"b\.safetensors"):
        work.start("tuned", 0)
    files_of(tmp_path / "replications" / "mine")
    assert work.start("tuned", 0) == "replications/mine/w/b.safetensors"


def test_code_of_a_merge_is_that_of_its_method(jobs):
    work = jobs()
    assert work.code("average-cycles") == work.code("average-pair")
    assert work.code("mega-pair") != work.code("average-pair")
    assert work.code("net") != work.code("average-pair")


TINY = {
    "title": "t",
    "cite": {"text": "someone"},
    "data": {"name": "digits", "sizes": {"fit": 40, "search": 20, "test": 20}},
    "models": {
        "net": {
            "build": "resnet8-w8",
            "seeds": 2,
            "recipe": {"epochs": 2, "keep": 2, "batch": 20, "eps": 1e-9},
        },
        "tuned": {"build": "resnet8-w8", "start": "net", "recipe": {"epochs": 1, "batch": 20}},
        "mine": {
            "build": "resnet8-w8",
            "start": "w/b.safetensors",
            "recipe": {"epochs": 1, "batch": 20},
        },
    },
    "populations": {
        "pair": {"model": "net"},
        "epochs": {"model": "net", "epochs": 2},
        "both": {"models": ["net", "tuned"]},
        "again": {"models": ["average-pair", "average-epochs", "mine"]},
        "given": {
            "model": "net",
            "files": ["a.safetensors", "w/b.safetensors", "w/c c.safetensors"],
            "take": 3,
        },
    },
    "replicates": 1,
    "methods": {
        "average": {"use": "uniform-average"},
        "random": {
            "use": "random-search",
            "populations": ["pair"],
            "fitness": {"batchnorm": "re-estimate", "batchnorm_images": 20},
            "params": {"evaluations": 4},
            "searches": 2,
        },
        "cma": {"use": "cma-es", "populations": ["pair"], "budget_of": "random", "searches": 2},
    },
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_the_stages_write_is_what_was_planned(jobs, tmp_path):
    """The planner and the stages compute spec and code apart from each other: they must agree."""
    torch.set_num_threads(1)
    work = jobs(paper=TINY)
    files_of(tmp_path / "replications" / "mine")
    for subject in in_order(work):
        for seed in work.seeds(subject):
            run_as_planned(work, subject, seed)
            there = sealed.read(tmp_path / work.run(subject, seed) / "run.json")
            assert (subject, there["spec"]) == (subject, work.spec(subject, seed))
            assert (subject, there["code"]) == (subject, work.code(subject))
    searches = [Path(work.run("random-pair", seed)) for seed in (0, 1000)]
    first, second = (store.sha256(run / "model.safetensors") for run in searches)
    assert first != second
    assert sealed.read(Path(work.run("cma-pair", 1000)) / "run.json")["seed"] == 1000
    assert measured_seeds(work) == {"average-pair": {0}, "random-pair": {0, 1000},
                                    "cma-pair": {0, 1000}, "net": {0, 1}}  # fmt: skip


def measured_seeds(work):
    """Subject -> seeds in the table that one evaluation of `pair` makes."""
    words = ["evaluate", *shlex.split(work.evaluate_arguments("pair", 0))]
    commands.run(parse([*words, "--device", "cpu", "--out", "metrics.csv"]))
    table = pd.read_csv("metrics.csv")
    assert {key[:2] for key in hits.read(Path("metrics.csv"))} == {
        (subject, int(seed)) for subject, seed in zip(table.subject, table.seed, strict=True)
    }
    return {str(subject): set(part["seed"]) for subject, part in table.groupby("subject")}


def in_order(work):
    """Models before what starts at them, merges of merges last."""
    merged = [name for name, parts in work.subjects.items() if parts]
    trained = [name for name, parts in work.subjects.items() if not parts]
    return trained + sorted(merged, key=lambda name: name.endswith("-again"))


def run_as_planned(work, subject, seed):
    trains = work.subjects[subject] is None
    arguments = (work.train_arguments if trains else work.merge_arguments)(subject, seed)
    words = ["train" if trains else "merge", *shlex.split(arguments)]
    ending = ["--seed", str(seed), "--device", "cpu", "--out", work.run(subject, seed)]
    commands.run(parse([*words, *ending]))


def test_a_file_is_known_by_one_rule(tmp_path):
    """Planner and stages name a file by its run, if that is known, else by its content."""
    folder = tmp_path / "run"
    for file in (folder / "model.safetensors", folder / "epochs" / "003.safetensors"):
        store.save_weights(file, {"w": torch.zeros(2)})
        assert identity.path_spec(file) == record.checkpoint(file)["spec"]
    shas = {
        name: store.sha256(folder / name)
        for name in ("model.safetensors", "epochs/003.safetensors")
    }
    args = {"network": {"build": "x"}, "recipe": {"epochs": 9}}
    sealed.write(folder / "run.json", {"spec": "abc", "seed": 1, "args": args, "weights": shas})
    for name, spec in [("model.safetensors", "abc"), ("epochs/003.safetensors", "abc-003")]:
        assert identity.path_spec(folder / name) == record.checkpoint(folder / name)["spec"] == spec


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"profile": "labtop"}, "did you mean 'laptop'"),
        ({"papers": "mine,yours"}, "no replications/yours"),
        ({"paper": "mine"}, "did you mean 'papers'"),
        ({"seeds_per_job": {"merge": 1}}, "seeds_per_job: unknown key"),
        ({"results": "a{b}"}, "results: String should match"),
        ({"results": "-x"}, "results: String should match"),
        ({"results": "a\nb"}, "results: String should match"),
        ({"replications": "a{b}"}, "replications: String should match"),
        ({"device": "$(touch x)"}, "device: String should match"),
        ({"container": "a.sif; touch x"}, "container: String should match"),
    ],
)
def test_a_wrong_configuration_is_named(jobs, raw, message):
    jobs()
    with pytest.raises(UserError, match=message):
        config.read_config(raw)


ODD = ["mega.bak", "zz (1)", "Ünï", "-rf", "a" * 25, "report", "all", "default", "logs", "a\nb"]


def test_a_folder_that_is_no_paper_is_left_out_with_its_reason(jobs):
    jobs()
    good = config.replications() / "mine"
    for name in [*ODD, "_draft"]:
        shutil.copytree(good, config.replications() / name)
    papers, left_out = config.usable("full")
    assert papers == ["mine"]
    assert left_out.keys() == {ascii(name) for name in ODD}
    assert "\n" not in "".join([*left_out, *left_out.values()])
    for name in ODD:
        with pytest.raises(UserError):
            config.folder_of(name)


def test_papers_may_be_one_string(jobs):
    jobs()
    assert config.read_config({"papers": "mine,"}).papers == ["mine"]
    assert config.read_config({"papers": "all"}).papers == []
    assert config.papers_there() == ["mine"]


def test_manifests_are_named_by_all_that_is_set(jobs):
    work = jobs()
    named = planning.manifests("full")
    assert sorted(d.name for d in named.values()) == ["digits", "folder:my images/a b"]
    assert all("/" not in slug and ":" not in slug for slug in named)
    assert planning.slug(Data.model_validate({"name": "digits"})) != planning.slug(work.paper.data)


SETS = {
    "noise": {"corruption": "gaussian-noise", "severity": 3},
    "fog": {"name": "cifar10-c", "corruption": "fog", "severity": 2},
    "photos": {"name": "folder:my photos/of all kinds, with a very long name that no line holds"},
}


def test_evaluation_is_told_the_sets_that_are_meant_for_its_networks(jobs):
    work = jobs(change={"evaluate": SETS})
    words = shlex.split(work.evaluate_arguments("pair", 0))
    options = build_parser().parse_args(["evaluate", *words, "--out", "x"])
    found = commands._others(options.on)
    # Digits are no CIFAR-10.
    assert found == {name: work.paper.evaluate[name] for name in ("noise", "photos")}
    on_cifar = jobs(change={"evaluate": SETS, "data": {"name": "cifar10"}})
    assert "fog=" in on_cifar.evaluate_arguments("pair", 0)
    assert "--on" not in jobs().evaluate_arguments("pair", 0)


def test_a_set_changes_no_run_and_asks_for_more_time(jobs):
    plain, more = jobs(), jobs(change={"evaluate": SETS})
    for subject in ("net", "mega-pair"):
        assert plain.spec(subject, 0) == more.spec(subject, 0)
        assert plain.code(subject) == more.code(subject)
    assert plain.evaluate_code("pair") != more.evaluate_code("pair")
    needs = [work.evaluate_need("pair", "cpu").runtime for work in (plain, more)]
    assert needs[0] <= needs[1]


def test_a_workflow_starts_without_what_only_results_need():
    rules = (Path(__file__).parents[2] / "workflow/rules/common.smk").read_text()
    imports = re.findall(r"^from mergesuite.*$", rules, re.M)
    assert len(imports) > 3
    code = "\n".join([*imports, "import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "scipy", "pandas"} & set(done.stdout.split()) == set()
