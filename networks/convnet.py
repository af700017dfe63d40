"""`EquivariantConvNet`: the published equivariant graph convolution network.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from networks.convolution.fast import FastConvolution
from networks.convolution.reference import E3nnConvolution, path_columns
from networks.geometry import Geometry, edge_vectors
from networks.irreps import (
    check_irreps,
    filled_blocks,
    default_edge_irreps,
    parse_irreps,
    reachable_blocks,
)

ConvolutionName = Literal["fast", "e3nn"]
NEIGHBOR_NORM = 6.08275253
"""The published normalization of the sum over neighbours, meant as sqrt(37) = 6.08276253."""


class EquivariantConvNet(nn.Module):
    """Atom embedding, equivariant convolutions with residuals, a linear scalar readout.

    x_0 = embedding(z); x_1 = conv_0(x_0); x_{k+1} = conv_k(x_k) + x_k; an atom's scalar is a
    linear map of the last layer's ``0e``; a molecule's prediction is scale * sum_atoms + shift
    (arXiv 2410.08131, Eq. 1-4 and its code; the published ``num_layers: 3`` builds five
    convolutions). No gate, no self-interaction.

    Parameters
    ----------
    irreps : str
        Feature irreps of every layer, e3nn notation. The degrees present are also those of the
        edges' spherical harmonics.
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
        The same function computed two ways; parameters and state dict are the same.
    trim_unreachable : bool
        Leave out of each layer the blocks that no path connects with the readout. Predictions
        and the remaining weights' gradients are the same.

    Raises
    ------
    ValueError
        If `irreps` is unusable (see `parse_irreps`, `check_irreps`) or a number is out of range.
    """

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
    ) -> None:
        super().__init__()
        _check_numbers(
            num_layers=num_layers,
            embedding_dim=embedding_dim,
            num_elements=num_elements,
            num_radial=num_radial,
            radial_hidden=1 if radial_hidden is None else radial_hidden,
            cutoff=cutoff,
            neighbor_norm=neighbor_norm,
        )
        if convolution not in get_args(ConvolutionName):
            raise ValueError(
                f"convolution {convolution!r} is unknown: choose one of "
                f"{', '.join(get_args(ConvolutionName))}"
            )
        self.irreps = parse_irreps(irreps)
        self.irreps_embedding = o3.Irreps(f"{embedding_dim}x0e")
        self.irreps_readout = o3.Irreps("1x0e")
        check_irreps(self.irreps, self.irreps_embedding, self.irreps_readout, num_layers)
        self.edge_irreps = default_edge_irreps(self.irreps)
        self.num_radial = num_radial
        self.cutoff = cutoff
        self.convolution = convolution
        reachable = reachable_blocks(self.edge_irreps, self.irreps, self.irreps_readout, num_layers)
        filled = filled_blocks(self.irreps_embedding, self.edge_irreps, self.irreps, num_layers)
        self.reachable = [{str(ir): ir in blocks for _, ir in self.irreps} for blocks in reachable]
        self.filled = [{str(ir): ir in blocks for _, ir in self.irreps} for blocks in filled]
        self.layer_irreps = [
            o3.Irreps(
                [(mul, ir) for mul, ir in self.irreps if ir in blocks or not trim_unreachable]
            )
            for blocks in reachable
        ]
        radial_hidden = radial_hidden or max(mul for mul, _ in self.irreps)
        self.embedding = nn.Embedding(num_elements, embedding_dim, padding_idx=0)
        self.layers = nn.ModuleList(
            self._layer(k, radial_hidden, neighbor_norm) for k in range(num_layers)
        )
        self.readout = o3.Linear(self.layer_irreps[-1], self.irreps_readout)
        self.output = nn.Linear(1, 1)

    def _layer(self, k: int, radial_hidden: int, neighbor_norm: float) -> nn.Module:
        """Build layer k with the weights that an untrimmed layer would be given."""
        whole_in = self.irreps if k > 0 else self.irreps_embedding
        irreps_in = self.layer_irreps[k - 1] if k > 0 else self.irreps_embedding
        irreps_out = self.layer_irreps[k]
        columns = path_columns(
            whole_in, self.edge_irreps, self.irreps, kept_in=irreps_in, kept_out=irreps_out
        )
        whole_numel = int(
            path_columns(whole_in, self.edge_irreps, self.irreps, whole_in, self.irreps).numel()
        )
        whole = e3nn_nn.FullyConnectedNet(
            [self.num_radial, radial_hidden, whole_numel], nn.functional.silu
        )
        with torch.random.fork_rng(devices=[]):
            layer = self._convolution_class()(
                irreps_in,
                self.edge_irreps,
                irreps_out,
                num_radial=self.num_radial,
                radial_hidden=radial_hidden,
                cutoff=self.cutoff,
                neighbor_norm=neighbor_norm,
            )
        with torch.no_grad():
            layer.radial.layer0.weight.copy_(whole.layer0.weight)
            layer.radial.layer1.weight.copy_(whole.layer1.weight[:, columns])
        return layer

    def _convolution_class(self) -> type[FastConvolution] | type[E3nnConvolution]:
        return FastConvolution if self.convolution == "fast" else E3nnConvolution

    def compile_tensor_products(self) -> None:
        """Compile e3nn's tensor products with `torch.compile`, in place, for batches of any size.

        Their first batch then takes half a minute or more; afterwards a step takes about half
        the time on a CPU.

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
            layer.get_submodule("tensor_product").compile(dynamic=True)

    def geometry(self, data: Data) -> Geometry:
        """Expand a batch's edges on spherical harmonics and radial functions.

        Parameters
        ----------
        data : Data or Batch
            With ``pos`` [n, 3] (angstrom), ``edge_index`` [2, e] and, for several molecules,
            ``batch`` [n] and ``num_graphs``. If the edges are sorted by target, then source, and
            each has its reverse, ``neighbor_counts`` (NumPy, [n] edges into every node) says so;
            ``elements`` [t] may hold the atomic numbers that occur, ascending; ``num_idle``
            says that the last nodes are padding, see `Geometry`.

        Returns
        -------
        Geometry
        """
        vectors = edge_vectors(data.pos, data.edge_index)
        lengths = vectors.norm(dim=-1)
        batch = data.batch if "batch" in data else None
        num_nodes = data.pos.shape[0]
        return Geometry(
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
            num_idle=data.num_idle if "num_idle" in data else 0,
            elements=data.elements if "elements" in data else None,
        )

    def features(self, z: Tensor, geometry: Geometry) -> list[Tensor]:
        """Node features after every layer.

        Parameters
        ----------
        z : Tensor
            [n] int64 atomic numbers.
        geometry : Geometry
            Of the same batch.

        Returns
        -------
        list of Tensor
            Layer k's [n, layer_irreps[k].dim], residual included.
        """
        outputs = [self._first_layer(z, geometry)]
        for k in range(1, len(self.layers)):
            outputs.append(self.layer(k, outputs[-1], geometry))
        return outputs

    def _first_layer(self, z: Tensor, geometry: Geometry) -> Tensor:
        """Features after layer 0, [n, dim]."""
        first = self.layers[0]
        if not isinstance(first, FastConvolution):
            return self.layer(0, self.embedding(z), geometry)
        elements = geometry.elements
        if elements is None:
            elements = z.unique()
        # Atoms of one element have the same embedding.
        return first.of_species(self.embedding(elements), torch.searchsorted(elements, z), geometry)

    def layer(self, k: int, x: Tensor, geometry: Geometry) -> Tensor:
        """Apply layer k with its residual.

        Parameters
        ----------
        k : int
            Layer, from 0.
        x : Tensor
            [n, dim] output of layer k - 1, or the embedding for k = 0.
        geometry : Geometry
            Of the batch.

        Returns
        -------
        Tensor
            [n, layer_irreps[k].dim].
        """
        out: Tensor = self.layers[k](x, geometry)
        if k == 0:
            return out
        return out + _restrict(x, self.layer_irreps[k - 1], self.layer_irreps[k])

    def predict_from(self, k: int, x: Tensor, geometry: Geometry) -> Tensor:
        """Prediction when layer k's output is `x`; only later layers are run.

        Parameters
        ----------
        k : int
            Layer, from 0.
        x : Tensor
            [n, layer_irreps[k].dim].
        geometry : Geometry
            Of the batch.

        Returns
        -------
        Tensor
            [g] standardized predictions.
        """
        last = len(self.layers) - 1
        for later in range(k + 1, last):
            x = self.layer(later, x, geometry)
        atom_n1 = self.readout(x) if k == last else self._last_layer(x, geometry)
        molecule_g1 = atom_n1.new_zeros(geometry.num_graphs, 1).index_add(
            0, geometry.batch, atom_n1
        )
        return self.output(molecule_g1).squeeze(-1)

    def _last_layer(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Readout of the last layer's output from the output of the layer before, [n, 1]."""
        k = len(self.layers) - 1
        layer = self.layers[k]
        if not isinstance(layer, FastConvolution):
            out: Tensor = self.readout(self.layer(k, x, geometry))
            return out
        # Of the messages the readout needs but one combination of the scalars.
        scalars = torch.eye(self.layer_irreps[k].dim, dtype=x.dtype, device=x.device)
        block = [ir for _, ir in self.layer_irreps[k]].index(o3.Irrep("0e"))
        mixing = self.readout(scalars[self.layer_irreps[k].slices()[block]])
        residual = self.readout(_restrict(x, self.layer_irreps[k - 1], self.layer_irreps[k]))
        return layer.scalars(x, geometry, mixing) + residual

    def forward(self, data: Data) -> Tensor:
        """Predict the standardized target of every molecule.

        Parameters
        ----------
        data : Data or Batch
            With ``z``, ``pos``, ``edge_index`` and, for several molecules, ``batch``.

        Returns
        -------
        Tensor
            [g].
        """
        geometry = self.geometry(data)
        return self.predict_from(0, self._first_layer(data.z, geometry), geometry)

    def num_parameters(self) -> int:
        """Trainable parameters without the two of the affine output, as published counts do.

        Returns
        -------
        int
        """
        total = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return total - sum(p.numel() for p in self.output.parameters())

    def num_reachable_parameters(self) -> int:
        """Those of `num_parameters` that can change the prediction, by the selection rules.

        Returns
        -------
        int
            Weights of paths from a filled to a reachable block, plus radial MLP input layers,
            embedding and readout.
        """
        total = self.num_parameters()
        for k, layer in enumerate(self.layers):
            irreps_in = self.layer_irreps[k - 1] if k > 0 else self.irreps_embedding
            filled = self.filled[k - 1] if k > 0 else {"0e": True}
            live_in = o3.Irreps([(mul, ir) for mul, ir in irreps_in if filled[str(ir)]])
            live_out = o3.Irreps(
                [(mul, ir) for mul, ir in self.layer_irreps[k] if self.reachable[k][str(ir)]]
            )
            live = path_columns(
                irreps_in, self.edge_irreps, self.layer_irreps[k], live_in, live_out
            )
            weight = layer.get_parameter("radial.layer1.weight")
            total -= weight.shape[0] * (weight.shape[1] - int(live.numel()))
        return total


def _restrict(x: Tensor, irreps: o3.Irreps, kept: o3.Irreps) -> Tensor:
    """Columns of x [n, irreps.dim] that belong to the irreps in `kept`, a subset in order."""
    if irreps == kept:
        return x
    slices = [s for s, (_, ir) in zip(irreps.slices(), irreps) if ir in kept]
    return torch.cat([x[:, s] for s in slices], dim=1)


def _check_numbers(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0 or value == float("inf"):
            raise ValueError(f"{name} is {value}: it must be a positive number")
