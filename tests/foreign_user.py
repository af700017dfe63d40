"""Running programs under a user that the system does not know, as ``docker run --user`` does."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

UID = 12345
SETPRIV = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
# The interpreter may lie below root's home, so the user may read and enter everything.
READ_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
NOWHERE = "/proc/nonexistent"
"""A home that no user can create."""
READ_ONLY = "/proc"
"""A home that every user can enter and none can write."""


@cache
def foreign_user() -> list[str]:
    """Return the beginning of a command line that runs the rest under another user.

    It is empty where this user may not do that: a home that nobody can write remains a fault then.
    """
    for prefix in ([*SETPRIV, *READ_ALL], SETPRIV):
        try:
            subprocess.run([*prefix, sys.executable, "-c", ""], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return prefix
    return []


def open_to_all(folder: Path) -> Path:
    """Let every user write into a folder, and enter those that it is in."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    return folder
