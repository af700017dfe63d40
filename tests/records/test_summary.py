"""summary.json: what is written is read back, and what is damaged is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.summary import Summary, from_json, read_summary, to_json, write_summary

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
COUNTS = st.integers(0, 2**40)
SUMMARIES = st.builds(
    Summary,
    run_name=TEXT | st.none(),
    status=st.sampled_from(["running", "finished", None]),
    seed=COUNTS | st.none(),
    l_values=st.lists(COUNTS, max_size=3),
    layer_irreps=st.lists(TEXT, max_size=3),
    configuration=st.dictionaries(TEXT, COUNTS | TEXT | st.none() | st.booleans(), max_size=3),
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    epochs=COUNTS | st.none(),
    molecules=st.dictionaries(st.sampled_from(["train", "val", "test"]), COUNTS),
    resumed=COUNTS,
    results=st.dictionaries(
        st.sampled_from(["test/mae", "params/total"]), COUNTS | st.floats(allow_nan=False)
    ),
    other=st.dictionaries(st.sampled_from(["notes", "colour"]), COUNTS | TEXT),
)


@given(SUMMARIES)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, summary: Summary
) -> None:
    path = tmp_path_factory.mktemp("summary") / "summary.json"
    write_summary(path, summary)
    assert read_summary(path) == summary


def test_the_file_is_a_flat_object_of_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, Summary(run_name="a", epochs=0, results={"test/mae": 2.5}))
    assert json.loads(path.read_text()) == {"run_name": "a", "epochs": 0, "test/mae": 2.5}


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_summary(tmp_path / "summary.json") is None


def test_unknown_keys_and_results_are_kept() -> None:
    values = {"run_name": "a", "colour": {"hue": [1, None]}, "future/measure": 1.5}
    assert to_json(from_json(values)) == values


def test_null_counts_as_missing() -> None:
    assert from_json({"error": None, "test/mae": None, "colour": None}) == Summary()


def test_a_run_without_a_seed_has_none() -> None:
    assert from_json({"seed": False}).seed is None


def test_an_update_merges_results_and_none_removes() -> None:
    before = Summary(status="failed", error="disk full", results={"val/mae": 3.0})
    after = before.updated(status="running", error=None, **{"test/mae": 2.5})
    assert after == Summary(status="running", results={"val/mae": 3.0, "test/mae": 2.5})
    assert before.error == "disk full"


@pytest.mark.parametrize(("status", "finished"), [("finished", True), ("failed", False), (None, 0)])
def test_only_a_run_that_was_trained_to_its_end_is_finished(status: str, finished: bool) -> None:
    assert Summary(status=status).finished == finished


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_result_that_is_not_finite_survives_but_is_no_number(
    value: float, tmp_path: Path
) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, Summary(results={"val/mae": value, "test/mae": 1.0}))
    read = read_summary(path)
    assert read is not None
    assert repr(read.results["val/mae"]) == repr(value)
    assert (read.number("val/mae"), read.number("test/mae")) == (None, 1.0)
    assert read.number("never/measured") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_name", 5),
        ("status", ["finished"]),
        ("seed", "0"),
        ("seed", True),
        ("seed", 1.5),
        ("epochs", "three"),
        ("l_values", 2),
        ("l_values", [0, "1"]),
        ("l_values", [True]),
        ("layer_irreps", [8]),
        ("configuration", []),
        ("versions", {"torch": 2.13}),
        ("molecules", {"train": "many"}),
        ("molecules", [100]),
        ("test/mae", "2.5"),
        ("test/mae", True),
        ("test/mae", 10**400),
    ],
)
def test_a_value_of_another_type_is_named(key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({key: value}))
    with pytest.raises(ValueError, match=r"summary\.json is damaged.*--fresh") as caught:
        read_summary(path)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b'{"status": "fin', b"[1, 2]", b"\xff\xfe", b"null", b"[" * 100_000]
)
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"summary\.json is damaged.*--fresh"):
        read_summary(path)


def test_an_update_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"epochs is 'ten', not of type int"):
        Summary().updated(epochs="ten")
