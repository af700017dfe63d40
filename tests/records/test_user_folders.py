"""Caches go where they can be written, in real processes with real homes that are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.foreign_user import NOWHERE, READ_ONLY, foreign_user, open_to_all

ROOT = Path(__file__).parents[2]
PROGRAM = """
import getpass, json, os
from records.user_folders import prepare_user_folders
before = dict(os.environ)
note = prepare_user_folders()
changed = {k: v for k, v in os.environ.items() if before.get(k) != v}
print(json.dumps([note, changed, getpass.getuser()]))
"""
NAMED = ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME")
FOLDERS = {
    "IRREPSCOPE_CACHE_DIR",
    "NUMBA_CACHE_DIR",
    "MPLCONFIGDIR",
    "WANDB_CONFIG_DIR",
    "WANDB_CACHE_DIR",
    "WANDB_DATA_DIR",
    "TRITON_CACHE_DIR",
}


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for temporary files of the processes."""
    return open_to_all(tmp_path / "temporary")


def start(temporary: Path, prefix: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    kept = ("PATH", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
    )


def prepared(
    temporary: Path, prefix: list[str] | None = None, **variables: str
) -> tuple[str | None, dict[str, str], str]:
    """Return the note, the variables that were changed, and the user's name."""
    process = start(temporary, foreign_user() if prefix is None else prefix, **variables)
    assert process.returncode == 0, process.stderr
    note, changed, user = json.loads(process.stdout)
    for value in (value for name, value in changed.items() if name != "LOGNAME"):
        assert Path(value).is_relative_to(temporary) or Path(value).is_dir()
    return note, changed, user


def test_a_home_that_can_be_written_changes_nothing(temporary: Path, tmp_path: Path) -> None:
    note, changed, _ = prepared(temporary, [], HOME=str(tmp_path), LOGNAME="somebody")
    assert (note, changed) == (None, {})
    assert list(temporary.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_a_home_that_is_missing_is_replaced(temporary: Path) -> None:
    note, changed, user = prepared(temporary, HOME=NOWHERE)
    assert note == f"note: {NOWHERE} cannot be written: using folders in {temporary}"
    assert changed.keys() - {"LOGNAME"} == {"HOME"}
    assert user
    # The next process finds the same place, and with it what the first one has put there.
    assert prepared(temporary, HOME=NOWHERE)[1] == changed


def test_a_user_without_name_and_home_gets_both(temporary: Path) -> None:
    _, changed, user = prepared(temporary)
    assert Path(changed["HOME"]).is_dir()
    assert user


def test_a_home_that_can_only_be_read_is_kept_for_its_settings(temporary: Path) -> None:
    note, changed, _ = prepared(temporary, HOME=READ_ONLY)
    assert note == f"note: {READ_ONLY} cannot be written: using folders in {temporary}"
    assert changed.keys() - {"LOGNAME"} == FOLDERS


def test_what_a_read_only_home_already_holds_is_used(temporary: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in (".cache/irrepscope/qm9-2.cache", ".config/wandb/settings"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()
    prefix = foreign_user()
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    expected = FOLDERS - {"IRREPSCOPE_CACHE_DIR", "WANDB_CONFIG_DIR"}
    if not prefix and os.getuid() == 0:
        expected = set()  # root can write there all the same
    _, changed, _ = prepared(temporary, prefix, HOME=str(home))
    assert changed.keys() - {"LOGNAME"} == expected


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TMPDIR"])
def test_a_given_folder_that_cannot_be_written_is_named_and_replaced(
    temporary: Path, variable: str
) -> None:
    variables = {"HOME": str(temporary), variable: NOWHERE}
    process = start(temporary, foreign_user(), **variables)
    note, changed, _ = json.loads(process.stdout)
    assert note.startswith(f"note: {variable} {NOWHERE} cannot be written")
    assert changed.keys() - {"LOGNAME"} == {variable}
    assert changed[variable] != NOWHERE


def test_a_folder_that_somebody_else_has_made_is_not_used(temporary: Path, tmp_path: Path) -> None:
    trap = open_to_all(tmp_path / "trap")
    uid = 12345 if foreign_user() else os.getuid()
    (temporary / f"irrepscope-{uid}").symlink_to(trap)
    _, changed, _ = prepared(temporary, HOME=NOWHERE)
    assert Path(changed["HOME"]) != temporary / f"irrepscope-{uid}"
    assert list(trap.iterdir()) == []
