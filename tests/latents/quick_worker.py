"""The UMAP worker without umap-learn: layouts are principal axes, so that it starts at once.

``QUICK_WORKER_DIES`` names a snapshot's file; while that file exists, every layout kills the
worker. ``QUICK_WORKER_SLEEPS`` is the number of seconds that every layout takes.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import latents.layout
from latents import worker as umap_worker


def principal_axes(x_gd, previous_g2=None, n_neighbors=15, min_dist=0.1, seed=0):  # type: ignore[no-untyped-def]
    dies = os.environ.get("QUICK_WORKER_DIES")
    if dies is not None and Path(sys.argv[1], dies).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("QUICK_WORKER_SLEEPS", "0")))
    u, s, _ = np.linalg.svd(x_gd - x_gd.mean(axis=0), full_matrices=False)
    layout = np.zeros((len(x_gd), 2), dtype=np.float32)
    layout[:, : min(2, len(s))] = (u * s)[:, :2]
    # The start leaves a trace, so that tests see whether it was lost.
    return layout if previous_g2 is None else layout + 0.1 * np.asarray(previous_g2)


if __name__ == "__main__":
    latents.layout.umap_layout = principal_axes
    umap_worker.warm_up = lambda: None
    umap_worker.main(sys.argv[1:])
