"""`IrrepscopeCalculator`: a trained network as an ASE calculator.

Imports torch, ASE, `qm9`, `structures` and this package only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from torch import Tensor
from torch_geometric.data import Batch

from lightning_modules.checkpoint_reading import read_checkpoint
from lightning_modules.regressor import EquivariantRegressor
from qm9.graphs import COVALENT_RADII
from structures.neighbors import neighbor_edges

EV: Mapping[str, float] = {
    "eV": 1.0,
    "Ha": units.Hartree,
    "Ry": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
"""Electronvolts in one unit of energy."""


class IrrepscopeCalculator(Calculator):
    """Energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3) from a run of ``train.py``.

    Forces and stress are exact derivatives of the energy, whether or not the network was trained on
    forces. A network of `EquivariantConvNet` has kinks where an atom crosses the cutoff, as its
    Bessel functions reach zero with a slope; a `GatedNetwork` is smooth there.

    Parameters
    ----------
    path : path
        Directory of a run, for its best checkpoint, or a checkpoint.
    device : str or torch.device
        Where to compute.
    dtype : torch.dtype
        Precision; float64 keeps energies conserved over long dynamics.
    **options
        Of ASE's `Calculator`.

    Raises
    ------
    ValueError
        If the checkpoint is unusable, its target is no energy, or its network was trained on
        graphs of chemical bonds, on which energies jump.

    Examples
    --------
    >>> atoms.calc = IrrepscopeCalculator("runs/NAME")  # doctest: +SKIP
    >>> atoms.get_forces()  # doctest: +SKIP
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        **options: Any,
    ) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        file = Path(path)
        checkpoint = read_checkpoint(file / "checkpoints" / "best.ckpt" if file.is_dir() else file)
        data = checkpoint.get("datamodule_hyper_parameters") or {}
        if data.get("graph", "bonds") != "radius":
            raise ValueError(
                f"{path} was trained on graphs of chemical bonds, on which an energy jumps when a "
                "bond forms: train with --data.graph=radius for forces and dynamics"
            )
        self._module = EquivariantRegressor(**checkpoint["hyper_parameters"])
        self._module.to(device=device, dtype=dtype)
        self._module.load_state_dict(checkpoint["state_dict"])
        self._module.eval().requires_grad_(False)
        unit = self._module.target.unit
        if unit not in EV:
            raise ValueError(
                f"{path} predicts {self._module.target.name} in {unit}, which is no energy: an "
                f"energy has one of the units {', '.join(EV)}"
            )
        self._factor = EV[unit]
        self._dtype, self._device = dtype, torch.device(device)
        self._cutoff = float(self._module.hparams["cutoff"])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy and forces, and the stress where it is asked for; ASE calls this.

        Raises
        ------
        ValueError
            If atoms overlap, or an element was not in the training part.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        self._check_elements(self.atoms)
        with_stress = "stress" in properties
        batch, strain = self._batch(self.atoms, with_stress)
        standardized = self._module(batch)
        wanted = [batch.pos_leaf, *([strain] if with_stress else [])]
        gradients = torch.autograd.grad(standardized.sum(), wanted, allow_unused=True)
        scale = float(self._module.target_std) * self._factor
        energy = self._module.reference.restore(batch, standardized.detach())
        self.results["energy"] = self.results["free_energy"] = float(energy) * self._factor
        self.results["forces"] = -scale * _array(gradients[0], batch.pos_leaf)
        if with_stress:
            virial = scale * _array(gradients[1], strain)
            stress = (virial + virial.T) / (2 * self.atoms.get_volume())
            self.results["stress"] = stress.flat[[0, 4, 8, 5, 2, 1]]

    def _check_elements(self, atoms: Atoms) -> None:
        seen = ~self._module.reference.weights.isnan().cpu().numpy()
        if self._module.hparams["unit"] is None:  # a target of QM9
            seen[[z for z in range(len(seen)) if z not in COVALENT_RADII]] = False
        for z in sorted(set(atoms.numbers.tolist())):
            if z >= len(seen) or not seen[z]:
                raise ValueError(
                    f"the network has not been trained on {chemical_symbols[z]}: its elements are "
                    f"{', '.join(chemical_symbols[int(known)] for known in np.flatnonzero(seen))}"
                )

    def _batch(self, atoms: Atoms, strained: bool) -> tuple[Batch, Tensor]:
        """Collate one structure; positions and strain are leaves of the graph of derivatives."""
        edges = neighbor_edges(atoms.positions, atoms.cell.array, atoms.pbc, self._cutoff)
        count, z = len(atoms), self._tensor(atoms.numbers).long()
        leaf = self._tensor(atoms.positions).to(self._dtype).requires_grad_()
        strain = torch.zeros(3, 3, dtype=self._dtype, device=self._device, requires_grad=strained)
        deformation = torch.eye(3, dtype=self._dtype, device=self._device) + strain
        steps = edges.reverse.astype(np.int64) - np.arange(len(edges.reverse))
        batch = Batch(
            z=z,
            pos=leaf @ deformation if strained else leaf,
            pos_leaf=leaf,
            edge_index=self._tensor(edges.index).long(),
            batch=torch.zeros(count, dtype=torch.int64, device=self._device),
            neighbor_counts=np.bincount(edges.index[1], minlength=count),
        )
        if atoms.pbc.any():
            batch.cell = (self._tensor(atoms.cell.array).to(self._dtype) @ deformation)[None]
            batch.edge_shift = self._tensor(edges.shifts)
            batch.reverse_step = self._tensor(steps)
        batch._num_graphs = 1
        return batch, strain

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=self._device)


def _array(gradient: Tensor | None, like: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Gradient as a NumPy array; zero where nothing depends on `like`, as for a single atom."""
    return (torch.zeros_like(like) if gradient is None else gradient).double().cpu().numpy()
