"""Numbers as text, with as many digits as are known.

Imports `reporting.compare.statistics` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.compare.statistics import Estimate

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
MAX_DECIMALS = 6
MAX_LISTED = 8
"""Most items of a list that are named in a sentence."""
NO_INTERVAL = "one seed: no interval exists"
"""Stands for an interval that cannot be computed."""
MINUTE, HOUR, DAY = 60, 3600, 86400


def plain(value: float | None, digits: int = 4) -> str:
    """Write a number with a few significant digits and without an exponent.

    Parameters
    ----------
    value : float or None
    digits : int
        Number of significant digits. All digits before the decimal point are written.

    Returns
    -------
    str
        An en dash for None and NaN.
    """
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value) or value == 0:
        return _minus(f"{value:g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return fixed(value, min(decimals, MAX_DECIMALS))


def fixed(value: float, decimals: int, sign: bool = False) -> str:
    """Write a number with a fixed number of decimals and a comma between thousands.

    Parameters
    ----------
    value : float
    decimals : int
    sign : bool
        Whether positive numbers get a plus sign.
    """
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    elif sign and value > 0:
        text = f"+{text}"
    return _minus(text)


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def whole(value: float | None) -> str:
    """Write a count, with a comma between thousands; an en dash for None and NaN."""
    return plain(None) if value is None or not math.isfinite(value) else fixed(value, 0)


def percent(value: float, sign: bool = False) -> str:
    """Write a fraction in per cent with about two digits.

    Parameters
    ----------
    value : float
    sign : bool
        Whether positive numbers get a plus sign.

    Returns
    -------
    str
        ``78 %``, ``0.5 %``.
    """
    if not math.isfinite(value):
        return plain(None)
    shown = 100 * value
    decimals = 0 if abs(shown) >= 10 or abs(shown) < 0.05 else 1
    return f"{fixed(shown, decimals, sign)}{SPACE}%"


def within(margin: float) -> str:
    """Write a margin given as a fraction: ``±5 %``."""
    return f"±{100 * margin:g}{SPACE}%"


def decimals_for(estimate: Estimate) -> int:
    """Choose how many decimals of an estimate are meaningful.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    int
        Those of two significant digits of the half-width; without an interval, of three
        significant digits of the mean.
    """
    half = estimate.half_width
    if half > 0:
        return min(MAX_DECIMALS, max(0, 1 - math.floor(math.log10(half))))
    if estimate.mean == 0:
        return 0
    return min(MAX_DECIMALS, max(0, 2 - math.floor(math.log10(abs(estimate.mean)))))


def mean(estimate: Estimate | None, sign: bool = False) -> str:
    """Write the mean of an estimate; an en dash for None.

    Parameters
    ----------
    estimate : Estimate or None
    sign : bool
        Whether positive numbers get a plus sign.
    """
    return plain(None) if estimate is None else fixed(estimate.mean, decimals_for(estimate), sign)


def plus_minus(estimate: Estimate | None, sign: bool = False) -> str:
    """Write the mean of an estimate and the half-width of its interval.

    Parameters
    ----------
    estimate : Estimate or None
    sign : bool
        Whether positive numbers get a plus sign.

    Returns
    -------
    str
        ``45.2 ± 2.1``, or the mean alone if there is no interval.
    """
    if estimate is None or not estimate.has_interval:
        return mean(estimate, sign)
    return (
        f"{mean(estimate, sign)}{SPACE}±{SPACE}{fixed(estimate.half_width, decimals_for(estimate))}"
    )


def interval(estimate: Estimate) -> str:
    """Write the interval of an estimate.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    str
        ``43.1 to 47.3``, or `NO_INTERVAL`.
    """
    if not estimate.has_interval:
        return NO_INTERVAL
    decimals = decimals_for(estimate)
    return f"{fixed(estimate.low, decimals)} to {fixed(estimate.high, decimals)}"


def p_value(value: float) -> str:
    """Write a p-value.

    Parameters
    ----------
    value : float

    Returns
    -------
    str
        ``< 0.001``, ``0.032``.
    """
    if math.isnan(value):
        return plain(None)
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """Write a time span.

    Parameters
    ----------
    seconds : float or None

    Returns
    -------
    str
        ``42 s``, ``3.5 min``, ``2.1 h``, ``1.4 d``.
    """
    if seconds is None or not math.isfinite(seconds):
        return plain(None)
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{plain(seconds / size, 2)}{SPACE}{unit}"
    return f"{plain(seconds, 2)}{SPACE}s"


def join_first(texts: Sequence[str]) -> str:
    """Join texts with commas; of a long list, the first few and how many more there are."""
    more = len(texts) - MAX_LISTED
    if more <= 1:
        return ", ".join(texts)
    return f"{', '.join(texts[:MAX_LISTED])} and {more} more"
