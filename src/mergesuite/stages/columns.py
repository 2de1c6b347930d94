"""The columns of the tables that `evaluate` writes and `collect` joins."""

COLUMNS = [
    "subject", "kind", "entry", "population", "model", "method", "protocol", "leaky", "batchnorm",
    "metric", "split", "seed", "value", "n", "members", "spec", "commit", "device",
]  # fmt: skip
