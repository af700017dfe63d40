"""Means over seeds, differences paired by seed, and correction for multiple comparisons.

Imports NumPy and SciPy only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
NAN = math.nan


@dataclass(frozen=True)
class Estimate:
    """A mean and its t-interval.

    Attributes
    ----------
    mean : float
        Mean of the values, or of the paired differences.
    sd : float
        Standard deviation with n - 1 degrees of freedom; NaN for a single value.
    count : int
        Number of values or pairs.
    low, high : float
        Ends of the interval; NaN for a single value.
    p_value : float
        Two-sided p-value of the hypothesis that the true mean is zero. NaN for a single value, and
        if all values are zero.
    """

    mean: float
    sd: float
    count: int
    low: float
    high: float
    p_value: float

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval: a single value has none."""
        return not math.isnan(self.low)

    @property
    def half_width(self) -> float:
        """Half of the interval's width; NaN without an interval."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the mean of independent values with Student's t-interval.

    ``mean +- t(1 - (1 - confidence) / 2; n - 1) * s / sqrt(n)``, where s has n - 1 degrees of
    freedom. The interval assumes normal values, which a handful of seeds cannot confirm.

    Parameters
    ----------
    values : sequence of float
        [n] finite values, one per seed.
    confidence : float
        Probability that the interval covers the true mean, between 0 and 1.

    Returns
    -------
    Estimate
        Without interval and p-value if n is 1.

    Raises
    ------
    ValueError
        If there are no values, one is not finite, or `confidence` is out of range.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"mean_interval needs a list of at least one value, not {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"values {x.tolist()} are not all finite: leave such runs out")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must be between 0 and 1, e.g. 0.95")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, NAN, 1, NAN, NAN, NAN)
    freedom = x.size - 1
    sd = float(x.std(ddof=1))
    error = sd / math.sqrt(x.size)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(mean, sd, int(x.size), mean - half, mean + half, _p_value(mean, error, freedom))


def _p_value(mean: float, error: float, freedom: int) -> float:
    if error > 0:
        return float(2 * stdtr(freedom, -abs(mean) / error))
    return 0.0 if mean != 0 else NAN


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], confidence: float = CONFIDENCE
) -> Estimate | None:
    """Estimate the mean of ``values - reference`` over the seeds that both have.

    Pairing cancels what a seed does to both, through initial weights and order of batches.

    Parameters
    ----------
    values, reference : mapping of int to float
        Values by seed.
    confidence : float
        Probability that the interval covers the true mean, between 0 and 1.

    Returns
    -------
    Estimate or None
        None if they have no seed in common.

    Raises
    ------
    ValueError
        If a value is not finite, or `confidence` is out of range.
    """
    common = sorted(set(values) & set(reference))
    if not common:
        return None
    return mean_interval([values[seed] - reference[seed] for seed in common], confidence)


def mean_of_finite(values: Iterable[float]) -> float:
    """Return the mean of those values that are finite; NaN if none is."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else NAN


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjust p-values for the number of comparisons by Holm's step-down method.

    ``adjusted[(i)] = min(1, max over j <= i of (m - j + 1) p[(j)])`` for sorted p-values, see
    Holm, Scandinavian Journal of Statistics 6 (1979) 65. The method bounds the probability of any
    false finding among all comparisons, however they depend on each other.

    Parameters
    ----------
    p_values : sequence of float
        [m] p-values. NaN stands for a comparison without a test: it stays NaN and is not counted.

    Returns
    -------
    array
        [m] float64 adjusted p-values, in the order of `p_values`.

    Raises
    ------
    ValueError
        If a p-value is neither NaN nor between 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise ValueError(f"p-values {p.tolist()} are not all between 0 and 1")
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
