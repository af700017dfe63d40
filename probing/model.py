"""`ProbedModel`: a model whose irreps are examined, what is known of it, and its own energies.

Imports torch, ASE, PyG, `networks.layered` and `qm9.targets` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor
from torch_geometric.data import Batch

from networks.layered import LayeredNetwork
from qm9.targets import Target

ENERGY = Target("energy", "eV", "meV", 1000.0, 0, "total energy")
"""What interatomic potentials predict."""


def calculated_energies(calculator: Calculator, structures: Sequence[Atoms]) -> list[float]:
    """Compute energies with an ASE calculator.

    Parameters
    ----------
    calculator : Calculator
        Of a model.
    structures : sequence of Atoms
        Not changed.

    Returns
    -------
    list of float
        eV.
    """
    energies = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = calculator
        energies.append(float(copy.get_potential_energy()))
    return energies


@dataclass(frozen=True)
class ProbedModel:
    """A model to be probed.

    The whole prediction of a batch, in the target's unit, is
    ``network(batch) * std + reference(batch)``.

    Attributes
    ----------
    name : str
        As on the command line.
    network : LayeredNetwork
        The model behind the contract.
    target : Target
        What it predicts, and its units.
    cutoff : float
        Radius of the graph, angstrom.
    graph : {"radius", "bonds"}
        Edges between all atoms and images within `cutoff`, or between bonded atoms.
    std : float
        One unit of the network's prediction in the target's unit.
    reference : callable, optional
        From a batch to what is added to each molecule's prediction, [g] in the target's unit.
    elements : frozenset of int, optional
        Atomic numbers that the model knows; None if it knows all.
    own_energies : callable, optional
        The model's own calculator: from structures to energies, eV.
    data_options : mapping, optional
        Options of the data module with which a run was trained.
    """

    name: str
    network: LayeredNetwork
    target: Target
    cutoff: float
    graph: str = "radius"
    std: float = 1.0
    reference: Callable[[Batch], Tensor] | None = None
    elements: frozenset[int] | None = None
    own_energies: Callable[[Sequence[Atoms]], list[float]] | None = None
    data_options: Mapping[str, Any] | None = None
