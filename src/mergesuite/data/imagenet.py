"""ImageNet (ILSVRC 2012) and the test sets that others made for it, from `MERGESUITE_DATA`.

None of them may be handed on, so none is downloaded: a folder of images is looked for. No checksum
of single images is published; that the numbers of classes and images are right is checked.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from mergesuite.data import folders
from mergesuite.data.sources import Source, dataset, test_set
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Other, Preprocess

FOLDERS = ("imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k", "ILSVRC/Data/CLS-LOC", ".")
"""Below MERGESUITE_DATA; the first that has `train` and `val`."""
CLASSES, TRAIN, VAL = 1000, 1_281_167, 50_000
HELD_OUT = 26
"""Training images of each class that become the search split: 2 %, as in Model Soups (Wortsman et
al. 2022)."""
RESIZE, CROP = 256, 224
TESTS = {
    "imagenet-v2": (("imagenetv2-matched-frequency-format-val", "imagenet-v2"), 10_000),
    "imagenet-a": (("imagenet-a",), 7_500),
    "imagenet-r": (("imagenet-r",), 30_000),
}
"""Name -> folders that are looked for below MERGESUITE_DATA, and how many images it has."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What most published weights are normalised by (torchvision's `ImageClassification`)."""


@dataset(
    "imagenet",
    classes=1000,
    size=224,
    splits={"fit": 1255167, "search": 26000, "test": 50000},
    origin="MERGESUITE_DATA (imagenet/train and imagenet/val, a folder for each class)",
    cite="Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge, IJCV 115 (2015)",
    files=True,
)
def load(name: str, root: Path, held_out: float | None, preprocess: Preprocess) -> Source:
    """ILSVRC 2012: `val` is test, and `held_out` of each class of `train` is search.

    The shorter side is scaled to 256 pixels and 224 are kept, unless `preprocess` says otherwise;
    channels are normalised by the usual means and deviations.

    Raises:
        UserError: it is not there, or is not whole.
    """
    folder = _folder(root)
    found = {part: folders.classes_of(folder, part) for part in ("train", "val")}
    for part, images in (("train", TRAIN), ("val", VAL)):
        names, count = list(found[part]), sum(map(len, found[part].values()))
        odd = [one for one in names if not re.fullmatch(r"n\d{8}", one)]
        if odd or len(names) != CLASSES or count != images:
            raise UserError(
                f"{folder / part} should hold {images:,} images in {CLASSES} folders named by "
                f"WordNet (n01440764, ...), found {count:,} in {len(names)}"
                f"{f', one called {odd[0]!r}' if odd else ''}: unpack it again, or say "
                f"folder:{folder} for what is there"
            )
    classes, listing = folders.listed(folder, held_out or HELD_OUT)
    cut = folders.cut_of(preprocess, CROP, RESIZE)
    made = folders.source(folder, classes, listing, cut, preprocess)
    return made if made.statistics else replace(made, statistics=(MEAN, STD))


def _folder(root: Path) -> Path:
    for name in FOLDERS:
        if all((root / name / part).is_dir() for part in ("train", "val")):
            return root / name
    raise UserError(
        f"imagenet should lie in {root / FOLDERS[0]} with a folder for each class below train/ and "
        "val/, found none there: name the folder above it in MERGESUITE_DATA; it cannot be "
        "downloaded without an account of image-net.org"
    )


@test_set(
    "imagenet-v2",
    of="imagenet",
    origin="MERGESUITE_DATA (imagenetv2-matched-frequency-format-val)",
    cite="Recht et al.: Do ImageNet Classifiers Generalize to ImageNet?, ICML (2019)",
)
@test_set(
    "imagenet-a",
    of="imagenet",
    origin="MERGESUITE_DATA (imagenet-a), 200 of the classes",
    cite="Hendrycks et al.: Natural Adversarial Examples, CVPR (2021)",
)
@test_set(
    "imagenet-r",
    of="imagenet",
    origin="MERGESUITE_DATA (imagenet-r), 200 of the classes",
    cite="Hendrycks et al.: The Many Faces of Robustness, ICCV (2021)",
)
def tested(asked: Other, root: Path, clean: Source) -> Source:
    """A test set of other images for ImageNet's classes, or for 200 of them.

    ImageNet-V2 calls its folders by the number of the class, the others by WordNet.

    Raises:
        UserError: it is not there, or is not whole.
    """
    names, images = TESTS[asked.name]
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{asked.name} should lie in {root / names[0]}, found no such folder: unpack it there, "
            "or name the folder above it in MERGESUITE_DATA"
        )
    found = folders.classes_of(folder)
    if (count := sum(map(len, found.values()))) != images:
        raise UserError(f"{folder} should hold {images:,} images, found {count:,}: unpack it again")
    if all(name.isdecimal() and int(name) < len(clean.classes) for name in found):
        found = {clean.classes[int(name)]: files for name, files in found.items()}
    return folders.test_source(folder, found, clean)
