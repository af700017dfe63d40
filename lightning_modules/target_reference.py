"""`TargetReference`: what is subtracted from the target before a network learns it.

Imports torch, NumPy, ASE's symbols and `qm9` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch

from qm9.composition import CompositionFit, element_symbol, fit_composition

ReferenceName = Literal["none", "mean", "composition"]

NEGLIGIBLE = 1e-12
"""Spread relative to the target's size that is rounding, and no scale to divide by."""


class ReferenceData(Protocol):
    """What `TargetReference` needs of a data module."""

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Part names to [molecules] int64 indices."""

    def targets(self, part: str) -> NDArray[np.float64]:
        """[molecules] or [molecules, m] float64 of one part, target's unit."""

    def element_counts(self, part: str) -> NDArray[np.int64]:
        """[molecules, max z + 1] int64 of one part, columns are atomic numbers."""

    def molecule(self, index: int) -> tuple[int, str]:
        """Look up the data set's own number and the SMILES of a molecule."""


_DATA_NEEDS = ("splits", "targets", "element_counts", "molecule")


def reference_data(datamodule: object) -> ReferenceData:
    """Check that a data module offers what a reference is fitted to.

    Parameters
    ----------
    datamodule : LightningDataModule or None
        After ``setup``.

    Returns
    -------
    ReferenceData
        The same object.

    Raises
    ------
    TypeError
        If something is missing; says what.
    """
    missing = [name for name in _DATA_NEEDS if not hasattr(datamodule, name)]
    if missing:
        raise TypeError(
            f"{type(datamodule).__name__} cannot give the target's reference: the trainer needs a "
            f"data module with {', '.join(missing)}, as QM9DataModule has them"
        )
    return cast(ReferenceData, datamodule)


class TargetReference(nn.Module):
    """The affine map between a network's standardized prediction and the whole target.

    target = standardized * std + intercept + sum over atoms of weights[z]

    All three are fitted on the training part in float64 and are buffers, so that checkpoints hold
    them:

    - ``none``: weights and intercept are zero, std is the target's standard deviation;
    - ``mean``: the intercept is the target's mean, std its standard deviation;
    - ``composition``: weights and intercept are a least-squares fit on element counts, std is the
      standard deviation of its residuals. Data of one's own are fitted without an intercept
      (`structures.references`).

    Parameters
    ----------
    kind : {"none", "mean", "composition"}
        What is subtracted.
    num_elements : int
        Size of the table of weights: one more than the largest atomic number.
    rank : int
        0 for a scalar target. Of a vector or tensor (1, 2) nothing is subtracted, and std is the
        root mean square of its components: any other map would depend on the orientation.

    Attributes
    ----------
    std, intercept : Tensor
        [] float64, target's unit.
    weights : Tensor
        [num_elements] float64, target's unit per atom; NaN for elements without a fit, and for all
        elements that the training part of own data lacks.

    Raises
    ------
    ValueError
        If `kind` is unknown, or is not ``none`` for a vector or tensor.
    """

    std: Tensor
    intercept: Tensor
    weights: Tensor

    def __init__(self, kind: ReferenceName, num_elements: int, rank: int = 0) -> None:
        super().__init__()
        if kind not in get_args(ReferenceName):
            raise ValueError(
                f"reference {kind!r} is unknown: choose one of {', '.join(get_args(ReferenceName))}"
            )
        if rank and kind != "none":
            raise ValueError(f"reference {kind} is for scalars: choose none for a vector or tensor")
        self.kind = kind
        self.rank = rank
        self.register_buffer("std", torch.ones((), dtype=torch.float64))
        self.register_buffer("intercept", torch.zeros((), dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(num_elements, dtype=torch.float64))

    def fit(self, data: ReferenceData) -> None:
        """Fit all buffers on the training part.

        Parameters
        ----------
        data : ReferenceData
            With a part ``train``.

        Raises
        ------
        ValueError
            If the training part does not determine a composition.
        """
        y = data.targets("train")
        fit = CompositionFit(np.zeros(1), 0.0)
        residual = y - y.mean()
        if self.kind == "mean":
            fit = CompositionFit(np.zeros(1), float(y.mean()))
        elif self.kind == "composition":
            counts = data.element_counts("train")
            own_fit = getattr(data, "composition_fit", None)
            fit = own_fit() if own_fit is not None else fit_composition(counts, y)
            residual = y - fit.predict(counts)
        # Not about the mean, which a vector or tensor has in the data's own orientation only.
        std = float(np.sqrt(np.square(y).mean())) if self.rank else float(residual.std())
        # One molecule, or a target that the reference determines, leaves no scale to divide by.
        self.std.fill_(std if std > NEGLIGIBLE * float(np.abs(y).max()) else 1.0)
        self.intercept.fill_(fit.intercept)
        # Zero in all positions without a fit is right unless composition is fitted.
        self.weights.fill_(float("nan") if self.kind == "composition" else 0.0)
        self.weights[: len(fit.weights)] = torch.from_numpy(fit.weights)
        if getattr(data, "strict_elements", False):
            there = np.flatnonzero(data.element_counts("train").any(axis=0))
            unknown = torch.ones_like(self.weights, dtype=torch.bool)
            unknown[torch.from_numpy(there)] = False
            self.weights.masked_fill_(unknown, float("nan"))

    def check_elements(self, data: ReferenceData, part: str) -> None:
        """Refuse molecules with an element that the fit, or for own data the network, lacks.

        Parameters
        ----------
        data : ReferenceData
            With the part.
        part : str
            E.g. ``test``.

        Raises
        ------
        ValueError
            Names the first such molecule and the element.
        """
        counts = data.element_counts(part)
        is_strict = getattr(data, "strict_elements", False)
        fitted = ~self.weights.isnan()
        known = np.zeros(counts.shape[1], dtype=bool)
        known[: len(fitted)] = fitted.cpu().numpy()[: len(known)]
        rows, elements = np.nonzero(counts[:, ~known])
        if len(rows):
            number, smiles = data.molecule(int(data.splits[part][rows[0]]))
            element = int(np.flatnonzero(~known)[elements[0]])
            if is_strict:
                raise ValueError(
                    f"structure {number} ({smiles}) has {chemical_symbols[element]}, which the "
                    "network has not been trained on: remove the structure, or train on structures "
                    "with this element"
                )
            symbol = element_symbol(element)
            raise ValueError(
                f"molecule {number} ({smiles}) of the {part} part has {symbol}, which no training "
                "molecule has, so that its composition says nothing: give more training molecules "
                "(--data.train_size), or --model.reference=mean"
            )

    def of(self, batch: Batch) -> Tensor:
        """Compute every molecule's reference.

        Parameters
        ----------
        batch : Batch
            With ``z`` [n], ``batch`` [n] and ``num_graphs``.

        Returns
        -------
        Tensor
            [g] float64, target's unit; [g, 1] zeros for a vector or tensor.
        """
        if self.rank:
            return self.intercept.new_zeros(batch.num_graphs, 1)
        per_atom = self.weights[batch.z]
        reference: Tensor = self.intercept.repeat(batch.num_graphs).index_add(
            0, batch.batch, per_atom
        )
        return reference

    def standardize(self, batch: Batch) -> Tensor:
        """Standardize the target of a batch.

        Parameters
        ----------
        batch : Batch
            With ``y`` [g], or [g, m] for a vector or tensor, in the target's unit.

        Returns
        -------
        Tensor
            As ``y``: (y - reference) / std, computed in float64 and returned in the default dtype:
            a mean of -76 eV would cost float32 its last digits.
        """
        y: Tensor = batch.y.to(self.std.dtype)
        return ((y - self.of(batch)) / self.std).to(torch.get_default_dtype())

    def restore(self, batch: Batch, standardized: Tensor) -> Tensor:
        """Turn standardized predictions into predictions of the whole target.

        Parameters
        ----------
        batch : Batch
            The molecules.
        standardized : Tensor
            [g] or [g, m] the network's predictions.

        Returns
        -------
        Tensor
            The same shape, float64, target's unit.
        """
        return standardized.to(self.std.dtype) * self.std + self.of(batch)

    def convert_older(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Rename what older checkpoints hold: the target's mean and standard deviation alone.

        Parameters
        ----------
        state_dict : dict
            Of the module that this reference belongs to; changed in place.
        prefix : str
            Put before that module's own names.
        """
        if f"{prefix}target_mean" in state_dict:
            state_dict[f"{prefix}reference.intercept"] = state_dict.pop(f"{prefix}target_mean")
            state_dict[f"{prefix}reference.std"] = state_dict.pop(f"{prefix}target_std")
            state_dict[f"{prefix}reference.weights"] = torch.zeros_like(self.weights)
