"""Measures of latent spaces, beside what an untrained network and element counts alone reach.

Imports `records` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from records.latent_tables import LatentMetric
from records.latents import ALL, ELEMENT_COUNTS
from records.names import UNTRAINED
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, mean_interval
from reporting.read.irreps import parse_irreps
from reporting.read.latents import read_latent_metrics
from reporting.read.runs import Run

LATENT_METRICS = (
    "knn_r2_composition_free",
    "knn_r2_target",
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
    trained : Estimate or None
        Of the best checkpoint, or else after the last epoch measured. A single network's interval
        is over molecules.
    untrained : Estimate or None
        Of the same network before training, which is a random network of the same width.
    element_counts : Estimate or None
        What element counts alone reach, without any network.
    num_molecules : int or None
        Molecules measured.
    """

    irrep_set: IrrepSet
    block: str
    metric: str
    trained: Estimate | None
    untrained: Estimate | None
    element_counts: Estimate | None = None
    num_molecules: int | None = None


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

    Raises
    ------
    ReportError
        If a file is damaged.
    """
    found = []
    for irrep_set in group.sets:
        tables = [_table(run) for run in irrep_set.runs]
        irreps = list(parse_irreps(irrep_set.irreps))
        for block in (ALL, *(irreps if len(irreps) > 1 else [])):
            for metric in LATENT_METRICS:
                measure = _latent_measure(irrep_set, tables, block, metric)
                if measure.trained is not None or measure.untrained is not None:
                    found.append(measure)
    return found


Rows = dict[tuple[str, str], LatentMetric]


@dataclass(frozen=True)
class _Table:
    """A run's rows by block and metric, before and after training."""

    before: Rows
    after: Rows


def _table(run: Run) -> _Table:
    rows = read_latent_metrics(run) or _logged(run)
    before = [row for row in rows if row.epoch == UNTRAINED]
    after = [row for row in rows if row.epoch > UNTRAINED]
    last = max((row.epoch for row in after), default=UNTRAINED)
    after = [row for row in after if row.is_best] or [row for row in after if row.epoch == last]
    return _Table(*({(row.block, row.metric): row for row in one} for one in (before, after)))


def _logged(run: Run) -> list[LatentMetric]:
    """Rebuild rows from ``metrics.csv``, which has no intervals."""
    irreps = parse_irreps(run.irreps)
    last = max(run.metrics, default=UNTRAINED)
    found = []
    for block in (ALL, *irreps):
        for metric in LATENT_METRICS:
            key = f"latent/{block}/{metric}"
            untrained = run.metrics.get(UNTRAINED, {}).get(key, math.nan)
            for epoch, value in ((UNTRAINED, untrained), (last, run.last_value(key))):
                if math.isfinite(value) and (epoch == UNTRAINED or last > UNTRAINED):
                    ends = (math.nan, math.nan, 0)
                    found.append(LatentMetric(epoch, False, block, 0, metric, value, *ends))
    return found


def _latent_measure(
    irrep_set: IrrepSet, tables: Sequence[_Table], block: str, metric: str
) -> LatentMeasure:
    key = (block, metric)
    after = [table.after.get(key) for table in tables]
    counts = [
        table.after.get((ELEMENT_COUNTS, metric), table.before.get((ELEMENT_COUNTS, metric)))
        for table in tables
    ]
    molecules = [row.num_molecules for row in after if row is not None and row.num_molecules]
    return LatentMeasure(
        irrep_set=irrep_set,
        block=block,
        metric=metric,
        trained=_mean(after),
        untrained=_mean(table.before.get(key) for table in tables),
        element_counts=_mean(counts),
        num_molecules=min(molecules, default=None),
    )


def _mean(rows: Iterable[LatentMetric | None]) -> Estimate | None:
    known = [row for row in rows if row is not None and math.isfinite(row.value)]
    if not known:
        return None
    estimate = mean_interval([row.value for row in known])
    return estimate if len(known) > 1 else replace(estimate, low=known[0].low, high=known[0].high)
