"""How do costs grow? ``python -m benchmarks.scale [--axes …]``.

Measures CPU time and peak memory at sizes in steps of 2, each in a process of its own: data and
training steps over QM9's molecules; reports over finished runs; local sweeps over trials; reading,
edges and training steps over the atoms of one structure. Every result is a row of a CSV file, and
rows that are there are not measured again, so the benchmark may be killed and started again. At the
end it prints a table: the costs at the smallest and the largest size, and the exponents from each
size to the next, log2 of the ratio of costs. 1 is linear growth, 2 quadratic.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.result_rows import ResultRows
from benchmarks.scale.axes import AXES, measure
from benchmarks.scale.costs import HEAD, Cost, table
from records.standard_streams import make_standard_streams_safe

ROOT = Path(__file__).parents[2]


def measure_apart(axis: str, size: int, number: int) -> list[Cost]:
    """Measure a size in a process of its own.

    Parameters
    ----------
    axis : str
        Key of `AXES`.
    size : int
        How far it has grown.
    number : int
        Which repetition.
    """
    command = [sys.executable, "-m", "benchmarks.scale", "--point", axis, str(size), str(number)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return [Cost(**cost) for cost in json.loads(done.stdout.splitlines()[-1])]


def measure_missing(
    results: ResultRows[Cost], axes: Sequence[str], rounds: int, largest: int | None = None
) -> None:
    """Measure what the results lack.

    Parameters
    ----------
    results : ResultRows
        Extended.
    axes : sequence of str
        Keys of `AXES`.
    rounds : int
        Repetitions of every size.
    largest : int, optional
        Leave out larger sizes.
    """
    known = {(row.axis, row.size, row.round) for row in results.rows}
    for number in range(rounds):
        for axis in axes:
            for size in AXES[axis].sizes:
                if (axis, size, number) in known or (largest is not None and size > largest):
                    continue
                costs = measure_apart(axis, size, number)
                results.add(costs)
                for cost in costs:
                    print(
                        f"{axis} {size:,}: {cost.part} {cost.cpu_seconds:.3f} s, "
                        f"{cost.peak_mb:.0f} MB",
                        flush=True,
                    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the tables.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; by default, that of the program.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--largest", type=int, metavar="SIZE", help="leave out larger sizes")
    parser.add_argument("--results", type=Path, default=ROOT / "results/scale/benchmark.csv")
    parser.add_argument("--only-summary", action="store_true", help="measure nothing")
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point:
        axis, size, number = options.point
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(axis, int(size), int(number), Path(folder))
        print(json.dumps([asdict(cost) for cost in costs]))
        return
    results = ResultRows(Cost, options.results)
    if not options.only_summary:
        measure_missing(results, options.axes, options.rounds, options.largest)
    print(f"\n| {' | '.join(HEAD)} |\n|---|---:{'|---:' * (len(HEAD) - 2)}|")
    for name in options.axes:
        for line in table([r for r in results.rows if r.axis == name], AXES[name].unit):
            print(line.replace("| ", f"| {AXES[name].title}: ", 1), flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
