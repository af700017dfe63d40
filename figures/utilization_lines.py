"""What every irrep is worth, as lines for the terminal. Imports `records` only."""

from __future__ import annotations

import math

from records.names import NETWORK
from records.utilization import PAIR, Effect, Utilization


def utilization_lines(
    utilization: Utilization, unit: str, untrained: Utilization | None = None
) -> str:
    """Say what every irrep, and every pair of irreps, is worth in all layers at once.

    Parameters
    ----------
    utilization : Utilization
        Trained network.
    unit : str
        Unit of the MAE and of all effects.
    untrained : Utilization, optional
        The same network before training, to compare with.

    Returns
    -------
    str
        A heading for each irrep, and lines such as
        ``reliance    +41 meV [35, 47]  relied on  (untrained +2)``.
    """
    before = {(row.layer, row.irrep): row for row in untrained.rows} if untrained else {}
    lines = []
    for row in (row for row in utilization.rows if row.layer == NETWORK):
        name = row.irrep.replace(PAIR, " and ")
        if row.irrep == "0e":
            name += " (set to its mean; not to be ranked beside l > 0)"
        lines.append(f"{name}{'' if row.reachable else ': unreachable'}")
        earlier = before.get((row.layer, row.irrep))
        for measure, effect in row.effects.items():
            at_start = earlier.effects.get(measure) if earlier else None
            lines.append(f"  {_effect_text(measure, effect, unit, at_start)}")
    return "\n".join(lines)


def _effect_text(measure: str, effect: Effect, unit: str, untrained: Effect | None) -> str:
    value, low, high = _rounded(effect.value, effect.low, effect.high)
    text = f"{measure:<11} {_signed(value)} {unit} [{low}, {high}]  {effect.verdict}"
    if untrained is not None:
        before, *_ = _rounded(untrained.value, untrained.low, untrained.high)
        text += f"  (untrained {_signed(before)})"
    return text


def _rounded(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Numbers with as many decimals as the interval's half-width has to its first digit."""
    half = (high - low) / 2
    decimals = max(0, -math.floor(math.log10(half))) if 0 < half < math.inf else 0
    if value == low == high == 0:
        return "0", "0", "0"
    texts = [f"{number:,.{min(decimals, 9)}f}" for number in (value, low, high)]
    # "-0" and "-0.0" are zero.
    value_, low_, high_ = (t.lstrip("-") if float(t.replace(",", "")) == 0 else t for t in texts)
    return value_, low_, high_


def _signed(number: str) -> str:
    return number if number.startswith("-") or number.strip("0.") == "" else f"+{number}"
