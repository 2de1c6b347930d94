"""Tables that are read and written with pandas, apart from the store.

Stages that compute write rows (`store.write_rows`) and import the store only, so their digests do
not hold the version of pandas.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import store
from mergesuite.errors import UserError, refused

TEXT = (
    "subject", "entry", "population", "model", "method", "split", "against", "claim", "spec",
    "commit", "twin", "text", "why", "torch", "mergesuite",
)  # fmt: skip
"""Names, digests, sentences. `2e6268029505` is a digest and no number, `null` may be a name."""
EMPTY = ("", "nan")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame without its index; floats keep every digit."""
    with store.whole(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


MOST_BYTES = 1 << 30
"""Of a table; that of ten thousand runs has a hundredth of it."""


def read_csv(
    path: Path,
    columns: Collection[str] = (),
    *,
    numbers: Collection[str] = (),
    whole: Collection[str] = (),
) -> pd.DataFrame:
    """Read a CSV file.

    Args:
        path: the file.
        columns: those that it must have; it may have others.
        numbers: those that hold numbers, or nothing.
        whole: those that hold whole numbers.

    Raises:
        UserError: it is missing, empty, no table in UTF-8, or not such a table.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES >> 30} GiB: it is no table of ours")
        with warnings.catch_warnings():  # of rows longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, index_col=False,
                na_values=list(EMPTY),
            )  # fmt: skip
    except OSError as error:
        raise refused(
            f"cannot read {path}: {error.strerror}; run the stage that writes it", error
        ) from None
    except (ValueError, OverflowError, IndexError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a table ({reason}): delete it, run the stage again"
        ) from None
    if lacking := [name for name in columns if name not in frame.columns]:
        raise UserError(
            f"{path} is not the table that was expected (no column {', '.join(lacking[:3])}): "
            "delete it, run the stage again"
        )
    kinds = {
        **dict.fromkeys(numbers, pd.api.types.is_numeric_dtype),
        **dict.fromkeys(whole, pd.api.types.is_integer_dtype),
    }
    for name, fits in kinds.items():
        if name in frame.columns and len(frame) and not fits(frame[name].dtype):
            raise UserError(
                f"{path} is not the table that was expected (numbers in {name}, found "
                f"{_odd(frame[name])}): delete it, run the stage again"
            )
    return frame


def _odd(column: pd.Series[Any]) -> str:
    """The first value of a column that is no number, or what else they are."""
    odd = column[pd.to_numeric(column, errors="coerce").isna()]
    return repr(str(odd.iloc[0])[:40]) if len(odd) else str(column.dtype)
