"""Commands that settle what a group of runs leaves open.

Imports `reporting.read` only.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from reporting.read.runs import Run


def train_again(run: Run, name: str, **options: object) -> str:
    """Write the command that trains a run's network with some options changed.

    Parameters
    ----------
    run : Run
        Whose configuration is taken.
    name : str
        Name of the new run.
    **options : object
        Options by name, with two underscores for each dot.

    Returns
    -------
    str
        One line for a shell.
    """
    parts = ["python", "train.py", "--config", str(directory(run) / "config.yaml")]
    for key, value in options.items():
        parts += [f"--{key.replace('__', '.')}", str(value)]
    return shlex.join([*parts, "--run_name", name])


def directory(run: Run) -> Path:
    """Return a run's directory; where it would be by default if it was read from W&B."""
    return run.path or Path("runs") / run.name
