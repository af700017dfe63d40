"""All figures of a group of runs.

Imports this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from reporting.compare.comparison import Standing
from reporting.compare.groups import Group
from reporting.compare.worth import LatentMeasure, Worth
from reporting.plots.errors import error_against_cost, error_against_size, learning_curves
from reporting.plots.figure import Figure
from reporting.plots.irreps import ablation_against_retraining, heatmaps
from reporting.plots.latents import latent_space


def figures(
    group: Group,
    rows: Sequence[Standing],
    measured: Sequence[Worth],
    latent: Sequence[LatentMeasure],
) -> list[Figure]:
    """Draw all that is known of a group.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
    measured : sequence of Worth
    latent : sequence of LatentMeasure

    Returns
    -------
    list of Figure
        Without those that would be empty.
    """
    drawn = [
        error_against_size(group, rows),
        error_against_cost(group, rows),
        learning_curves(group),
        ablation_against_retraining(group, measured),
        heatmaps(group, rows),
        latent_space(group, latent),
    ]
    return [figure for figure in drawn if figure.views]
