"""What a paper costs at a profile: its jobs and what they compute, counted from the spec alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mergesuite.experiment import declared
from mergesuite.experiment.jobs import Jobs
from mergesuite.experiment.resources import Need

SMALL_IMAGES, FILES = 10e12, 60e12
"""Operations a second, two per multiply-add, that a GPU is assumed to sustain: on images of 32 x 32
pixels, which leave much of it idle, and on those that lie in files. No GPU was at hand to measure.
"""


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        stage: "train", "merge" or "evaluate".
        name: of the model, merged result or group that it is about.
        seed: or replicate.
        need: what it asks for, and computes.
    """

    stage: str
    name: str
    seed: int
    need: Need


def jobs_of(jobs: Jobs) -> Iterator[Job]:
    """Every job that computes, trainings first; what another paper trains is that paper's."""
    for subject, parts in sorted(jobs.subjects.items(), key=lambda item: item[1] is not None):
        if parts is None and not jobs.trains(subject):
            continue
        stage, ask = ("merge", jobs.merge_need) if parts else ("train", jobs.train_need)
        for seed in jobs.seeds(subject):
            yield Job(stage, subject, seed, ask(subject, "auto"))
    for file in jobs.metrics():
        group, seed = file.rsplit("/", 2)[1:]
        yield Job("evaluate", group, int(seed[1:]), jobs.evaluate_need(group, "auto"))


def gpu_hours(jobs: Jobs) -> float:
    """Hours of all jobs on one GPU; 0 where none of them wants one.

    As if nothing were there yet and no candidate were rejected early, at the assumed throughput.
    """
    needs = [job.need for job in jobs_of(jobs)]
    operations = 2 * sum(need.multiply_adds for need in needs)
    return operations / sustained(jobs) / 3600 if any(need.gpu for need in needs) else 0.0


def sustained(jobs: Jobs) -> float:
    """Operations a second that a GPU is assumed to sustain on the images of a paper."""
    return FILES if declared.is_folder(jobs.paper.data.name) else SMALL_IMAGES
