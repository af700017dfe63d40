"""CPU seconds of all processes that a command starts, while it runs.

Reads ``/proc``, so it needs Linux. Imports the standard library only.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.5
"""Seconds between two looks. What a child does after the last look at it is missed."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Used:
    """What one process has used.

    Attributes
    ----------
    pid : int
        Its number.
    command : str
        Its command line.
    cpu_seconds : float
        User and system time at the last look.
    """

    pid: int
    command: str
    cpu_seconds: float


def run_watched(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str]
) -> tuple[list[Used], float, int]:
    """Run a command and look at all processes below it until it ends.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    cwd : Path
        Working directory.
    environment : mapping of str to str
        All variables.

    Returns
    -------
    used : list of Used
        Of the command itself, which is the first, and of everything it started.
    seconds : float
        From start to end.
    code : int
        Its exit code.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=environment)
    found: dict[tuple[int, int], Used] = {}
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, process.pid, ended) is None:
        _look(process.pid, found)
        time.sleep(INTERVAL)
    seconds = time.perf_counter() - begin
    _look(process.pid, found)  # it is a zombie, whose times can still be read
    process.wait()
    ordered = sorted(found.values(), key=lambda used: used.pid != process.pid)
    return ordered, seconds, process.returncode


def _look(root: int, found: dict[tuple[int, int], Used]) -> None:
    """Note what the process `root` and those below it have used; keys are number and start."""
    parents: dict[int, int] = {}
    states: dict[int, tuple[int, float]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in parentheses may contain spaces.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            states[pid] = int(fields[19]), (int(fields[11]) + int(fields[12])) / _TICKS
    for pid, (start, seconds) in states.items():
        if (pid, start) in found or _is_below(pid, root, parents):
            used = found.get((pid, start))
            # Between fork and exec a process still has its parent's command line.
            command = _command(pid) or (used.command if used else "")
            found[pid, start] = Used(pid, command, seconds)


def _is_below(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root


def _command(pid: int) -> str:
    try:
        text = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return text.replace(b"\0", b" ").decode(errors="replace").strip()
