"""A kill -9 at any moment of a training or a merge: the same command ends in the same bytes.

`play_kills.py` kills; every registered method is among its jobs.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from play_kills import SEED, TRAININGS

from mergesuite.experiment import declared

PROCESSES = 2
LEAST = 60
"""Points in all; those at which a state was there to go on from are at least half as many."""


def test_nothing_is_lost_to_kills_of_any_method_at_any_point(tmp_path, capsys):
    program = str(Path(__file__).with_name("play_kills.py"))
    running = []
    for part in range(PROCESSES):
        (folder := tmp_path / str(part)).mkdir()
        with (folder / "errors").open("w") as errors:
            words = [sys.executable, program, str(folder), str(part), str(PROCESSES)]
            running.append(
                subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
            )
    outputs = [process.communicate()[0] for process in running]
    for part, process in enumerate(running):
        assert process.returncode == 0, (tmp_path / str(part) / "errors").read_text()[-3000:]
    found = [json.loads(line) for output in outputs for line in output.splitlines()]
    points = [point for point in found if point["killed"]]
    lost = [point for point in points if point["lost"]]
    kinds = Counter(point["kind"] for point in points)
    with capsys.disabled():
        print(
            f"\n{len(points)} kills (seed {SEED!r}: {dict(kinds)}), "
            f"{sum(point['resumed'] for point in points)} in the middle, {len(lost)} lost"
        )
    assert lost == []
    assert len(points) >= LEAST
    assert sum(point["resumed"] for point in points) >= LEAST // 2
    assert [p for p in points if p["kind"] == "between" and not p["resumed"]] == []
    # A state that was there is one that the next run goes on from.
    assert [p for p in points if p["goes on"] and not p["resumed"]] == []
    names = {point["name"] for point in points}
    assert names >= {f"train {name}" for name in TRAININGS}
    assert names >= {f"merge {name}" for name in declared.methods()}
