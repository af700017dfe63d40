"""One process at a time writes a run."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from records.summary import Summary, write_summary
from runtime.run_directory import RunDirectory
from tests.patience import LIMIT


def _hold(path: Path, held, done) -> None:  # type: ignore[no-untyped-def]
    directory = RunDirectory(path, "a")
    directory.acquire()
    held.set()
    done.wait(LIMIT)


def test_a_second_process_must_wait_but_can_take_the_run_of_a_killed_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    assert held.wait(LIMIT)
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


def _make_run(path: Path) -> None:
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "best.ckpt").write_text("")
    write_summary(path / "summary.json", Summary(run_name=path.name))


def test_clear_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "a")
    _make_run(directory.path)
    (directory.path / "notes.txt").write_text("mine")
    directory.acquire()
    directory.clear()
    assert sorted(path.name for path in directory.path.iterdir()) == [".lock", "notes.txt"]
    directory.release()


def test_clear_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "metrics.csv").write_text("mine")
    with pytest.raises(ValueError, match="--fresh clears only runs.*give another --run_name"):
        RunDirectory(tmp_path, "docs").clear()
    assert (tmp_path / "docs" / "metrics.csv").exists()


@pytest.mark.parametrize("linked", ["", "checkpoints", "wandb"])
def test_clear_refuses_links(tmp_path: Path, linked: str) -> None:
    _make_run(tmp_path / "target")
    run = tmp_path / "runs" / "a"
    if linked:
        _make_run(run)
        shutil.rmtree(run / linked, ignore_errors=True)
    (run / linked).parent.mkdir(parents=True, exist_ok=True)
    (run / linked).symlink_to(tmp_path / "target")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="clears no symbolic link"):
        RunDirectory(tmp_path / "runs", "a").clear()
    assert sorted(tmp_path.rglob("*")) == before
