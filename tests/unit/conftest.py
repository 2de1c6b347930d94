"""A finished paper, made once for all tests of a process, which copy it."""

import pytest
import report_fixture as fixture

from mergesuite.judge import compare
from mergesuite.report import figures


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """The folder of a paper that has its verdicts."""
    root = tmp_path_factory.mktemp("compared")
    with fixture.made(root) as (folder, results):
        compare.write(folder, "laptop", results)
    return root


@pytest.fixture(scope="session")
def drawn(compared, tmp_path_factory):
    """The folder of a paper that has its figures too."""
    root = tmp_path_factory.mktemp("drawn")
    with fixture.copied(compared, root) as (folder, results):
        figures.write(folder, "laptop", results)
    return root
