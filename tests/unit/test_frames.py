"""Tables come back as they were written."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from mergesuite.core import frames, store
from mergesuite.errors import UserError
from mergesuite.stages import hits


def test_digests_and_names_that_look_like_numbers_stay_text(tmp_path):
    rows = [
        {"subject": "1e5", "entry": "null", "spec": "2e6268029505", "commit": "123456789012",
         "value": 0.5, "why": ""},
        {"subject": "007", "entry": "na", "spec": "000000000001", "commit": "1e1000000000",
         "value": float("nan"), "why": "None"},
    ]  # fmt: skip
    store.write_rows(tmp_path / "rows.csv", rows)
    frames.write_csv(tmp_path / "frame.csv", pd.DataFrame(rows))
    for file in ("rows.csv", "frame.csv"):
        found = frames.read_csv(tmp_path / file)
        for name in ("subject", "entry", "spec", "commit"):
            assert found[name].tolist() == [row[name] for row in rows], (file, name)
        assert found["value"].isna().tolist() == [False, True]
        assert found["why"].tolist()[1] == "None"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2,3\n", b'a\n"', b"\x00" * 50, b"a\n" + b"9" * 5000, b"b\nx\n",
     b"a,a\nx,y\n", b"a\nnan\n", b"a\n1\nx\n"],
)  # fmt: skip
def test_what_is_not_the_table_that_was_expected_is_one_line(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv") as caught:
        frames.read_csv(tmp_path / "a.csv", ["a"], whole=["a"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("x", np.zeros(2, np.uint8)),
        ("a/b/keep", np.zeros(2, np.uint8)),
        ("a/0/keep", np.zeros(2, np.int64)),
        ("a/0/keep", np.zeros((2, 2), np.uint8)),
    ],
)
def test_hits_that_are_none_are_one_line(tmp_path, name, bits):
    (tmp_path / "a.hits.safetensors").write_bytes(save({name: bits}))
    with pytest.raises(UserError, match="is not a whole file of hits"):
        hits.read(tmp_path / "a.csv")
