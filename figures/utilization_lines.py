"""What every block is worth, as lines for the terminal. Imports `records` only."""

from __future__ import annotations

import math

from records.names import NETWORK
from records.utilization import Utilization


def utilization_lines(
    utilization: Utilization, unit: str, untrained: Utilization | None = None
) -> str:
    """Say what every block is worth, one a line.

    Parameters
    ----------
    utilization : Utilization
        Trained network.
    unit : str
        Of MAE and ablation.
    untrained : Utilization, optional
        The same network before training, to compare with.

    Returns
    -------
    str
        Lines such as ``layer 3, 1o: used, +41 meV [35, 47] when removed (untrained: +2)``.
    """
    before = {(row.layer, row.irrep): row for row in untrained.rows} if untrained else {}
    lines = []
    for row in utilization.rows:
        where = "all layers" if row.layer == NETWORK else row.layer.replace("layer", "layer ")
        line = f"{where}, {row.irrep}: {row.verdict}"
        if row.reachable:
            value, low, high = _rounded(row.ablation, row.ablation_low, row.ablation_high)
            line += f", {_signed(value)} {unit} [{low}, {high}] when removed"
            earlier = before.get((row.layer, row.irrep))
            if earlier is not None:
                values = (earlier.ablation, earlier.ablation_low, earlier.ablation_high)
                line += f" (untrained: {_signed(_rounded(*values)[0])})"
        lines.append(line)
    return "\n".join(lines)


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
