"""What a search reports as its gain, beside what is left on images that it never saw.

The best of many scores on one set of images is high by luck too. Where nothing can be gained (the
labels are permuted, or the members are copies of one net) the reported gain is luck alone; beside
it stand the real searches. Test images that a leaky search saw are no such images.
"""

from __future__ import annotations

import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.gains import baseline
from mergesuite.judge.samples import Where, contrast, resolution, samples
from mergesuite.judge.stats import t_interval
from mergesuite.stages.columns import FITNESS_GAIN

COLUMNS = (
    "subject", "entry", "population", "method", "null", "metric", "split", "batchnorm", "leaky",
    "n", "reported", "reported_low", "reported_high", "gain", "low", "high",
    "optimism", "optimism_low", "optimism_high",
)  # fmt: skip


def null_of(entry: spec.Method) -> str:
    """Why an entry has nothing to gain; empty where it may have."""
    if entry.fitness.labels == "permuted":
        return "permuted labels"
    return "copies of one parent" if entry.parents == "copies" else ""


def calibration(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per search: the gain it reports, the gain on test, and the optimism between them.

    Both gains are over the best parent under the BatchNorm treatment that was searched. Fitness in
    nats has no gain in accuracy to be set beside; its test gain is that of accuracy all the same,
    and its optimism is left out.
    """
    rows = []
    for subject, parts in paper.subjects().items():
        if parts is None:
            continue
        entry = paper.methods[parts[0]]
        how = entry.fitness
        reported = samples(runs, subject, Where(FITNESS_GAIN, how.split, how.batchnorm))
        if not reported:
            continue
        where = Where("accuracy", "test", how.batchnorm)
        against = baseline(paper, "best-parent", parts[1], how.batchnorm)
        values = samples(runs, subject, where)
        base = samples(runs, against, where) if against else {}
        row = {
            "subject": subject, "entry": parts[0], "population": parts[1], "method": entry.use,
            "null": null_of(entry), "metric": how.metric, "split": how.split,
            "batchnorm": how.batchnorm, "leaky": entry.leaky,
        }  # fmt: skip
        step = resolution(runs, subject, where)
        seen = t_interval(list(reported.values()))
        gain = contrast(values, base, step=step).effect
        row |= {"n": gain.n, "reported": seen.mean}
        row |= {"reported_low": seen.low, "reported_high": seen.high}
        row |= {"gain": gain.mean, "low": gain.low, "high": gain.high}
        if how.metric == "accuracy":
            over = contrast(reported, _over(values, base), step=step).effect
            row |= {"optimism": over.mean, "optimism_low": over.low, "optimism_high": over.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _over(values: dict[int, float], base: dict[int, float]) -> dict[int, float]:
    """Seed -> gain over the value that its replicate has in `base`."""
    replicates = {seed: spec.replicate_of(seed) for seed in values}
    return {seed: values[seed] - base[r] for seed, r in replicates.items() if r in base}
