"""What penalties and pretraining change: ``python -m benchmarks.regularizers RUNS``.

Reads finished runs of ``sweeps/regularizers.yaml`` and prints, for each network and way of
training, the test error and how the irreps of degree above 0 are used. May import everything;
nothing imports it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.study.words import markdown, relative
from records.names import NETWORK
from records.standard_streams import make_standard_streams_safe
from reporting.compare.statistics import mean_interval
from reporting.read.irreps import degree_of
from reporting.read.runs import Run, find_runs, read_run
from reporting.read.utilization import single_irreps, whole_network
from reporting.words.formatting import plus_minus

PLAIN = "nothing"
EFFECTS = ("refitted", "missed")
Way = tuple[str, str]
"""Network, and what was done to it."""


def way_of(run: Run) -> Way:
    """Say how a run was trained.

    Parameters
    ----------
    run : Run
        Finished.
    """
    options = run.configuration
    done = [
        f"`{name.partition('.')[2]}` {options[name]:g}"
        for name in ("model.group_lasso", "model.power_balance")
        if options.get(name)
    ]
    if epochs := options.get("pretraining.epochs"):
        done.append(f"{epochs} epochs of pretraining")
    return str(options.get("model.network", "convnet")), ", ".join(done)


def collect(runs: Sequence[Run]) -> dict[Way, dict[int, Run]]:
    """Sort finished runs by way of training and seed.

    Parameters
    ----------
    runs : sequence of Run
        Those that were trained for longer than most are named so.

    Returns
    -------
    dict
        Ways of one network beside each other, the plain one first.
    """
    usual = min((run.summary.epochs or 0 for run in runs), default=0)
    found: dict[Way, dict[int, Run]] = {}
    for run in runs:
        network, done = way_of(run)
        if run.summary.epochs != usual:
            done = f"{run.summary.epochs} epochs instead of {usual}"
        found.setdefault((network, done or PLAIN), {})[run.seed or 0] = run
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1] != PLAIN, item[0])))


def power_above_zero(run: Run) -> float:
    """Average the share of power that degrees above 0 have over the layers that use them.

    Parameters
    ----------
    run : Run
        With measured utilization.
    """
    shares: dict[str, float] = {}
    for row in run.best_utilization.rows if run.best_utilization else []:
        if row.layer != NETWORK and degree_of(row.irrep) > 0 and row.reachable and row.channels:
            shares[row.layer] = shares.get(row.layer, 0.0) + row.power_share
    return sum(shares.values()) / len(shares) if shares else math.nan


def effect(run: Run, irrep: str, measure: str) -> float:
    """Look up the growth of the validation MAE without an irrep of all layers, in per cent.

    Parameters
    ----------
    run : Run
    irrep : str
        For example ``1o``.
    measure : str
        One of `EFFECTS`.
    """
    if run.best_utilization is None:
        return math.nan
    rows = whole_network(run.best_utilization, irrep)
    values = [row.effects[measure].value for row in rows if measure in row.effects]
    return 100 * values[0] / run.best_utilization.mae if values else math.nan


def table(runs: Sequence[Run]) -> str:
    """Write the comparison as a Markdown table.

    Parameters
    ----------
    runs : sequence of Run
        Finished runs of the sweep.
    """
    found = collect(runs)
    irreps = sorted({irrep for run in runs for irrep in _irreps_above_zero(run)})
    columns = [(irrep, measure) for irrep in irreps for measure in EFFECTS]
    rows = []
    for (network, done), by_seed in found.items():
        errors = {seed: run.number("test/mae") or math.nan for seed, run in by_seed.items()}
        rows.append(
            [
                f"`{network}`",
                done,
                str(len(errors)),
                plus_minus(mean_interval(list(errors.values()))),
                _change(errors, found.get((network, PLAIN), {})) if done != PLAIN else "",
                f"{_mean([power_above_zero(run) for run in by_seed.values()]):.0%}",
                *(
                    f"{_mean([effect(run, *column) for run in by_seed.values()]):+.0f}"
                    for column in columns
                ),
            ]
        )
    header = ["network", "added", "seeds:", "test MAE, meV:", "change:", "power above l = 0:"]
    return markdown([*header, *(f"{irrep} {measure}, %:" for irrep, measure in columns)], rows)


def _irreps_above_zero(run: Run) -> list[str]:
    rows = single_irreps(run.best_utilization) if run.best_utilization else []
    return [row.irrep for row in rows if degree_of(row.irrep) > 0]


def _change(errors: Mapping[int, float], plain: Mapping[int, Run]) -> str:
    """Relative change of the error, paired by seed."""
    logs = [
        math.log(error / other)
        for seed, error in errors.items()
        if seed in plain and (other := plain[seed].number("test/mae"))
    ]
    return relative(mean_interval(logs)) if logs else ""


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="with finished runs")
    runs = [read_run(folder) for folder in find_runs(parser.parse_args().folders)]
    print(table([run for run in runs if run.finished]))


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
