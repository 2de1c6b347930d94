"""The searches of `test_ranks.py`, on any number of processes; rank 0 writes the outcome as JSON.

As a program it is torchrun for several numbers of processes, one after another, which are forked
from it so that torch is imported once.
"""

import hashlib
import json
import sys
import uuid
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mergesuite import data, models
from mergesuite.core import ranks, streams
from mergesuite.fitness import Evaluator
from mergesuite.methods import create
from mergesuite.models.batchnorm import reestimate
from mergesuite.weights import WeightSpace

CASES = {
    "candidates divided": ("mega", {"population": 6, "generations": 4}, {}),
    "images divided": ("cade", {"generations": 5, "f_init": 0.3, "cr_init": 0.3}, {}),
    "all at once": ("de", {"generations": 4, "F": 0.3}, {}),
    "cross-entropy": ("cade", {"generations": 4, "f_init": 0.3, "cr_init": 0.3},
                      {"metric": "cross-entropy"}),
    "re-estimated": ("de", {"generations": 2, "F": 0.3}, {"calibrate": 60}),
    "mean of batches": ("cade", {"generations": 2, "f_init": 0.3, "cr_init": 0.3},
                        {"batch_mean": 30}),
}  # fmt: skip


def outcome(name, params, levers, group):
    """Accepted trials, best score and hash of the best vector of one search."""
    torch.set_num_threads(1)
    levers = dict(levers)
    module = models.build("resnet8-w8", 10, streams.generator("ranks"))
    images, labels = data.load("digits", sizes={"search": 170}).search
    images = images[..., ::2, ::2]
    reestimate(module, images)
    space = WeightSpace(module)
    base = space.flatten(module.state_dict())
    noise = torch.randn(4, space.dim, generator=streams.generator("ranks", "noise"))
    members = base + 0.3 * base.abs().mean() * noise
    calibrate = levers.pop("calibrate", None)
    evaluator = Evaluator(
        module, space, images, labels, ranks=group,
        reestimate_on=images[:calibrate] if calibrate else None, **levers,
    )  # fmt: skip
    method = create(name, **params)
    if name == "mega":
        members = members[:2]
    fitness = evaluator.scores(members).fitness
    method.start(members, fitness, streams.generator("search"))
    accepted = []
    while (proposal := method.ask()) is not None:
        scores = evaluator.scores(proposal.candidates, proposal.thresholds)
        accepted += scores.exceeded.tolist()
        method.tell(scores.fitness, scores.exceeded)
    vector, score = method.best
    digest = hashlib.sha256(vector.numpy().tobytes()).hexdigest()
    return [accepted, score, digest]


def play(out):
    """Play every case as one of the ranks."""
    group = ranks.join(torch.device("cpu"))
    results = {case: outcome(*how, group) for case, how in CASES.items()}
    if group.rank == 0:
        Path(out).write_text(json.dumps(results))
    ranks.leave()


def launched(processes, function, *words):
    """`function` of `words` on so many ranks: `torchrun --standalone` but for new interpreters."""
    config = LaunchConfig(
        1, 1, processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d", max_restarts=0,
        rdzv_endpoint="localhost:0", start_method="fork", monitor_interval=0.05,
    )  # fmt: skip
    elastic_launch(config, function)(*words)


if __name__ == "__main__":
    for processes in map(int, sys.argv[2:]):
        launched(processes, play, f"{sys.argv[1]}/{processes}.json")
