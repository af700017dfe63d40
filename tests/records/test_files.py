"""Files appear whole or not at all."""

import resource
from pathlib import Path

import pytest

from records.files import CannotWriteError, remove_leftovers, replacing, write_json, write_text


def test_content_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_halfway()
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_full_disk_is_named_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CannotWriteError) as caught:
            write_text(path, "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"cannot write {path} (File too large): free some space there, then give the same command "
        "again"
    )
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_temporary_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".lock", "metrics.csv", "checkpoints/last.ckpt", "latents/a.tmp"):
        write_text(tmp_path / name, "kept")
    for name in (".metrics.csv.abc.tmp", "checkpoints/.last.ckpt.x1.tmp"):
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path)
    kept = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert kept == {".lock", "metrics.csv", "checkpoints/last.ckpt", "latents/a.tmp"}
