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


@dataclass(frozen=True)
class PooledScatter:
    """Scatter over seeds, taken to be the same in all sets of a group.

    Attributes
    ----------
    sd : float
        Pooled standard deviation; NaN without freedom.
    freedom : int
        Degrees of freedom: the number of values minus the number of sets.
    """

    sd: float
    freedom: int

    def half_width(self, variance: float, confidence: float = CONFIDENCE) -> float:
        """Return half the width of a t-interval; NaN without freedom.

        Parameters
        ----------
        variance : float
            Variance of the quantity in units of `sd` squared: 1 / n for a mean of n seeds.
        confidence : float
            Probability that the interval covers the true value, between 0 and 1.
        """
        if not self.freedom:
            return NAN
        return float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.sd * math.sqrt(variance)


def pool(sets: Iterable[Sequence[float]]) -> PooledScatter:
    """Pool the scatter of several sets.

    ``s^2 = sum_i (n_i - 1) s_i^2 / sum_i (n_i - 1)``, where s_i is the standard deviation of set i.
    With few seeds per set its many degrees of freedom give much narrower intervals than each set's
    own scatter, if all sets scatter alike.

    Parameters
    ----------
    sets : iterable of sequence of float
        Values of each set; a set with a single value adds nothing.
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in sets if len(values) > 1]
    freedom = sum(x.size - 1 for x in arrays)
    if not freedom:
        return PooledScatter(NAN, 0)
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in arrays)
    return PooledScatter(math.sqrt(squares / freedom), freedom)


def pooled_mean(values: Sequence[float], scatter: PooledScatter) -> Estimate:
    """Estimate the mean of a set's values with the interval that the pooled scatter gives.

    Parameters
    ----------
    values : sequence of float
        [n] values of one set.
    scatter : PooledScatter
        Of all sets.
    """
    return _pooled(values, scatter, 1 / len(values))


def pooled_difference(differences: Sequence[float], scatter: PooledScatter) -> Estimate:
    """Estimate a mean difference between two sets with the interval from the pooled scatter.

    The variance is ``2 s^2 / n``. What a seed does to both sets makes the true one smaller, so that
    the interval is rather too wide.

    Parameters
    ----------
    differences : sequence of float
        [n] differences, one per seed that both sets have.
    scatter : PooledScatter
        Of all sets.
    """
    return _pooled(differences, scatter, 2 / len(differences))


def _pooled(values: Sequence[float], scatter: PooledScatter, variance: float) -> Estimate:
    mean, half = statistics.fmean(values), scatter.half_width(variance)
    error = scatter.sd * math.sqrt(variance)
    p_value = _p_value(mean, error, scatter.freedom) if scatter.freedom else NAN
    return Estimate(mean, scatter.sd, len(values), mean - half, mean + half, p_value)


def equivalence_p_value(difference: Estimate, scatter: PooledScatter, margin: float) -> float:
    """Test whether a difference lies within a margin, by two one-sided t-tests.

    At a level of 0.05 this rejects exactly if the 90 % interval lies within the margin; see
    Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657.

    Parameters
    ----------
    difference : Estimate
        As returned by `pooled_difference`.
    scatter : PooledScatter
        Of all sets.
    margin : float
        Largest difference to either side that does not matter.

    Returns
    -------
    float
        The larger of both p-values; NaN without freedom.
    """
    if not scatter.freedom:
        return NAN
    distance = margin - abs(difference.mean)
    error = scatter.sd * math.sqrt(2 / difference.count)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(scatter.freedom, -distance / error))


def needed_t(freedom: int, comparisons: int, level: float) -> float:
    """Return the |t| that the smallest p-value of several needs under Holm's correction.

    Parameters
    ----------
    freedom : int
        Degrees of freedom of each test.
    comparisons : int
        Number of comparisons made together.
    level : float
        Probability of any false finding.
    """
    return float(stdtrit(freedom, 1 - level / (2 * comparisons)))


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
