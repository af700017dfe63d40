"""Axes for increases of an error: nearly linear around zero, logarithmic far from it.

Imports `reporting.plots.figure` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.plots.figure import Json, rounded

ZERO_COLOR = "#5a6773"
MAX_TICKS = 5
"""Most ticks to either side of zero."""


class SignedAxis:
    """An axis that shows values of both signs and of very different sizes.

    Parameters
    ----------
    values : sequence of float
        What will be shown; NaN is ignored.
    unit : float
        Up to this absolute value the axis is nearly linear; positive.
    """

    def __init__(self, values: Sequence[float], unit: float) -> None:
        finite = [value for value in values if math.isfinite(value)]
        self.unit = unit
        self.low = min(finite, default=0.0)
        self.high = max(finite, default=0.0)

    def place(self, value: float) -> float:
        """Return the coordinate of a value."""
        return math.asinh(value / self.unit)

    def layout(self, title: str) -> Json:
        """Return the axis for Plotly.

        Parameters
        ----------
        title : str
        """
        ticks = self._ticks()
        return {
            "title": {"text": title},
            "tickvals": rounded(self.place(tick) for tick in ticks),
            "ticktext": [_tick_text(tick) for tick in ticks],
            "zeroline": True,
            "zerolinecolor": ZERO_COLOR,
        }

    def error_bars(self, values: Sequence[float], ends: Sequence[tuple[float, float]]) -> Json:
        """Return the distances from coordinates of values to those of their intervals' ends.

        Parameters
        ----------
        values : sequence of float
        ends : sequence of tuple of float
            Lower and upper end of each interval.
        """
        return {
            "type": "data",
            "symmetric": False,
            "array": rounded(
                self.place(high) - self.place(x) for x, (_, high) in zip(values, ends, strict=True)
            ),
            "arrayminus": rounded(
                self.place(x) - self.place(low) for x, (low, _) in zip(values, ends, strict=True)
            ),
        }

    def _ticks(self) -> list[float]:
        """Choose zero and powers of ten that lie within the values, at most `MAX_TICKS` a side."""
        first = math.ceil(math.log10(self.unit))
        found = [0.0]
        for end, sign in ((self.high, 1.0), (-self.low, -1.0)):
            last = max(first, math.floor(math.log10(end))) if end > 0 else first - 1
            powers = list(range(first, last + 1))
            step = max(1, math.ceil(len(powers) / MAX_TICKS))
            found += [sign * 10.0**power for power in powers[::-1][::step]]
        return sorted(found)


def _tick_text(value: float) -> str:
    if value == 0:
        return "0"
    return ("+" if value > 0 else "\N{MINUS SIGN}") + f"{abs(value):,.9g}"
