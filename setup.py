"""Adds the replications to the wheel, so that an installed mergesuite has its papers."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("src"), "mergesuite.replications"],
    package_dir={"": "src", "mergesuite.replications": "replications"},
)
