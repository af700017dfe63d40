"""The configurations of a sweep, in the order and with the values of W&B's own engine.

Imports this package only.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from sweeping.distributions import Enumerable
from sweeping.file import Parameter, SweepFile

LARGEST_GRID = 100_000
PATIENCE = 1000
"""Draws without a new configuration after which a search space counts as exhausted."""

Configuration = dict[str, Any]
"""Values by parameter, nested as in the sweep file."""


def configurations(sweep: SweepFile, count: int | None, seed: int) -> list[Configuration]:
    """List a sweep's configurations.

    Parameters
    ----------
    sweep : SweepFile
        Its `run_cap` limits the number too.
    count : int, optional
        At most this many.
    seed : int
        Seed of a random search; a grid does not use it.

    Raises
    ------
    ValueError
        If a random search has neither limit, or a grid is larger than `LARGEST_GRID`.
    """
    limits = [limit for limit in (sweep.run_cap, count) if limit is not None]
    if sweep.method == "grid":
        size = grid_size(sweep.parameters)
        if size > LARGEST_GRID:
            raise ValueError(
                f"the grid has {size:,} configurations, more than {LARGEST_GRID:,}; narrow it, or "
                "write `method: random` with a run_cap"
            )
        found = list(grid(sweep.parameters))
        return found[: min(limits, default=len(found))]
    if not limits:
        raise ValueError(
            "a random search does not end by itself; add `run_cap: 20` to the file or --count 20"
        )
    return list(distinct(draws(sweep.parameters, seed), min(limits)))


def grid(parameters: Sequence[Parameter]) -> Iterator[Configuration]:
    """Enumerate a grid: the product of the parameters, the last one varying fastest.

    A repeated configuration is left out. As in W&B, 1 and 1.0 are different values.

    Raises
    ------
    ValueError
        If a grid cannot enumerate a parameter's distribution.
    """
    seen = set()
    for values in itertools.product(*(_enumerable(p).choices() for p in parameters)):
        key = json.dumps(values, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield nest(parameters, values)


def grid_size(parameters: Sequence[Parameter]) -> int:
    """Count a grid's configurations, repetitions included, without making them."""
    return math.prod(_enumerable(parameter).count() for parameter in parameters)


def _enumerable(parameter: Parameter) -> Enumerable:
    if not isinstance(parameter.distribution, Enumerable):
        raise ValueError(f"a grid cannot enumerate `{parameter.label}` ({parameter.kind})")
    return parameter.distribution


def draws(parameters: Sequence[Parameter], seed: int) -> Iterator[Configuration]:
    """Draw configurations without end.

    W&B draws one uniform number per parameter, constants included, and inverts the distribution.
    Doing the same gives the sequence of `sweeps.random_search_next_runs` after `random.seed(seed)`.

    Raises
    ------
    ValueError
        If a distribution gives no finite number.
    """
    generator = random.Random(seed)
    while True:
        yield nest(parameters, [_draw(p, generator.uniform(0.0, 1.0)) for p in parameters])


def _draw(parameter: Parameter, x: float) -> Any:
    try:
        value = parameter.distribution.quantile(x)
    except (ArithmeticError, ValueError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        given = parameter.distribution.model_dump()
        raise ValueError(
            f"parameter `{parameter.label}` ({parameter.kind}) draws no finite number with "
            f"{given}; give it a smaller range"
        )
    return value


def distinct(found: Iterator[Configuration], count: int) -> Iterator[Configuration]:
    """Yield the first `count` different configurations, or all if there are fewer.

    The search ends after `PATIENCE` repetitions in a row.
    """
    seen: set[str] = set()
    since_last = 0
    while len(seen) < count and since_last < PATIENCE:
        configuration = next(found, None)
        if configuration is None:
            return
        key = json.dumps(configuration, sort_keys=True)
        since_last += 1
        if key not in seen:
            seen.add(key)
            since_last = 0
            yield configuration


def nest(parameters: Sequence[Parameter], values: Sequence[Any]) -> Configuration:
    """Put values at their parameters' paths.

    Parameters
    ----------
    parameters : sequence of Parameter
        Sorted, as `parse_parameters` returns them; the command line keeps their order.
    values : sequence
        One per parameter.
    """
    nested: Configuration = {}
    for parameter, value in zip(parameters, values, strict=True):
        level = nested
        for name in parameter.path[:-1]:
            level = level.setdefault(name, {})
        level[parameter.path[-1]] = value
    return nested
