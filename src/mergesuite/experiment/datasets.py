"""Facts about data sets that are known without loading them, and without torch."""

from __future__ import annotations

from typing import Any

DATASET_INFO: dict[str, dict[str, Any]] = {
    "digits": {
        "classes": 10,
        "size": 32,
        "splits": {"fit": 8000, "search": 2000, "test": 5000},
        "origin": "embedded: composed from scikit-learn's digits",
        "citation": "Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
        "UCI Machine Learning Repository (1998)",
    },
    "digits5": {
        "classes": 5,
        "size": 32,
        "splits": {"fit": 8000, "search": 2000, "test": 5000},
        "origin": "embedded: the digits 0 to 4, for pre-training before `digits`",
        "citation": "Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
        "UCI Machine Learning Repository (1998)",
    },
    "cifar10": {
        "classes": 10,
        "size": 32,
        "splits": {"fit": 45000, "search": 5000, "test": 10000},
        "origin": "MERGESUITE_DATA (cifar-10-batches-py) or a verified download",
        "citation": "Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
    },
    "cifar100": {
        "classes": 100,
        "size": 32,
        "splits": {"fit": 45000, "search": 5000, "test": 10000},
        "origin": "MERGESUITE_DATA (cifar-100-python) or a verified download",
        "citation": "Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
    },
    "mnist": {
        "classes": 10,
        "size": 32,
        "splits": {"fit": 54000, "search": 6000, "test": 10000},
        "origin": "MERGESUITE_DATA (MNIST/raw) or a verified download; padded from 28 x 28",
        "citation": "LeCun et al.: Gradient-Based Learning Applied to Document Recognition, "
        "Proc. IEEE 86 (1998)",
    },
    "fashion-mnist": {
        "classes": 10,
        "size": 32,
        "splits": {"fit": 54000, "search": 6000, "test": 10000},
        "origin": "MERGESUITE_DATA (FashionMNIST/raw) or a verified download; padded from 28 x 28",
        "citation": "Xiao, Rasul & Vollgraf: Fashion-MNIST, arXiv 1708.07747 (2017)",
    },
}
"""Name -> classes, image side in pixels, images per split, where it comes from, whom to cite."""
