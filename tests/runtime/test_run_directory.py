"""One process at a time writes a run."""

import multiprocessing
from pathlib import Path

import pytest

from runtime.run_directory import RunDirectory


def _hold(path: Path, held, done) -> None:  # type: ignore[no-untyped-def]
    directory = RunDirectory(path, "a")
    directory.acquire()
    held.set()
    done.wait(30)


def test_a_second_process_must_wait_but_can_take_the_run_of_a_killed_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    assert held.wait(60)
    with pytest.raises(ValueError, match="is being trained by another process"):
        RunDirectory(tmp_path, "a").acquire()
    process.kill()  # the operating system releases the lock of a killed process
    process.join()
    directory = RunDirectory(tmp_path, "a")
    directory.acquire()
    directory.release()


def test_a_runs_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ValueError, match="cannot be written.*--runs_dir"):
        RunDirectory(tmp_path / "runs", "a").acquire()


def test_clear_removes_files_folders_and_links_but_not_what_links_point_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.txt").write_text("")
    directory = RunDirectory(tmp_path, "a")
    directory.acquire()
    (directory.path / "checkpoints").mkdir()
    (directory.path / "checkpoints" / "best.ckpt").write_text("")
    (directory.path / "summary.json").write_text("{}")
    (directory.path / "link").symlink_to(tmp_path / "elsewhere")
    directory.clear()
    assert [path.name for path in directory.path.iterdir()] == [".lock"]
    assert (tmp_path / "elsewhere" / "kept.txt").exists()
    directory.release()
