"""How many inputs are tried: few in CI, as many as one likes with `--fuzz`."""

import os

from hypothesis import HealthCheck, Phase, settings

FEW = 25
"""Inputs of each test where nothing is said."""


def pytest_configure(config):
    """Let every test of this folder try `MERGESUITE_FUZZ` inputs, new ones each time; or a few."""
    asked = os.environ.get("MERGESUITE_FUZZ")
    settings.register_profile(
        "fuzz",
        max_examples=int(asked) if asked else FEW,
        derandomize=not asked,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    settings.load_profile("fuzz")
