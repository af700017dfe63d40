"""How many threads training uses on a CPU.

Imports the standard library only, because it must act before torch is imported.
"""

from __future__ import annotations

import os


def leave_a_core() -> None:
    """Leave one core to the UMAP worker, unless ``OMP_NUM_THREADS`` says otherwise.

    OpenMP's threads wait for each other in a busy loop at the end of every small operation. If
    there are as many threads as cores, a single other process takes one thread's time slice and
    makes all of them wait: a small network on two cores then trains ten times slower.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (usable or 1) - 1)))
