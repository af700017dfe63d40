"""Latent layouts of a run: those of the trained and of the untrained network.

Imports `records` and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from records.latent_paths import METRIC_TABLE, epoch_path, epochs_in, final_frame
from records.latent_tables import LatentMetric, read_metric_table
from records.latents import LatentEpoch, read_epoch
from records.names import UNTRAINED
from reporting.read.runs import Run, read_record

LATENTS = "latents"
"""Folder within a run's directory."""


@dataclass(frozen=True)
class LatentLayouts:
    """Layouts of the same molecules before and after training.

    Attributes
    ----------
    trained : LatentEpoch
        Those of the best checkpoint, or else of the last epoch that has layouts.
    untrained : LatentEpoch or None
        Those before training; None if they are missing or show other molecules.
    """

    trained: LatentEpoch
    untrained: LatentEpoch | None

    @property
    def count(self) -> int:
        """Number of layouts: one per block, before and after training."""
        epochs = [self.trained] if self.untrained is None else [self.trained, self.untrained]
        return sum(len(epoch.layouts) for epoch in epochs)


def read_layouts(run: Run) -> LatentLayouts | None:
    """Read the latent layouts of a run.

    Parameters
    ----------
    run : Run

    Returns
    -------
    LatentLayouts or None
        None if the trained network has no layouts.

    Raises
    ------
    ReportError
        If a file is damaged.
    """
    if run.path is None:
        return None
    directory = run.path / LATENTS
    frame = final_frame(directory)
    if frame is None or frame == UNTRAINED:
        return None
    trained = read_record(read_epoch, epoch_path(directory, frame))
    if UNTRAINED not in epochs_in(directory):
        return LatentLayouts(trained, None)
    untrained = read_record(read_epoch, epoch_path(directory, UNTRAINED))
    same = np.array_equal(untrained.molecules.idx, trained.molecules.idx)
    return LatentLayouts(trained, untrained if same else None)


def read_latent_metrics(run: Run) -> list[LatentMetric]:
    """Read the measures of a run's latent spaces; empty if the run has no table of them.

    Parameters
    ----------
    run : Run

    Raises
    ------
    ReportError
        If the file is damaged.
    """
    if run.latent_metrics is not None:
        return run.latent_metrics
    if run.path is None or not (run.path / LATENTS / METRIC_TABLE).is_file():
        return []
    return read_record(read_metric_table, run.path / LATENTS / METRIC_TABLE)
