"""The structures that a model is probed on: QM9's, or those of a file.

Imports NumPy, torch, ASE, `analysis`, `lightning_modules`, `qm9` and this package.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor
from torch_geometric.data import Batch

from analysis.degree_probes import Property
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.measured import MEASURED_PART
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.qm9_datamodule import QM9DataModule
from probing.model import ENERGY, ProbedModel
from qm9.targets import ATOMIZATION_ENERGIES, INTENSIVE, TARGETS, Target, get_target

QM9 = "qm9"
NO_TARGET = "none"
PART_OPTIONS = (
    "val_path",
    "test_path",
    "split",
    "split_seed",
    "train_size",
    "val_size",
    "test_size",
)
"""Options of a run that decide which structures it was trained and tested on."""
PROPERTIES = ("gap", "U0")
"""Targets of QM9 that linear probes predict."""


@dataclass(frozen=True)
class Molecules:
    """Structures to be probed on.

    Attributes
    ----------
    name : str
        Where they come from, in words.
    measured, fitting : list of Batch
        Molecules to measure on; others for refits and linear probes.
    label : Target or None
        What ``y`` of the batches is; None if predictions are compared with themselves.
    properties : list of Property
        What linear probes predict, for the measured molecules and then the fitting ones.
    """

    name: str
    measured: list[Batch]
    fitting: list[Batch]
    label: Target | None
    properties: list[Property]


@dataclass(frozen=True)
class Wanted:
    """Which structures are asked for.

    Attributes
    ----------
    data : str or None
        `QM9` or a file; None for the data that a run was trained on, or `QM9`.
    target : str or None
        Label: a target of QM9, a key of the file, or `NO_TARGET`. None for that of a run on its
        own data, otherwise no label.
    measured, fitting : int
        Numbers of molecules.
    batch_size : int
        Molecules at a time.
    seed : int
        Seed of the order in which structures of a file are taken.
    """

    data: str | None
    target: str | None
    measured: int
    fitting: int
    batch_size: int
    seed: int


def load_molecules(model: ProbedModel, wanted: Wanted) -> Molecules:
    """Load structures with the graphs that a model needs.

    Raises
    ------
    ValueError
        If the file is unusable, it has an element that the model does not know, or the label is
        nothing that the model predicts.
    """
    own = dict(model.data_options or {})
    path = own.get("path") if wanted.data is None else wanted.data
    if path is None or path == QM9:
        module, label, parts = _qm9(model, own if wanted.data is None else {}, wanted)
    else:
        module, label, parts = _file(model, str(path), own, wanted)
    measured, fitting = parts
    _check_elements(model, module, torch.cat(parts))
    name = QM9.upper() if isinstance(module, QM9DataModule) else Path(str(path)).name
    return Molecules(
        name=f"{name}, {len(measured)} structures, and {len(fitting)} others to fit to",
        measured=_batches(module, model, measured, wanted.batch_size),
        fitting=_batches(module, model, fitting, wanted.batch_size),
        label=label,
        properties=_properties(module, label, torch.cat(parts)),
    )


def as_atoms(batch: Batch, count: int) -> list[Atoms]:
    """Take the first structures of a batch, for another program's calculator.

    Parameters
    ----------
    batch : Batch
        With ``z``, ``pos``, ``batch`` and, if periodic, ``cell`` and ``periodic`` [g, 3] bool.
    count : int
        How many, at most.
    """
    found = []
    for g in range(min(count, int(batch.num_graphs))):
        is_own = batch.batch == g
        z, pos = batch.z[is_own].cpu().numpy(), batch.pos[is_own].double().cpu().numpy()
        if "cell" in batch:
            cell = batch.cell[g].double().cpu().numpy()
            found.append(Atoms(z, positions=pos, cell=cell, pbc=batch.periodic[g].cpu().numpy()))
        else:
            found.append(Atoms(z, positions=pos))
    return found


def _qm9(
    model: ProbedModel, own: dict[str, Any], wanted: Wanted
) -> tuple[MoleculeDataModule, Target | None, tuple[Tensor, Tensor]]:
    label = _qm9_label(model, bool(own), wanted.target)
    names = inspect.signature(QM9DataModule).parameters
    options = {name: value for name, value in own.items() if name in names}
    options |= {"graph": model.graph, "cutoff": model.cutoff, "device_resident": False}
    options["target"] = label.name if label is not None else "U0"
    module = QM9DataModule(**options)
    module.prepare_data()
    module.setup()
    parts = module.splits[MEASURED_PART][: wanted.measured], module.splits["train"]
    return module, label, (parts[0], parts[1][: wanted.fitting])


def _qm9_label(model: ProbedModel, is_own_data: bool, name: str | None) -> Target | None:
    if name == NO_TARGET or (name is None and not is_own_data):
        return None
    if name is None:
        return get_target(model.target.name)
    label = get_target(name)
    if model.target is ENERGY:
        if name not in ATOMIZATION_ENERGIES:
            raise ValueError(
                f"{model.name} predicts energies, which --target {name} is not: choose "
                f"{', '.join(ATOMIZATION_ENERGIES)} or {NO_TARGET}"
            )
    elif name != model.target.name:
        raise ValueError(
            f"{model.name} predicts {model.target.name}, not {name}: give --target "
            f"{model.target.name} or {NO_TARGET}"
        )
    return label


def _file(
    model: ProbedModel, path: str, own: dict[str, Any], wanted: Wanted
) -> tuple[MoleculeDataModule, Target | None, tuple[Tensor, Tensor]]:
    is_own = wanted.data is None
    key = None if wanted.target == NO_TARGET else wanted.target
    if is_own and wanted.target is None:
        key = str(own["target"])
    if not Path(path).expanduser().is_file():
        raise ValueError(f"there is no file {path}: give --data {QM9} or a file of extended XYZ")
    parts_of_run = {name: own[name] for name in PART_OPTIONS if is_own and name in own}
    module = ExtXYZDataModule(
        path=path,
        target=key or "energy",
        unit=model.target.unit,
        forces=None,
        graph=model.graph,
        cutoff=model.cutoff,
        evaluate_only=not is_own,
        device_resident=False,
        mixed_periodicity=bool(own.get("mixed_periodicity", False)),
        **parts_of_run,
    )
    module.prepare_data()
    module.setup()
    if is_own:
        measured, fitting = module.splits["test"], module.splits["train"]
    else:
        generator = torch.Generator().manual_seed(wanted.seed)
        order = torch.randperm(len(module.numbers()), generator=generator)
        cut = max(1, len(order) - wanted.fitting, (len(order) + 2) // 3)
        measured, fitting = order[:cut], order[cut:]
    parts = measured[: wanted.measured], fitting[: wanted.fitting]
    missing = torch.isnan(module.all_targets()[torch.cat(parts)]).nonzero()
    if key is not None and len(missing):
        row = int(torch.cat(parts)[missing[0]])
        name = " ".join(map(str, module.molecule(row)))
        raise ValueError(
            f"structure {name} of {path} has no {key!r}: name another key with --target, or give "
            f"--target {NO_TARGET}"
        )
    return module, module.target if key is not None else None, parts


def _batches(
    module: MoleculeDataModule, model: ProbedModel, rows: Tensor, size: int
) -> list[Batch]:
    parameter = next(model.network.parameters())
    found = []
    for indices in rows.split(size):
        if len(indices) == 0:
            continue
        batch = module.batch(indices).to(parameter.device)
        batch.pos = batch.pos.to(parameter.dtype)
        if isinstance(module, ExtXYZDataModule):
            batch.periodic = module.data.periodic[indices]
        found.append(batch)
    return found


def _properties(module: MoleculeDataModule, label: Target | None, rows: Tensor) -> list[Property]:
    if not isinstance(module, QM9DataModule):
        if label is None:
            return []
        values = module.all_targets()[rows] * label.reporting_factor
        return [Property(label.name, label.reporting_unit, values)]
    found = []
    for name in (*PROPERTIES, "charge_dipole"):
        if name in TARGETS:
            target = TARGETS[name]
            values = module.data.target(name)[rows] * target.reporting_factor
            found.append(Property(name, target.reporting_unit, values, name in INTENSIVE))
    return found


def _check_elements(model: ProbedModel, module: MoleculeDataModule, rows: Tensor) -> None:
    if model.elements is None:
        return
    z, offsets = module.atoms()
    for row in rows.tolist():
        own = z[offsets[row] : offsets[row + 1]]
        for number in sorted(set(own.tolist()) - model.elements):
            known = sorted(model.elements)
            listed = ", ".join(chemical_symbols[k] for k in known[:12])
            more = f" and {len(known) - 12} more" if len(known) > 12 else ""
            name = " ".join(map(str, module.molecule(row)))
            raise ValueError(
                f"structure {name} has {chemical_symbols[number]}, which {model.name} does not "
                f"know: it knows {listed}{more}"
            )


def element_list(batches: Sequence[Batch]) -> list[int]:
    """List the atomic numbers that occur, ascending."""
    return sorted(set(torch.cat([batch.z for batch in batches]).tolist()))
