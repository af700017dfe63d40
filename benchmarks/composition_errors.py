"""How much of a network's error is composition: ``python -m benchmarks.composition_errors RUN …``.

Reads checkpoints of finished runs, predicts their test molecules, and takes away from the errors
what element counts can predict of them. Adds rows to ``results/composition_errors.csv`` and prints
their table; without runs it only prints. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.result_rows import ResultRows
from benchmarks.study.composition import FILE, CompositionErrors, composition_table
from pruning.subject import load_subject
from records.standard_streams import make_standard_streams_safe

FOLDS = 5


def mae_after_linear(errors: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Compute the MAE that a linear correction by element counts leaves, on molecules not fitted.

    Parameters
    ----------
    errors : array
        [molecules] float64, target minus prediction; any unit, which the result has, too.
    counts : array
        [molecules, elements] int64.
    """
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    correction = cross_val_predict(LinearRegression(), counts, errors, cv=folds)
    return float(np.abs(errors - correction).mean())


def mae_after_formula(errors: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Compute the MAE that is left when composition may say all that it can.

    The correction of a molecule is the mean error of all others with the same element counts.
    Molecules without such others are left out.

    Parameters
    ----------
    errors : array
        [molecules] float64, target minus prediction; any unit, which the result has, too.
    counts : array
        [molecules, elements] int64.

    Raises
    ------
    ValueError
        If no two molecules have the same element counts.
    """
    _, formula, sizes = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    shared = sizes[formula] > 1
    if not shared.any():
        raise ValueError("no two molecules have the same element counts: give more molecules")
    sums = np.bincount(formula, weights=errors)[formula][shared]
    of_others = (sums - errors[shared]) / (sizes[formula][shared] - 1)
    return float(np.abs(errors[shared] - of_others).mean())


@torch.no_grad()
def measure(run: Path) -> CompositionErrors:
    """Predict a run's test molecules and correct their errors by composition.

    Parameters
    ----------
    run : Path
        Finished run of `train.py` with a scalar target.

    Raises
    ------
    ValueError
        If it is no finished run, or its checkpoint is unusable.
    """
    subject = load_subject(run, torch.device("cpu"))
    data = subject.data
    steps = [subject.module.predict_step(b, i) for i, b in enumerate(data.test_dataloader())]
    rows, predicted, targets = (torch.cat(part).numpy() for part in zip(*steps))  # [molecules]
    errors = (targets - predicted)[np.argsort(rows)]
    counts = data.element_counts("test")[np.argsort(data.splits["test"].numpy())]
    options = subject.checkpoint["hyper_parameters"]
    return CompositionErrors(
        reference=options["reference"],
        irreps=options["irreps"],
        seed=subject.checkpoint["datamodule_hyper_parameters"]["split_seed"],
        run=run.name,
        molecules=len(errors),
        mae=float(np.abs(errors).mean()),
        after_linear=mae_after_linear(errors, counts),
        after_formula=mae_after_formula(errors, counts),
    )


def main() -> None:
    """Measure the runs that have no row, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="finished runs with their checkpoints")
    kept = ResultRows(CompositionErrors, FILE)
    for run in parser.parse_args().runs:
        if run.name not in {row.run for row in kept.rows}:
            kept.add([measure(run)])
    print(composition_table(kept.rows))


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
