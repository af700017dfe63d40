"""`RunConfiguration`: everything that a command line asks for, resolved and checked once.

Imports `records` and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from records.configuration import configuration_hash, flatten, identity
from runtime.run_name import check_run_name

Subcommand = Literal["fit", "validate", "test", "predict"]
MAX_TIMEOUT = 86_400.0
"""Longest wait for W&B that an option may ask for, in seconds: a day."""


@dataclass(frozen=True)
class RunConfiguration:
    """A parsed command line, made once by `runtime.cli.IrrepscopeCLI` and never changed.

    Attributes
    ----------
    subcommand : {"fit", "validate", "test", "predict"}
        What to do.
    bare : bool
        Whether no subcommand was given: fit, then test the best checkpoint.
    run_name : str
        Given, or made from the configuration.
    runs_dir : Path
        Directory of all runs.
    fresh : bool
        Whether to remove what an earlier run of this name has left.
    project : str
        W&B project.
    wandb_start_timeout, wandb_finish_timeout : float
        Longest wait for W&B's server at the start and at the end of the run, in seconds.
    output : Path or None
        File for predictions; None for the default in the run's directory.
    ckpt_path : Path or None
        Checkpoint to evaluate; None for the run's best.
    resolved : dict
        Every option given or defaulted, nested, linked values included.
    provenance : dict
        What the configuration implies and where it was run, see `runtime.provenance.provenance`.
    yaml_text : str
        Content of ``config.yaml``, which ``--config`` accepts.
    extend : bool
        Whether to train a run for more epochs than it was begun for, see `runtime.extension`.
    wandb_checkpoint : bool
        Whether W&B gets the best checkpoint as a model artifact.

    Raises
    ------
    ValueError
        If the run's name, the project or a timeout is unusable, or a run is to be extended and to
        start over.
    """

    subcommand: Subcommand
    bare: bool
    run_name: str
    runs_dir: Path
    fresh: bool
    project: str
    wandb_start_timeout: float
    wandb_finish_timeout: float
    output: Path | None
    ckpt_path: Path | None
    resolved: dict[str, Any]
    provenance: dict[str, Any]
    yaml_text: str
    extend: bool = False
    wandb_checkpoint: bool = False

    def __post_init__(self) -> None:
        # Late, as W&B's client takes half a second to import, for which no help has to wait.
        from runtime.wandb_server import check_project

        check_run_name(self.run_name)
        check_project(self.project)
        if self.extend and (self.fresh or self.subcommand != "fit"):
            raise ValueError("--extend is for fit, and not together with --fresh: leave one out")
        check_timeout("--wandb_start_timeout", self.wandb_start_timeout)
        check_timeout("--wandb_finish_timeout", self.wandb_finish_timeout)

    @property
    def directory(self) -> Path:
        """The run's directory, absolute."""
        return (self.runs_dir / self.run_name).resolve()

    @property
    def starts_over(self) -> bool:
        """Whether to train, and to remove what an earlier run of this name has left."""
        return self.fresh and self.subcommand == "fit"

    @property
    def seed(self) -> int | None:
        """``seed_everything``; None if nothing is seeded."""
        seed = self.resolved["seed_everything"]
        return None if isinstance(seed, bool) else seed

    @property
    def identity(self) -> dict[str, Any]:
        """The options that determine the result, with dotted keys."""
        return identity(self.resolved)

    @property
    def hash(self) -> str:
        """Six hexadecimal digits of the hash of `identity`."""
        return configuration_hash(self.resolved)

    @property
    def for_wandb(self) -> dict[str, Any]:
        """All options and the provenance, flat, with dotted keys."""
        return {**flatten(self.resolved), **self.provenance}

    @property
    def tags(self) -> list[str]:
        """What runs are filtered by in W&B: target, graph, network and degrees."""
        known = self.for_wandb
        degrees = ",".join(str(degree) for degree in known.get("l_values", ()))
        named = [known.get("target"), known.get("graph"), known.get("model.network")]
        return [str(one) for one in (*named, f"l={degrees}" if degrees else None) if one]

    @property
    def notes(self) -> str:
        """What is trained, in one line."""
        known = self.for_wandb
        parts = [
            f"{known.get('target')} on the graph {known.get('graph')}",
            f"{known.get('model.network')} with {known.get('model.irreps')}",
            f"{known.get('model.num_layers')} layers",
            f"reference {known.get('model.reference')}",
            f"seed {self.seed}",
        ]
        return ", ".join(part for part in parts if "None" not in part)


def check_timeout(option: str, seconds: float) -> float:
    """Refuse waits that are not bounded.

    Parameters
    ----------
    option : str
        Name of the option.
    seconds : float
        Given by the user.

    Returns
    -------
    float
        The seconds.

    Raises
    ------
    ValueError
        If the wait is not positive, or longer than `MAX_TIMEOUT`.
    """
    if not 0 < seconds <= MAX_TIMEOUT:
        raise ValueError(f"{option} is {seconds:g}: give seconds, more than 0 and at most a day")
    return seconds


def expand_directory(option: str, text: str) -> Path:
    """Turn a directory as given by the user into a path.

    Parameters
    ----------
    option : str
        Name of the option.
    text : str
        May start with ``~`` or ``~user``.

    Returns
    -------
    Path
        Not necessarily absolute, and not necessarily existing.

    Raises
    ------
    ValueError
        If there is no such user, or the text cannot be a path.
    """
    if "\0" in text:
        raise ValueError(f"{option} {text!r} contains a null character")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{option} {text!r}: there is no such user") from error
