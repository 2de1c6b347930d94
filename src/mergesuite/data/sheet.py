"""What the embedded data set looks like, and how hard it is.

`python -m mergesuite.data.sheet --sheet FILE.png --baselines` draws a contact sheet and measures
what a linear model and nearest neighbours reach.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mergesuite.core.store import whole
from mergesuite.data.digits import SIDE, SIZES, compose, plan


def contact_sheet(columns: int = 12) -> Any:
    """The first `columns` fit images of each class of `digits`, one row per class, enlarged."""
    from PIL import Image

    planned = plan("digits", "fit")
    rows = [np.flatnonzero(planned.labels == digit)[:columns] for digit in range(10)]
    tiles = compose(planned, np.concatenate(rows)).reshape(10, columns, 3, SIDE, SIDE)
    picture = tiles.transpose(0, 3, 1, 4, 2).reshape(10 * SIDE, columns * SIDE, 3)
    image = Image.fromarray(np.ascontiguousarray(picture))
    # A palette keeps the noise from making a large file of a small picture.
    image = image.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST)


def baselines() -> dict[str, float]:
    """Test accuracy on `digits` of models that see raw pixels and have no notion of shape.

    The ridge penalty and the number of neighbours are those that do best on the search split.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier

    pixels, labels = {}, {}
    for split in SIZES:
        planned = plan("digits", split)
        images = compose(planned, np.arange(len(planned.labels)))
        pixels[split] = images.reshape(len(images), -1).astype(np.float32) / 255
        labels[split] = planned.labels
    candidates = {
        "linear": [RidgeClassifier(alpha=alpha) for alpha in (1.0, 100.0, 10_000.0)],
        "nearest neighbours": [
            KNeighborsClassifier(k, algorithm="brute", n_jobs=1) for k in (1, 15)
        ],
    }
    scores = {}
    for name, models in candidates.items():
        fitted = [model.fit(pixels["fit"], labels["fit"]) for model in models]
        best = max(fitted, key=lambda m: m.score(pixels["search"], labels["search"]))
        scores[f"{name} ({best})"] = float(best.score(pixels["test"], labels["test"]))
    return scores


def main(arguments: list[str] | None = None) -> None:
    """The command `python -m mergesuite.data.sheet`."""
    parser = argparse.ArgumentParser(
        prog="python -m mergesuite.data.sheet", description=main.__doc__
    )
    parser.add_argument("--sheet", metavar="FILE.png", help="draw a contact sheet")
    parser.add_argument("--baselines", action="store_true", help="measure simple classifiers")
    options = parser.parse_args(arguments)
    if options.sheet:
        with whole(Path(options.sheet)) as file:
            contact_sheet().save(file, format="png", optimize=True)
    if options.baselines:
        for name, accuracy in baselines().items():
            print(f"{name}: {100 * accuracy:.1f} % of {SIZES['test']} test images")


if __name__ == "__main__":
    main()
