"""Networks of other packages that compute what `networks.gated.GatedNetwork` computes.

Used by `benchmarks.gated` and `benchmarks.gated_accuracy`. ``benchmarks/requirements.txt`` lists
the packages. Imports torch, e3nn and PyG, and the packages only when used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import e3nn
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Batch

ELEMENTS = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
"""Atomic numbers and symbols of QM9's elements."""
INSTALL = "python -m pip install -r benchmarks/requirements.txt"


@dataclass(frozen=True)
class Architecture:
    """What a gated network and its peers have in common.

    Attributes
    ----------
    irreps : str
        Feature irreps; the edges have the same degrees.
    num_layers : int
        Number of layers; the last one has scalars only.
    num_radial, radial_hidden : int
        Bessel functions, and hidden width of the radial MLPs.
    cutoff : float
        In angstrom.
    neighbor_norm : float
        Sums over neighbours are divided by this.
    """

    irreps: str = "32x0e+32x1o+32x2e"
    num_layers: int = 4
    num_radial: int = 8
    radial_hidden: int = 64
    cutoff: float = 5.0
    neighbor_norm: float = 4.0

    def options(self) -> dict[str, Any]:
        """Arguments of `GatedNetwork`."""
        return dict(self.__dict__)


class NequipNetwork(nn.Module):
    """NequIP's own model of its own package, called as this project's networks are.

    As in its package, the element enters the self-connections through an embedding with as many
    channels as there are scalars, and the first layer has no self-connection.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    compiled : bool
        Compile it as the package does for training (``compile_mode: compile``).
    seed : int
        Seed of the weights.

    Raises
    ------
    ValueError
        If the package is not installed.
    """

    atom_types: Tensor

    def __init__(self, architecture: Architecture, compiled: bool = False, seed: int = 0) -> None:
        super().__init__()
        if find_spec("nequip") is None:
            raise ValueError(f"the peer nequip is not installed: run `{INSTALL}`")
        with _settings_of_nequip():
            self.model = _nequip_model(architecture, compiled, seed)
        types = torch.full((max(ELEMENTS) + 1,), -1)
        types[list(ELEMENTS)] = torch.arange(len(ELEMENTS))
        self.register_buffer("atom_types", types, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Predict: [g]."""
        data = {
            "pos": batch.pos,
            "edge_index": batch.edge_index.flip(0),  # NequIP has the receiver first
            "atom_types": self.atom_types[batch.z],
            "batch": batch.batch,
            "num_atoms": batch.ptr.diff(),
        }
        energy: Tensor = self.model(data)["total_energy"]
        return energy.squeeze(-1).to(batch.pos.dtype)


def _nequip_model(architecture: Architecture, compiled: bool, seed: int) -> nn.Module:
    from nequip.model import FullNequIPGNNModel

    irreps, layers = o3.Irreps(architecture.irreps), architecture.num_layers
    scalars = irreps.count("0e")
    model: nn.Module = FullNequIPGNNModel(
        seed=seed,
        model_dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        compile_mode="compile" if compiled else "eager",
        type_names=list(ELEMENTS.values()),
        r_max=architecture.cutoff,
        irreps_edge_sh="+".join(f"1x{l}{'eo'[l % 2]}" for l in sorted(set(irreps.ls))),  # noqa: E741
        type_embed_num_features=scalars,
        feature_irreps_hidden=[str(irreps)] * (layers - 1) + [f"{scalars}x0e"],
        radial_mlp_depth=[1] * layers,
        radial_mlp_width=[architecture.radial_hidden] * layers,
        num_bessels=architecture.num_radial,
        avg_num_neighbors=architecture.neighbor_norm**2,  # it divides by the square root
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
        per_type_energy_scales_trainable=True,
        per_type_energy_shifts_trainable=True,
        do_derivatives=False,
    )
    return model


@contextmanager
def _settings_of_nequip() -> Iterator[None]:
    """Let NequIP set what it requires to build a model; put the defaults of this process back."""
    from nequip.utils.global_state import set_global_state

    dtype, defaults = torch.get_default_dtype(), e3nn.get_optimization_defaults()
    with torch.random.fork_rng(devices=[]):
        set_global_state()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            e3nn.set_optimization_defaults(**defaults)
            torch.set_default_dtype(dtype)
