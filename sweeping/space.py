"""The configurations of a sweep, in the order and with the values of W&B's own engine.

Pure functions of `sweeping.file.Parameter`s; SciPy only for the beta distribution.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any

from sweeping.file import Parameter

Configuration = dict[str, Any]


def grid(parameters: Sequence[Parameter]) -> Iterator[Configuration]:
    """Enumerate a grid: product of the sorted parameters, the last varying fastest, no repetition.

    Values that YAML writes alike are one value (so 1 and 1.0 are two, 1 and 1 one), as in W&B.
    """
    seen = set()
    for values in itertools.product(*(_choices(parameter) for parameter in parameters)):
        key = json.dumps(values, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield nest(parameters, values)


def grid_size(parameters: Sequence[Parameter]) -> int:
    """Count a grid's configurations, repetitions included, without making them."""
    return math.prod(_count(parameter) for parameter in parameters)


def draws(parameters: Sequence[Parameter], seed: int) -> Iterator[Configuration]:
    """Draw configurations without end.

    W&B draws one uniform number for each parameter, constants too, and inverts the distribution;
    doing the same makes a seed's sequence that of `sweeps.random_search_next_runs` after
    `random.seed(seed)`.
    """
    generator = random.Random(seed)
    while True:
        yield nest(parameters, [_draw(p, generator.uniform(0.0, 1.0)) for p in parameters])


def _draw(parameter: Parameter, x: float) -> Any:
    try:
        value = quantile(parameter, x)
    except (ArithmeticError, ValueError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"parameter `{'.'.join(parameter.path)}` ({parameter.distribution}) draws no finite "
            f"number with {parameter.settings}; give it a smaller range"
        )
    return value


def distinct(configurations: Iterator[Configuration], count: int) -> Iterator[Configuration]:
    """Give the first `count` different configurations, fewer where there are no more to find."""
    seen: set[str] = set()
    since_last = 0
    while len(seen) < count and since_last < 1000:
        configuration = next(configurations, None)
        if configuration is None:
            return
        key = json.dumps(configuration, sort_keys=True)
        since_last += 1
        if key not in seen:
            seen.add(key)
            since_last = 0
            yield configuration


def nest(parameters: Sequence[Parameter], values: Sequence[Any]) -> Configuration:
    """Put values at their parameters' paths; keys sorted, as they reach the command line."""
    nested: Configuration = {}
    for parameter, value in zip(parameters, values, strict=True):
        level = nested
        for name in parameter.path[:-1]:
            level = level.setdefault(name, {})
        level[parameter.path[-1]] = value
    return nested


def quantile(parameter: Parameter, x: float) -> Any:
    """Invert a parameter's distribution at x in [0, 1]."""
    kind, given = parameter.distribution, parameter.settings
    if kind == "constant":
        return given["value"]
    if kind == "categorical":
        return given["values"][_integer(x, 0, len(given["values"]))]
    if kind == "categorical_w_probabilities":
        reached = itertools.accumulate(given["probabilities"])
        return given["values"][next((i for i, top in enumerate(reached) if x < top), -1)]
    if kind == "int_uniform":
        return _integer(x, given["min"], given["max"] + 1)
    value = _continuous(kind.removeprefix("q_"), given, x)
    if not kind.startswith("q_"):
        return value
    step = given.get("q", 1.0)
    rounded = round(value / step) * step
    return int(rounded) if isinstance(step, int) else float(rounded)


def _continuous(kind: str, given: dict[str, Any], x: float) -> float:
    if kind in ("normal", "log_normal"):
        value = NormalDist().inv_cdf(x) * given.get("sigma", 1.0) + given.get("mu", 0.0)
        return math.exp(value) if kind == "log_normal" else value
    if kind == "beta":
        from scipy.special import betaincinv

        return float(betaincinv(given.get("a", 1), given.get("b", 1), x))
    low, high = given["min"], given["max"]
    if kind.endswith("_values"):
        low, high = math.log(low), math.log(high)
    if kind == "uniform":
        return float(low + x * (high - low))
    if kind == "inv_log_uniform":
        return math.exp(-((1 - x) * (high - low) + low))
    if kind == "inv_log_uniform_values":
        return math.exp(-((1 - x) * (high - low) - high))
    return math.exp(x * (high - low) + low)


def _integer(x: float, low: int, high: int) -> int:
    """Invert the discrete uniform distribution on low, ..., high - 1."""
    return min(max(math.ceil(x * (high - low) + low) - 1, low), high - 1)


def _choices(parameter: Parameter) -> list[Any]:
    given = parameter.settings
    if parameter.distribution == "constant":
        return [given["value"]]
    if parameter.distribution == "categorical":
        return list(given["values"])
    if parameter.distribution == "int_uniform":
        return list(range(given["min"], given["max"] + 1))
    step = given.get("q", 1.0)
    return [given["min"] + step * i for i in range(_count(parameter))]


def _count(parameter: Parameter) -> int:
    given = parameter.settings
    if parameter.distribution == "int_uniform":
        return int(given["max"]) - int(given["min"]) + 1
    if parameter.distribution == "q_uniform":
        return math.ceil((given["max"] - given["min"]) / given.get("q", 1.0))
    return len(_choices(parameter))
