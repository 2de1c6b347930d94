"""The workflow as a user runs it, on a copy of the checkout's specs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ("--config", "profile=smoke", "papers=mega")
STAGES = {
    "data", "train", "merge", "evaluate", "collect", "compare", "tables", "figures", "report",
    "check",
}  # fmt: skip


def environment(**ours):
    """What a user has: of our variables none but those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MERGESUITE_")}
    said = {k: str(v) for k, v in ours.items()}
    return {**clean, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", **said}


def snakemake(folder, *words, check=True, **variables):
    done = subprocess.run(
        ["snakemake", "--cores", "2", *map(str, words)], cwd=folder, env=environment(**variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def mergesuite(folder, *words):
    return subprocess.run(
        ["mergesuite", *map(str, words)], cwd=folder, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def copied(folder):
    """Snakefile, workflow, config and replications in a folder of their own."""
    for name in ("workflow", "replications", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def jobs(done):
    """Job counts by rule, out of the table that a dry run prints."""
    text = done.stdout + done.stderr
    if "Job stats:" not in text:
        assert "Nothing to be done" in text, text
        return {}
    table = text.split("Job stats:")[1].split("Reasons")[0]
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+(\d+)$", table, re.M)}


def planned(folder, *words):
    return jobs(snakemake(folder, "-n", *words))


def outputs(done, rule):
    """The folders of the runs that a dry run would make with a rule, below the profile's."""
    text = done.stdout + done.stderr
    found = re.findall(rf"rule {rule}:\n(?:.*\n)*?\s+output: (\S+?)/[^/\s]+[,\n]", text)
    return {"/".join(path.split("/")[2:]) for path in found}
