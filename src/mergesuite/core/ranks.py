"""Several processes that search or train together, as torchrun starts them.

Every rank runs the same method or training with the same draws and the same state; only scoring
(`fitness.Evaluator`) or the pieces of each batch (`stages.updates`) are divided. Rank 0 writes the
files.

    torchrun --nproc-per-node 2 -m mergesuite merge --method mega ...
    torchrun --nproc-per-node 8 -m mergesuite train --set batch=256 micro_batch=32 ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from mergesuite.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process's number among those that work together.

    Attributes:
        rank: 0 to size - 1.
        size: how many processes; 1 is the ordinary case and costs nothing.
    """

    rank: int = 0
    size: int = 1

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, in place; the same bits on each."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, question: Callable[[], bool]) -> bool:
        """What the first rank answers: files that it reads and removes are its business alone."""
        if self.size == 1:
            return question()
        answer = torch.tensor(int(self.rank == 0 and question()))
        on_gpu = dist.get_backend() == "nccl"
        return bool(self.total(answer.cuda() if on_gpu else answer))

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


def count() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return count() == 1 or os.environ["RANK"] == "0"


def refuse(command: str) -> None:
    """Stop a command that would do the same work in every process.

    Raises:
        UserError: there are several processes.
    """
    if count() > 1:
        raise UserError(
            f"torchrun divides the work of train and merge only: run {command} without it"
        )


def join(device: torch.device) -> Ranks:
    """Meet the other processes: over gloo on a CPU, over nccl on GPUs."""
    if count() == 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Part from the other processes, where there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()
