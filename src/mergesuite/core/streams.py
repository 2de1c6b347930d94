"""Named random streams, and the two draw sources that methods accept.

Every random number in the package comes from a generator whose seed is derived from names
(paper, stage, entry, seed). No global generator is read or moved, but for the layers that know no
other (`as_global`). Population methods draw through `Draws`; a test hands them `Recorded` draws
instead and replays a run of other code.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

SPARSE_RATE = 0.02
"""Masks with a lower rate are drawn as a number of coordinates and their positions."""


def derive(*names: str | int) -> int:
    """The 63-bit seed that belongs to a sequence of names, on every machine and in every process.

    Names are length-prefixed before hashing, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for name in names:
        text = str(name).encode()
        digest.update(len(text).to_bytes(4, "little") + text)
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def generator(*names: str | int, device: str = "cpu") -> torch.Generator:
    """A fresh generator for the stream called `names`."""
    return torch.Generator(device=device).manual_seed(derive(*names))


@contextlib.contextmanager
def as_global(device: torch.device, *names: str | int) -> Iterator[None]:
    """Torch's global generator at the start of the stream `names`, and then as it was before.

    Dropout takes no generator, nor do torchvision's transforms: only so is what they draw a matter
    of the stream. For a CPU the generators of GPUs are left alone.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        seeded = torch.default_generator if not gpus else torch
        seeded.manual_seed(derive(*names))
        yield


class DrawSource(Protocol):
    """What a population method may ask of chance.

    Every call names the draw (`"alpha"`, `"mask"`): the name is documentation here and the key of
    the record in a replay.
    """

    def uniform(self, name: str) -> float:
        """One number from U[0, 1)."""
        ...

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> float:
        """One number from N(mean, sd^2)."""
        ...

    def cauchy(self, name: str, location: float, scale: float) -> float:
        """One number from the Cauchy distribution."""
        ...

    def integer(self, name: str, n: int) -> int:
        """One of 0..n-1."""
        ...

    def sample(self, name: str, n: int, k: int) -> list[int]:
        """`k` distinct numbers of 0..n-1, in the order drawn."""
        ...

    def categorical(self, name: str, p: Sequence[float]) -> int:
        """One of 0..len(p)-1 with probabilities proportional to `p`."""
        ...

    def uniforms(self, name: str, n: int) -> Tensor:
        """`(n,)` float32 numbers from U[0, 1): multiples of 2^-24, as `torch.rand` gives them."""
        ...

    def normals(self, name: str, n: int, sd: float) -> Tensor:
        """`(n,)` float64 numbers from N(0, sd^2)."""
        ...

    def mask(self, name: str, n: int, rate: float) -> Tensor:
        """Which of `n` coordinates are taken, each independently with probability `rate`.

        Returns:
            An index for `x[take]`: a bool mask `(n,)`, or int64 positions where few are taken.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Plain values from which `restore` continues the stream."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        ...


class Draws:
    """Draws from one torch generator on the CPU."""

    def __init__(self, rng: torch.Generator) -> None:
        """Take over `rng`; nobody else should draw from it afterwards."""
        self._rng = rng

    def uniform(self, name: str) -> float:
        """One float64 number from U[0, 1)."""
        return float(torch.rand((), generator=self._rng, dtype=torch.float64))

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> float:
        """One number from N(mean, sd^2)."""
        return mean + sd * float(torch.randn((), generator=self._rng, dtype=torch.float64))

    def cauchy(self, name: str, location: float, scale: float) -> float:
        """One number from the Cauchy distribution, by inversion."""
        u = torch.rand((), generator=self._rng, dtype=torch.float64)
        return location + scale * float(torch.tan(torch.pi * (u - 0.5)))

    def integer(self, name: str, n: int) -> int:
        """One of 0..n-1."""
        return int(torch.randint(n, (), generator=self._rng))

    def sample(self, name: str, n: int, k: int) -> list[int]:
        """`k` distinct numbers of 0..n-1."""
        return torch.randperm(n, generator=self._rng)[:k].tolist()

    def categorical(self, name: str, p: Sequence[float]) -> int:
        """One index, with probabilities proportional to `p`."""
        weights = torch.tensor(p, dtype=torch.float64)
        return int(torch.multinomial(weights, 1, generator=self._rng))

    def uniforms(self, name: str, n: int) -> Tensor:
        """`(n,)` float32 numbers from U[0, 1)."""
        return torch.rand(n, generator=self._rng, dtype=torch.float32)

    def normals(self, name: str, n: int, sd: float) -> Tensor:
        """`(n,)` float64 numbers from N(0, sd^2)."""
        return torch.randn(n, generator=self._rng, dtype=torch.float64) * sd

    def mask(self, name: str, n: int, rate: float) -> Tensor:
        """Which of `n` coordinates are taken.

        Above `SPARSE_RATE` one number per coordinate is drawn. Below, how many are taken comes
        from Binomial(n, rate) and then which from all subsets of that size: the same distribution
        in microseconds, and without the 2^-24 grid of float32 numbers.
        """
        if rate > SPARSE_RATE:
            return torch.rand(n, generator=self._rng, dtype=torch.float32) < rate
        if not rate > 0:
            return torch.empty(0, dtype=torch.int64)
        trials = torch.tensor(float(n), dtype=torch.float64)
        p = torch.tensor(rate, dtype=torch.float64)
        count = int(torch.binomial(trials, p, generator=self._rng))
        positions = torch.empty(0, dtype=torch.int64)
        while len(positions) < count:
            # Throwing repeats away until enough are distinct leaves every subset equally likely.
            more = torch.randint(n, (count - len(positions),), generator=self._rng)
            positions = torch.cat([positions, more]).unique()
        return positions

    def state(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._rng.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._rng.set_state(state["generator"])


class Recorded:
    """Replays recorded draws: for each name a sequence of results, handed out in order.

    Raises:
        LookupError: a draw is asked for whose name has no (more) records.
    """

    def __init__(self, records: Mapping[str, Iterable[Any]]) -> None:
        """`records`: draw name -> results in the order in which the method asks for them."""
        self._records = {name: list(values) for name, values in records.items()}
        self._used = dict.fromkeys(self._records, 0)

    def _next(self, name: str) -> Any:
        position = self._used.get(name, 0)
        if position >= len(self._records.get(name, ())):
            raise LookupError(f"no recorded draw left for {name!r} (used {position})")
        self._used[name] = position + 1
        return self._records[name][position]

    @property
    def unused(self) -> dict[str, int]:
        """How many records of each name have not been asked for; all zero after a full replay."""
        return {name: len(self._records[name]) - used for name, used in self._used.items()}

    def uniform(self, name: str) -> float:
        """The next record."""
        return float(self._next(name))

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> float:
        """The next record, as it was drawn: mean and spread are already in it."""
        return float(self._next(name))

    def cauchy(self, name: str, location: float, scale: float) -> float:
        """The next record, as it was drawn."""
        return float(self._next(name))

    def integer(self, name: str, n: int) -> int:
        """The next record."""
        return int(self._next(name))

    def sample(self, name: str, n: int, k: int) -> list[int]:
        """The next record, of which there must be `k`."""
        values = [int(value) for value in self._next(name)]
        if len(values) != k:
            raise LookupError(f"recorded {name!r} holds {len(values)} positions, {k} asked for")
        return values

    def categorical(self, name: str, p: Sequence[float]) -> int:
        """The next record."""
        return int(self._next(name))

    def uniforms(self, name: str, n: int) -> Tensor:
        """The next record as float32."""
        return torch.as_tensor(self._next(name), dtype=torch.float32).reshape(n)

    def normals(self, name: str, n: int, sd: float) -> Tensor:
        """The next record as float64, spread already in it."""
        return torch.as_tensor(self._next(name), dtype=torch.float64).reshape(n)

    def mask(self, name: str, n: int, rate: float) -> Tensor:
        """The next record: `n` booleans, or the uniform numbers they come from."""
        record = torch.as_tensor(self._next(name)).reshape(n)
        return record if record.dtype == torch.bool else record < rate

    def state(self) -> dict[str, Any]:
        """How far each record has been used."""
        return {"used": dict(self._used)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._used = dict(state["used"])


def as_draws(rng: torch.Generator | DrawSource) -> DrawSource:
    """A draw source from a generator; a draw source passes through."""
    return Draws(rng) if isinstance(rng, torch.Generator) else rng
