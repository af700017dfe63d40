"""The command that uploads what W&B lacks of a run, as every program names it.

Imports the standard library only.
"""

from __future__ import annotations

import shlex
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "upload.py"


def upload_command(folder: Path) -> str:
    """Name the command that uploads a run, or all runs of a folder, from the working directory.

    Parameters
    ----------
    folder : Path
        Directory of a run, or one that holds such directories.
    """
    return f"python {shlex.quote(_shown(PROGRAM))} {shlex.quote(_shown(folder))}"


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
