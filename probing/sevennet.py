"""SevenNet's pretrained models behind the contract, with SevenNet's own calculator beside them.

``requirements-probe.txt`` lists the package, which is imported only when it is used. Imports NumPy,
torch, e3nn, ASE, PyG and this package.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from networks.geometry import cell_shifts, edge_vectors
from networks.layered import Prepared
from probing.hooked import HookedNetwork
from probing.model import ENERGY, ProbedModel, calculated_energies

PREFIX = "sevenn:"
PACKAGED = ("7net-0", "7net-0_22may2024", "7net-l3i5")
"""Models whose weights lie in the package; no other one is downloaded."""
INSTALL = "python -m pip install -r requirements-probe.txt"


@dataclass
class PreparedGraphs:
    """What depends on elements and positions only.

    Attributes
    ----------
    fields : dict of str to Tensor
        SevenNet's own dictionary after its embeddings of edges and atoms.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.
    """

    fields: dict[str, Tensor]
    batch: Tensor
    num_graphs: int


class SevenNetwork(HookedNetwork):
    """SevenNet: its layers are the outputs of its gates, the last of which feeds the readout.

    Irreps are read from the model. All irreps of the pretrained models are labelled ``e``: they
    are equivariant under rotations only, and ``1e`` holds vectors and pseudovectors alike.

    Parameters
    ----------
    model : nn.Module
        SevenNet's ``AtomGraphSequential``.
    """

    def __init__(self, model: Any) -> None:
        blocks = dict(model.named_children())
        gates = [name for name in blocks if name.endswith("equivariant_gate")]
        super().__init__(
            model,
            [blocks[name].gate for name in gates],
            [o3.Irreps(str(blocks[name].gate.irreps_out)) for name in gates],
            o3.Irreps(str(blocks["edge_embedding"].spherical.irreps_out)),
            float(model.cutoff),
            irreps_embedding=o3.Irreps(str(blocks["onehot_to_feature_x"].irreps_out)),
            gated=True,
        )
        self._species: Tensor = model.z_to_onehot_tensor  # row of the embedding by atomic number
        self.elements = frozenset(int(z) for z in model.type_map)
        order = list(blocks.values())
        ends = [order.index(blocks[name]) + 1 for name in gates]
        first = order.index(blocks["onehot_to_feature_x"]) + 1
        last = order.index(blocks["reduce_total_enegy"]) + 1  # SevenNet's own spelling
        # Slices of the model's own sequence; tuples, as the model has registered these modules.
        self._embedding: tuple[nn.Module, ...] = tuple(order[:first])
        self._after: tuple[tuple[nn.Module, ...], ...] = tuple(
            tuple(order[begin:last]) for begin in (first, *ends)
        )

    def prepare(self, data: Data) -> PreparedGraphs:
        """Embed atoms and edges; see `LayeredNetwork.prepare`."""
        vectors = edge_vectors(data.pos, data.edge_index)
        batch = data.batch if data.batch is not None else torch.zeros_like(data.z)
        if "edge_shift" in data:
            graph = batch.index_select(0, data.edge_index[1])
            vectors = vectors + cell_shifts(data.cell, data.edge_shift, graph)
        species = self._species.to(data.z.device)
        fields: dict[str, Tensor] = {
            "x": species.index_select(0, data.z),
            "atomic_numbers": data.z,
            "pos": data.pos,
            "edge_index": data.edge_index.flip(0),  # SevenNet has the receiver first
            "edge_vec": vectors,
            "batch": batch,
        }
        for module in self._embedding:
            fields = module(fields)
        return PreparedGraphs(fields, batch, int(data.num_graphs or 1))

    def predict(self, prepared: Prepared, start: tuple[int, Tensor] | None) -> Tensor:
        """Predict energies, [g] eV; see `HookedNetwork.predict`."""
        assert isinstance(prepared, PreparedGraphs)
        fields = dict(prepared.fields)
        if start is not None:
            fields["x"] = start[1]
        for module in self._after[0 if start is None else start[0] + 1]:
            fields = module(fields)
        return fields["inferred_total_energy"]


def load_sevennet(name: str, device: torch.device) -> ProbedModel:
    """Load a pretrained SevenNet.

    Parameters
    ----------
    name : str
        One of `PACKAGED`, or a checkpoint of SevenNet's own training.
    device : torch.device
        Where to compute.

    Raises
    ------
    ValueError
        If the package is missing, or there is no such model or file.
    """
    is_file = Path(name).suffix in (".pth", ".pt")
    if not is_file and name.lower() not in PACKAGED:
        raise ValueError(
            f"SevenNet's package holds no weights of {name!r}: choose one of "
            f"{', '.join(PACKAGED)}, or a checkpoint, {PREFIX}FILE.pth"
        )
    if is_file and not Path(name).is_file():
        raise ValueError(f"there is no file {name}: give a checkpoint of SevenNet's training")
    if find_spec("sevenn") is None:
        raise ValueError(f"the package sevenn is not installed: run `{INSTALL}`")
    source = name if is_file else name.lower()
    with _reading_data_only():
        from sevenn.util import load_checkpoint

        try:
            model = load_checkpoint(source).build_model()
        # A damaged or foreign file makes torch's reader and SevenNet raise anything.
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(
                f"{PREFIX}{name} cannot be read ({type(error).__name__}: {reason})"
            ) from error
    if model.modal_map:
        raise ValueError(f"{PREFIX}{name} has several modalities, which probe.py cannot choose")
    network = SevenNetwork(model.to(device).eval())
    return ProbedModel(
        name=f"{PREFIX}{name}",
        network=network,
        target=ENERGY,
        cutoff=network.cutoff,
        elements=network.elements,
        own_energies=lambda structures: own_energies(source, structures, device),
    )


def own_energies(source: str, structures: Sequence[Atoms], device: torch.device) -> list[float]:
    """Compute energies (eV) with SevenNet's own calculator, which loads the model itself."""
    with _reading_data_only():
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator(source, device=device)
    return calculated_energies(calculator, structures)


def name_elements(numbers: Sequence[int]) -> str:
    """List elements by their symbols."""
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))


@contextmanager
def _reading_data_only() -> Iterator[None]:
    """Let SevenNet read checkpoints, but nothing in them that is code.

    SevenNet asks torch for everything that a pickle may hold. This overrules it: besides tensors,
    only NumPy's arrays are made, in which SevenNet keeps its constants.
    """
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)]
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    from numpy._core import multiarray

    rebuild: Any = (multiarray._reconstruct, "numpy.core.multiarray._reconstruct")
    allowed = [np.ndarray, np.dtype, rebuild, multiarray._reconstruct, *dtypes]
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SevenNet advertises its accelerators
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
