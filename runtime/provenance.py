"""What a configuration implies and where it was run: irreps, parameters, git commit, versions.

Imports the standard library only.
"""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.molecule_datamodule import MoleculeDataModule
    from lightning_modules.regressor import EquivariantRegressor

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
    "ase",
    "vesin",
    "tblite",
)
GIT_SECONDS = 10.0
"""Longest wait for git, which can be slow on network file systems."""


def provenance(model: EquivariantRegressor, datamodule: MoleculeDataModule) -> dict[str, Any]:
    """Describe a run beyond its options.

    Parameters
    ----------
    model : EquivariantRegressor
    datamodule : MoleculeDataModule

    Returns
    -------
    dict
        Irreps, degrees, parameter counts, target with its rank, level of theory and unit,
        reference, graph, git commit and package versions, under the names that ``summary.json``
        and W&B's configuration have for them.
    """
    network, target = model.network, model.target
    return {
        "irreps": str(network.irreps),
        "l_values": sorted(set(network.irreps.ls)),
        "channels": [mul for mul, _ in network.irreps],
        "irreps_dim": network.irreps.dim,
        "layer_irreps": [str(irreps) for irreps in network.layer_irreps],
        "params/total": network.num_parameters(),
        "params/reachable": network.num_reachable_parameters(),
        "target": target.name,
        "rank": target.rank,
        "method": target.method,
        "unit": target.reporting_unit,
        "reference": model.reference.kind,
        "graph": datamodule.hparams.get("graph", "own"),
        "git_commit": git_commit(),
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Look up the versions of Python and of the packages that affect a result.

    Returns
    -------
    dict of str to str
        Versions by package; packages that are not installed are left out.
    """
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(directory: Path | None = None) -> str:
    """Look up the commit of a git checkout.

    Parameters
    ----------
    directory : Path, optional
        Inside the checkout. By default the checkout that contains this file.

    Returns
    -------
    str
        Full hash, with ``-dirty`` appended if tracked files were changed; ``unknown`` outside a
        checkout or without git.
    """
    where = directory or Path(__file__).resolve().parent.parent
    try:
        commit = _git(where, "rev-parse", "HEAD")
        dirty = _git(where, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if dirty else commit


def _git(directory: Path, *arguments: str) -> str:
    # Without optional locks: asking must not get in the way of a git command of the user's.
    result = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(directory), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return result.stdout.strip()
