"""The commit of a checkout, and whether it was changed."""

import subprocess
from pathlib import Path

import pytest

from runtime.provenance import git_commit, package_versions


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    (tmp_path / "code.py").write_text("")
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "code.py"], [*name, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    commit = git_commit(checkout)
    assert len(commit) == 40
    (checkout / "notes.txt").write_text("untracked files do not matter")
    assert git_commit(checkout) == commit


def test_a_changed_checkout_is_dirty(checkout: Path) -> None:
    commit = git_commit(checkout)
    (checkout / "code.py").write_text("changed")
    assert git_commit(checkout) == f"{commit}-dirty"


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"


def test_without_git_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) == "unknown"


def test_installed_packages_have_versions() -> None:
    versions = package_versions()
    assert {"python", "torch", "numpy"} <= versions.keys()
