"""Judgements on sets and irreps. `reporting.words` turns them into sentences.

Imports this package only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from reporting.compare.irrep_effects import IrrepEffect
from reporting.compare.set_comparison import Difference, Relation
from reporting.read.irreps import degree_of
from reporting.read.runs import Run
from reporting.read.utilization import HARMFUL, MISSED, NEGLIGIBLE

FALLING_GAIN = 0.02
"""A learning curve still falls if the last fifth of the epochs lowers it by more than this part."""
SIMILAR_SIZE = 1.2
"""Largest ratio of parameter counts at which sets count as equally large."""

# ---- irreps ---------------------------------------------------------------------------------


class Usage(Enum):
    """Whether trained networks rely on an irrep that they have."""

    NOT_MEASURED = auto()
    HARDLY_USED = auto()
    UNDECIDED = auto()
    """Too many intervals decide nothing."""
    USED = auto()
    """More than half of the networks rely on it."""


class Missing(Enum):
    """Whether trained networks miss an irrep that is taken out while they are trained on."""

    NOT_MEASURED = auto()
    MISSED = auto()
    """More than half of the networks miss it."""
    NOT_MISSED = auto()
    """In more than half of the networks its loss is negligible, or even helps."""
    UNDECIDED = auto()


class Need(Enum):
    """Whether networks become worse if an irrep is left out of training."""

    IN_EVERY_SET = auto()
    """The scalars: no set lacks them."""
    NOT_TESTED = auto()
    """No otherwise equal set was trained without it."""
    ONE_SEED = auto()
    """It was left out, but a single common seed decides nothing."""
    HELPFUL = auto()
    HARMFUL = auto()
    MIXED = auto()
    """Helpful in some sets and harmful in others."""
    NOT_SHOWN = auto()
    """It was left out, and no difference is established."""


@dataclass(frozen=True)
class IrrepJudgement:
    """What taking an irrep out of trained networks and training without it say together.

    Attributes
    ----------
    usage : Usage
    missing : Missing
    need : Need
    """

    usage: Usage
    missing: Missing
    need: Need


def judge_irrep(irrep: str, effects: Sequence[IrrepEffect]) -> IrrepJudgement:
    """Judge an irrep by its effects on all sets.

    Parameters
    ----------
    irrep : str
        For example ``1o``.
    effects : sequence of IrrepEffect
        Effects of this irrep, one per set that has it.
    """
    retrained = [effect.retrained for effect in effects if effect.retrained is not None]
    return IrrepJudgement(_usage(effects), _missing(effects), _need(irrep, retrained))


def _missing(effects: Sequence[IrrepEffect]) -> Missing:
    verdicts = sum((effect.missed for effect in effects), Counter[str]())
    if not verdicts:
        return Missing.NOT_MEASURED
    half = verdicts.total() / 2
    if verdicts[MISSED] > half:
        return Missing.MISSED
    return (
        Missing.NOT_MISSED
        if verdicts[NEGLIGIBLE] + verdicts[HARMFUL] > half
        else (Missing.UNDECIDED)
    )


def _usage(effects: Sequence[IrrepEffect]) -> Usage:
    measured = sum(effect.measured for effect in effects)
    if measured == 0:
        return Usage.NOT_MEASURED
    used = sum(effect.used for effect in effects)
    if used > measured / 2:
        return Usage.USED
    perhaps_used = used + sum(effect.undecided for effect in effects)
    return Usage.UNDECIDED if perhaps_used > measured / 2 else Usage.HARDLY_USED


def _need(irrep: str, retrained: Sequence[Difference]) -> Need:
    if not retrained:
        return Need.IN_EVERY_SET if degree_of(irrep) == 0 else Need.NOT_TESTED
    if not any(difference.estimate.has_interval for difference in retrained):
        return Need.ONE_SEED
    established = [difference.estimate.mean for difference in retrained if difference.established]
    helpful, harmful = any(x > 0 for x in established), any(x < 0 for x in established)
    if helpful and harmful:
        return Need.MIXED
    if harmful:
        return Need.HARMFUL
    return Need.HELPFUL if helpful else Need.NOT_SHOWN


# ---- sets -----------------------------------------------------------------------------------


class Lead(Enum):
    """How far the set with the lowest error is ahead of the others."""

    NO_COMMON_SEEDS = auto()
    """No other set has two seeds in common with it."""
    CLEAR = auto()
    """Every other set is established as worse, beyond the margin of equivalence."""
    CONTESTED = auto()
    """At least one other set is equivalent, or not established as worse."""


@dataclass(frozen=True)
class BestSetJudgement:
    """How the set with the lowest error compares with the others.

    Attributes
    ----------
    lead : Lead
    worse : list of Difference
        Sets established as worse.
    equivalent : list of Difference
        Sets whose error is established to be the same within the margin.
    undecided : list of Difference
        Sets of which nothing is established.
    """

    lead: Lead
    worse: list[Difference]
    equivalent: list[Difference]
    undecided: list[Difference]


def judge_best_set(to_best: Sequence[Difference]) -> BestSetJudgement:
    """Judge the lead of the set with the lowest error.

    Parameters
    ----------
    to_best : sequence of Difference
        Error of every other set minus its error.
    """
    by_relation: dict[Relation, list[Difference]] = {relation: [] for relation in Relation}
    for difference in to_best:
        by_relation[difference.relation].append(difference)
    equivalent, undecided = by_relation[Relation.EQUIVALENT], by_relation[Relation.UNDECIDED]
    if not any(difference.estimate.has_interval for difference in to_best):
        lead = Lead.NO_COMMON_SEEDS
    else:
        lead = Lead.CONTESTED if undecided or equivalent else Lead.CLEAR
    return BestSetJudgement(lead, by_relation[Relation.WORSE], equivalent, undecided)


# ---- training -------------------------------------------------------------------------------


def still_falling(run: Run) -> bool:
    """Judge whether a run's validation error was still falling when training ended.

    Parameters
    ----------
    run : Run

    Returns
    -------
    bool
        True if the lowest error of the last fifth of the epochs is lower than the lowest error
        before, by more than the fraction `FALLING_GAIN`.
    """
    errors = [row.get("val/mae", math.nan) for row in run.trained_rows()]
    curve = [error for error in errors if math.isfinite(error)]
    last = max(1, len(curve) // 5)
    if len(curve) <= last:
        return False
    return min(curve[-last:]) < (1 - FALLING_GAIN) * min(curve[:-last])


def differ_in_size(parameters: Sequence[float]) -> bool:
    """Judge whether parameter counts differ too much for sets to count as equally large."""
    return len(parameters) > 1 and max(parameters) > SIMILAR_SIZE * min(parameters)
