"""`GatedNetwork`: a network like NequIP, with tensor products channel by channel and gates.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.channelwise.choice import KernelName, check_kernel
from networks.gated_layer import (
    PARAMETERS,
    SCALARS,
    GatedLayer,
    GatedLayout,
    from_blocks,
    to_blocks,
)
from networks.geometry import Geometry
from networks.layered import BlockWeights, Edit
from networks.restrictable import RestrictableNetwork
from networks.restriction import Kept, WeightSelection
from networks.weight_matrices import Matrices, WeightMatrix, lay_out, num_weights, select_weights

NEIGHBOR_NORM = 4.0
"""Square root of the mean number of neighbours in QM9 within 5 angstrom, rounded."""
RADIAL_HIDDEN = 64


class GatedNetwork(RestrictableNetwork):
    """Atom embedding, gated layers, a linear readout, summed over atoms.

    A layer mixes the channels of every irrep, multiplies each channel of the neighbours with the
    edges' harmonics (``uvu`` tensor product, weights from a radial MLP), sums over neighbours,
    mixes the channels of all paths, and adds a linear map of the node's own features whose weights
    depend on its element. Scalars go through SiLU (odd ones through tanh). Irreps of degree above 0
    are multiplied, channel by channel, by further scalars that have gone through SiLU. (NequIP,
    arXiv 2101.03164. As there, radial weights are an MLP of Bessel functions times a polynomial
    cutoff; unlike in version 0.19 of its package, the first layer has a self-connection too.)

    Parameters
    ----------
    irreps : str
        Feature irreps of every layer, e3nn notation, any parities.
    num_layers : int
        Number of layers.
    embedding_dim : int, optional
        Channels of the atom embedding; by default those of ``0e`` in `irreps`.
    num_elements : int
        Rows of the atom embedding and of the self-connections; atomic numbers must be smaller.
    num_radial : int
        Number of Bessel functions.
    radial_hidden : int, optional
        Hidden width of the radial MLPs; by default 64.
    cutoff : float
        Length at which messages vanish, angstrom.
    neighbor_norm : float
        Sums over neighbours are divided by this.
    kernel : {"auto", "e3nn", "cuequivariance", "openequivariance"}
        Implementation of the tensor product; parameters and state dict are the same. ``auto``: on a
        CPU loops without a message per edge and path, otherwise torch operations.
    trim_unreachable : bool
        Leave out of each layer the blocks that no path connects with the readout. Predictions
        and the remaining weights' gradients are the same.
    edge_irreps : str, optional
        Irreps of the edges' spherical harmonics, e.g. ``0e+1o+2e``; by default the degrees present
        in `irreps`.
    kept : sequence of mapping, optional
        What stays of every layer, as `networks.restriction.kept_to_json` writes it; by default
        everything. `restricted` makes such networks.
    irreps_readout : str
        What the readout takes from the last layer: ``0e``, ``1o`` for a vector, ``2e`` for a
        traceless symmetric tensor.

    Raises
    ------
    ValueError
        If `irreps` is unusable (see `parse_irreps`, `check_irreps`), a number is out of range, the
        kernel cannot run, or `kept` asks for what is not there or leaves nothing that reaches the
        readout.
    """

    def __init__(
        self,
        irreps: str | o3.Irreps = "32x0e+32x1o+32x2e",
        num_layers: int = 4,
        embedding_dim: int | None = None,
        num_elements: int = 10,
        num_radial: int = 8,
        radial_hidden: int | None = None,
        cutoff: float = 5.0,
        neighbor_norm: float = NEIGHBOR_NORM,
        kernel: KernelName = "auto",
        trim_unreachable: bool = True,
        edge_irreps: str | o3.Irreps | None = None,
        kept: Sequence[Mapping[str, Any]] | None = None,
        irreps_readout: str | o3.Irreps = "0e",
    ) -> None:
        check_kernel(kernel)
        if embedding_dim is None:
            embedding_dim = max(1, o3.Irreps(irreps).count(SCALARS)) if _parses(irreps) else 1
        options = {
            "irreps": irreps,
            "num_layers": num_layers,
            "embedding_dim": embedding_dim,
            "num_elements": num_elements,
            "num_radial": num_radial,
            "radial_hidden": RADIAL_HIDDEN if radial_hidden is None else radial_hidden,
            "cutoff": cutoff,
            "neighbor_norm": neighbor_norm,
            "kernel": kernel,
            "trim_unreachable": trim_unreachable,
            "edge_irreps": edge_irreps,
            "irreps_readout": irreps_readout,
        }
        super().__init__(options, kept, gated=True)
        self.embedding = nn.Embedding(num_elements, embedding_dim, padding_idx=0)
        self.layers = nn.ModuleList(self._layer(k) for k in range(num_layers))
        self.readout = nn.Parameter(self._initial_readout())
        self.output = self._make_output()

    def _layer(self, k: int) -> GatedLayer:
        """Build layer k with the initial weights that the whole network's layer would have."""
        options, whole, layout = self._options, self._layout(k, self._whole), self._layout(k)
        radial = e3nn_nn.FullyConnectedNet(
            [self.num_radial, options["radial_hidden"], num_weights(whole.radial)],
            nn.functional.silu,
        )
        initial = {
            "radial.layer1.weight": radial.layer1.weight,
            "mixing": torch.randn(num_weights(whole.mixing)),
            "linear": torch.randn(num_weights(whole.linear)),
            "self_connection": torch.randn(
                options["num_elements"], num_weights(whole.self_connection)
            ),
        }
        with torch.random.fork_rng(devices=[]):
            names = ("num_elements", "num_radial", "radial_hidden", "neighbor_norm", "kernel")
            layer = GatedLayer(layout, self.edge_irreps, **{name: options[name] for name in names})
        with torch.no_grad():
            layer.get_parameter("radial.layer0.weight").copy_(radial.layer0.weight)
            for name, weight in initial.items():
                matrices = _matrices(whole, name), _matrices(layout, name)
                positions, factors = select_weights(*matrices)
                part = weight.index_select(-1, positions) * factors.to(weight)
                layer.get_parameter(name).copy_(part)
        return layer

    def _initial_readout(self) -> Tensor:
        whole, matrices = self._readout_matrix(self._whole), self._readout_matrix(self.kept)
        positions, factors = select_weights(whole, matrices)
        weight = torch.randn(num_weights(whole))
        return weight[positions] * factors.to(weight)

    def _layout(self, k: int, kept: Kept | None = None) -> GatedLayout:
        """Parts of layer k where `kept` is what there is."""
        kept = self.kept if kept is None else kept
        embedding = {SCALARS: tuple(range(self.irreps_embedding.dim))}
        before = kept[k - 1].channels if k > 0 else embedding
        whole = self._whole[k - 1].channels if k > 0 else embedding
        mixed = {name: len(whole[name]) for name in before}
        return GatedLayout(before, kept[k].edge_degrees, kept[k].channels, mixed)

    def _readout_matrix(self, kept: Kept) -> dict[str, WeightMatrix]:
        return lay_out({"readout": (kept[-1].channels[self.readout_name], (0,))})

    def run(
        self, prepared: Any, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Predict; see `LayeredNetwork.run`.

        Under autocast, too, everything is computed in the weights' own precision.
        """
        geometry = cast(Geometry, prepared)
        with torch.autocast(geometry.lengths.device.type, enabled=False):
            return self._run(geometry, edit, start)

    def _run(
        self, geometry: Geometry, edit: Edit | None, start: tuple[int, Tensor] | None
    ) -> Tensor:
        elements = geometry.z.unique() if geometry.elements is None else geometry.elements
        one_hot = (geometry.z.unsqueeze(1) == elements).to(self.readout.dtype)
        if start is None:
            first, x = 0, {SCALARS: self.embedding(geometry.z).unsqueeze(1)}
        else:
            first, x = start[0] + 1, to_blocks(start[1], self.kept[start[0]].channels)
        for k in range(first, len(self.layers)):
            x = self.layers[k](x, elements, one_hot, geometry)
            if edit is not None:
                channels = self.kept[k].channels
                x = to_blocks(edit(k, from_blocks(x, channels)), channels)
        (matrix,) = self._readout_matrix(self.kept).values()
        atom_nm = (x[self.readout_name] @ matrix.of(self.readout)).squeeze(-1)
        return self._sum_and_scale(atom_nm, geometry)

    def block_parameters(self, k: int, irrep: str) -> list[BlockWeights]:
        """Weights of linear maps and self-connections that write or read a block."""
        found = [self._entries(k, name, None, irrep) for name in ("linear", "self_connection")]
        if k + 1 < len(self.layers):
            names = ("mixing", "self_connection")
            found += [self._entries(k + 1, name, irrep, None) for name in names]
        elif irrep == self.readout_name:
            rows = torch.arange(self.readout.shape[0])
            found.append(BlockWeights(self.readout, rows, writes=False))
        return [weights for weights in found if len(weights.columns)]

    def _entries(self, k: int, name: str, reads: str | None, writes: str | None) -> BlockWeights:
        """Weights of a layer's parameter that read an input irrep or write an output irrep."""
        found = [torch.zeros(0, dtype=torch.int64)]
        for irrep, matrix in _matrices(self._layout(k), name).items():
            shape = len(matrix.rows), len(matrix.columns)
            places = matrix.start + torch.arange(matrix.num_weights).view(shape)
            if writes is not None:
                written = [i for i, head in enumerate(matrix.columns) if _head(head) == writes]
                found.append(places[:, written].flatten())
            elif irrep == reads:
                found.append(places.flatten())
        parameter = self.get_parameter(f"layers.{k}.{name}")
        return BlockWeights(parameter, torch.cat(found), writes=writes is not None)

    def weight_selections(self, kept: Kept) -> dict[str, WeightSelection]:
        """Find the weights that a smaller network keeps, which takes a few milliseconds."""
        found = {}
        for k in range(len(self.layers)):
            larger, smaller = self._layout(k), self._layout(k, kept)
            for part in (*PARAMETERS, "radial.layer1.weight"):
                name = f"layers.{k}.{part}"
                axis = self.get_parameter(name).dim() - 1
                selected = select_weights(_matrices(larger, part), _matrices(smaller, part))
                found[name] = self._selection(name, axis, *selected)
        selected = select_weights(self._readout_matrix(self.kept), self._readout_matrix(kept))
        found["readout"] = self._selection("readout", 0, *selected)
        return found

    def operations(self, prepared: Any, kept: Kept | None = None) -> int:
        """Count the multiply-adds of linear maps per node, of radial MLP and product per edge.

        A path takes (2 l_in + 1)(2 l_out + 1) per channel for the product and 2 l_out + 1 for its
        weight.
        """
        geometry = cast(Geometry, prepared)
        hidden = int(self._options["radial_hidden"])
        per_node = per_edge = 0
        for k in range(len(self.layers)):
            layout = self._layout(k, kept)
            for matrices in (layout.mixing, layout.linear, layout.self_connection):
                per_node += sum(o3.Irrep(n).dim * m.num_weights for n, m in matrices.items())
            per_edge += hidden * (self.num_radial + layout.paths.num_weights)
            for path in layout.paths.paths:
                dim_in, dim_out = o3.Irrep(path.irrep_in).dim, o3.Irrep(path.irrep_out).dim
                per_edge += path.channels * dim_out * (dim_in + 1)
        return per_node * geometry.num_nodes + per_edge * int(geometry.edge_index.shape[1])

    def num_reachable_parameters(self) -> int:
        """Those of `num_parameters` that can change the prediction, by the selection rules."""
        total = self.num_parameters()
        for k, layer in enumerate(self.layers):
            counted = sum(self._live_weights(k))
            parts = [layer.get_parameter(name) for name in (*PARAMETERS, "radial.layer1.weight")]
            total += counted - sum(part.numel() for part in parts)
        return total

    def _live_weights(self, k: int) -> Iterator[int]:
        """Count the weights of layer k that lead from a filled to a reachable block, by matrix."""
        layout, elements = self._layout(k), int(self._options["num_elements"])
        hidden = int(self._options["radial_hidden"])
        filled = self.filled[k - 1] if k > 0 else {SCALARS: True}
        useful = {
            name for name, there in self.reachable[k].items() if there and self.filled[k][name]
        }
        heads = {
            name: sum(_head(head) in useful for head in layout.heads(name)) for name in layout.fed
        }
        live = [p for p in layout.paths.paths if filled[p.irrep_in] and heads[p.irrep_out]]
        yield from (hidden * path.channels for path in live)
        yield from (path.channels * heads[path.irrep_out] for path in live)
        for name in {path.irrep_in for path in live}:
            yield layout.mixing[name].num_weights
        for name, matrix in layout.self_connection.items():
            yield elements * len(matrix.rows) * heads[name] * filled[name]


def _matrices(layout: GatedLayout, parameter: str) -> Matrices:
    """Matrices of one of a layer's parameters."""
    found: Matrices = getattr(layout, parameter.partition(".")[0])
    return found


def _head(label: object) -> str:
    """Irrep whose channel or gate a column stands for."""
    return str(cast(tuple[str, int], label)[0])


def _parses(irreps: str | o3.Irreps) -> bool:
    """Whether e3nn can read irreps; if not, the base class says what is wrong."""
    try:
        o3.Irreps(irreps)
    except (ValueError, AssertionError):
        return False
    return True
