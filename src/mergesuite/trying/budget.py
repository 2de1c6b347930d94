"""How many evaluations each search gets where nobody says: so many that it takes minutes."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mergesuite.trying.entries import BATCHNORM_IMAGES
from mergesuite.trying.given import Given

LEAST, MOST = 20, 100
"""Of a search: one population of MeGA, and as many as tell searches apart."""
SEARCHES = 5
"""That a comparison has, about."""
OPERATIONS = 15e12
"""Of all searches together: some five minutes of one core that is free."""


def affordable(given: Given) -> int:
    """Evaluations of each search; the same for the same network and images on every CPU.

    Counted in operations and not in seconds, so that nothing depends on how busy a machine is. A
    GPU does as many as are ever asked for.
    """
    if given.device.type != "cpu":
        return MOST
    first = torch.zeros(1, dtype=torch.int64, device=given.device)
    image = given.normalise(given.scored("search", 1).index_select(0, first))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        given.network().eval()(image)
    images = len(given.labels("search")) + BATCHNORM_IMAGES
    each = max(1, counter.get_total_flops()) * images
    return max(LEAST, min(MOST, int(OPERATIONS / (SEARCHES * each))))
