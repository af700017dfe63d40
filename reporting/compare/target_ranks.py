"""What each degree is worth to targets of different rank: scalars, vectors and tensors.

Imports this package and `reporting.read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group
from reporting.compare.statistics import Estimate, mean_interval
from reporting.read.irreps import degree_of, parse_irreps
from reporting.read.runs import Run

INNER_IRREPS = "model.inner_irreps"
Degrees = tuple[int, ...]
"""Degrees above 0 that all layers but the last have."""
Errors = Mapping[Degrees, Mapping[int, float]]
"""Error of each set of degrees, by seed."""
RANKS = {0: "scalar", 1: "vector", 2: "tensor"}


@dataclass(frozen=True)
class DegreeWorth:
    """How much a target's error grows without a degree.

    Attributes
    ----------
    target : str
    rank : int
        0 for a scalar, 1 for a vector, 2 for a tensor.
    degree : int
        The degree that is left out.
    beside : tuple of int
        The other degrees above 0, which both networks have.
    growth : Estimate
        Error without the degree divided by error with it, minus 1; mean over seeds.
    """

    target: str
    rank: int
    degree: int
    beside: Degrees
    growth: Estimate


def inner_degrees(run: Run) -> Degrees:
    """Find the degrees above 0 of all layers but the last, which a readout may need.

    Parameters
    ----------
    run : Run
    """
    inner = run.configuration.get(INNER_IRREPS) or run.irreps
    return tuple(sorted({degree_of(irrep) for irrep in parse_irreps(inner)} - {0}))


def worth(errors: Errors, degree: int) -> dict[Degrees, Estimate]:
    """Estimate by how much the error grows without a degree, relatively.

    Parameters
    ----------
    errors : mapping
        Of one target.
    degree : int
        Above 0.

    Returns
    -------
    dict of tuple of int to Estimate
        By the set that has the degree, over the seeds that the set without it has as well.
    """
    found = {}
    for degrees, with_it in errors.items():
        without = errors.get(tuple(other for other in degrees if other != degree), {})
        seeds = sorted(set(with_it) & set(without))
        if degree in degrees and seeds:
            found[degrees] = mean_interval([without[s] / with_it[s] - 1 for s in seeds])
    return found


def compare_ranks(groups: Sequence[Group]) -> list[DegreeWorth]:
    """Compare what each degree is worth, in the company of all others, across targets.

    Parameters
    ----------
    groups : sequence of Group

    Returns
    -------
    list of DegreeWorth
        Scalars first. Empty unless there are targets of at least two ranks.
    """
    families: dict[tuple[int, str, str], dict[Degrees, dict[int, float]]] = {}
    for group in groups:
        for run in group.counted_runs:
            error = run.number(group.metric)
            if error is None or run.seed is None:
                continue
            key = (run.summary.rank or 0, run.target, _other_options(group))
            families.setdefault(key, {}).setdefault(inner_degrees(run), {})[run.seed] = error
    found = [
        DegreeWorth(target, rank, degree, tuple(d for d in degrees if d != degree), growth)
        for (rank, target, _), errors in sorted(families.items())
        for degree in sorted({d for degrees in errors for d in degrees})
        for degrees, growth in _in_most_company(worth(errors, degree))
    ]
    return found if len({one.rank for one in found}) > 1 else []


def _in_most_company(found: Mapping[Degrees, Estimate]) -> list[tuple[Degrees, Estimate]]:
    return [max(found.items(), key=lambda item: len(item[0]))] if found else []


def _other_options(group: Group) -> str:
    options = {k: v for k, v in group.configuration.items() if k != INNER_IRREPS}
    return repr(sorted(options.items(), key=lambda item: item[0]))
