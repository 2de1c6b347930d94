"""Pictures in files, decoded by worker processes as they are asked for.

Order and bytes are the same for any number of workers: each decodes whole batches, and what a view
shows of an image does not depend on who decodes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from mergesuite.core.runtime import give_back_memory
from mergesuite.data.decode import Cut, picture
from mergesuite.data.pictures import WHOLE, View, box
from mergesuite.errors import MachineError, UserError

MOST_WORKERS = 16
BATCH = 64
"""Images that a worker decodes at a time where nobody asks for a batch of another size."""


def workers() -> int:
    """Processes that decode: MERGESUITE_WORKERS, else one per core that this process may use.

    The ranks of one machine share its cores.

    Raises:
        UserError: MERGESUITE_WORKERS is no number from 0 on.
    """
    said = os.environ.get("MERGESUITE_WORKERS")
    if said is None:
        cores = len(os.sched_getaffinity(0))
        return min(MOST_WORKERS, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if not said.isdecimal():
        raise UserError(f"MERGESUITE_WORKERS should be a number from 0 on, found {said!r}")
    return int(said)


class OnDisk:
    """Images in files of one folder, cut to one size."""

    def __init__(
        self, folder: Path, names: NDArray[np.bytes_], labels: np.ndarray, cut: Cut
    ) -> None:
        """The files `names` `(n,)`, relative to `folder`, and int64 `labels` `(n,)`.

        One array of bytes: a list of strings would be copied into each worker, string by string, as
        soon as its reference counts move.
        """
        self._names = names
        self._folder, self.cut = folder, cut
        self.labels = torch.from_numpy(labels)
        self.shape = torch.Size((len(names), 3, cut.crop, cut.crop))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def batches(self, indexes: Sequence[Tensor], view: View = WHOLE) -> Iterator[Tensor]:
        """uint8 `(k, 3, h, w)` on the CPU for each of `indexes`, in this order.

        Raises:
            UserError: a file is no image, or a worker was killed.
        """
        count = min(workers(), len(indexes))
        loader = DataLoader(
            _Decoded(self, view),
            batch_sampler=[index.tolist() for index in indexes],
            collate_fn=_together,
            num_workers=count,
            prefetch_factor=2 if count else None,
            # They share what is imported; whoever starts anew imports torch, 300 MB each.
            multiprocessing_context="fork" if count else None,
            generator=torch.Generator(),  # or it would move the global one
        )
        try:
            for batch in loader:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MachineError(
                "a process that decodes images was killed, most likely for want of memory or of "
                "shared memory (/dev/shm): set MERGESUITE_WORKERS to less, 0 uses neither"
            ) from None

    def all(self) -> Iterator[Tensor]:
        """Every image as it is evaluated, in batches of `BATCH`."""
        return self.batches(torch.arange(len(self)).split(BATCH))

    def whole(self) -> np.ndarray:
        """The same as uint8 `(n, 3, h, w)`: the memory of all of them, and of one batch beside."""
        images = np.empty(self.shape, dtype=np.uint8)
        at = 0
        for part in self.all():
            images[at : at + len(part)] = part.numpy()
            at += len(part)
        give_back_memory()  # files of many sizes leave gaps in what is kept
        return images

    def decoded(self, index: int, view: View) -> Tensor:
        """Image `index` as `view` shows it, uint8 `(3, h, w)`, decoded by this process."""
        full = picture(self._folder / os.fsdecode(bytes(self._names[index])))
        if view.scale is None:
            shown = self.cut.whole(full)
        else:
            shown = self.cut.part(full, box(full.height, full.width, view, index))
        return torch.from_numpy(np.array(shown)).permute(2, 0, 1)


class _Decoded(Dataset[Any]):
    """What a worker is asked for, image by image."""

    def __init__(self, pictures: OnDisk, view: View) -> None:
        self._pictures, self._view = pictures, view

    def __getitem__(self, index: int) -> Tensor | UserError:
        """An image, or what is wrong with it: raised here, it would come as a traceback."""
        try:
            return self._pictures.decoded(index, self._view)
        except UserError as error:
            return error


def _together(images: list[Any]) -> Tensor | UserError:
    """A batch, in memory that processes share; or the first error in it."""
    error = next((image for image in images if isinstance(image, UserError)), None)
    return error or default_collate(images)
