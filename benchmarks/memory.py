"""Resident memory of this process, as Linux counts it.

Imports the standard library only.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path


def release_free_memory() -> None:
    """Return what has been freed to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def reset_peak() -> float:
    """Forget the peak so far.

    Returns
    -------
    float
        Resident memory now, MB.
    """
    release_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    return resident("VmRSS")


def peak() -> float:
    """Read the peak of resident memory since `reset_peak`, MB."""
    return resident("VmHWM")


def resident(key: str) -> float:
    """Read a line of ``/proc/self/status``, MB.

    Parameters
    ----------
    key : {"VmRSS", "VmHWM"}
        Resident memory now, or its peak.

    Raises
    ------
    RuntimeError
        If the system has no such line.
    """
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}: this benchmark needs Linux")
    return int(found.group(1)) / 1024
