"""A full or read-only disk: one clear line, and the last good files stay intact."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import report
from runtime.checkpoints import read_checkpoint
from runtime.run_directory import RunDirectory
from tests.faults.trains import BARE, TrainServer, metrics_of
from tests.programs import run_train
from tests.reporting.synthetic_runs import write_run

LONG = [*BARE, "--trainer.max_epochs=10", "--trainer.enable_progress_bar=false"]
SMALL = 20_000
"""Bytes: larger than a run's tables, smaller than a checkpoint or a report."""


@contextmanager
def little_space() -> Iterator[None]:
    """Limit the size of this process's files to `SMALL`, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_costs_no_more_than_the_epoch(
    server: TrainServer, tmp_path: Path
) -> None:
    command = [*LONG, f"--runs_dir={tmp_path / 'runs'}"]
    run = tmp_path / "runs" / "tiny"
    train = server.start(command, tmp_path / "log", pause=("training", 2))
    last = run / "checkpoints" / "last.ckpt"
    train.wait_until_paused()
    resource.prlimit(train.pid, resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))
    train.resume()
    assert train.wait() == 1, train.output()
    (line,) = [line for line in train.output().splitlines() if "error" in line]
    assert line.startswith(f"error: cannot write {run / 'checkpoints'}/")
    assert "(File too large): free some space there, then give the same command again" in line
    assert "Traceback" not in train.output()
    assert not list(run.rglob(".*.tmp"))
    epoch = read_checkpoint(last)["epoch"]
    assert epoch == 1
    rows = {e: row for e, row in metrics_of(run).items() if e <= epoch}
    again = server.start(command, tmp_path / "again.log")
    assert again.wait() == 0, again.output()
    finished = metrics_of(run)
    assert sorted(finished) == list(range(10))
    assert not (run / "error.txt").exists(), "the failure is overcome"
    assert {e: finished[e] for e in rows} == rows


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with little_space():
        code, output = run_train([*LONG, f"--runs_dir={tmp_path / 'runs'}"], WANDB_MODE="disabled")
    assert code == 1
    (line,) = [line for line in output.splitlines() if "error" in line]
    assert line.startswith("error: cannot write")
    assert "Traceback" not in output


def test_a_report_that_does_not_fit_leaves_the_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs")
    assert report.main([str(tmp_path / "runs")]) == 0
    page = tmp_path / "runs" / "report.html"
    before = page.read_bytes()
    capsys.readouterr()
    with little_space():
        assert report.main([str(tmp_path / "runs")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot write {page} (File too large): free some space")
    assert page.read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))


# ---- folders that cannot be written ------------------------------------------------------------


def test_an_impossible_cache_folder_is_named_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = [f"--data.cache_dir={tmp_path / 'file' / 'cache'}", f"--runs_dir={tmp_path / 'runs'}"]
    code, output = run_train([*LONG, *options], WANDB_MODE="disabled")
    assert code in (1, 2)
    (line,) = [line for line in output.splitlines() if "error" in line]
    assert line.startswith(f"error: the cache folder {tmp_path / 'file' / 'cache'} cannot be used")
    assert "--data.cache_dir" in line
    assert "Traceback" not in output
    assert not (tmp_path / "runs" / "tiny" / "metrics.csv").exists()


@pytest.mark.parametrize("place", ["file/runs", "file"])
def test_an_impossible_runs_folder_is_named_before_any_work(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, output = run_train([*LONG, f"--runs_dir={tmp_path / place}"])
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith(f"error: runs directory {tmp_path / place} cannot be written")
    assert "--runs_dir" in line
    assert (tmp_path / "file").is_file()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may read but not write, even if the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        user = os.geteuid()
        (Path(folder) / "old").mkdir()
        for path in (Path(folder) / "old", Path(folder)):
            path.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)  # because root may write anywhere
            yield Path(folder)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_read_only_runs_folder_is_named(name: str, read_only: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be written.*--runs_dir") as caught:
        RunDirectory(read_only, name).acquire()
    assert str(read_only) in str(caught.value)
