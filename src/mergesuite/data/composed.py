"""Images that this suite composes: kept in the cache, for every job of a study asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mergesuite.data import stored
from mergesuite.errors import UserError

BATCH = 1000
"""Images that are composed at a time for the cache."""

Read = Callable[[np.ndarray], np.ndarray]
"""From rows `(k,)` to images uint8 `(k, 3, h, w)`."""


class Composed:
    """All images that a reader composes; each depends on its row alone."""

    def __init__(self, read: Read, count: int, side: int) -> None:
        """`count` images of `side` pixels."""
        self.read = read
        self.shape = torch.Size((count, 3, side, side))

    def all(self) -> Iterator[Tensor]:
        """Every image, in batches of `BATCH`."""
        for rows in np.arange(self.shape[0]).reshape(-1, BATCH):
            yield torch.from_numpy(self.read(rows))

    def kept_as(self, key: str) -> Read:
        """The reader, from the cache's file for `key`; where none can be written, as it was."""
        name = hashlib.sha256(key.encode()).hexdigest()[:24]

        def read(rows: np.ndarray) -> np.ndarray:
            try:
                images = stored.kept(self, name)
            except UserError:
                return self.read(rows)
            return images.index_select(0, torch.from_numpy(rows)).numpy()

        return read
