"""How many threads training takes on a CPU.

Imports the standard library only, so that it can act before torch is imported.
"""

from __future__ import annotations

import os


def leave_a_core() -> None:
    """Keep one core free for the UMAP worker, unless ``OMP_NUM_THREADS`` says otherwise.

    OpenMP's threads wait for each other in a busy loop at the end of every small operation. With
    as many threads as cores, a single other process makes each of them wait for a time slice: on
    two cores a small network then trains ten times slower. Must run before torch is imported.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (usable or 1) - 1)))
