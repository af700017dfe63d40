"""What a piece of work costs at one size, and the table that shows how the cost grows.

Imports the standard library and `benchmarks.memory` only.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from benchmarks import memory

Found = TypeVar("Found")
SMALLEST = 2e-3
"""CPU seconds, or MB, from which on exponents are shown."""


@dataclass(frozen=True)
class Cost:
    """One row of the results.

    Attributes
    ----------
    axis : str
        What grows, a key of `benchmarks.scale.axes.AXES`.
    part : str
        What was done.
    size : int
        How many molecules, runs, trials or atoms.
    round : int
        Which repetition, each in a process of its own.
    cpu_seconds : float
        CPU time of the process, user and system, all threads.
    peak_mb : float
        Peak of resident memory above what was resident before.
    output_mb : float
        What was written; NaN if nothing was.
    """

    axis: str
    part: str
    size: int
    round: int
    cpu_seconds: float
    peak_mb: float
    output_mb: float


@dataclass
class Meter:
    """Measures parts of a piece of work, one after the other.

    Attributes
    ----------
    axis : str
        What grows.
    size : int
        How far.
    round : int
        Which repetition.
    costs : list of Cost
        What was measured so far.
    """

    axis: str
    size: int
    round: int
    costs: list[Cost]

    def measure(
        self,
        part: str,
        work: Callable[[], Found],
        output_mb: Callable[[Found], float] | None = None,
    ) -> Found:
        """Do a piece of work.

        Parameters
        ----------
        part : str
            What it is called.
        work : callable
            Does it.
        output_mb : callable, optional
            Size of what the work has written.

        Returns
        -------
        Found
            What `work` returns.
        """
        before = memory.reset_peak()
        begin = time.process_time()
        found = work()
        seconds = time.process_time() - begin
        above = memory.peak() - before
        written = output_mb(found) if output_mb else math.nan
        cost = Cost(self.axis, part, self.size, self.round, seconds, above, written)
        self.costs.append(cost)
        return found


def exponent(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Compute the local exponent of growth, log(cost ratio) / log(size ratio).

    1 is linear and 2 quadratic growth. A constant part of the cost makes it smaller.

    Parameters
    ----------
    before, after : tuple of float
        Size and cost, both positive.
    """
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])


HEAD = ("work", "size", "CPU s", "ms per unit", "exponents", "peak MB", "exponents")


def table(rows: Sequence[Cost], unit: str) -> Iterator[str]:
    """Lay out the costs of one axis as rows of Markdown below `HEAD`, a row for each part.

    Parameters
    ----------
    rows : sequence of Cost
        Of one axis. Medians over rounds are shown.
    unit : str
        What is counted, plural: ``molecules``.

    Yields
    ------
    str
        Smallest and largest size with their costs, and the exponents from each size to the next.
    """
    for part in dict.fromkeys(row.part for row in rows):
        sizes = sorted({row.size for row in rows if row.part == part})
        found = [[row for row in rows if (row.part, row.size) == (part, size)] for size in sizes]
        cpu, peak, output = (
            [statistics.median(getattr(row, name) for row in at_size) for at_size in found]
            for name in ("cpu_seconds", "peak_mb", "output_mb")
        )
        written = "" if math.isnan(output[0]) else f", {_ends(output)} MB written"
        cells = [
            f"{part}{written}",
            f"{_ends(sizes, 0)} {unit}",
            _ends(cpu),
            _ends([1000 * each / size for each, size in zip(cpu, sizes)]),
            _exponents(sizes, cpu),
            _ends(peak),
            _exponents(sizes, peak),
        ]
        yield f"| {' | '.join(cells)} |"


def _ends(values: Sequence[float], digits: int = 2) -> str:
    """Write the first and the last value, with so many digits that count."""
    return " … ".join(_number(value, digits) for value in dict.fromkeys((values[0], values[-1])))


def _number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"


def _exponents(sizes: Sequence[int], costs: Sequence[float]) -> str:
    """Write the exponents step by step; a dash where a cost cannot be told from nothing."""
    return " ".join(
        f"{exponent(before, after):.1f}" if min(before[1], after[1]) >= SMALLEST else "–"
        for before, after in pairwise(zip(sizes, costs))
    )
