"""What can be reached without a network, and how far below it the sets of a group are.

Imports `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from records.baselines import FACTOR, baselines_of
from reporting.compare.groups import TEST_MAE, Group, IrrepSet
from reporting.compare.statistics import Estimate, mean_interval
from reporting.read.runs import Run

PREDICTORS = {
    "mean": "the mean of the training molecules (zero for a vector or tensor)",
    "elements": "a linear fit to element counts",
    "bonds": "a linear fit to element and bond counts",
}
"""Predictors without a network and what each is, the weakest first."""


@dataclass(frozen=True)
class Baseline:
    """The error of one predictor without a network.

    Attributes
    ----------
    predictor : str
        Key of `PREDICTORS`.
    mae : Estimate
        Test MAE, reporting units: mean over the runs' splits.
    """

    predictor: str
    mae: Estimate


@dataclass(frozen=True)
class Learning:
    """How far below the best baseline the sets of a group are.

    Attributes
    ----------
    baselines : list of Baseline
        In the order of `PREDICTORS`; those that were recorded.
    best : Baseline
        The one with the smallest error.
    multiples : dict of str to Estimate
        By the irreps of a set: its error divided by that of the best baseline for the same
        molecules, mean over seeds.
    """

    baselines: list[Baseline]
    best: Baseline
    multiples: dict[str, Estimate]

    def learned_enough(self, irrep_set: IrrepSet) -> bool:
        """Say whether a set beats the best baseline by `records.baselines.FACTOR`.

        Parameters
        ----------
        irrep_set : IrrepSet
        """
        return self.multiples[irrep_set.irreps].mean * FACTOR <= 1


def compare_with_baselines(group: Group) -> Learning | None:
    """Compare the sets of a group with predictors without a network.

    Parameters
    ----------
    group : Group

    Returns
    -------
    Learning or None
        None if no baseline was recorded, or if the runs were not tested.
    """
    errors = [_errors(run) for run in group.counted_runs]
    known = [name for name in PREDICTORS if errors and all(name in one for one in errors)]
    if group.metric != TEST_MAE or not known:
        return None
    baselines = [Baseline(name, _over_splits(group, name)) for name in known]
    best = min(baselines, key=lambda baseline: baseline.mae.mean)
    multiples = {
        one.irreps: mean_interval(
            [
                mae / _errors(run)[best.predictor]
                for run in one.runs
                if (mae := run.number(TEST_MAE)) is not None
            ]
        )
        for one in group.sets
    }
    return Learning(baselines, best, multiples)


def _errors(run: Run) -> dict[str, float]:
    """Return the errors of the predictors on a run's test molecules."""
    found = baselines_of(run.summary.results)
    if found is not None:
        errors = {"mean": found.mean, "elements": found.elements, "bonds": found.bonds}
        return {name: error for name, error in errors.items() if error is not None}
    mae = run.number("test/mae_of_mean")
    return {} if mae is None else {"mean": mae}


def _over_splits(group: Group, predictor: str) -> Estimate:
    """Average over seeds. Sets share the molecules of a seed, so each seed counts once."""
    by_seed: dict[int, float] = {}
    for run in group.counted_runs:
        if run.seed is not None:
            by_seed[run.seed] = _errors(run)[predictor]
    values: Sequence[float] = list(by_seed.values())
    return mean_interval(values if len(set(values)) > 1 else values[:1])
