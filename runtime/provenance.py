"""Where a number comes from: git commit, package versions, platform.

Imports the standard library only.
"""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "lightning",
    "e3nn",
    "torch-geometric",
    "torchmetrics",
    "wandb",
    "umap-learn",
    "scikit-learn",
    "numpy",
    "rdkit",
    "qm9pack",
)


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a result, and of Python.

    Returns
    -------
    dict of str to str
        Package name to version; packages that are not installed are left out.
    """
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(directory: Path | None = None) -> str:
    """Commit of the checkout that this file lies in.

    Parameters
    ----------
    directory : Path, optional
        Another checkout.

    Returns
    -------
    str
        Full hash, with ``-dirty`` appended if tracked files differ from it; ``unknown`` outside
        a checkout or without git.
    """
    where = directory or Path(__file__).resolve().parent.parent
    try:
        commit = _git(where, "rev-parse", "HEAD")
        dirty = _git(where, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if dirty else commit


def _git(directory: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(directory), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return result.stdout.strip()
