"""What was computed once is not computed again, unless it would be another result."""

import json
from pathlib import Path

import numpy as np
import pytest

from qm9.remembered import fingerprint, remembered

RESULTS = {"mae": 0.1 + 0.2, "rmse": 1e-300}


def never() -> dict[str, float]:
    raise AssertionError("computed although it is on disk")


def test_a_later_run_reads_the_same_numbers(tmp_path: Path) -> None:
    assert remembered(tmp_path / "new" / "a.json", lambda: RESULTS) == RESULTS
    assert remembered(tmp_path / "new" / "a.json", never) == RESULTS


@pytest.mark.parametrize("text", ["", "{", "[1.0]", "{}", '{"mae": "3"}', '{"mae": NaN}', "\0" * 9])
def test_a_damaged_file_is_written_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert remembered(path, lambda: RESULTS) == RESULTS
    assert json.loads(path.read_text()) == RESULTS


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert remembered(tmp_path / "file" / "a.json", lambda: RESULTS) == RESULTS


def test_everything_that_a_result_depends_on_is_in_its_name() -> None:
    rows = np.arange(6)
    variants = [
        fingerprint(["U0"], [rows]),
        fingerprint(["U"], [rows]),
        fingerprint(["U0", ""], [rows]),
        fingerprint(["U0"], [rows[::-1]]),
        fingerprint(["U0"], [rows.reshape(2, 3)]),
        fingerprint(["U0"], [rows.astype(np.int32)]),
        fingerprint(["U0"], [rows[:3], rows[3:]]),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(["U0"], [np.arange(12)[::2] // 2]) == variants[0]
