"""One irrep in plain words: whether it is worth having, and whether it is used.

Imports this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from reporting.compare.comparison import Difference
from reporting.compare.worth import Worth
from reporting.read.irreps import degree
from reporting.words import formatting

KINDS = {0: "scalars", 1: "vectors", 2: "rank-2 tensors"}


def irreps_of(measured: Sequence[Worth]) -> list[str]:
    """Irreps of any set, by degree.

    Parameters
    ----------
    measured : sequence of Worth

    Returns
    -------
    list of str
    """
    return sorted({worth.irrep for worth in measured}, key=lambda name: (degree(name), name))


def describe_irrep(unit: str, name: str, measured: Sequence[Worth]) -> str:
    """Say what one irrep is worth, over all sets that have it.

    Parameters
    ----------
    unit : str
        Of errors.
    name : str
        e.g. ``1o``.
    measured : sequence of Worth

    Returns
    -------
    str
        Verdict first, then what it rests on.
    """
    mine = [worth for worth in measured if worth.irrep == name]
    retrained = [worth.retrained for worth in mine if worth.retrained is not None]
    used = sum(worth.verdicts["used"] for worth in mine)
    total = sum(worth.verdicts.total() for worth in mine)
    kind = KINDS.get(degree(name), f"l = {degree(name)}")
    verdict = judge(name, used, total, retrained)
    parts = [f"`{name}` ({kind}): **{verdict}.**", _without(unit, retrained), _removed(unit, mine)]
    return " ".join(part for part in parts if part)


def judge(name: str, used: int, total: int, retrained: Sequence[Difference]) -> str:
    """Draw the conclusion that ablation and training without an irrep allow together.

    Parameters
    ----------
    name : str
        The irrep.
    used, total : int
        Trained networks that use it, and that have it and were measured.
    retrained : sequence of Difference
        Error without it minus error with it, both trained from the start.

    Returns
    -------
    str
    """
    mostly_used = total > 0 and used > total / 2
    if not retrained:
        if degree(name) == 0:
            return "every set has it"
        state = "used" if mostly_used else "hardly used" if total else "not measured"
        return f"{state}; whether it is needed is open"
    if not any(d.estimate.has_interval for d in retrained):
        state = "used; " if mostly_used else "hardly used; " if total else ""
        return f"{state}one seed cannot show whether it is needed"
    needed = any(d.established and d.estimate.mean > 0 for d in retrained)
    harmful = any(d.established and d.estimate.mean < 0 for d in retrained)
    if needed and harmful:
        return "helps in some sets, harms in others"
    if harmful:
        return "networks are better without it"
    if needed:
        afterwards = not mostly_used and total > 0
        return (
            "worth having in training, though hardly used afterwards"
            if afterwards
            else ("worth having")
        )
    if mostly_used:
        return "used where it is present, but not shown to be needed"
    return "no sign that it is needed"


def _without(unit: str, retrained: Sequence[Difference]) -> str:
    """Say what training without it does."""
    if not retrained:
        return ""
    ordered = sorted(retrained, key=lambda d: d.estimate.mean)
    ends = [formatting.mean(d.estimate, sign=True) for d in (ordered[0], ordered[-1])]
    text = f"Training without it changes the error by {_range(ends)} {unit}"
    tested = [d for d in retrained if d.estimate.has_interval]
    if len(retrained) == 1:
        only = retrained[0]
        text += f" (`{only.irrep_set.label}` instead of `{only.other.label}`"
        if tested:
            text += f", {'' if only.established else 'not '}established"
        return f"{text})."
    established = sum(d.established for d in retrained)
    count = f"; {established} of {len(retrained)} established" if tested else ""
    return f"{text} ({len(retrained)} comparisons{count})."


def _removed(unit: str, mine: Sequence[Worth]) -> str:
    """Say what removing it from trained networks does."""
    shown = [worth for worth in mine if worth.ablation is not None]
    total = sum(worth.verdicts.total() for worth in shown)
    if not total:
        return ""
    used = sum(worth.verdicts["used"] for worth in shown)
    shares = sorted(worth.relative for worth in shown)
    share = _range([formatting.percent(value, sign=True) for value in (shares[0], shares[-1])])
    networks = "network" if total == 1 else "networks"
    return (
        f"{used} of {total} trained {networks} use it: removing it changes their error by {share}."
    )


def _range(texts: Sequence[str]) -> str:
    if texts[0] == texts[-1]:
        return texts[0]
    return f"{texts[0].removesuffix(f'{formatting.SPACE}%')} to {texts[-1]}"
