"""Errors of predictors without a network, and whether a network has learned more than they know.

Imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FACTOR = 2.0
"""A network whose error is not smaller than the last baseline's by this factor has learned too
little for its irreps to be judged."""


@dataclass(frozen=True)
class Baselines:
    """MAE of three predictors, fitted on a run's training part, in the target's reporting unit.

    Attributes
    ----------
    mean : float
        Predicts the training part's mean for every molecule; for a vector or tensor its mean over
        all orientations, which is zero.
    elements : float or None
        Linear in the number of atoms of every element, with an intercept. None for a vector or
        tensor, as counts have no direction.
    bonds : float or None
        Linear in these and in the number of bonds of every kind: two elements and a bond order.
    """

    mean: float
    elements: float | None = None
    bonds: float | None = None

    @property
    def strongest(self) -> float:
        """Error of the predictor that knows most."""
        return self.mean if self.bonds is None else self.bonds

    def to_results(self, prefix: str = "") -> dict[str, float]:
        """Name the errors as ``summary.json`` does.

        Parameters
        ----------
        prefix : str
            ``val_`` for errors on validation molecules; empty for test molecules.

        Returns
        -------
        dict
            ``baseline/mean_mae``, ``baseline/elements_mae`` and ``baseline/bonds_mae``, as far as
            there are such predictors.
        """
        errors = {
            f"baseline/{prefix}mean_mae": self.mean,
            f"baseline/{prefix}elements_mae": self.elements,
            f"baseline/{prefix}bonds_mae": self.bonds,
        }
        return {key: error for key, error in errors.items() if error is not None}


def baselines_of(results: Mapping[str, float]) -> Baselines | None:
    """Find the baselines on test molecules among a run's results.

    Parameters
    ----------
    results : mapping
        As in `records.summary.Summary.results`.

    Returns
    -------
    Baselines or None
        None if the run has none, because an earlier version of this program trained it.
    """
    keys = ("baseline/mean_mae", "baseline/elements_mae", "baseline/bonds_mae")
    if keys[0] not in results:
        return None
    return Baselines(results[keys[0]], results.get(keys[1]), results.get(keys[2]))


def learned_enough(test_mae: float, baselines: Baselines) -> bool:
    """Say whether a network beats the last baseline by `FACTOR`.

    Parameters
    ----------
    test_mae : float
        The network's MAE on the same molecules, in the same unit as the baselines.
    baselines : Baselines
        On test molecules.
    """
    return test_mae * FACTOR <= baselines.strongest


def describe_learning(test_mae: float, baselines: Baselines, unit: str) -> str:
    """Put a network's error beside the baselines, for the end of a run.

    Parameters
    ----------
    test_mae : float
        The network's MAE on test molecules, in `unit`.
    baselines : Baselines
        On the same molecules, in the same unit.
    unit : str
        E.g. ``meV``.

    Returns
    -------
    str
        One line with the baselines; if the network has learned too little, a second one says so.
    """
    if baselines.bonds is None:
        known = f"Without a network: {baselines.mean:.4g} {unit} from predicting zero"
        reach = "predicting zero reaches"
    else:
        known = (
            f"Without a network: {baselines.bonds:.4g} {unit} from element and bond counts, "
            f"{baselines.elements:.4g} from element counts, {baselines.mean:.4g} from the mean"
        )
        reach = "element and bond counts reach"
    if learned_enough(test_mae, baselines):
        return known
    return (
        f"{known}\n"
        f"This network has learned too little for its irreps to be judged: its test MAE of "
        f"{test_mae:.4g} {unit} is not {FACTOR:g} times smaller than the "
        f"{baselines.strongest:.4g} {unit} that {reach}. Train it longer, or on more molecules."
    )
