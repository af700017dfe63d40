"""One process at a time writes a run; what it finds damaged it names."""

import multiprocessing
from pathlib import Path

import pytest

from runtime.run_directory import RunDirectory


def _hold(path: Path, held, done) -> None:  # type: ignore[no-untyped-def]
    directory = RunDirectory(path, "a")
    directory.acquire()
    held.set()
    done.wait(30)


def test_second_process_is_told_to_wait_and_gets_a_killed_process_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    assert held.wait(60)
    with pytest.raises(ValueError, match="is being trained by another process"):
        RunDirectory(tmp_path, "a").acquire()
    process.kill()  # SIGKILL: the operating system gives the lock back
    process.join()
    directory = RunDirectory(tmp_path, "a")
    directory.acquire()
    directory.release()


def test_summary_merges_and_survives(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "a")
    directory.update_summary(status="running", epochs=1)
    directory.update_summary(status="finished", **{"test/mae": 2.5})
    assert directory.read_summary() == {"status": "finished", "epochs": 1, "test/mae": 2.5}


def test_damaged_summary_is_named(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "a")
    directory.path.mkdir()
    (directory.path / "summary.json").write_text('{"status": "fin')
    with pytest.raises(ValueError, match=r"summary\.json is damaged.*--fresh"):
        directory.read_summary()


def test_runs_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ValueError, match="cannot be written.*--runs_dir"):
        RunDirectory(tmp_path / "runs", "a").acquire()


def test_clear_leaves_an_empty_directory(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "a")
    directory.update_summary(status="finished")
    (directory.path / "checkpoints").mkdir()
    (directory.path / "checkpoints" / "best.ckpt").write_text("")
    directory.clear()
    assert list(directory.path.iterdir()) == []
