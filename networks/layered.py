"""`LayeredNetwork`: the one contract between networks and everything that examines them.

Utilization, latent spaces, regularizers, pruning and probing know a network only through it.
Imports torch, e3nn and `networks.irreps` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from networks.irreps import filled_blocks, reachable_blocks
from networks.restriction import Kept, KeptLayer, WeightSelection

Edit = Callable[[int, Tensor], Tensor]
"""From a layer k and its output [n, layer_irreps[k].dim] to what the next layer gets instead."""


class Prepared(Protocol):
    """What `LayeredNetwork.prepare` returns: at least which molecule each node belongs to."""

    @property
    def batch(self) -> Tensor:
        """[n] int64, the molecule of each node."""

    @property
    def num_graphs(self) -> int:
        """Number of molecules g."""


@dataclass(frozen=True)
class BlockWeights:
    """The part of one parameter that writes or reads a block of features.

    Attributes
    ----------
    parameter : Tensor
        [..., columns] a parameter of the network.
    columns : Tensor
        [c] int64, positions in the parameter's last axis.
    writes : bool
        Whether these weights write the block; otherwise they read it.
    """

    parameter: Tensor
    columns: Tensor
    writes: bool

    def values(self) -> Tensor:
        """Select the weights, [..., c]; gradients flow to `parameter`."""
        return self.parameter.index_select(-1, self.columns.to(self.parameter.device))


class LayeredNetwork(nn.Module, ABC):
    """A network whose node features after every layer can be looked at and edited.

    A subclass declares its irreps to `__init__` and implements `prepare` and `run`; that is enough
    for utilization, latent spaces and equivariance checks. `block_parameters`, `restricted` and
    `operations` serve regularizers, pruning and nested training.

    Parameters
    ----------
    irreps : str or o3.Irreps
        Feature irreps; a layer may lack some of them.
    layer_irreps : sequence of o3.Irreps
        Of each layer's output.
    edge_irreps : o3.Irreps or sequence of o3.Irreps
        Of the edges, the same in all layers or layer by layer.
    irreps_readout : str or o3.Irreps
        What the readout takes from the last layer, ``1x0e`` for a scalar.
    irreps_embedding : str or o3.Irreps
        Of the first layer's input.
    gated : bool
        Whether layers are gated (`networks.irreps.filled_blocks`), for `reachable` and `filled`.

    Attributes
    ----------
    linear_in_features : bool
        Whether, for given positions, the prediction is linear in every layer's features. Only then
        is it a sum over paths.
    irreps, irreps_readout, irreps_embedding : o3.Irreps
        As given.
    layer_irreps, layer_edge_irreps : list of o3.Irreps
        Of each layer's output and of the edges that it sees.
    edge_irreps : o3.Irreps
        All degrees of edges that any layer sees.
    kept : Kept
        Channels and edge degrees of every layer, counted in the unrestricted network.
    reachable, filled : list of dict of str to bool
        For each layer, by irrep name: whether a selection-rule path leads from the block to the
        readout, and from the embedding to the block.

    Examples
    --------
    A network of one's own. Everything that measures networks works on it:

    >>> class TwoLayers(LayeredNetwork):
    ...     def __init__(self) -> None:
    ...         irreps, edges = o3.Irreps("4x0e+4x1o"), o3.Irreps("0e+1o")
    ...         super().__init__(irreps, [irreps, irreps], edges, "0e", "8x0e")
    ...         self.embedding = nn.Embedding(10, 8)
    ...         self.products = nn.ModuleList(
    ...             o3.FullyConnectedTensorProduct(irreps_in, edges, irreps)
    ...             for irreps_in in (self.irreps_embedding, irreps)
    ...         )
    ...         self.readout = o3.Linear(irreps, "0e")
    ...
    ...     def prepare(self, data: Data) -> Data:
    ...         source, target = data.edge_index
    ...         r = data.pos[source] - data.pos[target]
    ...         data.y_edge = o3.spherical_harmonics(self.edge_irreps, r, normalize=True)
    ...         return data
    ...
    ...     def run(self, prepared, edit=None, start=None):
    ...         first, x = (0, self.embedding(prepared.z)) if start is None else start
    ...         source, target = prepared.edge_index
    ...         for k in range(first + (start is not None), 2):
    ...             messages = self.products[k](x[source], prepared.y_edge)
    ...             out = messages.new_zeros(len(prepared.z), messages.shape[1])
    ...             x = out.index_add(0, target, messages)
    ...             x = edit(k, x) if edit else x
    ...         atoms = self.readout(x)
    ...         return atoms.new_zeros(prepared.num_graphs).index_add(
    ...             0, prepared.batch, atoms[:, 0]
    ...         )
    """

    linear_in_features: bool = False

    def __init__(
        self,
        irreps: str | o3.Irreps,
        layer_irreps: Sequence[o3.Irreps],
        edge_irreps: o3.Irreps | Sequence[o3.Irreps],
        irreps_readout: str | o3.Irreps = "1x0e",
        irreps_embedding: str | o3.Irreps = "1x0e",
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.irreps = o3.Irreps(irreps)
        self.layer_irreps = [o3.Irreps(each) for each in layer_irreps]
        self.layer_edge_irreps: list[o3.Irreps] = (
            [edge_irreps] * len(self.layer_irreps)
            if isinstance(edge_irreps, o3.Irreps)
            else list(edge_irreps)
        )
        self.edge_irreps = o3.Irreps(
            [(1, ir) for ir in sorted({ir for each in self.layer_edge_irreps for _, ir in each})]
        )
        self.irreps_readout = o3.Irreps(irreps_readout)
        self.irreps_embedding = o3.Irreps(irreps_embedding)
        self.gated = gated
        edges, layers = self.layer_edge_irreps, self.layer_irreps
        reachable = reachable_blocks(edges, layers, self.irreps_readout, gated)
        filled = filled_blocks(self.irreps_embedding, edges, layers, gated)
        self.kept: Kept = tuple(
            KeptLayer({str(ir): tuple(range(mul)) for mul, ir in irreps}, frozenset(edges.ls))
            for irreps, edges in zip(self.layer_irreps, self.layer_edge_irreps)
        )
        self.reachable = [{str(ir): ir in blocks for _, ir in self.irreps} for blocks in reachable]
        self.filled = [{str(ir): ir in blocks for _, ir in self.irreps} for blocks in filled]

    @abstractmethod
    def prepare(self, data: Data) -> Prepared:
        """Do everything that depends on elements, positions and edges only, once per batch.

        Parameters
        ----------
        data : Data or Batch
            With ``z`` [n], ``pos`` [n, 3] (angstrom), ``edge_index`` [2, e] and, for several
            molecules, ``batch`` [n].

        Returns
        -------
        Prepared
            Any object with ``batch`` and ``num_graphs``.
        """

    @abstractmethod
    def run(
        self, prepared: Prepared, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Predict.

        Parameters
        ----------
        prepared : Prepared
            From `prepare`.
        edit : callable, optional
            Applied to the output of every layer that runs; the rest of the network sees what it
            returns. Features are read, gradients taken and blocks removed by edits.
        start : tuple of int and Tensor, optional
            (k, x): take x [n, layer_irreps[k].dim] as the output of layer k, unedited, and run the
            later layers only.

        Returns
        -------
        Tensor
            [g, …] standardized predictions.
        """

    def forward(self, data: Data) -> Tensor:
        """Predict the standardized target of every molecule.

        Parameters
        ----------
        data : Data or Batch
            See `prepare`.

        Returns
        -------
        Tensor
            [g, …].
        """
        return self.run(self.prepare(data))

    def run_recording(self, prepared: Prepared) -> tuple[list[Tensor], Tensor]:
        """Predict, and keep the features of every layer.

        Parameters
        ----------
        prepared : Prepared
            From `prepare`.

        Returns
        -------
        features : list of Tensor
            Each layer's [n, layer_irreps[k].dim].
        prediction : Tensor
            [g, …] standardized.
        """
        features: list[Tensor] = []

        def record(k: int, x: Tensor) -> Tensor:
            features.append(x)
            return x

        prediction = self.run(prepared, edit=record)
        return features, prediction

    def block_parameters(self, k: int, irrep: str) -> list[BlockWeights]:
        """Weights that write or read a block.

        Parameters
        ----------
        k : int
            Layer, from 0.
        irrep : str
            e.g. ``1o``.

        Returns
        -------
        list of BlockWeights

        Raises
        ------
        TypeError
            If the network does not offer this.
        """
        raise self._not_offered("block_parameters", "regularizers and pruning need")

    def restricted(self, kept: Kept) -> LayeredNetwork:
        """Make the smaller network that computes what this one computes with the rest at zero.

        Parameters
        ----------
        kept : Kept
            What stays: per layer, channels of each irrep and degrees of the edges.

        Returns
        -------
        LayeredNetwork
            With weights of its own, in the same precision and on the same device.

        Raises
        ------
        TypeError
            If the network does not offer this.
        ValueError
            If nothing is left that reaches the readout, or something is kept that is not there.
        """
        raise self._not_offered("restricted", "pruning and nested training need")

    def weight_selections(self, kept: Kept) -> dict[str, WeightSelection]:
        """Find the weights that a smaller network has from this one.

        Parameters
        ----------
        kept : Kept
            What stays in the smaller network, as for `restricted`.

        Returns
        -------
        dict of str to WeightSelection
            By parameter name. Both networks share the parameters that are not in it.

        Raises
        ------
        TypeError
            If the network does not offer this.
        """
        raise self._not_offered("weight_selections", "pruning and nested training need")

    def operations(self, prepared: Prepared, kept: Kept | None = None) -> int:
        """Count the multiply-adds of one forward pass, for cost axes.

        Parameters
        ----------
        prepared : Prepared
            The batch.
        kept : Kept, optional
            Count those of the network that `restricted` would make of this.

        Returns
        -------
        int

        Raises
        ------
        TypeError
            If the network does not offer this.
        """
        raise self._not_offered("operations", "cost axes need")

    def num_parameters(self) -> int:
        """Count the trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def num_reachable_parameters(self) -> int:
        """Count those that can reach the prediction; all of them, unless a network knows better."""
        return self.num_parameters()

    def offers(self, method: str) -> bool:
        """Return whether a network implements one of the methods that are not required.

        Parameters
        ----------
        method : str
            E.g. ``restricted``.
        """
        return getattr(type(self), method) is not getattr(LayeredNetwork, method)

    def _not_offered(self, method: str, use: str) -> TypeError:
        return TypeError(f"{type(self).__name__} does not implement `{method}`, which {use}")


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Set a network up for measurement, and put everything back afterwards.

    Inside: evaluation mode, no gradients of parameters but of features (also within Lightning's
    inference mode), no autocast, no TF32, nothing compiled.

    Parameters
    ----------
    network : nn.Module
        Restored module by module and parameter by parameter, also after an error.
    """
    modes = [(module, module.training) for module in network.modules()]
    requires = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    precision = torch.get_float32_matmul_precision()
    device = next((p.device.type for p, _ in requires), "cpu")
    try:
        network.eval().requires_grad_(False)
        torch.set_float32_matmul_precision("highest")
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            # A compiled network is compiled anew for every kind of edit, up to a limit after which
            # torch no longer compiles its training either.
            torch.compiler.set_stance("force_eager"),
            torch.autocast(device, enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes:
            module.training = training
        for parameter, flag in requires:
            parameter.requires_grad_(flag)
