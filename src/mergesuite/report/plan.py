"""The plan of a study as a reader sees it."""

from __future__ import annotations

import pandas as pd

from mergesuite.report.wording import NOTHING, number, there

NOTE = (
    "Deviations and interests in points of accuracy. `search` is the part of a deviation that more "
    "search seeds make smaller, `images` that which more test images do; `all pairs` is the "
    "standard error that no number of pairs changes. The cheapest design shows the interest with "
    "80 % power; its minutes are of one core, for the parents and the two sides of this claim."
)


def shown(table: pd.DataFrame) -> str:
    """A Markdown table of what each claim needs, dearest last."""
    rows = [
        {
            "claim": row["claim"],
            "verdict": row["verdict"],
            "interest": number(row["interest"]),
            "pairs": str(int(row["n"])),
            "parents": number(row["sd_parents"]),
            "search": number(row["sd_search"]),
            "images": number(row["sd_images"]),
            "all pairs": number(row["se_images"]),
            "needed": _whole(row["pairs_needed"]),
            "cheapest: pairs x searches": _design(row),
            "test images": _whole(row["best_images"]),
            "CPU minutes": f"{row['best_cpu_minutes']:.1f}"
            if there(row["best_cpu_minutes"])
            else NOTHING,
        }
        for row in table.sort_values("best_cpu_minutes").to_dict("records")
    ]
    return f"{pd.DataFrame(rows).to_markdown(index=False)}\n\n{NOTE}"


def _whole(value: object) -> str:
    return str(int(value)) if isinstance(value, int | float) and there(value) else NOTHING


def _design(row: dict) -> str:
    if not there(row["best_pairs"]):
        return NOTHING
    return f"{_whole(row['best_pairs'])} x {_whole(row['best_searches'])}"
