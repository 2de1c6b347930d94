"""Tables that are read and written with pandas, apart from the store.

Stages that compute write rows (`store.write_rows`) and import the store only, so their digests do
not hold the version of pandas.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mergesuite.core import store
from mergesuite.errors import UserError, refused

TEXT = (
    "subject", "entry", "population", "model", "method", "split", "against", "claim", "spec",
    "commit",
)  # fmt: skip
"""Names and digests. `2e6268029505` is twelve hex digits and no number, `null` may be a name."""
EMPTY = ("", "nan")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame without its index; floats keep every digit."""
    with store.whole(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file.

    Raises:
        UserError: it is missing or empty.
    """
    try:
        return pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=list(EMPTY)
        )
    except OSError as error:
        raise refused(
            f"cannot read {path}: {error.strerror}; run the stage that writes it", error
        ) from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(
            f"{path} is not a table ({error}): delete it, run the stage again"
        ) from None
