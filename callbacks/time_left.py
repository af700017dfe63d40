"""How long training still takes, estimated from the part that this process has trained.

Imports the standard library only.
"""

from __future__ import annotations

import math
import time

MINUTE, HOUR, DAY = 60, 3600, 86_400


class TimeLeft:
    """Extrapolates the time that training has taken so far. Everything in between counts.

    Attributes
    ----------
    begin : float
        Epochs that were trained before the clock was started; a fraction within an epoch.
    """

    def __init__(self) -> None:
        self.begin = 0.0
        self._start: float | None = None

    def start(self, epochs: float) -> None:
        """Start the clock, unless it runs.

        Parameters
        ----------
        epochs : float
            Epochs trained until now.
        """
        if self._start is None:
            self.begin, self._start = epochs, time.perf_counter()

    def estimate(self, epochs: float, last: int | None) -> float | None:
        """Estimate the seconds that are left.

        Parameters
        ----------
        epochs : float
            Epochs trained until now.
        last : int or None
            Epochs to be trained in all; None or -1 if that is open.

        Returns
        -------
        float or None
            None as long as nothing is known.
        """
        trained = epochs - self.begin
        if self._start is None or last is None or last < 0 or trained <= 0:
            return None
        return (time.perf_counter() - self._start) * max(0.0, last - epochs) / trained


def in_words(seconds: float) -> str:
    """Write a duration with two units at most.

    Parameters
    ----------
    seconds : float
        Not negative.

    Returns
    -------
    str
        E.g. ``45 s``, ``12 min``, ``3 h 20 min`` or ``2 d 5 h``.
    """
    whole = math.ceil(seconds)
    if whole < 2 * MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{round(whole / MINUTE)} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
