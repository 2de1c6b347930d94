"""Adds the replications and the JSON schemas to the wheel: an installed mergesuite has them too."""

from setuptools import find_packages, setup

BESIDE = {"mergesuite.replications": "replications", "mergesuite.schemas": "workflow/schemas"}

setup(
    packages=[*find_packages("src"), *BESIDE],
    package_dir={"": "src", **BESIDE},
)
