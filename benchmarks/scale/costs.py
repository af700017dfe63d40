"""What a piece of work costs at one size, and the table that shows how the cost grows.

Imports the standard library and `benchmarks.memory` only.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks import memory

Found = TypeVar("Found")


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


def table(rows: Sequence[Cost], unit: str) -> Iterator[str]:
    """Lay out the costs of one axis as Markdown, medians over the rounds.

    Parameters
    ----------
    rows : sequence of Cost
        Of one axis.
    unit : str
        What is counted, plural: ``molecules``.

    Yields
    ------
    str
        Lines: for every part and size CPU seconds, CPU time per unit, the exponent of the CPU time
        from the size before it, and the same of the peak memory.
    """
    writes = any(not math.isnan(row.output_mb) for row in rows)
    one = unit.rstrip("s")
    head = ["part", unit, "CPU s", f"ms per {one}", "exponent", "peak MB", "exponent"]
    head += ["page MB"] if writes else []
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for part in dict.fromkeys(row.part for row in rows):
        before: tuple[int, float, float] | None = None
        for size in sorted({row.size for row in rows if row.part == part}):
            found = [row for row in rows if (row.part, row.size) == (part, size)]
            cpu, peak, output = (
                statistics.median(getattr(row, name) for row in found)
                for name in ("cpu_seconds", "peak_mb", "output_mb")
            )
            grows = [_exponent(before and (before[0], before[k]), (size, now))
                     for k, now in ((1, cpu), (2, peak))]  # fmt: skip
            cells = [part, f"{size:,}", f"{cpu:.3g}", f"{1000 * cpu / size:.3g}", grows[0]]
            cells += [f"{peak:.0f}", grows[1]] + ([_number(output)] if writes else [])
            yield f"| {' | '.join(cells)} |"
            before = (size, cpu, peak)


def _exponent(before: tuple[float, float] | None, after: tuple[float, float]) -> str:
    """Write an exponent; none where a cost is too small to be told from nothing."""
    if before is None or min(before[1], after[1]) < 1e-3:
        return "–"
    return f"{exponent(before, after):.2f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
