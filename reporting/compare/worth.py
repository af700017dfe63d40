"""What each irrep is worth: removed from trained networks, and never trained with.

Imports `reporting.compare.statistics` and this package.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from records.names import NETWORK, UNTRAINED
from reporting.compare.comparison import Difference, compare
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, mean_interval
from reporting.read.irreps import parse, without
from reporting.read.runs import NUMBERS, Block, Run

MEASURES = (*NUMBERS[:1], *NUMBERS[3:], "attribution")
"""Measures that the heatmaps show."""


@dataclass(frozen=True)
class Worth:
    """What one irrep is worth to one set.

    Attributes
    ----------
    irrep_set : IrrepSet
    irrep : str
        e.g. ``1o``.
    ablation : Estimate or None
        Over seeds: increase of the validation MAE when the irrep is removed from all layers of
        the trained network, reporting units.
    relative : float
        Its mean in units of those networks' own MAE; NaN if it was not measured.
    untrained : float
        The same increase before training, mean over seeds; NaN if it was not measured.
    verdicts : Counter
        Of the networks, one a seed.
    retrained : Difference or None
        Error of the set without this irrep minus error of the set, both trained. None if the set
        without it was not trained.
    """

    irrep_set: IrrepSet
    irrep: str
    ablation: Estimate | None
    relative: float
    untrained: float
    verdicts: Counter[str]
    retrained: Difference | None


@dataclass(frozen=True)
class Cell:
    """A block of one layer of a set's networks, mean over seeds.

    Attributes
    ----------
    layer, irrep : str
    verdict : str
        The same in all networks, or ``mixed``; ``absent`` if the layer has no such block.
    values : dict of str to float
        Measures by name; ``relative`` is the ablation in units of the MAE. NaN without a value.
    """

    layer: str
    irrep: str
    verdict: str
    values: dict[str, float]


def worths(group: Group) -> list[Worth]:
    """Measure every irrep of every set of a group.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of Worth
        Set by set, irreps by degree.
    """
    pairs = []
    for known in group.sets:
        for irrep in parse(known.irreps):
            smaller = group.find(without(known.irreps, irrep))
            if smaller is not None:
                pairs.append((smaller, known))
    retrained = {(d.irrep_set.irreps, d.other.irreps): d for d in compare(group, pairs)}
    return [
        _worth(known, irrep, retrained.get((without(known.irreps, irrep), known.irreps)))
        for known in group.sets
        for irrep in parse(known.irreps)
    ]


def _worth(irrep_set: IrrepSet, irrep: str, retrained: Difference | None) -> Worth:
    blocks = [
        block
        for run in irrep_set.runs
        for block in run.last_utilization()
        if block.layer == NETWORK and block.irrep == irrep
    ]
    before = [
        block
        for run in irrep_set.runs
        for block in run.utilization.get(UNTRAINED, [])
        if block.layer == NETWORK and block.irrep == irrep
    ]
    ablations = [b.values["ablation"] for b in blocks if math.isfinite(b.values["ablation"])]
    return Worth(
        irrep_set=irrep_set,
        irrep=irrep,
        ablation=mean_interval(ablations) if ablations else None,
        relative=_mean([_relative(block) for block in blocks]),
        untrained=_mean([block.values["ablation"] for block in before]),
        verdicts=Counter(block.verdict for block in blocks),
        retrained=retrained,
    )


def _relative(block: Block) -> float:
    return block.values["ablation"] / block.mae if block.mae > 0 else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def cells(irrep_set: IrrepSet) -> list[Cell]:
    """Blocks of a set's trained networks, as its heatmap shows them.

    Parameters
    ----------
    irrep_set : IrrepSet

    Returns
    -------
    list of Cell
        Layer by layer, `NETWORK` last; empty if utilization was not measured.
    """
    found: dict[tuple[str, str], list[Block]] = {}
    for run in irrep_set.runs:
        for block in run.last_utilization():
            found.setdefault((block.layer, block.irrep), []).append(block)
    return [_cell(layer, irrep, blocks) for (layer, irrep), blocks in found.items()]


def _cell(layer: str, irrep: str, blocks: Sequence[Block]) -> Cell:
    verdicts = {block.verdict for block in blocks}
    absent = layer != NETWORK and all(block.channels == 0 for block in blocks)
    verdict = verdicts.pop() if len(verdicts) == 1 else "mixed"
    values = {name: _mean([block.values[name] for block in blocks]) for name in MEASURES}
    values["relative"] = _mean([_relative(block) for block in blocks])
    return Cell(layer, irrep, "absent" if absent else verdict, values)


@dataclass(frozen=True)
class LatentMeasure:
    """One measure of one block's latent space, mean over a set's seeds.

    Attributes
    ----------
    irrep_set : IrrepSet
    block : str
        ``all`` or an irrep.
    metric : str
        e.g. ``knn_r2_target``.
    trained, untrained : float
        After the last epoch measured, and before training; NaN if it was not measured.
    """

    irrep_set: IrrepSet
    block: str
    metric: str
    trained: float
    untrained: float


def latent_measures(group: Group) -> list[LatentMeasure]:
    """Measures of the latent spaces of a group's sets.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of LatentMeasure
    """
    found = []
    for known in group.sets:
        irreps = list(parse(known.irreps))
        # A single irrep is the same as all together.
        for block in ("all", *(irreps if len(irreps) > 1 else [])):
            for metric in LATENT_METRICS:
                key = f"latent/{block}/{metric}"
                trained = _mean([_last(run, key) for run in known.runs])
                before = _mean(
                    [run.metrics.get(UNTRAINED, {}).get(key, math.nan) for run in known.runs]
                )
                if math.isfinite(trained) or math.isfinite(before):
                    found.append(LatentMeasure(known, block, metric, trained, before))
    return found


LATENT_METRICS = ("knn_r2_target", "knn_r2_complexity", "trustworthiness", "intrinsic_dimension")


def _last(run: Run, key: str) -> float:
    for row in reversed(run.trained_rows()):
        if math.isfinite(row.get(key, math.nan)):
            return row[key]
    return math.nan
