"""From command to answer: ``python -m benchmarks.whole_answers [quickstart] [study]``.

``quickstart`` runs ``python sweep.py sweeps/quickstart.yaml`` in a fresh folder until its report is
written, and divides the CPU time by what it was spent on: `benchmarks.whole_quickstart`.

``study`` asks for the order of nine degree sets: l = 0 with every subset of 1, 2, 3, and
l = 0, ..., 4. It has three seeds and the scale of ``benchmarks.nested``'s quickstart, and answers
by 27 separate trainings, and by three nested ones, one per seed, at a fifth of their cost or less.
Then it prints both costs, the correlation between the two orders, and what the nested trainings say
of those pairs of sets whose order the separate ones resolve. Every result is a row of a CSV file,
and rows that are there are not computed again, so the benchmark may be killed and started again.

May import everything but the programs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from analysis.decomposition import degree_label
from benchmarks.nested import RECIPES, SEPARATE, Result, Results, Scale, run
from benchmarks.whole_quickstart import measure_quickstart
from records.standard_streams import make_standard_streams_safe
from reporting.compare.statistics import Estimate, mean_interval, paired_difference

ROOT = Path(__file__).parents[1]
SCALE: Scale = "nine"
WAYS = ("uniform@0.17", "uniform@0.15")
"""Nine and eight epochs, where the separate trainings of a seed have 54 together. A nested step
costs more than theirs on average."""
SEEDS = (0, 1, 2)
KEPT = ROOT / "results" / "nested" / "benchmark.csv"
"""Holds the same separate trainings of eight of the sets."""


@dataclass(frozen=True)
class Pair:
    """What both ways say of two sets.

    Attributes
    ----------
    sets : tuple of str
        E.g. ``0,1`` and ``0,2``.
    separate : Estimate
        Error of the first set minus that of the second, separately trained, paired by seed; meV.
    nested : Estimate
        The same from nested trainings.
    """

    sets: tuple[str, str]
    separate: Estimate
    nested: Estimate

    @property
    def resolved(self) -> bool:
        """Whether the separate trainings' interval excludes zero."""
        return self.separate.low > 0 or self.separate.high < 0

    @property
    def agrees(self) -> bool:
        """Whether the nested trainings' mean difference has the same sign."""
        return self.separate.mean * self.nested.mean > 0


def take_over(results: Results, kept: Results, seeds: Sequence[int]) -> None:
    """Take over separate trainings that were done before, without their cost.

    Costs of other days are not comparable, so they become NaN.

    Parameters
    ----------
    results : Results
        Extended by what they lack.
    kept : Results
        Of `benchmarks.nested`, at the scale ``quickstart``: the same recipe with fewer sets.
    seeds : sequence of int
        Which seeds to take over.
    """
    known = {(row.degrees, row.seed) for row in results.rows if row.way == SEPARATE}
    same = [
        replace(row, scale=SCALE, cpu_seconds=float("nan"))
        for seed in seeds
        for row in kept.find("quickstart", SEPARATE, seed)
        if (row.degrees, seed) not in known
    ]
    results.add(same)


def errors(rows: Sequence[Result], way: str) -> dict[str, dict[int, float]]:
    """Collect the errors of one way by set and seed, in the order of the recipe.

    Parameters
    ----------
    rows : sequence of Result
        Of the study.
    way : str
        E.g. ``separate``.
    """
    found: dict[str, dict[int, float]] = {}
    for degrees in RECIPES[SCALE].compared:
        name = degree_label(degrees)
        by_seed = {r.seed: r.mae for r in rows if (r.way, r.degrees) == (way, name)}
        if by_seed:
            found[name] = by_seed
    return found


def cost(rows: Sequence[Result], way: str) -> float:
    """Sum up the CPU seconds of all trainings of one way.

    A separate training that was taken over counts as much as the others of its set.

    Parameters
    ----------
    rows : sequence of Result
        Of the study.
    way : str
        E.g. ``separate``.
    """
    own = [row for row in rows if row.way == way]
    if way != SEPARATE:  # a nested training's cost stands in each of its rows
        return sum({row.seed: row.cpu_seconds for row in own}.values())
    total = 0.0
    for degrees in dict.fromkeys(row.degrees for row in own):
        seconds = [row.cpu_seconds for row in own if row.degrees == degrees]
        total += float(np.nanmean(seconds)) * len(seconds)
    return total


def pairs(rows: Sequence[Result], way: str) -> list[Pair]:
    """Compare every two sets, separately trained and nested.

    Parameters
    ----------
    rows : sequence of Result
        Of the study.
    way : str
        Of nested training.
    """
    separate, nested = errors(rows, SEPARATE), errors(rows, way)
    found = []
    for one, other in combinations([name for name in separate if name in nested], 2):
        differences = [paired_difference(of[one], of[other]) for of in (separate, nested)]
        if differences[0] is not None and differences[1] is not None:
            found.append(Pair((one, other), differences[0], differences[1]))
    return found


def summary(rows: Sequence[Result], way: str) -> Iterator[str]:
    """Say what both ways cost, and where they agree.

    Parameters
    ----------
    rows : sequence of Result
        Of the study.
    way : str
        Of nested training.

    Yields
    ------
    str
        Lines of Markdown.
    """
    separate, nested = errors(rows, SEPARATE), errors(rows, way)
    names = [name for name in separate if name in nested]
    means = [[float(np.mean([*of[n].values()])) for n in names] for of in (separate, nested)]
    spent = cost(rows, way), cost(rows, SEPARATE)
    trainings = [sum(len(of[name]) for name in names) for of in (separate, nested)]
    seeds = max(len(nested[name]) for name in names)
    yield (
        f"{way}: {seeds} nested trainings take {spent[0]:,.0f} CPU s, {trainings[0]} separate ones "
        f"{spent[1]:,.0f}: {spent[0] / spent[1]:.3f} of the cost"
    )
    rho, tau = (test(*means).statistic for test in (spearmanr, kendalltau))
    yield f"Order of the means: Spearman {rho:.3f}, Kendall {tau:.3f}"
    yield "\n| set | separate, meV | nested, meV |\n|---|---:|---:|"
    for name in names:
        cells = [_spread([*of[name].values()]) for of in (separate, nested)]
        yield f"| {name} | {cells[0]} | {cells[1]} |"
    compared = pairs(rows, way)
    resolved = [pair for pair in compared if pair.resolved]
    alone = [
        sum(pair.separate.mean * (nested[pair.sets[0]][seed] - nested[pair.sets[1]][seed]) > 0
            for pair in resolved)
        for seed in sorted(nested[names[0]])
    ]  # fmt: skip
    yield (
        f"\nThe separate trainings resolve {len(resolved)} of {len(compared)} pairs. The nested "
        f"ones put {sum(pair.agrees for pair in resolved)} of these in the same order; each alone "
        f"puts {', '.join(map(str, alone))}."
    )
    for pair in resolved:
        if not pair.agrees:
            one, other = pair.sets
            yield (
                f"{one} − {other}: {_interval(pair.separate)} meV separately, "
                f"{_interval(pair.nested)} nested"
            )


def _spread(values: Sequence[float]) -> str:
    found = mean_interval(values)
    return f"{found.mean:.1f} ± {found.sd:.1f}"


def _interval(of: Estimate) -> str:
    return f"{of.mean:+.1f} ({of.low:+.1f} to {of.high:+.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the answers.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; by default, that of the program.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("quickstart", "study")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="of nested training")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "whole_answers")
    parser.add_argument("--only-summary", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    wanted = options.parts or parts
    if unknown := [part for part in wanted if part not in parts]:
        parser.error(f"part {unknown[0]!r} is unknown: choose among {', '.join(parts)}")
    torch.set_num_threads(1)
    if "quickstart" in wanted:
        path = options.results / "quickstart.csv"
        print("\n".join(measure_quickstart(path, only_table=options.only_summary)), flush=True)
    if "study" in wanted:
        results = Results(options.results / "study.csv")
        if not options.only_summary:
            take_over(results, Results(KEPT), options.seeds[1:])
            for seed in options.seeds:
                run(SCALE, seed, options.ways, results)
        for way in options.ways:
            print("\n".join(summary(results.rows, way)), flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
