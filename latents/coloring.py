"""Colours of the molecules in a picture of the latent space.

Imports NumPy, Matplotlib's scales and `records`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from records.latents import LatentEpoch

COLORMAP = "viridis"
"""Perceptually uniform, safe for colour-blind readers, and without the grey of missing values."""
ERROR_DECADES = 4
"""Decades of absolute errors that the colour scale spans."""


@dataclass(frozen=True)
class Coloring:
    """Value of each molecule, and the colour scale that all epochs share.

    Attributes
    ----------
    values : array
        [g]; NaN is drawn grey.
    norm : Normalize
        Limits of the scale.
    label : str
        Label of the colour bar, with the unit.
    extend : str
        Ends of the colour bar beyond which values are cut off, as Matplotlib names them.
    """

    values: NDArray[np.float64]
    norm: Normalize
    label: str
    extend: str


def coloring(latent: LatentEpoch, first: LatentEpoch) -> Coloring:
    """Choose the colours of one epoch's molecules.

    Parameters
    ----------
    latent : LatentEpoch
        The epoch to draw.
    first : LatentEpoch
        The run's first epoch, which sets the limits for errors.

    Returns
    -------
    Coloring
    """
    settings = latent.molecules.settings
    unit = settings.reporting_unit
    if settings.color_by == "error":
        # Errors fall by orders of magnitude during training: one logarithmic scale for all epochs.
        positive = first.error[np.isfinite(first.error) & (first.error > 0)]
        top = 10.0 ** math.ceil(math.log10(np.quantile(positive, 0.98))) if len(positive) else 1.0
        error = "norm of the error" if settings.rank else "absolute error"
        norm = LogNorm(top / 10**ERROR_DECADES, top, clip=True)
        return Coloring(latent.error, norm, f"{error} of {settings.target} ({unit})", "both")
    if settings.color_by == "spatial_score":
        return _linear(latent.spatial_score, "normalized spatial score")
    if settings.color_by == "composition_free":
        label = f"{settings.shown_target} without composition ({unit})"
        return _linear(latent.composition_free_target, label)
    return _linear(latent.molecules.target, f"{settings.shown_target} ({unit})")


def _linear(values: NDArray[np.float64], label: str) -> Coloring:
    """Scale from the first to the last percentile."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = (bool((known < low).any()), bool((known > high).any()))
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[ends]
    return Coloring(values, Normalize(low, high, clip=True), label, extend)
