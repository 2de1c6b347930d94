"""Do verdicts depend on the processor? The same study, with the same seeds, on another one.

Sums round differently there, and a training soon takes another path: it is as if all seeds were
others. So two runs of a study are two draws of it, and a rule that decides what it may decide gives
them no opposite words.

    python benchmarks/processors.py results/published/laptop results/laptop --out docs
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from mergesuite.core import store

SHOWN = ("reproduced", "smaller than reported", "direction only")
ABSENT = ("no gain", "contradicted")
LEFT_OUT = ("not run", "not comparable")

Row = dict[str, Any]


def devices(folder: Path) -> str:
    """The processors that the runs of a paper were made on."""
    return ", ".join(sorted(pd.read_csv(folder / "runs.csv")["device"].unique()))


def rows(first: Path, second: Path) -> Iterator[Row]:
    """A row for each claim that both decided or left open."""
    for folder in sorted(path for path in first.iterdir() if (path / "verdicts.csv").is_file()):
        pair = (folder, second / folder.name)
        one, other = (pd.read_csv(path / "verdicts.csv").set_index("claim") for path in pair)
        for claim in one.index[~one["verdict"].isin(LEFT_OUT)]:
            row: Row = {"paper": folder.name, "claim": claim}
            for number, (path, table) in enumerate(zip(pair, (one, other), strict=True), 1):
                found = table.loc[claim]
                row |= {f"verdict_{number}": found["verdict"], f"n_{number}": found["n"]}
                row |= {f"{end}_{number}": round(found[end], 6) for end in ("low", "high")}
                row[f"device_{number}"] = devices(path)
            yield row


def opposite(first: str, second: str) -> bool:
    """Whether one says that an effect is there, and the other that there is none or its reverse."""
    return any(a in SHOWN and b in ABSENT for a, b in ((first, second), (second, first)))


def table(found: pd.DataFrame) -> str:
    """How often words agree, by paper, in Markdown."""
    lines = []
    for paper, group in found.groupby("paper"):
        pairs = list(zip(group["verdict_1"], group["verdict_2"], strict=True))
        open_ = [sum(words[side] == "cannot tell yet" for words in pairs) for side in (0, 1)]
        lines.append(
            {
                "paper": paper,
                "claims": len(pairs),
                "the same word": sum(a == b for a, b in pairs),
                "open here, decided there": sum(
                    a != b and "cannot tell yet" in (a, b) for a, b in pairs
                ),
                "opposite": sum(opposite(a, b) for a, b in pairs),
                "open": f"{open_[0]}, {open_[1]}",
            }
        )
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Compare, print and write the table."""
    parser = argparse.ArgumentParser(description="Verdicts of one study on two processors.")
    parser.add_argument("first", type=Path, help="folder of papers' results, e.g. results/laptop")
    parser.add_argument("second", type=Path, help="the same from another machine")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    found = list(rows(options.first, options.second))
    store.write_rows(options.out / "processors.csv", found)
    print(table(pd.DataFrame(found)))


if __name__ == "__main__":
    main()
