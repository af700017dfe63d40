"""`--extend`: training a run for more epochs than it was begun for.

A run keeps its name, its identity and its history. Only the number of epochs grows, which its
summary holds as ``extended_to``. Imports `records` and
`lightning_modules.schedules` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_modules.schedules import learning_rate_factor
from records.configuration import differences
from records.names import EXTENDED_TO
from records.summary import Summary, read_summary

KEY = "trainer.max_epochs"
"""The only option that an extension changes."""


def find_extendable(runs_dir: Path, identity: Mapping[str, Any]) -> str:
    """Name the run whose configuration differs in its number of epochs alone.

    Parameters
    ----------
    runs_dir : Path
        Directory of all runs.
    identity : mapping
        Of the command line, see `records.configuration.identity`.

    Raises
    ------
    ValueError
        If there is no such run, or several.
    """
    found = []
    for path in sorted(runs_dir.glob("*/summary.json")):
        try:
            summary = read_summary(path)
        except ValueError:
            continue  # a damaged summary belongs to no run that could be extended
        if summary is not None and summary.configuration and not _others(summary, identity):
            found.append(path.parent.name)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"--extend could mean several runs in {runs_dir} ({', '.join(found[:4])}): choose one "
            "with --run_name"
        )
    raise ValueError(
        f"--extend finds no run in {runs_dir} that differs in its number of epochs alone: name it "
        "with --run_name, or take its configuration with --config RUN/config.yaml"
    )


def _others(summary: Summary, identity: Mapping[str, Any]) -> list[str]:
    """Differences in options other than the number of epochs."""
    before = {key: value for key, value in summary.configuration.items() if key != KEY}
    return differences(before, {key: value for key, value in identity.items() if key != KEY})


def check_extendable(summary: Summary, identity: Mapping[str, Any], name: str) -> int:
    """Check that a run can be extended.

    Parameters
    ----------
    summary : Summary
        Of the run.
    identity : mapping
        Of the command line.
    name : str
        The run's name.

    Returns
    -------
    int
        Number of epochs to train for.

    Raises
    ------
    ValueError
        If there is no such run, other options differ, or no larger number of epochs is given.
    """
    epochs = identity.get(KEY)
    if not summary.configuration:
        raise ValueError(f"--extend finds no run {name}: train it first, without --extend")
    if others := _others(summary, identity):
        raise ValueError(
            f"--extend changes the number of epochs of run {name} alone, and other options differ "
            f"({', '.join(others[:4])}): take its own with --config RUN/config.yaml"
        )
    before = epochs_of(summary)
    if not isinstance(epochs, int) or epochs < before:
        raise ValueError(
            f"--extend needs a larger number of epochs than the {before} of run {name}: give "
            f"--trainer.max_epochs={2 * before}, for example"
        )
    return epochs


def check_not_extended(summary: Summary, name: str) -> None:
    """Refuse to go on without ``--extend`` with a run whose extension was interrupted.

    Raises
    ------
    ValueError
        Says how to go on.
    """
    if EXTENDED_TO in summary.other and not summary.finished:
        raise ValueError(
            f"run {name} was being extended to {epochs_of(summary)} epochs: go on with --extend "
            f"--trainer.max_epochs={epochs_of(summary)}"
        )


def epochs_of(summary: Summary) -> int:
    """Look up the number of epochs that a run is trained for, extensions included."""
    return int(summary.other.get(EXTENDED_TO) or summary.configuration.get(KEY) or 0)


def describe_extension(options: Mapping[str, Any], before: int, epochs: int) -> str:
    """Say in one line what an extension does to the learning rate.

    Parameters
    ----------
    options : mapping
        Hyperparameters of the model.
    before, epochs : int
        Epochs trained, and to be trained in all.
    """
    lr, schedule = options["lr"], options["lr_schedule"]
    if schedule == "cosine":
        factor = learning_rate_factor(before, 0, epochs)
        return (
            f"Extending from {before} to {epochs} epochs: the cosine schedule is drawn anew over "
            f"all {epochs}, so the learning rate rises from 0 to about {factor * lr:.3g} and falls "
            f"again; a run of {epochs} epochs from the start would not have been at 0 in between"
        )
    if schedule == "plateau":
        return (
            f"Extending from {before} to {epochs} epochs: the plateau schedule goes on at the "
            "learning rate that it has reached"
        )
    return (
        f"Extending from {before} to {epochs} epochs: the learning rate stays at {lr:g}, as in a "
        f"run of {epochs} epochs from the start"
    )
