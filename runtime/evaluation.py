"""Validation, test and prediction with the weights of a checkpoint.

Imports torch, Lightning, `lightning_modules`, `records` and this package only.
"""

from __future__ import annotations

import csv
import math
import os
import time
from contextlib import suppress
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.regressor import EquivariantRegressor
from records.files import replacing
from runtime.checkpoints import holds_double_precision, read_checkpoint


def prediction_columns(model: EquivariantRegressor) -> tuple[str, ...]:
    """Name the columns after the two that name a molecule.

    Parameters
    ----------
    model : EquivariantRegressor
        A vector or tensor as its target has a column for every component of prediction and
        target, e.g. ``prediction_x``.
    """
    target = model.target
    if not target.rank:
        return ("prediction", "target", "unit")
    names = (f"{what}_{c}" for what in ("prediction", "target") for c in target.components)
    return (*names, "unit")


def validate(
    trainer: Trainer, model: EquivariantRegressor, datamodule: MoleculeDataModule, checkpoint: Path
) -> dict[str, float]:
    """Measure the errors on the validation part.

    Parameters
    ----------
    trainer : Trainer
    model : EquivariantRegressor
        Gets the checkpoint's weights.
    datamodule : MoleculeDataModule
    checkpoint : Path
        Written by `train.py`.

    Returns
    -------
    dict of str to float
        ``val/mae`` and its kind, in reporting units.
    """
    load_weights(model, checkpoint)
    trainer.validate(model, datamodule=datamodule, verbose=False)
    return _metrics(trainer, "val/")


def test(
    trainer: Trainer, model: EquivariantRegressor, datamodule: MoleculeDataModule, checkpoint: Path
) -> dict[str, float]:
    """Measure the errors on the test part.

    Parameters
    ----------
    trainer, model, datamodule, checkpoint
        As in `validate`.

    Returns
    -------
    dict of str to float
        ``test/mae`` and its kind, in reporting units; ``test/seconds``; ``test/mae_of_mean``, the
        MAE of predicting the mean of the training part for every molecule, if there is one.
    """
    start = time.perf_counter()
    load_weights(model, checkpoint)
    trainer.test(model, datamodule=datamodule, verbose=False)
    results = _metrics(trainer, "test/")
    results["test/seconds"] = time.perf_counter() - start
    if "train" in datamodule.splits:
        results["test/mae_of_mean"] = _mae_of_mean(datamodule)
    return results


def predict(
    trainer: Trainer,
    model: EquivariantRegressor,
    datamodule: MoleculeDataModule,
    checkpoint: Path,
    output: Path,
) -> int:
    """Write the predictions for one part of the data to a CSV file.

    Parameters
    ----------
    trainer, model, datamodule, checkpoint
        As in `validate`.
    output : Path
        Gets the columns that name a molecule (index and SMILES, or frame and formula) and those of
        `prediction_columns`, in reporting units. The target is empty where it is not known.

    Returns
    -------
    int
        Number of molecules.

    Raises
    ------
    ValueError
        If the trainer uses several devices, each of which would see a part of the molecules.
    """
    if trainer.world_size > 1:
        raise ValueError("predict runs on one device: add --trainer.devices=1")
    load_weights(model, checkpoint)
    batches = trainer.predict(model, datamodule=datamodule)
    unit = model.target.reporting_unit
    count = 0
    with replacing(output) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*datamodule.molecule_columns, *prediction_columns(model)))
        for idx_g, prediction_g, target_g in batches or []:
            numbers_gk = torch.stack([prediction_g, target_g], dim=1).flatten(1)
            for idx, numbers in zip(idx_g.tolist(), numbers_gk.tolist()):
                cells = ("" if math.isnan(number) else f"{number:.6g}" for number in numbers)
                writer.writerow([*datamodule.molecule(idx), *cells, unit])
                count += 1
    return count


def check_elements(
    model: EquivariantRegressor, datamodule: MoleculeDataModule, checkpoint: Path
) -> None:
    """Refuse structures with an element that a checkpoint's network has not been trained on.

    Parameters
    ----------
    model, datamodule, checkpoint
        As in `validate`; the data are loaded.

    Raises
    ------
    ValueError
        Names the first such structure.
    """
    load_weights(model, checkpoint)
    model.reference.check_elements(datamodule, "test")


def check_output(path: Path) -> None:
    """Check that a file can be written, and leave nothing behind.

    Parameters
    ----------
    path : Path
        The file; its folder may be missing.

    Raises
    ------
    ValueError
        If it is a folder, or its folder can neither be created nor written.
    """
    problem = "it is a folder" if path.is_dir() else ""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            problem = f"{path.parent} is read-only"
    except OSError as error:
        problem = error.strerror or str(error)
    finally:
        for folder in missing:
            with suppress(OSError):  # it was not created, or another process uses it by now
                folder.rmdir()
    if problem:
        raise ValueError(f"output {path} cannot be written ({problem}): give another --output")


def load_weights(model: EquivariantRegressor, checkpoint: Path) -> None:
    """Load the weights alone: Lightning would want to restore training's callbacks, too.

    Parameters
    ----------
    model : EquivariantRegressor
        Gets the weights.
    checkpoint : Path
        Written by `train.py`.

    Raises
    ------
    ValueError
        If the checkpoint is unusable, or its weights are those of another network.
    """
    if holds_double_precision(checkpoint):
        model.double()  # before loading, which would round the weights
    try:
        model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"checkpoint {checkpoint} holds another network ({reason})") from error


def _metrics(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(prefix)}


def _mae_of_mean(datamodule: MoleculeDataModule) -> float:
    y_g = datamodule.batch(datamodule.splits["test"]).y.to(torch.float64).cpu()
    mae = float((y_g - datamodule.target_mean).abs().mean())
    return mae * float(datamodule.target.reporting_factor)
