"""One irrep in a few sentences: whether it is worth having, and whether networks use it.

Imports `reporting.compare` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from reporting.compare.irrep_effects import IrrepEffect
from reporting.compare.judgement import IrrepJudgement, Need, Usage, judge_irrep
from reporting.compare.set_comparison import Difference
from reporting.read.irreps import degree_of
from reporting.words import formatting

KINDS = {0: "scalars", 1: "vectors", 2: "rank-2 tensors"}
"""Names of features by their degree; others are called by the degree itself."""

_USAGE = {
    Usage.NOT_MEASURED: "not measured",
    Usage.HARDLY_USED: "hardly used",
    Usage.UNDECIDED: "use undecided",
    Usage.USED: "used",
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
    judgement = word_judgement(judge_irrep(irrep, of_irrep))
    sentences = [
        f"`{irrep}` ({KINDS.get(degree, f'l = {degree}')}): **{judgement}.**",
        _effect_of_retraining(unit, retrained),
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
    usage, need = judgement.usage, judgement.need
    if need is Need.NOT_TESTED:
        return f"{_USAGE[usage]}; whether it is needed is open"
    if need is Need.ONE_SEED:
        prefix = "" if usage is Usage.NOT_MEASURED else f"{_USAGE[usage]}; "
        return f"{prefix}one seed cannot show whether it is needed"
    if need is Need.HELPFUL and usage is Usage.HARDLY_USED:
        return "worth having in training, though hardly used afterwards"
    if need is Need.NOT_SHOWN and usage is Usage.USED:
        return "used where it is present, but not shown to be needed"
    return {
        Need.IN_EVERY_SET: "every set has it",
        Need.HELPFUL: "worth having",
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


def _effect_of_removal(effects: Sequence[IrrepEffect]) -> str:
    measured = [effect for effect in effects if effect.reliance is not None]
    if not measured:
        return ""
    changes = sorted(effect.relative_reliance for effect in measured)
    change = _range([formatting.percent(x, sign=True) for x in (changes[0], changes[-1])])
    total = sum(effect.measured for effect in measured)
    if not total:
        return f"Removing it changes the error of trained networks by {change}."
    used = sum(effect.used for effect in measured)
    networks = "network uses" if total == 1 else "networks use"
    return f"{used} of {total} trained {networks} it: removing it changes their error by {change}."


def _range(ends: Sequence[str]) -> str:
    """Write a range; a unit that both ends have is written once."""
    low, high = ends
    return low if low == high else f"{low.removesuffix(f'{formatting.SPACE}%')} to {high}"
