"""On a Slurm of one node: the bytes of a local run, whatever is cancelled or killed; nothing twice.

Not part of `make test`, for it takes a quarter of an hour and sets up daemons. MERGESUITE_SLURM
names a script that does so, with `up` and `down` as its argument; SLURM_LOCAL_GPUS tells it how
many GPUs to make believe.
"""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from study import copied, environment, snakemake

from mergesuite.stages.columns import CLOCK

SCRIPT = os.environ.get("MERGESUITE_SLURM", "")
pytestmark = pytest.mark.skipif(
    not Path(SCRIPT).is_file(),
    reason="a quarter of an hour: MERGESUITE_SLURM=SCRIPT pytest tests/workflow/test_slurm.py",
)
SMOKE = ("mega", "--config", "profile=smoke", "papers=mega")
ON_SLURM = (
    "--profile", "workflow/profiles/slurm", "--slurm-no-account",
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2",
    "--latency-wait", "10",
)  # fmt: skip


def answer(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A node with two make-believe GPUs; jobs that want one have a partition of their own."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    subprocess.run(["bash", SCRIPT, "up"], env={**os.environ, "SLURM_LOCAL_GPUS": "2"}, check=True)
    node = answer("sinfo", "-h", "-o", "%n").strip()
    subprocess.run(["scontrol", "create", "partitionname=gpu", f"nodes={node}"], check=True)
    partitions = tmp_path_factory.mktemp("slurm") / "partitions.yaml"
    partitions.write_text("partitions:\n  main: {}\n  gpu: {max_gpu: 2}\n")
    yield partitions
    subprocess.run(["scancel", "--me"], check=True)
    subprocess.run(["bash", SCRIPT, "down"], check=True)


def submitted(folder):
    """Of each job that this folder has handed over: rule and wildcards, state, whether it began."""
    words = ["squeue", "--me", "--noheader", "--states=all"]
    fields = "JobID:|,State:|,NodeList:|,StdOut:|"
    rows = [line.split("|") for line in answer(*words, f"--Format={fields}").splitlines()]
    logs = f"{folder}/.snakemake/slurm_logs/"
    return [
        {"id": number, "state": state, "began": bool(nodes),
         "what": out.removeprefix(logs).rpartition("/")[0]}
        for number, state, nodes, out, *_ in rows if out.startswith(logs)
    ]  # fmt: skip


def wait(until, seconds=600):
    ends = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < ends
        time.sleep(0.5)
    return found


def running(folder, rule):
    jobs = [job for job in submitted(folder) if job["state"] == "RUNNING"]
    return [job for job in jobs if job["what"].startswith(f"rule_{rule}/")]


def memory(job):
    return int(re.search(r"MinMemoryNode=(\d+)M", answer("scontrol", "show", "job", job["id"]))[1])


def cancelled_and_killed(folder, partitions):
    """Run until jobs are queued; one is cancelled on the way, and Snakemake killed at the end."""
    with (folder / "log").open("w") as log:
        runs = subprocess.Popen(
            ["snakemake", *ON_SLURM, *SMOKE], cwd=folder, stdout=log, stderr=log,
            env=environment(SNAKEMAKE_SLURM_PARTITIONS=partitions),
        )  # fmt: skip
    victim = wait(lambda: running(folder, "train"))[0]
    subprocess.run(["scancel", victim["id"]], check=True)

    def again():
        same = [job for job in submitted(folder) if job["what"] == victim["what"]]
        return [job for job in same if job["id"] != victim["id"]]

    (second,) = wait(again)
    assert memory(second) == 2 * memory(victim)  # a second try has twice the room
    wait(lambda: running(folder, "merge"))
    runs.send_signal(signal.SIGKILL)
    runs.wait()
    return victim


def test_a_run_on_slurm_is_the_local_run_whatever_is_cancelled_and_killed(slurm, tmp_path):
    ours, theirs = copied(tmp_path / "slurm"), copied(tmp_path / "local")
    victim = cancelled_and_killed(ours, slurm)
    queued = {job["id"] for job in submitted(ours) if job["state"] == "PENDING"}
    assert len(queued) > 5

    locked = snakemake(ours, *ON_SLURM, *SMOKE, check=False)
    assert "--unlock" in locked.stdout + locked.stderr
    unsettled = snakemake(ours, "--nolock", *SMOKE, check=False)
    assert "of an earlier run are in Slurm's queue" in unsettled.stdout + unsettled.stderr
    snakemake(ours, "--unlock", *SMOKE)
    assert {job["state"] for job in submitted(ours)} <= {"COMPLETED", "CANCELLED"}

    snakemake(ours, *ON_SLURM, *SMOKE, SNAKEMAKE_SLURM_PARTITIONS=slurm)
    jobs = submitted(ours)
    ran = Counter(job["what"] for job in jobs if job["began"])
    assert ran.pop(victim["what"]) == 2
    assert set(ran.values()) == {1}
    assert len({job["id"] for job in jobs if not job["began"]} & queued) > 0
    snakemake(theirs, *SMOKE)
    same_bytes(ours / "results/smoke/mega", theirs / "results/smoke/mega")


def same_bytes(ours, theirs):
    """Weights, hits, traces and verdicts to the bit; of measurements all but seconds and memory."""
    weights = [file.relative_to(theirs) for file in theirs.rglob("*.safetensors")]
    traces = [file.relative_to(theirs) for file in theirs.rglob("trace.csv")]
    assert len(weights) > 40
    assert len(traces) > 20
    for name in [*weights, *traces, Path("verdicts.csv"), Path("gains.csv")]:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    frames = [pd.read_csv(folder / "runs.csv") for folder in (ours, theirs)]
    kept = [frame[~frame["metric"].isin(CLOCK)] for frame in frames]
    pd.testing.assert_frame_equal(*kept)


def test_jobs_that_want_a_gpu_ask_for_one_in_its_partition(slurm, tmp_path):
    folder = copied(tmp_path)
    target = "results/smoke/mega/train/resnet56/s0/run.json"
    done = snakemake(
        folder, *ON_SLURM, "--retries", "0", target, "--config", "profile=smoke", "device=cuda",
        check=False, SNAKEMAKE_SLURM_PARTITIONS=slurm,
    )  # fmt: skip
    assert done.returncode != 0
    assert "torch sees no GPU here" in "".join(
        file.read_text() for file in folder.rglob("logs/train/resnet56/s0.log")
    )
    shown = {job["what"].split("/")[0]: answer("scontrol", "show", "job", job["id"])
             for job in submitted(folder)}  # fmt: skip
    assert "Partition=gpu" in shown["rule_train"]
    assert re.search(r"TresPerJob=\S*gpu:1", shown["rule_train"])
    assert "Partition=main" in shown["rule_data"]
    assert "TresPerJob" not in shown["rule_data"]
