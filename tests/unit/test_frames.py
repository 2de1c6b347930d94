"""Tables come back as they were written."""

import pandas as pd

from mergesuite.core import frames, store


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
