"""How well latent spaces are structured: their measures by seed, and their table.

Imports `benchmarks.study.arms` and `reporting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from benchmarks.study.arms import Arm, find_set
from benchmarks.study.words import markdown, short
from reporting.compare.groups import IrrepSet
from reporting.compare.statistics import mean_of_finite
from reporting.read.irreps import degree_of, parse_irreps
from reporting.words.formatting import plain

LatentMeasure = Literal[
    "all/knn_r2_composition_free", "0e/knn_r2_composition_free", "all/knn_r2_complexity"
]
LATENT_MEASURES: Mapping[LatentMeasure, str] = {
    "all/knn_r2_composition_free": "target without composition, all features",
    "0e/knn_r2_composition_free": "target without composition, scalars",
    "all/knn_r2_complexity": "spatial complexity, all features",
}
"""The measures by which claim (d) is judged, R² of nearest neighbours, and their names in words."""
NETWORKS: Mapping[str, str] = {
    "published": "main",
    "gated": "gated",
    "published, raw target": "raw",
}
"""The kinds of network in the table, and an arm with the runs of each."""
COLUMNS = (
    "all/knn_r2_composition_free",
    "0e/knn_r2_composition_free",
    "all/knn_r2_composition_free_untrained",
    "element_counts/knn_r2_composition_free",
    "all/knn_r2_complexity",
    "element_counts/knn_r2_complexity",
)
"""Metrics of the table, after ``latent/``: R² of nearest neighbours, without unit."""


def latent_by_seed(irrep_set: IrrepSet, measure: str) -> dict[int, float]:
    """Return a latent measure of a set's runs.

    Parameters
    ----------
    irrep_set : IrrepSet
    measure : str
        Name of the metric after ``latent/``.

    Returns
    -------
    dict of int to float
        Last value that was logged, by seed; R² has no unit. Runs without one are left out. Where
        l = 0 is all that there is, scalars (``0e/``) are all features.
    """
    if irrep_set.degrees == [0]:
        measure = measure.replace("0e/", "all/")  # the callback logs no block beside "all" then
    values = {}
    for run in irrep_set.runs:
        value = _last(run.metrics, f"latent/{measure}")
        if math.isfinite(value) and run.seed is not None:
            values[run.seed] = value
    return values


def latents_table(arms: Mapping[str, Arm]) -> str:
    """Compare latent spaces with element counts and untrained networks: R² of neighbours."""
    rows = []
    for network, arm in NETWORKS.items():
        found = find_set(arms, arm, {}, "8x0e+8x1o+8x2e")
        rows += [_row(network, irrep_set) for irrep_set in (found[0].sets if found else [])]
    header = ["network", "degrees (channels)", "width:", "seeds:"]
    header += ["target without composition: all features:", "scalars:", "untrained:"]
    header += ["element counts:", "spatial complexity: all features:", "element counts:"]
    return markdown(header, rows)


def _row(network: str, irrep_set: IrrepSet) -> list[str]:
    blocks = parse_irreps(irrep_set.irreps)
    width = sum(mul * (2 * degree_of(irrep) + 1) for irrep, mul in blocks.items())
    means = [mean_of_finite(latent_by_seed(irrep_set, column).values()) for column in COLUMNS]
    seeds = len(irrep_set.runs)
    start = [network, short(irrep_set.irreps), str(width), str(seeds)]
    return [*start, *(plain(value, 3) for value in means)]


def _last(metrics: Mapping[int, Mapping[str, float]], key: str) -> float:
    """Last finite value of a column; what does not change is logged before training only."""
    known = [v for _, row in sorted(metrics.items()) if math.isfinite(v := row.get(key, math.nan))]
    return known[-1] if known else math.nan
