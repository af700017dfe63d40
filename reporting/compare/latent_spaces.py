"""Measures of latent spaces, before and after training.

Imports `records` and this package only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from records.latents import ALL
from records.names import UNTRAINED
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import mean_of_finite
from reporting.read.irreps import parse_irreps

LATENT_METRICS = (
    "knn_r2_target",
    "knn_r2_composition_free",
    "knn_r2_complexity",
    "trustworthiness",
    "intrinsic_dimension",
)


@dataclass(frozen=True)
class LatentMeasure:
    """One metric of the latent space of one block, mean over the seeds of a set.

    Attributes
    ----------
    irrep_set : IrrepSet
    block : str
        An irrep, or `records.latents.ALL`.
    metric : str
        One of `LATENT_METRICS`.
    trained, untrained : float
        After the last epoch measured, and before training; NaN if it was not measured.
    """

    irrep_set: IrrepSet
    block: str
    metric: str
    trained: float
    untrained: float


def latent_measures(group: Group) -> list[LatentMeasure]:
    """Collect the measures of the latent spaces of a group's sets.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of LatentMeasure
        Without those that no network has. The block of a set's only irrep is left out, as it is
        the same as all irreps together.
    """
    found = []
    for irrep_set in group.sets:
        irreps = list(parse_irreps(irrep_set.irreps))
        for block in (ALL, *(irreps if len(irreps) > 1 else [])):
            for metric in LATENT_METRICS:
                measure = _latent_measure(irrep_set, block, metric)
                if math.isfinite(measure.trained) or math.isfinite(measure.untrained):
                    found.append(measure)
    return found


def _latent_measure(irrep_set: IrrepSet, block: str, metric: str) -> LatentMeasure:
    key = f"latent/{block}/{metric}"
    baselines = [run.metrics.get(UNTRAINED, {}) for run in irrep_set.runs]
    return LatentMeasure(
        irrep_set=irrep_set,
        block=block,
        metric=metric,
        trained=mean_of_finite(run.last_value(key) for run in irrep_set.runs),
        untrained=mean_of_finite(row.get(key, math.nan) for row in baselines),
    )
