"""The command that uploads what W&B lacks of a run, as every program names it.

Imports the standard library and this package only.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from records.files import shown

PROGRAM = Path(__file__).resolve().parent.parent / "upload.py"


def upload_command(folder: Path) -> str:
    """Name the command that uploads a run, or all runs of a folder, from the working directory.

    Parameters
    ----------
    folder : Path
        Directory of a run, or one that holds such directories.
    """
    return f"python {shlex.quote(shown(PROGRAM))} {shlex.quote(shown(folder))}"
