"""Which data a command line asks for: QM9, or structures of one's own.

Imports `lightning_modules`, `records` and this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.options import network_defaults
from lightning_modules.own_data import OPTION, import_data_class, takes
from lightning_modules.qm9_datamodule import QM9DataModule
from records.configuration import read_configuration
from runtime.checkpoint_options import (
    config_files,
    options_of_checkpoint,
    run_of_checkpoint,
)

PATH = "data.path"
"""The option that chooses structures of one's own."""
CARRIED_KEYS = ("data.target", "data.unit", "data.forces", "data.graph")
"""Options of the data that a network needs for any file of structures."""


def data_class(arguments: Sequence[str]) -> type[MoleculeDataModule]:
    """Choose the data module: the user's, or `ExtXYZDataModule` for a ``data.path``, or QM9.

    Parameters
    ----------
    arguments : sequence of str
        Command line without the program. Its configuration files and its checkpoint count, too;
        damaged ones are for others to refuse.

    Raises
    ------
    ValueError
        If the user's class cannot be used.
    """
    if named := _own_class(arguments):
        return import_data_class(named)
    if value_of(arguments, PATH) is not None:
        return ExtXYZDataModule
    try:
        configurations = [read_configuration(path) for _, path in config_files(arguments)]
        options = [config.get("data") for config in configurations]
        checkpoint = value_of(arguments, "ckpt_path")
        if checkpoint:
            trained = options_of_checkpoint(checkpoint_file(checkpoint))
            options.append({"path": trained.get(PATH)})
    except ValueError:
        return QM9DataModule
    own = any(isinstance(data, Mapping) and data.get("path") is not None for data in options)
    return ExtXYZDataModule if own else QM9DataModule


def _own_class(arguments: Sequence[str]) -> str | None:
    """Look up ``data_class`` on a command line, in its configuration files or checkpoint's run."""
    given = value_of(arguments, OPTION)
    files = [path for _, path in config_files(arguments)]
    checkpoint = value_of(arguments, "ckpt_path")
    if checkpoint and (run := run_of_checkpoint(checkpoint_file(checkpoint))) is not None:
        files.insert(0, run / "config.yaml")
    for path in reversed(files):
        with suppress(ValueError):
            given = given or read_configuration(path).get(OPTION)
    return given if isinstance(given, str) else None


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """Look up the last value that a command line gives an option; None if it does not."""
    value = None
    for number, argument in enumerate(arguments):
        name, separator, text = argument.partition("=")
        if name == f"--{option}":
            value = text if separator else "".join(arguments[number + 1 : number + 2])
    return value


def checkpoint_file(path: str) -> Path:
    """Find the checkpoint that is meant: the best one where the directory of a run is given."""
    best = Path(path) / "checkpoints" / "best.ckpt"
    return best if Path(path).is_dir() else Path(path)


def defaults_for(network: Any, data: type[MoleculeDataModule]) -> dict[str, Any]:
    """Look up the defaults that depend on network and data, with dotted keys.

    Parameters
    ----------
    network : str
        As given to `EquivariantRegressor`.
    data : type
        From `data_class`. Structures of one's own may have any element.
    """
    defaults = network_defaults(network)
    if data is not QM9DataModule:
        defaults |= {"data.graph": "radius", "model.num_elements": 100}
    if not takes(data, "graph"):
        del defaults["data.graph"]
    return defaults


def options_for_file(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce the options of a checkpoint to those that hold for any file of structures.

    Parameters
    ----------
    trained : mapping
        From `options_of_checkpoint`.
    """
    kept = {k: v for k, v in trained.items() if k.startswith("model.") or k in CARRIED_KEYS}
    # Without a unit, the target is one of QM9's.
    return {"data.unit": None, "data.forces": None, **kept, "data.evaluate_only": True}
