"""`EquivariantConvNet`: the published equivariant graph convolution network.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.convolution.fast import FastConvolution
from networks.convolution.interface import Convolution
from networks.convolution.reference import E3nnConvolution
from networks.geometry import Geometry
from networks.layered import BlockWeights, Edit
from networks.restrictable import RestrictableNetwork
from networks.restriction import (
    Kept,
    WeightSelection,
    convolution_paths,
    convolution_weights,
    readout_weights,
    residual_columns,
)

ConvolutionName = Literal["fast", "e3nn"]
CONVOLUTIONS: Mapping[str, type[Convolution]] = {"fast": FastConvolution, "e3nn": E3nnConvolution}
SCALARS = "0e"
NEIGHBOR_NORM = 6.08275253
"""The published normalization of the sum over neighbours, meant as sqrt(37) = 6.08276253."""


class EquivariantConvNet(RestrictableNetwork):
    """Atom embedding, equivariant convolutions with residuals, a linear readout.

    x_0 = embedding(z); x_1 = conv_0(x_0); x_{k+1} = conv_k(x_k) + x_k; an atom's scalar is a
    linear map of the last layer's ``0e``; a molecule's prediction is scale * sum_atoms + shift.
    For a vector or tensor it is ``1o`` or ``2e`` instead, without a shift.
    (arXiv 2410.08131, Eq. 1-4 and its code; the published ``num_layers: 3`` builds five
    convolutions). No gate, no self-interaction.

    Parameters
    ----------
    irreps : str
        Feature irreps of every layer, e3nn notation.
    num_layers : int
        Number of convolutions.
    embedding_dim : int
        Channels of the atom embedding.
    num_elements : int
        Rows of the atom embedding; atomic numbers must be smaller.
    num_radial : int
        Number of Bessel functions.
    radial_hidden : int, optional
        Hidden width of the radial MLPs; by default the largest multiplicity in `irreps`.
    cutoff : float
        Length over which the Bessel functions are defined, angstrom.
    neighbor_norm : float
        Sums over neighbours are divided by this.
    convolution : {"fast", "e3nn"}
        The same function computed in two ways; parameters and state dict are the same.
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
        If `irreps` is unusable (see `parse_irreps`, `check_irreps`), a number is out of range, or
        `kept` asks for what is not there or leaves nothing that reaches the readout.
    """

    linear_in_features = True

    def __init__(
        self,
        irreps: str | o3.Irreps = "32x0e+32x1o+32x2e",
        num_layers: int = 5,
        embedding_dim: int = 64,
        num_elements: int = 100,
        num_radial: int = 20,
        radial_hidden: int | None = None,
        cutoff: float = 6.0,
        neighbor_norm: float = NEIGHBOR_NORM,
        convolution: ConvolutionName = "fast",
        trim_unreachable: bool = True,
        edge_irreps: str | o3.Irreps | None = None,
        kept: Sequence[Mapping[str, Any]] | None = None,
        irreps_readout: str | o3.Irreps = "0e",
    ) -> None:
        if convolution not in get_args(ConvolutionName):
            raise ValueError(
                f"convolution {convolution!r} is unknown: choose one of "
                f"{', '.join(get_args(ConvolutionName))}"
            )
        options = {
            "irreps": irreps,
            "num_layers": num_layers,
            "embedding_dim": embedding_dim,
            "num_elements": num_elements,
            "num_radial": num_radial,
            "radial_hidden": radial_hidden,
            "cutoff": cutoff,
            "neighbor_norm": neighbor_norm,
            "convolution": convolution,
            "trim_unreachable": trim_unreachable,
            "edge_irreps": edge_irreps,
            "irreps_readout": irreps_readout,
        }
        super().__init__(options, kept)
        radial_hidden = radial_hidden or max(mul for mul, _ in self.irreps)
        self._options["radial_hidden"] = radial_hidden
        self.convolution = convolution
        self.embedding = nn.Embedding(num_elements, embedding_dim, padding_idx=0)
        self.layers = nn.ModuleList(
            self._layer(k, radial_hidden, neighbor_norm) for k in range(num_layers)
        )
        self._register_residuals()
        self.readout = o3.Linear(self.layer_irreps[-1], self.irreps_readout)
        self.output = self._make_output()

    def _register_residuals(self) -> None:
        """Find which columns each layer's residual carries, and where it puts them."""
        for k in range(1, len(self.kept)):
            source, target = residual_columns(self.kept[k - 1].channels, self.kept[k].channels)
            self.register_buffer(f"_residual_source_{k}", source, persistent=False)
            self.register_buffer(f"_residual_target_{k}", target, persistent=False)

    def _layer(self, k: int, radial_hidden: int, neighbor_norm: float) -> nn.Module:
        """Build layer k with the initial weights that the whole network's layer would have."""
        paths = self._paths(k, self.kept)
        whole_paths = self._paths(k, self._whole)
        columns, _ = convolution_weights(whole_paths, paths)
        initial = e3nn_nn.FullyConnectedNet(
            [self.num_radial, radial_hidden, _num_weights(whole_paths)], nn.functional.silu
        )
        with torch.random.fork_rng(devices=[]):
            layer = CONVOLUTIONS[self.convolution](
                self.layer_irreps[k - 1] if k > 0 else self.irreps_embedding,
                self.layer_edge_irreps[k],
                self.layer_irreps[k],
                num_radial=self.num_radial,
                radial_hidden=radial_hidden,
                cutoff=self.cutoff,
                neighbor_norm=neighbor_norm,
            )
        with torch.no_grad():
            first, second = initial.layer0.weight, initial.layer1.weight
            layer.get_parameter("radial.layer0.weight").copy_(first)
            layer.get_parameter("radial.layer1.weight").copy_(second[:, columns])
        return layer

    def _paths(self, k: int, kept: Kept) -> Any:
        """Layout of layer k's weights where `kept` is what there is."""
        embedding = {"0e": tuple(range(self.irreps_embedding.dim))}
        before = kept[k - 1].channels if k > 0 else embedding
        return convolution_paths(before, kept[k].edge_degrees, kept[k].channels)

    def compile_tensor_products(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile e3nn's tensor products with `torch.compile`, in place, for batches of any size.

        Their first batch then takes half a minute or more; afterwards a step takes about half
        the time on a CPU.

        Parameters
        ----------
        backend : str or callable
            See `torch.compile`.

        Raises
        ------
        ValueError
            If the convolution is not e3nn's.
        """
        if self.convolution != "e3nn":
            raise ValueError(
                f"the {self.convolution} convolution cannot be compiled, nor would it gain: it "
                "consists of matrix products of the vendor's library, in an order that depends on "
                "the batch. Leave compile at false, or choose convolution e3nn"
            )
        for layer in self.layers:
            cast(E3nnConvolution, layer).compile_tensor_product(backend)

    def run(
        self, prepared: Any, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Predict; see `LayeredNetwork.run`.

        Without an edit of the last layer's output a scalar readout computes only one linear
        combination of its scalars: the one that it takes.
        """
        geometry = cast(Geometry, prepared)
        last = len(self.layers) - 1
        if start is None:
            k, x = 0, self._first_layer(geometry)
            x = x if edit is None else edit(0, x)
        else:
            k, x = start
        folded = edit is None and k < last and self.readout_name == SCALARS
        for later in range(k + 1, last if folded else last + 1):
            x = self._next_layer(later, x, geometry)
            x = x if edit is None else edit(later, x)
        # Eight bits of bfloat16 cannot tell the predictions of a batch apart.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.embedding.weight.dtype)
            atom_nm = self._folded_readout(x, geometry) if folded else self.readout(x)
            return self._sum_and_scale(atom_nm, geometry)

    def _convolution(self, k: int) -> Convolution:
        return cast(Convolution, self.layers[k])

    def _first_layer(self, geometry: Geometry) -> Tensor:
        """Features after layer 0, [n, dim]. Atoms of one element have the same embedding."""
        elements = geometry.z.unique() if geometry.elements is None else geometry.elements
        species = torch.searchsorted(elements, geometry.z)
        return self._convolution(0).of_species(self.embedding(elements), species, geometry)

    def _next_layer(self, k: int, x: Tensor, geometry: Geometry) -> Tensor:
        """Features after layer k > 0 from those after layer k - 1, [n, dim]."""
        messages: Tensor = self.layers[k](x, geometry)
        if self.kept[k].channels == self.kept[k - 1].channels:
            return messages + x
        source, target = self._residual(k)
        carried = x.index_select(1, source)
        if len(target) == messages.shape[1]:
            return messages + carried
        return messages.index_add(1, target, carried)

    def _residual(self, k: int) -> tuple[Tensor, Tensor]:
        """Columns of layer k - 1 that the residual carries, and where in layer k it puts them."""
        return self.get_buffer(f"_residual_source_{k}"), self.get_buffer(f"_residual_target_{k}")

    def _folded_readout(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Readout of the last layer's output from the output of the layer before, [n, 1]."""
        k = len(self.layers) - 1
        irreps = self.layer_irreps[k]
        scalars = irreps.slices()[[ir for _, ir in irreps].index(o3.Irrep("0e"))]
        unit = torch.eye(irreps.dim, dtype=x.dtype, device=x.device)
        mixing = self.readout(unit)  # [dim, 1], zero for l > 0
        source, target = self._residual(k)
        residual: Tensor = x.index_select(1, source) @ mixing.index_select(0, target)
        return self._convolution(k).scalars(x, geometry, mixing[scalars]) + residual

    def block_parameters(self, k: int, irrep: str) -> list[BlockWeights]:
        """Weights of radial MLPs and readout that write or read a block."""
        found = []
        for later, end, writes in ((k, 2, True), (k + 1, 0, False)):
            if later == len(self.layers):
                continue
            columns = [
                torch.arange(path.start, path.start + path.num_weights)
                for key, path in self._paths(later, self.kept).items()
                if key[end] == irrep
            ]
            if columns:
                weight = self.layers[later].get_parameter("radial.layer1.weight")
                found.append(BlockWeights(weight, torch.cat(columns), writes))
        if k == len(self.layers) - 1 and irrep in self.irreps_readout:
            rows = torch.arange(len(self.kept[k].channels.get(irrep, ())))
            found.append(BlockWeights(cast(Tensor, self.readout.weight), rows, writes=False))
        return found

    def weight_selections(self, kept: Kept) -> dict[str, WeightSelection]:
        """Find the weights that a smaller network keeps, which takes a few milliseconds."""
        found = {}
        for k in range(len(self.layers)):
            name = f"layers.{k}.radial.layer1.weight"
            columns, factors = convolution_weights(self._paths(k, self.kept), self._paths(k, kept))
            found[name] = self._selection(name, 1, columns, factors)
        name = self.readout_name
        rows, factors = readout_weights(self.kept[-1].channels[name], kept[-1].channels[name])
        found["readout.weight"] = self._selection("readout.weight", 0, rows, factors)
        return found

    def operations(self, prepared: Any, kept: Kept | None = None) -> int:
        """Count the multiply-adds of e3nn's order of summation, layer by layer and path by path.

        Forming an edge's weights takes hidden * mul_in * mul_out per path, applying them
        mul_in * mul_out * (2 l_out + 1), and coupling with the edge's harmonics mul_in times the
        sizes of the three irreps.
        """
        geometry = cast(Geometry, prepared)
        per_edge = 0
        for k, layer in enumerate(self.layers):
            hidden = layer.get_parameter("radial.layer1.weight").shape[0]
            for (name_in, degree, name_out), path in self._paths(k, kept or self.kept).items():
                dim_in, dim_out = o3.Irrep(name_in).dim, o3.Irrep(name_out).dim
                per_edge += path.num_weights * (hidden + dim_out)
                per_edge += len(path.channels_in) * dim_in * (2 * degree + 1) * dim_out
        return per_edge * int(geometry.edge_index.shape[1])

    def num_reachable_parameters(self) -> int:
        """Those of `num_parameters` that can change the prediction, by the selection rules.

        These are the weights of paths from a filled to a reachable block, the input layers of the
        radial MLPs, the embedding and the readout.
        """
        total = self.num_parameters()
        for k, layer in enumerate(self.layers):
            filled = self.filled[k - 1] if k > 0 else {"0e": True}
            live = sum(
                path.num_weights
                for (name_in, _, name_out), path in self._paths(k, self.kept).items()
                if filled[name_in] and self.reachable[k][name_out]
            )
            weight = layer.get_parameter("radial.layer1.weight")
            total -= weight.shape[0] * (weight.shape[1] - live)
        return total


def _num_weights(paths: Mapping[Any, Any]) -> int:
    return sum(path.num_weights for path in paths.values())
