"""One layer of `GatedNetwork`: which weights it has, and what it computes with them.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from e3nn.math import normalize2mom
from torch import Tensor, nn

from networks.channelwise.choice import KernelName, make_product
from networks.channelwise.paths import ChannelwisePath, ChannelwisePaths
from networks.geometry import Geometry
from networks.irreps import natural_parity
from networks.restriction import Channels
from networks.weight_matrices import WeightMatrix, lay_out, num_weights

SCALARS = "0e"


@dataclass(frozen=True)
class GatedLayout:
    """The parts of a gated layer that its channels and edge degrees leave.

    Attributes
    ----------
    channels_in, channels_out : Channels
        Of the layer's input and output.
    edge_degrees : frozenset of int
        Degrees of the edges' harmonics that the layer sees.
    mixed : mapping of str to int
        Channels into which each input irrep is mixed before it is sent. Their number does not
        depend on how many channels of the input are kept.
    """

    channels_in: Channels
    edge_degrees: frozenset[int]
    channels_out: Channels
    mixed: Mapping[str, int]

    @cached_property
    def fed(self) -> tuple[str, ...]:
        """Irreps that messages or the self-connection make, ``0e`` first. It makes the gates too.

        Without anything that feeds ``0e`` all gates are closed, and degrees above 0 are zero.
        """
        wanted = [name for name, channels in self.channels_out.items() if channels]
        gates = [SCALARS] if any(o3.Irrep(name).l > 0 for name in wanted) else []
        fed = [name for name in dict.fromkeys([*gates, *wanted]) if self._is_fed(name)]
        if SCALARS in fed:
            return tuple(fed)
        return tuple(name for name in fed if o3.Irrep(name).l == 0)

    def _is_fed(self, name: str) -> bool:
        return name in self.channels_in or any(
            self._couples(source, degree, name)
            for source in self.channels_in
            for degree in self.edge_degrees
        )

    @staticmethod
    def _couples(source: str, degree: int, name: str) -> bool:
        return o3.Irrep(name) in o3.Irrep(source) * o3.Irrep(degree, natural_parity(degree))

    @cached_property
    def gated(self) -> tuple[str, ...]:
        """Irreps of degree above 0, which gates multiply."""
        return tuple(name for name in self.fed if o3.Irrep(name).l > 0)

    @cached_property
    def paths(self) -> ChannelwisePaths:
        """Tensor product paths into `fed`."""
        return ChannelwisePaths(
            tuple((name, self.mixed[name]) for name in self.channels_in),
            tuple(
                ChannelwisePath(source, degree, name, self.mixed[source])
                for name in self.fed
                for source in self.channels_in
                for degree in sorted(self.edge_degrees)
                if self._couples(source, degree, name)
            ),
        )

    def heads(self, name: str) -> tuple[tuple[str, int], ...]:
        """Columns that an irrep has before the gates: its channels, and the gates with ``0e``."""
        own = [(name, channel) for channel in self.channels_out.get(name, ())]
        gates = [(g, c) for g in self.gated for c in self.channels_out[g]]
        return tuple(own + gates if name == SCALARS else own)

    @cached_property
    def mixing(self) -> dict[str, WeightMatrix]:
        """From each input irrep's channels to those that are sent."""
        return lay_out(
            {
                name: (kept, tuple(range(self.mixed[name])))
                for name, kept in self.channels_in.items()
            }
        )

    @cached_property
    def radial(self) -> dict[str, WeightMatrix]:
        """From the radial MLP's hidden layer to the paths' weights; one row stands for all."""
        columns = tuple(
            (path.irrep_in, path.edge_degree, path.irrep_out, channel)
            for path in self.paths.paths
            for channel in range(path.channels)
        )
        return lay_out({"radial": ((0,), columns)})

    @cached_property
    def linear(self) -> dict[str, WeightMatrix]:
        """From the channels of all paths into an irrep to its heads."""
        rows: dict[str, list[tuple[str, int, int]]] = {}
        for path in self.paths.paths:
            rows.setdefault(path.irrep_out, []).extend(
                (path.irrep_in, path.edge_degree, channel) for channel in range(path.channels)
            )
        return lay_out({name: (tuple(labels), self.heads(name)) for name, labels in rows.items()})

    @cached_property
    def self_connection(self) -> dict[str, WeightMatrix]:
        """From a node's own channels to the heads of the same irrep, for every element."""
        return lay_out(
            {
                name: (kept, self.heads(name))
                for name, kept in self.channels_in.items()
                if name in self.fed
            }
        )


PARAMETERS = ("mixing", "linear", "self_connection")
"""Parameters of a layer whose last axis `GatedLayout` lays out, beside the radial MLP's last."""


class GatedLayer(nn.Module):
    """Mix channels, send them, mix what arrives, add the node's own, gate.

    Parameters
    ----------
    layout : GatedLayout
        Channels and edge degrees.
    edge_irreps : o3.Irreps
        Irreps of the geometry's harmonics.
    num_elements : int
        Elements with a self-connection of their own.
    num_radial, radial_hidden : int
        Sizes of the radial MLP.
    neighbor_norm : float
        The sum over neighbours is divided by this.
    kernel : KernelName
        Implementation of the tensor product.
    """

    def __init__(
        self,
        layout: GatedLayout,
        edge_irreps: o3.Irreps,
        num_elements: int,
        num_radial: int,
        radial_hidden: int,
        neighbor_norm: float,
        kernel: KernelName,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.neighbor_norm = neighbor_norm
        self.mixing = nn.Parameter(torch.randn(num_weights(layout.mixing)))
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, num_weights(layout.radial)], nn.functional.silu
        )
        self.linear = nn.Parameter(torch.randn(num_weights(layout.linear)))
        self.self_connection = nn.Parameter(
            torch.randn(num_elements, num_weights(layout.self_connection))
        )
        self.product = make_product(kernel, layout.paths, edge_irreps)

    def forward(
        self, x: Mapping[str, Tensor], elements: Tensor, one_hot: Tensor, geometry: Geometry
    ) -> dict[str, Tensor]:
        """Compute the layer's output.

        Parameters
        ----------
        x : mapping of str to Tensor
            Input irreps, [n, 2 l + 1, c].
        elements : Tensor
            [t] int64 atomic numbers that occur.
        one_hot : Tensor
            [n, t] 1 for each node's element.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        dict of str to Tensor
            Output irreps, [n, 2 l + 1, c].
        """
        sums = self._receive(x, geometry)
        own = self._own(x, elements, one_hot)
        before = {
            name: _total([part[name] for part in (sums, own) if name in part])
            for name in self.layout.fed
        }
        return self._gate(before, geometry.num_nodes)

    def _receive(self, x: Mapping[str, Tensor], geometry: Geometry) -> dict[str, Tensor]:
        """Sum over neighbours, mixed into heads."""
        layout = self.layout
        if not layout.paths.paths:
            return {}
        mixed = [x[name] @ matrix.of(self.mixing) for name, matrix in layout.mixing.items()]
        sent = torch.cat([block.flatten(1) for block in mixed], dim=1)
        weights = self.radial(radial_inputs(geometry, self.product.weighted_edges(geometry)))
        received = layout.paths.split_out(self.product(sent, weights, geometry))
        return {
            name: received[name] @ (matrix.of(self.linear) / self.neighbor_norm)
            for name, matrix in layout.linear.items()
        }

    def _own(self, x: Mapping[str, Tensor], elements: Tensor, one_hot: Tensor) -> dict[str, Tensor]:
        """Map each node's own channels by the weights of its element."""
        weights = self.self_connection.index_select(0, elements)  # [t, ..]
        found = {}
        for name, matrix in self.layout.self_connection.items():
            by_element = x[name].unsqueeze(2) * one_hot[:, None, :, None]  # [n, m, t, c]
            found[name] = by_element.flatten(2) @ matrix.of(weights).flatten(0, 1)
        return found

    def _gate(self, before: Mapping[str, Tensor], num_nodes: int) -> dict[str, Tensor]:
        """Apply SiLU to even scalars and gates, tanh to odd scalars, and multiply by the gates."""
        channels = {name: len(kept) for name, kept in self.layout.channels_out.items()}
        active: dict[str, Tensor] = {}
        if SCALARS in before:
            sizes = [channels.get(SCALARS, 0), *(channels[name] for name in self.layout.gated)]
            heads = normalized("silu")(before[SCALARS]).split(sizes, dim=2)
            active = dict(zip((SCALARS, *self.layout.gated), heads))
        out = {}
        like = next(iter(before.values())) if before else self.linear
        for name, count in channels.items():
            degree = o3.Irrep(name).l
            if name not in before:
                out[name] = like.new_zeros(num_nodes, 2 * degree + 1, count)
            elif name == SCALARS:
                out[name] = active[name]
            else:
                odd = normalized("tanh")
                out[name] = odd(before[name]) if degree == 0 else before[name] * active[name]
        return out


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


@cache
def normalized(name: str) -> Callable[[Tensor], Tensor]:
    """Make an activation whose square has expectation 1 for normally distributed inputs."""
    functions: Mapping[str, Callable[[Tensor], Tensor]] = {
        "silu": nn.functional.silu,
        "tanh": torch.tanh,
    }
    function: Callable[[Tensor], Tensor] = normalize2mom(functions[name])
    return function


def radial_inputs(geometry: Geometry, edges: Tensor | None) -> Tensor:
    """Compute the radial basis times a smooth cutoff, once per batch.

    Parameters
    ----------
    geometry : Geometry
        The batch's edges.
    edges : Tensor, optional
        [r] int64, edges that are wanted; by default all.

    Returns
    -------
    Tensor
        [r, num_radial].
    """
    key = ("radial inputs", edges is None)
    if key not in geometry.shared:
        lengths, radial = geometry.lengths, geometry.radial
        if edges is not None:
            lengths, radial = lengths.index_select(0, edges), radial.index_select(0, edges)
        geometry.shared[key] = radial * smooth_cutoff(lengths / geometry.cutoff).unsqueeze(1)
    inputs: Tensor = geometry.shared[key]
    return inputs


def smooth_cutoff(x: Tensor) -> Tensor:
    """Fall from 1 at x = 0 to 0 at x = 1 with two continuous derivatives.

    1 - 28 x^6 + 48 x^7 - 21 x^8 for x < 1, otherwise 0 (arXiv 2003.03123, Eq. 8, p = 6).

    Parameters
    ----------
    x : Tensor
        Length over cutoff.
    """
    inside = x.clamp(max=1.0)
    return 1.0 - inside**6 * (28.0 - 48.0 * inside + 21.0 * inside**2)


def to_blocks(x: Tensor, channels: Channels) -> dict[str, Tensor]:
    """Cut features in e3nn's order into [n, 2 l + 1, c] by irrep.

    Parameters
    ----------
    x : Tensor
        [n, dim].
    channels : Channels
        Channels of each irrep.
    """
    dims = {name: o3.Irrep(name).dim for name in channels}
    pieces = x.split([len(kept) * dims[name] for name, kept in channels.items()], dim=1)
    return {
        name: piece.unflatten(1, (len(kept), dims[name])).transpose(1, 2)
        for piece, (name, kept) in zip(pieces, channels.items())
    }


def from_blocks(blocks: Mapping[str, Tensor], channels: Channels) -> Tensor:
    """Put [n, 2 l + 1, c] blocks into e3nn's order: [n, dim]."""
    return torch.cat([blocks[name].transpose(1, 2).flatten(1) for name in channels], dim=1)
