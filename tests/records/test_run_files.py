"""Only a run's own files are removed."""

from pathlib import Path

import pytest

from records.run_files import is_run_directory, remove_leftovers, remove_run_files
from records.summary import Summary, write_summary


def everything_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def make(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")


@pytest.mark.parametrize("text", ["", "{}", '{"name": "package"}', "run_name", "[]"])
def test_foreign_files_of_the_same_name_make_no_run(tmp_path: Path, text: str) -> None:
    for name in ("summary.json", "config.yaml"):
        (tmp_path / name).write_text(text)
    assert not is_run_directory(tmp_path)


def test_a_run_is_recognized_though_its_summary_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, Summary(run_name="a", status="finished", seed=0))
    path.write_bytes(path.read_bytes()[:20])
    assert is_run_directory(tmp_path)


def test_only_the_files_of_a_run_are_removed(tmp_path: Path) -> None:
    foreign = {".lock", "thesis.tex", "checkpoints/mine.ckpt", "latents/notes.txt", "wandb/keep"}
    own = ("metrics.csv", "checkpoints/best.ckpt", "latents/epoch_-01.npz", "nested/epoch_003.png")
    make(tmp_path, *foreign, *own, "wandb/offline-run-20260101_000000-ab12/files/x.json")
    remove_run_files(tmp_path)
    assert everything_in(tmp_path) == foreign
    assert not (tmp_path / "nested").exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    make(elsewhere, "best.ckpt", ".best.ckpt.0a1b2c3d.tmp", "run-1-a/x")
    run.mkdir()
    for name in ("checkpoints", "wandb"):
        (run / name).symlink_to(elsewhere)
    (run / "metrics.csv").symlink_to(elsewhere / "best.ckpt")
    before = everything_in(elsewhere)
    remove_run_files(run)
    assert everything_in(elsewhere) == before
    assert not (run / "metrics.csv").is_symlink()


def test_leftovers_have_the_exact_names_of_temporary_files_of_a_run(tmp_path: Path) -> None:
    kept = {
        ".lock",
        "metrics.csv",
        "latents/a.tmp",
        ".draft.tmp",
        ".metrics.csv.tmp",
        ".thesis.tex.0a1b2c3d.tmp",
        ".metrics.csv.longer_than_eight.tmp",
        "data/.metrics.csv.0a1b2c3d.tmp",
    }
    make(tmp_path, *kept, ".metrics.csv.0a1b2c3d.tmp", "checkpoints/.last.ckpt.x_1y2z3w.tmp")
    make(tmp_path, "latents/.epoch_003.npz.deadbeef.tmp")
    remove_leftovers(tmp_path)
    assert everything_in(tmp_path) == kept
