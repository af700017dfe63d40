"""`SubsetSchedule`: which degrees each step of nested training leaves out.

Imports NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

IrrepDropoutName = Literal["none", "uniform", "sizes", "sandwich"]


def check_irrep_dropout(kind: str, degrees: Sequence[int], compile: bool, cuda_graph: bool) -> None:
    """Refuse nested training where it is unknown, has nothing to leave out or could not run.

    Parameters
    ----------
    kind : str
        As given.
    degrees : sequence of int
        Degrees above 0 of the network.
    compile, cuda_graph : bool
        The options of the same names.

    Raises
    ------
    ValueError
        Says what was given and what is allowed.
    """
    allowed = get_args(IrrepDropoutName)
    if kind not in allowed:
        raise ValueError(f"irrep_dropout {kind!r} is unknown: choose one of {', '.join(allowed)}")
    if kind == "none":
        return
    if not degrees:
        raise ValueError(
            f"irrep_dropout {kind} leaves out degrees above 0, but the irreps have none: add some, "
            "or choose irrep_dropout none"
        )
    for name, given in (("compile", compile), ("cuda_graph", cuda_graph)):
        if given:
            raise ValueError(
                f"irrep_dropout {kind} trains a network for every subset of degrees, and {name} "
                f"prepares a single one: leave model.{name} at false"
            )


class SubsetSchedule:
    """Subsets of the degrees above 0 that each training step keeps.

    They depend on the seed and the step alone. So a resumed run goes on with the same subsets, and
    all processes train the same ones.

    Parameters
    ----------
    kind : {"uniform", "sizes", "sandwich"}
        ``uniform``: one subset, all equally likely. ``sizes``: one subset, all sizes equally
        likely. ``sandwich``: the full set and a second subset, all proper ones equally likely.
    degrees : sequence of int
        Degrees above 0, at least one.
    seed : int
        The run's seed.
    """

    def __init__(self, kind: IrrepDropoutName, degrees: Sequence[int], seed: int) -> None:
        self.kind = kind
        self.degrees = tuple(sorted(degrees))
        self.seed = seed

    def kept(self, step: int) -> list[tuple[int, ...]]:
        """Draw the subsets of a step.

        Parameters
        ----------
        step : int
            Optimizer step from 0.

        Returns
        -------
        list of tuple of int
            Subsets of the degrees above 0. The step's loss is the mean of theirs.
        """
        rng = np.random.default_rng((self.seed, step))
        if self.kind == "sandwich":
            code = int(rng.integers(2 ** len(self.degrees) - 1))  # the last code is the full set
            return [self.degrees, self._subset(code)]
        if self.kind == "sizes":
            size = int(rng.integers(len(self.degrees) + 1))
            chosen = rng.choice(self.degrees, size, replace=False)
            return [tuple(sorted(int(degree) for degree in chosen))]
        return [self._subset(int(rng.integers(2 ** len(self.degrees))))]

    def _subset(self, code: int) -> tuple[int, ...]:
        """Degree number i stays if bit i of the code is set."""
        return tuple(degree for i, degree in enumerate(self.degrees) if code >> i & 1)
