"""What a run tells its user, in words. Pure functions that return text.

Imports `records`, `lightning_modules` (types) and this package only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from records.baselines import baselines_of, describe_learning
from records.files import shown
from records.summary import Summary
from records.upload_command import upload_command
from runtime.run_directory import RunDirectory

if TYPE_CHECKING:
    from lightning_modules.regressor import EquivariantRegressor


def introduction(
    directory: RunDirectory,
    model: EquivariantRegressor,
    resume: bool,
    device: str,
    wandb_line: str,
) -> str:
    """Say what will be trained, and where its files will be.

    Parameters
    ----------
    directory : RunDirectory
    model : EquivariantRegressor
    resume : bool
        Whether an interrupted run is continued.
    device : str
        From `runtime.device.describe_device`.
    wandb_line : str
        From `wandb_line`.
    """
    network = model.network
    return (
        f"{'Continuing' if resume else 'Starting'} run {directory.name}\n"
        f"  network   {network.irreps}, {len(network.layer_irreps)} layers, "
        f"{network.num_parameters():,} parameters "
        f"({network.num_reachable_parameters():,} can reach the output)\n"
        f"  device    {device}\n"
        f"  files     {shown(directory.path)}\n"
        f"  {wandb_line}"
    )


def wandb_line(directory: RunDirectory, mode: str, reason: str) -> str:
    """Say whether W&B is online, and how to upload the run if it is not.

    Parameters
    ----------
    directory : RunDirectory
    mode, reason : str
        From `runtime.wandb_server.choose_mode`.
    """
    if mode != "offline":
        return reason
    return f"{reason} Upload later: `{upload_command(directory.path)}`"


def conclusion(directory: RunDirectory, summary: Summary, unit: str) -> str:
    """Say how good the network is, also beside predictors without one, and where its files are.

    Parameters
    ----------
    directory : RunDirectory
    summary : Summary
        Of a finished run.
    unit : str
        Unit of the errors.
    """
    lines = []
    test_mae, val_mae = summary.results.get("test/mae"), summary.results.get("val/mae")
    if test_mae is not None:
        lines.append(f"Test MAE {test_mae:.4g} {unit} ({summary.molecules['test']:,} molecules)")
        if (force_mae := summary.results.get("test/force_mae")) is not None:
            lines.append(f"Test MAE of forces {force_mae:.4g} {unit}/angstrom, by component")
        baselines = baselines_of(summary.results)
        if baselines is not None:
            lines.append(describe_learning(test_mae, baselines, unit))
    elif val_mae is not None:
        lines.append(f"Best validation MAE {val_mae:.4g} {unit}")
    lines.append(f"Files: {shown(directory.path)}")
    return "\n".join(lines)


def already_finished(directory: RunDirectory) -> str:
    """Say that a finished run is not trained again."""
    return (
        f"Run {directory.name} is finished; nothing was trained. --fresh starts it over, "
        "--extend trains it for longer."
    )


def interrupted(directory: RunDirectory, cause: object) -> str:
    """Say that the same command continues the run.

    Parameters
    ----------
    directory : RunDirectory
    cause : object
        Its text says what has stopped the run.
    """
    return (
        f"Stopped ({cause}). The same command continues after the last finished epoch: "
        f"{directory.path}"
    )


def stopped_by_server(directory: RunDirectory) -> str:
    """Say that W&B has ended the run for good."""
    return f"Stopped by W&B after the last finished epoch: {directory.path}"


def evaluation(part: str, results: dict[str, float], unit: str, checkpoint: Path) -> str:
    """Say how good a checkpoint is on one part of the data.

    Parameters
    ----------
    part : {"validation", "test"}
    results : dict of str to float
        With ``val/mae`` and ``val/rmse``, or ``test/mae`` and ``test/rmse``.
    unit : str
        Unit of the errors.
    checkpoint : Path
    """
    prefix = "val" if part == "validation" else part
    force_mae = results.get(f"{prefix}/force_mae")
    forces = "" if force_mae is None else f", MAE of forces {force_mae:.4g} {unit}/angstrom"
    return (
        f"{part} MAE {results[f'{prefix}/mae']:.4g} {unit}, "
        f"RMSE {results[f'{prefix}/rmse']:.4g} {unit}{forces} ({shown(checkpoint)})"
    )
