"""A full disk, a short write, a refusal at every write of every stage: status 3, nothing lost.

`play_writes.py` makes the faults, in a study that goes through all stages.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from play_writes import KINDS

from mergesuite.report import tables

STAGES = ("train", "merge", "evaluate", "collect", "compare", "tables", "figures", "report")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each command did, met by each fault, and afterwards."""
    folder = tmp_path_factory.mktemp("writes")
    program = str(Path(__file__).with_name("play_writes.py"))
    done = subprocess.run(
        [sys.executable, program, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_fault_at_any_write_is_status_3_and_one_line(found, capsys):
    points = [point for point in found if point["kind"] in (*KINDS, "everything")]
    with capsys.disabled():
        print(f"\n{len(points)} faults, {sum(bool(p['wrong']) for p in points)} lost something")
    for point in points:
        assert point["status"] == 3, point
        assert len(point["lines"]) == 1, point
        assert not point["traceback"], point
        assert point["wrong"] == [], point
    assert {point["stage"] for point in points} == set(STAGES)


def test_every_write_met_a_fault_and_every_fault_a_write(found):
    writes = defaultdict(set)
    for point in found:
        if point["kind"] in KINDS:
            writes[point["stage"]].add(point["write"])
    assert all(numbers == set(range(1, len(numbers) + 1)) for numbers in writes.values())
    # Of three epochs, six generations, and the files that docs/architecture.md names.
    assert len(writes["train"]) >= 10
    assert len(writes["tables"]) == 3 * len(tables.NAMES) + 1
    assert len(writes["figures"]) == 16 + 1
    assert {(p["stage"], p["kind"]) for p in found} >= {(s, k) for s in STAGES for k in KINDS}


def test_the_same_command_afterwards_and_twice_at_once_leaves_the_same_bytes(found):
    ends = [point for point in found if point["kind"] in ("again", "twice")]
    assert [point for point in ends if any(point["statuses"]) or point["wrong"]] == []
    assert {p["stage"] for p in ends if p["kind"] == "twice"} == set(STAGES)
