"""The columns of the tables that `evaluate` writes and `collect` joins."""

COLUMNS = [
    "subject", "kind", "entry", "population", "model", "method", "protocol", "leaky", "batchnorm",
    "metric", "split", "seed", "value", "n", "members", "spec", "commit", "device",
]  # fmt: skip
WHOLE = ("seed", "n", "members")
"""Those that hold whole numbers."""

COSTS = (
    "evaluations_asked",
    "evaluations_computed",
    "forward_images",
    "backward_images",
    "seconds",
    "cpu_seconds",
    "peak_mb",
)
CLOCK = ("seconds", "cpu_seconds", "peak_mb")
"""Those that are the machine's and differ from run to run."""

FITNESS_GAIN = "fitness_gain"
"""Gain of a search's result over its best parent as the search itself counted it."""
