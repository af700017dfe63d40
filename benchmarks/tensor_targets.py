"""What each degree is worth, by rank of the target: ``python -m benchmarks.tensor_targets RUNS``.

Reads finished runs of ``sweeps/tasks.yaml`` or ``sweeps/tasks_small.yaml`` and prints Markdown
tables. With ``--check`` it checks the targets by GFN2-xTB instead: against QM9's own dipoles, and
their cost. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qm9.cache import load_or_build
from qm9.single_point import Moments, compute_moments
from records.standard_streams import make_standard_streams_safe
from reporting.compare.statistics import Estimate, mean_interval
from reporting.compare.target_ranks import Degrees, Errors, inner_degrees, worth
from reporting.read.runs import Run, find_runs, read_run

SETS: tuple[Degrees, ...] = ((), (1,), (2,), (1, 2))


def errors_by_target(runs: Sequence[Run], metric: str = "test/mae") -> dict[str, Errors]:
    """Collect the errors of finished runs.

    Parameters
    ----------
    runs : sequence of Run
    metric : str
        A result of the runs.

    Returns
    -------
    dict
        By target, in the order of their rank.
    """
    found: dict[str, dict[Degrees, dict[int, float]]] = {}
    for run in sorted(runs, key=lambda run: (run.summary.rank or 0, run.target)):
        error = run.number(metric)
        if run.finished and error is not None and run.seed is not None:
            found.setdefault(run.target, {}).setdefault(inner_degrees(run), {})[run.seed] = error
    return dict(found)


def in_percent(estimate: Estimate | None) -> str:
    """Write a relative growth with its 95 % interval."""
    if estimate is None:
        return ""
    text = f"{100 * estimate.mean:+.0f}"
    return f"{text} ± {100 * estimate.half_width:.0f}" if estimate.has_interval else text


def with_interval(values: Sequence[float]) -> str:
    """Write a mean over seeds with its 95 % interval."""
    estimate = mean_interval(values)
    text = f"{estimate.mean:.3g}"
    return f"{text} ± {estimate.half_width:.2g}" if estimate.has_interval else text


def tables(runs: Sequence[Run]) -> str:
    """Write the two tables, of errors and of what the degrees are worth.

    Parameters
    ----------
    runs : sequence of Run
    """
    known = errors_by_target(runs)
    about = {run.target: run for run in runs}
    lines = [
        "| target | rank | seeds | without a network | l = 0 | 0, 1 | 0, 2 | 0, 1, 2 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for target, errors in known.items():
        run = about[target]
        zero = run.number("baseline/bonds_mae") or run.number("baseline/mean_mae") or float("nan")
        cells = [with_interval(list(errors[s].values())) if s in errors else "" for s in SETS]
        seeds = max(len(by_seed) for by_seed in errors.values())
        head = f"| {target}, {run.unit} | {run.summary.rank or 0} | {seeds} | {zero:.3g} | "
        lines.append(head + " | ".join(cells) + " |")
    lines += [
        "",
        "| target | rank | l = 1, beside 0 | l = 1, beside 0 and 2 | l = 2, beside 0 | "
        "l = 2, beside 0 and 1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for target, errors in known.items():
        one, two = worth(errors, 1), worth(errors, 2)
        cells = [
            in_percent(found.get(degrees))
            for found, degrees in ((one, (1,)), (one, (1, 2)), (two, (2,)), (two, (1, 2)))
        ]
        rank = about[target].summary.rank or 0
        lines.append(f"| {target} | {rank} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def check(count: int, seed: int = 0) -> None:
    """Compare dipoles by GFN2-xTB and of Mulliken charges with QM9's own, and measure the cost.

    Parameters
    ----------
    count : int
        Molecules, drawn at random.
    seed : int
        Of the draw.
    """
    data = load_or_build()
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:count])
    z, pos, offsets = data.z.numpy(), data.pos.numpy(), data.node_offsets.numpy()
    spans = [slice(offsets[row], offsets[row + 1]) for row in rows]
    begin = time.process_time()
    found: Moments = compute_moments([(z[span].astype(np.int64), pos[span]) for span in spans])
    cost = (time.process_time() - begin) / count
    mu = data.target("mu").numpy()[rows]
    known = ~np.isnan(found.energy)
    print(f"{count:,} molecules, {count - known.sum()} without convergence")
    print(f"{1000 * cost:.1f} ms of CPU time per molecule")
    print(f"all of QM9 extrapolated: {cost * len(data) / 60:.0f} minutes of one core")
    for name, vectors in (
        ("dipole", found.dipole),
        ("charge_dipole", data.charge_dipole.numpy()[rows]),
    ):
        norms = np.linalg.norm(vectors, axis=1)[known]
        correlation = np.corrcoef(norms, mu[known])[0, 1]
        mae, bias = np.abs(norms - mu[known]).mean(), (norms - mu[known]).mean()
        print(f"|{name}| against mu: correlation {correlation:.4f}, MAE {mae:.3f} D, ", end="")
        print(f"mean difference {bias:+.3f} D; mean of mu {mu.mean():.3f} D")


def main() -> None:
    """Print the tables, or the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders with finished runs")
    parser.add_argument("--check", type=int, metavar="COUNT", help="check this many molecules")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    if arguments.runs:
        print(tables([read_run(path) for path in find_runs(arguments.runs)]))


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
