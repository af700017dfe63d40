"""What a sweep does beside its trials: it reads no file of a finished trial again and again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.scale.costs import Meter
from benchmarks.scale.runs import measure_sweep
from records.bounded import read_text
from sweeping.state import SweepState, Trial


def reads(trials: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Start and end all trials of a sweep, keep their results, and count the files read by name."""
    counts: Counter[str] = Counter()

    def counting(path: Path) -> str:
        counts[path.name] += 1
        return read_text(path)

    for module in ("records.summary", "sweeping.kept_results", "sweeping.state"):
        monkeypatch.setattr(f"{module}.read_text", counting)
    folder.mkdir()
    measure_sweep(Meter("sweep", trials, 0, []), folder)
    assert len(list((folder / "results").glob("*/*/trial.json"))) == trials
    return counts


def test_files_of_finished_trials_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (reads(n, tmp_path / str(n), monkeypatch) for n in (8, 32))
    assert few["summary.json"] == 8
    assert many["summary.json"] == 32
    # The plan of the same sweep afterwards reads each kept trial.
    assert few["trial.json"] == 8
    assert many["trial.json"] == 32


def test_the_state_is_written_one_trial_a_line_and_only_if_it_changed(tmp_path: Path) -> None:
    state = SweepState(tmp_path / "demo")
    state.create()
    state.register([(key, {"lr": 0.1, "tags": ["ü", '"']}) for key in "abc"], retry=False)
    text = state.path.read_text()
    assert len(text.splitlines()) == 5
    written = state.path.stat().st_mtime_ns
    state.register([("a", {})], retry=True)
    assert state.path.stat().st_mtime_ns == written
    claim = state.claim("abc")
    assert claim is not None
    claim.release()
    trials = state.trials("abc")
    assert [trial.status for trial in trials] == ["running", "pending", "pending"]
    assert trials[1] == Trial("b", 1, {"lr": 0.1, "tags": ["ü", '"']})
