"""Linear maps whose weights lie one after the other in one parameter, and parts of them.

Imports torch only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightMatrix:
    """One matrix among the weights of a parameter: [.., start + row * num_columns + column].

    Attributes
    ----------
    start : int
        First weight.
    rows, columns : tuple
        What each row and column stands for, e.g. a channel; unique within the matrix.
    """

    start: int
    rows: tuple[Hashable, ...]
    columns: tuple[Hashable, ...]

    @property
    def num_weights(self) -> int:
        """Number of weights."""
        return len(self.rows) * len(self.columns)

    @property
    def coefficient(self) -> float:
        """By which products with the matrix are multiplied: 1 / sqrt(rows), as in e3nn."""
        return float(len(self.rows) ** -0.5) if self.rows else 0.0

    def of(self, weights: Tensor) -> Tensor:
        """Cut the matrix out of a parameter: [.., rows, columns], times its coefficient."""
        part = weights[..., self.start : self.start + self.num_weights]
        matrix: Tensor = part.unflatten(-1, (len(self.rows), len(self.columns)))
        return matrix * self.coefficient


Matrices = Mapping[str, WeightMatrix]
"""Matrices of one parameter by name."""


def lay_out(
    shapes: Mapping[str, tuple[tuple[Hashable, ...], tuple[Hashable, ...]]],
) -> dict[str, WeightMatrix]:
    """Lay matrices out one after the other.

    Parameters
    ----------
    shapes : mapping
        Name to the labels of rows and columns.
    """
    found: dict[str, WeightMatrix] = {}
    start = 0
    for name, (rows, columns) in shapes.items():
        found[name] = WeightMatrix(start, rows, columns)
        start += found[name].num_weights
    return found


def num_weights(matrices: Matrices) -> int:
    """Count the weights of all matrices."""
    return sum(matrix.num_weights for matrix in matrices.values())


def select_weights(larger: Matrices, smaller: Matrices) -> tuple[Tensor, Tensor]:
    """Find the weights of a larger parameter that a smaller one keeps, and their factors.

    A smaller matrix has fewer rows and so a larger coefficient. The kept weights are multiplied by
    the ratio, so that the products stay the same.

    Parameters
    ----------
    larger, smaller : Matrices
        Matrices of the two parameters; every name, row and column of the smaller one is in the
        larger one.

    Returns
    -------
    positions : Tensor
        [weights of the smaller one] int64, in the larger one.
    factors : Tensor
        [the same] float64.
    """
    positions: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    factors: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    for name, matrix in smaller.items():
        if matrix.num_weights == 0:
            continue
        whole = larger[name]
        rows, columns = (
            _positions(whole.rows, matrix.rows),
            _positions(whole.columns, matrix.columns),
        )
        positions.append((whole.start + rows[:, None] * len(whole.columns) + columns).flatten())
        ratio = whole.coefficient / matrix.coefficient
        factors.append(torch.full((matrix.num_weights,), ratio, dtype=torch.float64))
    return torch.cat(positions), torch.cat(factors)


def _positions(labels: tuple[Hashable, ...], wanted: tuple[Hashable, ...]) -> Tensor:
    place = {label: i for i, label in enumerate(labels)}
    return torch.tensor([place[label] for label in wanted])
