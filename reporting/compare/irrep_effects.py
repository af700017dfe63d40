"""What each irrep does for a set: taken out of trained networks in several ways, or of training.

Imports `records` and this package only.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from records.names import NETWORK, UNTRAINED
from records.utilization import INTERACTION, PAIR, BlockUtilization, Utilization
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.set_comparison import Difference, compare_pairs
from reporting.compare.statistics import Estimate, mean_interval, mean_of_finite
from reporting.read.irreps import degree_of, parse_irreps, without_irrep
from reporting.read.utilization import (
    EFFECTS,
    MEASURES,
    MISSED,
    NOT_MEASURED,
    RELATIVE_RELIANCE,
    RELIANCE,
    RELIED_ON,
    UNDECIDED,
    is_absent,
    measures,
    pairs,
    rms_contribution,
    single_irreps,
    verdict_of,
    whole_network,
)

ABSENT = "absent"
"""Verdict of a block that its layer does not have."""
MIXED = "mixed"
"""Verdict of a block on which the networks of a set do not agree."""


@dataclass(frozen=True)
class MeasuredEffect:
    """One measure of an effect on the validation MAE, over the trained networks of a set.

    Attributes
    ----------
    estimate : Estimate
        Mean over seeds, reporting units. A single network's interval is over molecules.
    verdicts : Counter
        How many of the networks have which verdict.
    """

    estimate: Estimate
    verdicts: Counter[str]


@dataclass(frozen=True)
class PairEffect:
    """What is lost with two irreps at once.

    Attributes
    ----------
    irrep_set : IrrepSet
    irreps : tuple of str
        Both irreps, for example ``1o`` and ``2e``.
    effects : dict of str to MeasuredEffect
        By measure, as of single irreps; `records.utilization.INTERACTION` is the reliance on both
        minus the sum of the reliances on each.
    missed_interaction : Estimate or None
        How much both are missed minus the sum of how much each is missed, over seeds.
    retrained : Difference or None
        Error of the set without both minus error of this set, both trained from the start, in
        reporting units; p-values are corrected over all pairs of the group. None if the set
        without them was not trained.
    """

    irrep_set: IrrepSet
    irreps: tuple[str, str]
    effects: dict[str, MeasuredEffect]
    missed_interaction: Estimate | None
    retrained: Difference | None = None


@dataclass(frozen=True)
class IrrepEffect:
    """Effect of one irrep on the error of one set.

    Attributes
    ----------
    irrep_set : IrrepSet
    irrep : str
        For example ``1o``.
    reliance : Estimate or None
        Increase of the validation MAE when the irrep is removed from all layers of the trained
        network and everything else stays as trained. Mean over seeds, reporting units; None if it
        was not measured.
    relative_reliance : float
        The increase divided by the network's own MAE, mean over seeds; NaN if it was not measured.
    untrained_reliance : float
        The increase before training, mean over seeds; NaN if it was not measured.
    verdicts : Counter
        How many of the trained networks have which verdict on the reliance.
    retrained : Difference or None
        Error of the set without this irrep minus error of this set, both trained from the start.
        None if the set without it was not trained.
    effects : dict of str to MeasuredEffect
        By measure, see `reporting.read.utilization.EFFECTS`; those that were measured.
    contribution : Estimate or None
        Standard deviation over molecules of what the irrep contributes to the prediction, root
        mean square over layers, reporting units.
    """

    irrep_set: IrrepSet
    irrep: str
    reliance: Estimate | None
    relative_reliance: float
    untrained_reliance: float
    verdicts: Counter[str]
    retrained: Difference | None
    effects: dict[str, MeasuredEffect] = field(default_factory=dict)
    contribution: Estimate | None = None

    @property
    def missed(self) -> Counter[str]:
        """How many of the trained networks have which verdict on what is missed."""
        effect = self.effects.get(MISSED)
        return Counter() if effect is None else effect.verdicts

    @property
    def measured(self) -> int:
        """Number of trained networks that have a verdict."""
        return self.verdicts.total()

    @property
    def used(self) -> int:
        """Number of trained networks that rely on the irrep."""
        return self.verdicts[RELIED_ON]

    @property
    def undecided(self) -> int:
        """Number of trained networks whose interval decides nothing."""
        return self.verdicts[UNDECIDED]


@dataclass(frozen=True)
class BlockMean:
    """Measures of one irrep in one layer, means over the seeds of a set.

    Attributes
    ----------
    layer, irrep : str
        Which block.
    verdict : str
        The verdict if all networks agree, otherwise `MIXED`; `ABSENT` without such a block.
    values : dict of str to float
        Values of `reporting.read.utilization.MEASURES` by name; NaN where there is none.
    """

    layer: str
    irrep: str
    verdict: str
    values: dict[str, float]


def irrep_effects(group: Group) -> list[IrrepEffect]:
    """Measure the effect of every irrep of every set of a group.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of IrrepEffect
        Set by set, irreps in order of the degree.
    """
    blocks = [(one, irrep) for one in group.sets for irrep in parse_irreps(one.irreps)]
    retrained = _retrained(group, [(one, (irrep,)) for one, irrep in blocks])
    return [_irrep_effect(one, irrep, d) for (one, irrep), d in zip(blocks, retrained)]


def _retrained(
    group: Group, blocks: Sequence[tuple[IrrepSet, tuple[str, ...]]]
) -> list[Difference | None]:
    """Compare sets with those that were trained without some of their irreps, block by block.

    None where no such set was trained. p-values are corrected over all blocks together.
    """
    smaller = [functools.reduce(without_irrep, irreps, one.irreps) for one, irreps in blocks]
    found = [(group.find(fewer), one) for fewer, (one, _) in zip(smaller, blocks)]
    differences = compare_pairs(group, [(one, two) for one, two in found if one is not None])
    by_sets = {(d.irrep_set.irreps, d.other.irreps): d for d in differences}
    return [by_sets.get((fewer, one.irreps)) for fewer, (one, _) in zip(smaller, blocks)]


def irreps_of(effects: Iterable[IrrepEffect]) -> list[str]:
    """List the irreps of all sets, in order of the degree."""
    return sorted({effect.irrep for effect in effects}, key=lambda irrep: (degree_of(irrep), irrep))


def _irrep_effect(irrep_set: IrrepSet, irrep: str, retrained: Difference | None) -> IrrepEffect:
    trained = [run.final_utilization() for run in irrep_set.runs]
    untrained = [run.utilization.get(UNTRAINED) for run in irrep_set.runs]
    blocks = [(b, u.mae) for u in trained if u is not None for b in whole_network(u, irrep)]
    before = [(b, u.mae) for u in untrained if u is not None for b in whole_network(u, irrep)]
    values = [measures(block, mae) for block, mae in blocks]
    reliances = [one[RELIANCE] for one in values if math.isfinite(one[RELIANCE])]
    return IrrepEffect(
        irrep_set=irrep_set,
        irrep=irrep,
        reliance=mean_interval(reliances) if reliances else None,
        relative_reliance=mean_of_finite(one[RELATIVE_RELIANCE] for one in values),
        untrained_reliance=mean_of_finite(measures(block, mae)[RELIANCE] for block, mae in before),
        verdicts=Counter(v for block, _ in blocks if (v := verdict_of(block)) != NOT_MEASURED),
        retrained=retrained,
        effects=_measured_effects(irrep_set, irrep, EFFECTS),
        contribution=_contribution(irrep_set, irrep),
    )


def _trained(irrep_set: IrrepSet) -> list[Utilization]:
    found = [run.final_utilization() for run in irrep_set.runs]
    return [utilization for utilization in found if utilization is not None]


def _measured_effects(
    irrep_set: IrrepSet, irrep: str, names: Iterable[str]
) -> dict[str, MeasuredEffect]:
    rows = [row for u in _trained(irrep_set) for row in whole_network(u, irrep)]
    found = {}
    for name in names:
        effects = [row.effects[name] for row in rows if name in row.effects]
        effects = [effect for effect in effects if math.isfinite(effect.value)]
        if not effects:
            continue
        estimate = mean_interval([effect.value for effect in effects])
        if len(effects) == 1:
            estimate = replace(estimate, low=effects[0].low, high=effects[0].high)
        found[name] = MeasuredEffect(estimate, Counter(effect.verdict for effect in effects))
    return found


def _contribution(irrep_set: IrrepSet, irrep: str) -> Estimate | None:
    values = [rms_contribution(utilization, irrep) for utilization in _trained(irrep_set)]
    known = [value for value in values if math.isfinite(value)]
    return mean_interval(known) if known else None


def pair_effects(group: Group) -> list[PairEffect]:
    """Measure what is lost with two irreps at once, for every pair that was measured.

    Parameters
    ----------
    group : Group
    """
    blocks = []
    for irrep_set in group.sets:
        for name in dict.fromkeys(name for u in _trained(irrep_set) for name in pairs(u)):
            first, second = name.split(PAIR)
            blocks.append((irrep_set, (first, second)))
    return [
        PairEffect(
            irrep_set,
            irreps,
            _measured_effects(irrep_set, PAIR.join(irreps), (*EFFECTS, INTERACTION)),
            _missed_interaction(irrep_set, PAIR.join(irreps)),
            retrained,
        )
        for (irrep_set, irreps), retrained in zip(blocks, _retrained(group, blocks))
    ]


def _missed_interaction(irrep_set: IrrepSet, pair: str) -> Estimate | None:
    values = []
    for utilization in _trained(irrep_set):
        missed = {
            row.irrep: row.effects[MISSED].value
            for row in utilization.rows
            if row.layer == NETWORK and MISSED in row.effects
        }
        if missed.keys() >= {pair, *pair.split(PAIR)}:
            values.append(missed[pair] - sum(missed[irrep] for irrep in pair.split(PAIR)))
    return mean_interval(values) if values else None


def block_means(irrep_set: IrrepSet) -> list[BlockMean]:
    """Average the utilization of a set's trained networks over seeds.

    Parameters
    ----------
    irrep_set : IrrepSet

    Returns
    -------
    list of BlockMean
        Layer by layer, `records.names.NETWORK` last; empty if utilization was not measured.
    """
    found: dict[tuple[str, str], list[tuple[BlockUtilization, float]]] = {}
    for run in irrep_set.runs:
        utilization = run.final_utilization()
        if utilization is not None:
            for row in single_irreps(utilization):
                found.setdefault((row.layer, row.irrep), []).append((row, utilization.mae))
    return [_block_mean(layer, irrep, blocks) for (layer, irrep), blocks in found.items()]


def _block_mean(
    layer: str, irrep: str, blocks: Sequence[tuple[BlockUtilization, float]]
) -> BlockMean:
    verdicts = {ABSENT if is_absent(block) else verdict_of(block) for block, _ in blocks}
    verdict = verdicts.pop() if len(verdicts) == 1 else MIXED
    values = [measures(block, mae) for block, mae in blocks]
    means = {name: mean_of_finite(one[name] for one in values) for name in MEASURES}
    return BlockMean(layer, irrep, verdict, means)
