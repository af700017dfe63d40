"""`RestrictableNetwork`: what networks share whose layers can lose channels and edge degrees.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from networks.geometry import Geometry, cell_shifts, edge_vectors
from networks.irreps import (
    check_irreps,
    default_edge_irreps,
    parse_edge_irreps,
    parse_irreps,
    parse_readout,
    reachable_blocks,
)
from networks.layered import LayeredNetwork
from networks.restriction import (
    Kept,
    KeptLayer,
    WeightSelection,
    check_kept,
    keep_all,
    kept_from_json,
    kept_to_json,
    natural_irreps,
)


class RestrictableNetwork(LayeredNetwork):
    """A network that is built from options and from what stays of every layer.

    A subclass takes its options and `kept` in its constructor, registers `embedding` and `output`,
    the affine map of a molecule's sum, and implements `run` and `weight_selections`.

    Parameters
    ----------
    options : mapping
        All arguments of the constructor but `kept`, among them ``irreps``, ``edge_irreps`` (or
        None), ``num_layers``, ``embedding_dim``, ``num_radial``, ``cutoff``, ``trim_unreachable``
        and ``irreps_readout``.
    kept : sequence of mapping, optional
        What stays of every layer, as `networks.restriction.kept_to_json` writes it; by default
        everything.
    gated : bool
        See `LayeredNetwork`.

    Raises
    ------
    ValueError
        If ``irreps`` is unusable (see `parse_irreps`, `check_irreps`), a number is out of range, or
        `kept` asks for what is not there or leaves nothing that reaches the readout.
    """

    embedding: nn.Embedding
    output: nn.Linear

    def __init__(
        self,
        options: Mapping[str, Any],
        kept: Sequence[Mapping[str, Any]] | None,
        gated: bool = False,
    ) -> None:
        _check_numbers(options)
        irreps, edge_irreps = parse_irreps(options["irreps"]), options["edge_irreps"]
        edges = (
            default_edge_irreps(irreps) if edge_irreps is None else parse_edge_irreps(edge_irreps)
        )
        embedding = o3.Irreps(f"{options['embedding_dim']}x0e")
        readout = parse_readout(options["irreps_readout"])
        check_irreps(irreps, embedding, readout, options["num_layers"], edges, gated)
        whole = keep_all(irreps, edges, options["num_layers"])
        stays = whole if kept is None else _checked(kept_from_json(kept), whole)
        stays = _trimmed(stays, readout, gated) if options["trim_unreachable"] else stays
        super().__init__(
            irreps,
            [layer.irreps for layer in stays],
            [natural_irreps(layer.edge_degrees) for layer in stays],
            readout,
            embedding,
            gated,
        )
        self._check_connected()
        self.kept = stays
        self.num_radial = int(options["num_radial"])
        self.cutoff = float(options["cutoff"])
        self._whole = whole
        self._options = {
            **options,
            "irreps": str(irreps),
            "edge_irreps": str(edges),
            "irreps_readout": str(readout),
        }

    def _check_connected(self) -> None:
        """Refuse a network whose prediction is constant, which only `kept` can cause."""
        if not all(self.filled[-1].get(str(ir), False) for _, ir in self.irreps_readout):
            raise ValueError(
                f"kept leaves no path from the embedding ({self.irreps_embedding}) to the readout "
                f"({self.irreps_readout}): keep channels and edge degrees that connect them"
            )

    def prepare(self, data: Data) -> Geometry:
        """Expand a batch's edges on spherical harmonics and radial functions.

        Parameters
        ----------
        data : Data or Batch
            With ``z`` [n], ``pos`` [n, 3] (angstrom), ``edge_index`` [2, e] and, for several
            molecules, ``batch`` [n] and ``num_graphs``. If the edges are sorted by target, then
            source, and each has its reverse, ``neighbor_counts`` (NumPy, [n] edges into each node)
            says so. ``elements`` [t] may hold the atomic numbers that occur, ascending.
            ``num_padding_nodes`` says how many nodes at the end are padding, see `Geometry`.
            Periodic structures have ``cell`` [g, 3, 3] (vectors in rows, angstrom), ``edge_shift``
            [e, 3], the cell vectors between a source and its image, and ``reverse_step`` [e], how
            many edges further each edge's reverse is.

        Returns
        -------
        Geometry
        """
        vectors = edge_vectors(data.pos, data.edge_index)
        batch = data.batch if "batch" in data else None
        reverse = None
        if "edge_shift" in data:
            target = data.edge_index[1]
            graph = torch.zeros_like(target) if batch is None else batch.index_select(0, target)
            vectors = vectors + cell_shifts(data.cell.to(vectors.dtype), data.edge_shift, graph)
            reverse = torch.arange(len(target), device=target.device) + data.reverse_step
        lengths = vectors.norm(dim=-1)
        num_nodes = data.pos.shape[0]
        return Geometry(
            z=data.z,
            edge_index=data.edge_index,
            vectors=vectors,
            lengths=lengths,
            batch=data.pos.new_zeros(num_nodes, dtype=torch.int64) if batch is None else batch,
            num_nodes=num_nodes,
            num_graphs=1 if batch is None else data.num_graphs,
            edge_irreps=self.edge_irreps,
            num_radial=self.num_radial,
            cutoff=self.cutoff,
            neighbor_counts=data.neighbor_counts if "neighbor_counts" in data else None,
            num_padding_nodes=data.num_padding_nodes if "num_padding_nodes" in data else 0,
            elements=data.elements if "elements" in data else None,
            reverse=reverse,
        )

    def restricted(self, kept: Kept) -> Self:
        """Make the smaller network that computes what this one computes with the rest at zero."""
        check_kept(kept, self.kept)
        with torch.random.fork_rng(devices=[]):
            smaller = type(self)(**self._options, kept=kept_to_json(kept))
        reference = self.embedding.weight
        smaller.to(device=reference.device, dtype=reference.dtype).train(self.training)
        with torch.no_grad():
            for name, value in self.restricted_parameters(smaller).items():
                smaller.get_parameter(name).copy_(value)
        return smaller

    def restricted_parameters(self, smaller: LayeredNetwork) -> dict[str, Tensor]:
        """Weights with which a smaller network computes what this one does with the rest at zero.

        Parameters
        ----------
        smaller : LayeredNetwork
            Made by `restricted`.

        Returns
        -------
        dict of str to Tensor
            By the smaller network's parameter names; differentiable functions of this network's
            parameters, for `torch.func.functional_call`.
        """
        selections = self.weight_selections(smaller.kept)
        return {
            name: selections[name].of(weight) if name in selections else weight
            for name, weight in self.named_parameters()
        }

    def compile_tensor_products(self) -> None:
        """Compile the tensor products, where a network has any that gain.

        Raises
        ------
        ValueError
            If it does not.
        """
        raise ValueError(
            f"{type(self).__name__} has no tensor products to compile: leave compile at false"
        )

    @abstractmethod
    def weight_selections(self, kept: Kept) -> dict[str, WeightSelection]:
        """Find the weights that a smaller network keeps, which takes a few milliseconds."""

    def _selection(
        self, name: str, axis: int, positions: Tensor, factors: Tensor
    ) -> WeightSelection:
        weight = self.get_parameter(name)
        return WeightSelection(axis, positions.to(weight.device), factors.to(weight))

    @property
    def readout_name(self) -> str:
        """Irrep that the readout takes from the last layer, e.g. ``1o``."""
        return str(self.irreps_readout[0].ir)

    def _make_output(self) -> nn.Linear:
        """Make the affine map of a molecule's sum; only a scalar can be shifted equivariantly."""
        return nn.Linear(1, 1, bias=self.irreps_readout == o3.Irreps("1x0e"))

    def _sum_and_scale(self, atom_nm: Tensor, geometry: Geometry) -> Tensor:
        """Sum the atoms' readouts over each molecule, and map the sums affinely.

        Returns [g] for a scalar readout, otherwise [g, m].
        """
        molecule_gm = atom_nm.new_zeros(geometry.num_graphs, atom_nm.shape[1]).index_add(
            0, geometry.batch, atom_nm
        )
        if self.output.bias is not None:
            return cast(Tensor, self.output(molecule_gm)).squeeze(-1)
        return cast(Tensor, self.output(molecule_gm.unsqueeze(-1))).squeeze(-1)

    @abstractmethod
    def num_reachable_parameters(self) -> int:
        """Count those of `num_parameters` that can change the prediction."""

    def num_parameters(self) -> int:
        """Trainable parameters without the two of the affine output, as published counts do."""
        total = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return total - sum(p.numel() for p in self.output.parameters())


def _checked(kept: Kept, whole: Kept) -> Kept:
    """Refuse what is not there; bring irreps into the network's order."""
    check_kept(kept, whole)
    return tuple(
        KeptLayer(
            {name: layer.channels[name] for name in there.channels if layer.channels.get(name)},
            layer.edge_degrees,
        )
        for layer, there in zip(kept, whole)
    )


def _trimmed(kept: Kept, readout: o3.Irreps, gated: bool) -> Kept:
    """Drop the blocks that no path connects with the readout."""
    edges = [natural_irreps(layer.edge_degrees) for layer in kept]
    reachable = reachable_blocks(edges, [layer.irreps for layer in kept], readout, gated)
    if not reachable[-1]:
        raise ValueError(
            f"kept leaves no {readout} in the last layer, which the readout needs: keep channels "
            "of it"
        )
    return tuple(
        layer.restricted(str(ir) for ir in blocks) for layer, blocks in zip(kept, reachable)
    )


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}: it must be a positive number")
