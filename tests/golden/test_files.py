"""Nothing in the golden folder is passed over in silence."""

import pytest

from .records import FOLDER, KINDS, files

if not files():
    pytest.skip(f"no golden vectors in {FOLDER} (MERGESUITE_GOLDEN)", allow_module_level=True)


@pytest.mark.parametrize("record", [pytest.param(r, id=p.name) for p, r in files()])
def test_every_case_has_a_replay(record):
    known = KINDS.get(record["method"], set())
    unknown = {case["kind"] for case in record["cases"]} - known
    assert record["method"] in KINDS
    assert not unknown
