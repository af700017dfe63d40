"""One irrep in a few sentences: whether it is worth having, and whether networks use it.

Imports `reporting.compare` and this package only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reporting.compare.irrep_effects import IrrepEffect
from reporting.compare.judgement import (
    IrrepJudgement,
    Missing,
    Need,
    Usage,
    judge_irrep,
)
from reporting.compare.set_comparison import Difference
from reporting.read.irreps import degree_of
from reporting.read.utilization import MISSED
from reporting.words import formatting

KINDS = {0: "scalars", 1: "vectors", 2: "rank-2 tensors"}
"""Names of features by their degree; others are called by the degree itself."""

SCALARS = (
    "every set has them. Removing them leaves nothing but a molecule's size, so they are not "
    "ranked with the other irreps"
)
_USAGE = {
    Usage.NOT_MEASURED: "not measured",
    Usage.HARDLY_USED: "hardly relied on",
    Usage.UNDECIDED: "reliance undecided",
    Usage.USED: "relied on",
}
_MISSING = {
    Missing.NOT_MEASURED: "",
    Missing.MISSED: "missed",
    Missing.NOT_MISSED: "not missed",
    Missing.UNDECIDED: "whether it is missed is undecided",
}


def describe_irrep(unit: str, irrep: str, effects: Sequence[IrrepEffect]) -> str:
    """Describe what one irrep is worth, over all sets that have it.

    Parameters
    ----------
    unit : str
        Unit of the errors.
    irrep : str
        For example ``1o``.
    effects : sequence of IrrepEffect
        Effects of all irreps on all sets.

    Returns
    -------
    str
        The judgement, then the numbers that it is based on.
    """
    of_irrep = [effect for effect in effects if effect.irrep == irrep]
    retrained = [effect.retrained for effect in of_irrep if effect.retrained is not None]
    degree = degree_of(irrep)
    judgement = judge_irrep(irrep, of_irrep)
    if judgement.need is Need.IN_EVERY_SET:
        return f"`{irrep}` ({KINDS[0]}): {SCALARS}."
    sentences = [
        f"`{irrep}` ({KINDS.get(degree, f'l = {degree}')}): **{word_judgement(judgement)}.**",
        _effect_of_retraining(unit, retrained),
        _effect_of_training_on(unit, of_irrep),
        _effect_of_removal(of_irrep),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def word_judgement(judgement: IrrepJudgement) -> str:
    """Put the judgement on an irrep into words.

    Parameters
    ----------
    judgement : IrrepJudgement

    Returns
    -------
    str
        A clause without a full stop.
    """
    need = judgement.need
    trained = _MISSING[judgement.missing] or _USAGE[judgement.usage]
    is_known = trained != _USAGE[Usage.NOT_MEASURED]
    matters = judgement.missing is Missing.MISSED or (
        judgement.missing is Missing.NOT_MEASURED and judgement.usage is Usage.USED
    )
    if need is Need.NOT_TESTED:
        return f"{trained}; whether training needs it is open"
    if need is Need.ONE_SEED:
        return f"{trained + '; ' if is_known else ''}one seed cannot show whether it is needed"
    if need is Need.HELPFUL and is_known and not matters:
        return f"worth having in training, though {trained} afterwards"
    if need is Need.NOT_SHOWN and matters:
        return f"{trained} where it is present, but not shown to be needed"
    return {
        Need.IN_EVERY_SET: "every set has it",
        Need.HELPFUL: "worth having" + (", and missed" if matters and trained == "missed" else ""),
        Need.HARMFUL: "networks are better without it",
        Need.MIXED: "helps in some sets, harms in others",
        Need.NOT_SHOWN: "no sign that it is needed",
    }[need]


def _effect_of_retraining(unit: str, retrained: Sequence[Difference]) -> str:
    if not retrained:
        return ""
    ordered = sorted(retrained, key=lambda difference: difference.estimate.mean)
    ends = [formatting.mean(d.estimate, sign=True) for d in (ordered[0], ordered[-1])]
    text = f"Training without it changes the error by {_range(ends)} {unit}"
    tested = any(difference.estimate.has_interval for difference in retrained)
    if len(retrained) == 1:
        (only,) = retrained
        text += f" (`{only.irrep_set.label}` instead of `{only.other.label}`"
        if tested:
            text += f", {'' if only.established else 'not '}established"
        return f"{text})."
    established = sum(difference.established for difference in retrained)
    count = f"; {established} of {len(retrained)} established" if tested else ""
    return f"{text} ({len(retrained)} comparisons{count})."


def _effect_of_training_on(unit: str, effects: Sequence[IrrepEffect]) -> str:
    """Say how much is missed, over all sets that have the irrep."""
    missed = [e.effects[MISSED].estimate for e in effects if MISSED in e.effects]
    if not missed:
        return ""
    verdicts = sum((effect.missed for effect in effects), Counter[str]())
    ordered = sorted(missed, key=lambda estimate: estimate.mean)
    if len(ordered) == 1:
        change = formatting.plus_minus(ordered[0], sign=True)
    else:
        change = _range([formatting.mean(e, sign=True) for e in (ordered[0], ordered[-1])])
    return (
        f"Taken out of trained networks that are then trained on, it costs {change} {unit} "
        f"(missed by {verdicts[MISSED]} of {verdicts.total()})."
    )


def _effect_of_removal(effects: Sequence[IrrepEffect]) -> str:
    measured = [effect for effect in effects if effect.reliance is not None]
    if not measured:
        return ""
    changes = sorted(effect.relative_reliance for effect in measured)
    change = _range([formatting.percent(x, sign=True) for x in (changes[0], changes[-1])])
    total = sum(effect.measured for effect in measured)
    text = f"Torn out without repair, it changes the error by {change}, which says what breaks"
    if not total:
        return f"{text}."
    return f"{text} ({sum(effect.used for effect in measured)} of {total} rely on it)."


def _range(ends: Sequence[str]) -> str:
    """Write a range; a unit that both ends have is written once."""
    low, high = ends
    return low if low == high else f"{low.removesuffix(f'{formatting.SPACE}%')} to {high}"
