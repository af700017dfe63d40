"""The distributions of W&B's sweep files: what each may say, its inverse and its grid points.

One pydantic model per distribution of W&B's schema. The arithmetic is that of W&B's own engine
(package `sweeps` 0.2.0), so that a seed draws the same values. Imports pydantic, and SciPy only for
the beta distribution.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


Number = Annotated[int | float, PlainValidator(_number)]
"""An int or a float, kept as given: W&B tells 1 from 1.0. A bool is not a number."""
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]


class Distribution(BaseModel, ABC):
    """What one parameter of a sweep may be. The fields are the keys that the file may give."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @abstractmethod
    def inverse(self, x: float) -> Any:
        """Return the value below which a share `x` in [0, 1] of the distribution lies."""

    def quantile(self, x: float) -> Any:
        """Return the value that W&B draws for the uniform number `x` in [0, 1]."""
        return self.inverse(x)


class Enumerable(Distribution):
    """A distribution whose values a grid can enumerate."""

    @abstractmethod
    def count(self) -> int:
        """Count the grid points without making them."""

    @abstractmethod
    def choices(self) -> Sequence[Any]:
        """List the grid points, in W&B's order."""


class Quantized(Distribution):
    """A distribution whose values are rounded to multiples of `q`."""

    q: Positive = 1.0

    def quantile(self, x: float) -> int | float:
        """Return a multiple of `q`: an int if `q` is one."""
        rounded = round(self.inverse(x) / self.q) * self.q
        return int(rounded) if isinstance(self.q, int) else float(rounded)


class Constant(Enumerable):
    """`constant`: always the same value."""

    value: Any

    def inverse(self, x: float) -> Any:
        """Return the value, for every `x`."""
        return self.value

    def count(self) -> int:
        """Return 1."""
        return 1

    def choices(self) -> list[Any]:
        """List the value alone."""
        return [self.value]


class Categorical(Enumerable):
    """`categorical`: each value equally often."""

    values: list[Any] = Field(min_length=1)

    def inverse(self, x: float) -> Any:
        """Return the value whose share of [0, 1] holds `x`."""
        return self.values[_whole_number(x, 0, len(self.values))]

    def count(self) -> int:
        """Count the values, repetitions included."""
        return len(self.values)

    def choices(self) -> list[Any]:
        """List the values as they stand in the file."""
        return self.values


class WeightedCategorical(Distribution):
    """`categorical_w_probabilities`: each value with its own probability."""

    values: list[Any] = Field(min_length=1)
    probabilities: list[NonNegative]

    @model_validator(mode="after")
    def _check_probabilities(self) -> Self:
        if len(self.probabilities) != len(self.values):
            raise ValueError(
                f"give one probability per value, got {len(self.probabilities)} for "
                f"{len(self.values)} values"
            )
        if abs(sum(self.probabilities) - 1.0) > 1e-8:
            raise ValueError(f"probabilities {self.probabilities} do not sum to 1")
        return self

    def inverse(self, x: float) -> Any:
        """Return the first value whose cumulative probability exceeds `x`."""
        cumulative = itertools.accumulate(self.probabilities)
        return self.values[next((i for i, upper in enumerate(cumulative) if x < upper), -1)]


class IntUniform(Enumerable):
    """`int_uniform`: the whole numbers from `min` to `max`, both included."""

    min: int
    max: int

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _check_less(self.min, self.max)
        return self

    def inverse(self, x: float) -> int:
        """Return the whole number whose share of [0, 1] holds `x`."""
        return _whole_number(x, self.min, self.max + 1)

    def count(self) -> int:
        """Count the whole numbers."""
        return self.max - self.min + 1

    def choices(self) -> range:
        """List the whole numbers, ascending."""
        return range(self.min, self.max + 1)


class Uniform(Distribution):
    """`uniform` between `min` and `max`."""

    min: Number
    max: Number

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _check_less(self.min, self.max)
        return self

    def inverse(self, x: float) -> float:
        """Interpolate linearly."""
        return float(self.min + x * (self.max - self.min))


class LogUniform(Uniform):
    """`log_uniform`: exp(u) with u uniform; `min` and `max` are exponents."""

    def inverse(self, x: float) -> float:
        """Interpolate the exponent linearly."""
        return math.exp(x * (self.max - self.min) + self.min)


class LogUniformValues(Uniform):
    """`log_uniform_values`: log-uniform; `min` and `max` are values."""

    min: Positive

    def inverse(self, x: float) -> float:
        """Interpolate the logarithm linearly."""
        low, high = math.log(self.min), math.log(self.max)
        return math.exp(x * (high - low) + low)


class InverseLogUniform(Uniform):
    """`inv_log_uniform`: exp(-u) with u uniform; `min` and `max` are exponents."""

    def inverse(self, x: float) -> float:
        """Interpolate the exponent linearly, downwards."""
        return math.exp(-((1 - x) * (self.max - self.min) + self.min))


class InverseLogUniformValues(Uniform):
    """`inv_log_uniform_values`; `min` and `max` are values."""

    min: Positive

    def inverse(self, x: float) -> float:
        """Use the formula of W&B's engine, which subtracts the upper logarithm."""
        low, high = math.log(self.min), math.log(self.max)
        return math.exp(-((1 - x) * (high - low) - high))


class Normal(Distribution):
    """`normal` with mean `mu` and standard deviation `sigma`."""

    mu: Number = 0.0
    sigma: NonNegative = 1.0

    def inverse(self, x: float) -> float:
        """Invert the normal distribution."""
        return NormalDist().inv_cdf(x) * self.sigma + self.mu


class LogNormal(Normal):
    """`log_normal`: the exponential of a normal variable."""

    def inverse(self, x: float) -> float:
        """Invert the normal distribution and exponentiate."""
        return math.exp(super().inverse(x))


class Beta(Distribution):
    """`beta` with shape parameters `a` and `b`."""

    a: NonNegative = 1
    b: NonNegative = 1

    def inverse(self, x: float) -> float:
        """Invert the regularized incomplete beta function."""
        # Imported here because no other distribution needs SciPy, which loads slowly.
        from scipy.special import betaincinv

        return float(betaincinv(self.a, self.b, x))


class QuantizedUniform(Quantized, Uniform, Enumerable):
    """`q_uniform`: uniform, rounded; a grid steps from `min` by `q` and leaves `max` out."""

    @model_validator(mode="after")
    def _check_count(self) -> Self:
        try:
            self.count()
        except OverflowError:
            raise ValueError(f"q {self.q} is too small for {self.min} to {self.max}") from None
        return self

    def count(self) -> int:
        """Count the steps."""
        return math.ceil((self.max - self.min) / self.q)

    def choices(self) -> list[int | float]:
        """List the steps, ascending."""
        return [self.min + self.q * step for step in range(self.count())]


class QuantizedLogUniform(Quantized, LogUniform):
    """`q_log_uniform`."""


class QuantizedLogUniformValues(Quantized, LogUniformValues):
    """`q_log_uniform_values`."""


class QuantizedNormal(Quantized, Normal):
    """`q_normal`."""


class QuantizedLogNormal(Quantized, LogNormal):
    """`q_log_normal`."""


class QuantizedBeta(Quantized, Beta):
    """`q_beta`."""


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    "constant": Constant,
    "categorical": Categorical,
    "categorical_w_probabilities": WeightedCategorical,
    "int_uniform": IntUniform,
    "uniform": Uniform,
    "q_uniform": QuantizedUniform,
    "log_uniform": LogUniform,
    "log_uniform_values": LogUniformValues,
    "q_log_uniform": QuantizedLogUniform,
    "q_log_uniform_values": QuantizedLogUniformValues,
    "inv_log_uniform": InverseLogUniform,
    "inv_log_uniform_values": InverseLogUniformValues,
    "normal": Normal,
    "q_normal": QuantizedNormal,
    "log_normal": LogNormal,
    "q_log_normal": QuantizedLogNormal,
    "beta": Beta,
    "q_beta": QuantizedBeta,
}
"""Distributions by their names in sweep files."""


def _check_less(low: float, high: float) -> None:
    if low >= high:
        raise ValueError(f"min {low} is not less than max {high}")


def _whole_number(x: float, low: int, high: int) -> int:
    """Invert the discrete uniform distribution on low, ..., high - 1."""
    return min(max(math.ceil(x * (high - low) + low) - 1, low), high - 1)
