"""What an evaluator knows from earlier candidates: their scores, and which images are hard.

Neither changes a score: a remembered one is what would be counted again, and any order of images
gives the same count. Both change what a search costs, so an interrupted search keeps them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from mergesuite.fitness.scores import Record

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 256
"""Vectors whose score is remembered, and at most so many orders of images."""
ORDER_BYTES = 1 << 24
"""Bytes of all orders together. An order takes four bytes per image, so that 256 are kept for up to
16,384 images, and 83 for 50,000: a saved state grows by no more than 16 MiB and 20 KiB."""


class Memory:
    """Records by the digest of their vector, and orders of the images by the fitness behind them.

    Of both the latest are kept.
    """

    def __init__(self, n: int, device: torch.device, *, records: bool, orders: bool) -> None:
        """Nothing is known of `n` images; `records` and `orders` say what will be kept."""
        self._n, self._device = n, device
        self._most_records = REMEMBERED if records else 0
        self._most_orders = min(REMEMBERED, max(1, ORDER_BYTES // (4 * n))) if orders else 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self._orders: OrderedDict[float, Tensor] = OrderedDict()

    def forget_scores(self) -> None:
        """Forget the records; the orders stay."""
        self._records.clear()

    def recall(self, key: bytes, threshold: float) -> Record | None:
        """What is known of a vector, if that is enough for `threshold`."""
        known = self._records.get(key)
        if known and (known.complete or known.fitness <= threshold):
            return replace(known, images=0, calibrated=0)
        return None

    def keep(self, key: bytes, record: Record) -> None:
        """Remember a record, and in which order its vector finds the images hard."""
        _put(self._records, key, replace(record, margins=None), self._most_records)
        if self._most_orders and record.margins is not None and math.isfinite(record.fitness):
            order = record.margins.argsort(stable=True).int()
            _put(self._orders, record.fitness, order, self._most_orders)

    def order(self, threshold: float) -> Tensor:
        """All image indexes, those most likely to be wrong first.

        The record with the threshold's own score is the target's (or as good as it): what the
        target gets wrong, its small variations get wrong. Without one, the last record serves.
        """
        if not self._orders:
            return torch.arange(self._n, device=self._device)
        order = self._orders.get(threshold)
        if order is None:  # a threshold just below a score accepts ties with it
            order = self._orders.get(math.nextafter(threshold, math.inf))
        if order is None:
            order = next(reversed(self._orders.values()))
        return order.long()

    def state(self) -> dict[str, Any]:
        """Tensors from which `restore` continues, of at most `ORDER_BYTES` and 20 KiB."""
        numbers = [record.numbers() for record in self._records.values()]
        return {
            "keys": [key.hex() for key in self._records],
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            "order_of": torch.tensor(list(self._orders), dtype=torch.float64),
            "orders": [order.cpu() for order in self._orders.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Know again what was known when `state` was taken."""
        self.clear()
        for key, row in zip(state["keys"], state["numbers"].tolist(), strict=True):
            self._records[bytes.fromhex(key)] = Record.of(row)
        for fitness, order in zip(state["order_of"].tolist(), state["orders"], strict=True):
            self._orders[fitness] = order.to(self._device)


def _put(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Put an entry last; the first goes where there are more than `most`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
