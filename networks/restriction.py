"""Networks of a subset of blocks: what stays, and which weights of the larger network it keeps.

Trimming, nested training and pruning are all restrictions. Imports torch, e3nn and
`networks.irreps` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.irreps import filled_blocks, natural_parity, reachable_blocks

Channels = Mapping[str, tuple[int, ...]]
"""Irrep name to the channels that stay, ascending, counted in the unrestricted network."""


@dataclass(frozen=True)
class KeptLayer:
    """What stays of one layer.

    Attributes
    ----------
    channels : dict of str to tuple of int
        For each irrep of the layer's output, its channels, counted in the unrestricted network.
    edge_degrees : frozenset of int
        Degrees of the edges' spherical harmonics that the layer sees.
    """

    channels: Channels
    edge_degrees: frozenset[int]

    @property
    def irreps(self) -> o3.Irreps:
        """Irreps of the layer's output."""
        return o3.Irreps([(len(kept), ir) for ir, kept in self.channels.items() if kept])

    def restricted(self, names: Iterable[str]) -> KeptLayer:
        """Drop the irreps that are not in `names`."""
        names = set(names)
        channels = {name: kept for name, kept in self.channels.items() if name in names}
        return KeptLayer(channels, self.edge_degrees)

    def intersect(self, other: KeptLayer) -> KeptLayer:
        """Keep what both keep."""
        channels = {
            name: tuple(c for c in kept if c in set(other.channels.get(name, ())))
            for name, kept in self.channels.items()
        }
        return KeptLayer(
            {name: kept for name, kept in channels.items() if kept},
            self.edge_degrees & other.edge_degrees,
        )


Kept = tuple[KeptLayer, ...]
"""What stays of every layer."""


def keep_all(irreps: o3.Irreps, edge_irreps: o3.Irreps, num_layers: int) -> Kept:
    """Keep a whole network.

    Parameters
    ----------
    irreps : o3.Irreps
        Feature irreps of every layer.
    edge_irreps : o3.Irreps
        Irreps of the edges.
    num_layers : int
        Number of layers.

    Returns
    -------
    Kept
    """
    channels = {str(ir): tuple(range(mul)) for mul, ir in irreps}
    return (KeptLayer(channels, frozenset(edge_irreps.ls)),) * num_layers


def keep_degrees(kept: Kept, degrees: Iterable[int]) -> Kept:
    """Leave all other degrees out, of features and of edges, in all layers.

    Parameters
    ----------
    kept : Kept
        What is there.
    degrees : iterable of int
        Degrees that stay.

    Returns
    -------
    Kept
    """
    stay = frozenset(degrees)
    return tuple(
        KeptLayer(
            {name: c for name, c in layer.channels.items() if o3.Irrep(name).l in stay},
            layer.edge_degrees & stay,
        )
        for layer in kept
    )


def kept_from_json(value: Sequence[Mapping[str, Any]]) -> Kept:
    """Read what `kept_to_json` wrote.

    Parameters
    ----------
    value : sequence of mapping
        Per layer ``channels`` (irrep to list of int) and ``edge_degrees`` (list of int).

    Returns
    -------
    Kept

    Raises
    ------
    ValueError
        If the value is not of that form.
    """
    try:
        return tuple(
            KeptLayer(
                {
                    str(o3.Irrep(name)): tuple(int(channel) for channel in channels)
                    for name, channels in layer["channels"].items()
                },
                frozenset(int(degree) for degree in layer["edge_degrees"]),
            )
            for layer in value
        )
    except (AttributeError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            "kept must list for each layer its `channels` (irrep to list of channels) and "
            f"`edge_degrees`; it is {str(value)[:80]!r} ({error})"
        ) from error


def kept_to_json(kept: Kept) -> list[dict[str, Any]]:
    """Turn into lists and dictionaries, for hyper-parameters and checkpoints.

    Parameters
    ----------
    kept : Kept
        What stays.

    Returns
    -------
    list of dict
    """
    return [
        {
            "channels": {name: list(channels) for name, channels in layer.channels.items()},
            "edge_degrees": sorted(layer.edge_degrees),
        }
        for layer in kept
    ]


def connected(kept: Kept, embedding: o3.Irreps, readout: o3.Irreps, gated: bool = False) -> Kept:
    """Drop everything that cannot change the prediction, by the selection rules.

    Parameters
    ----------
    kept : Kept
        What there is.
    embedding : o3.Irreps
        Irreps of the first layer's input.
    readout : o3.Irreps
        Irreps that the readout takes from the last layer.
    gated : bool
        Whether layers are gated, see `filled_blocks`.

    Returns
    -------
    Kept
        Without the blocks that no path fills or that reach no readout, and without the edge
        degrees that no path between two other blocks uses. The last layer may end up empty.
    """
    while True:
        blocks = [layer.irreps for layer in kept]
        edges = [natural_irreps(layer.edge_degrees) for layer in kept]
        filled = filled_blocks(embedding, edges, blocks, gated)
        reachable = reachable_blocks(edges, blocks, readout, gated)
        live = tuple(
            layer.restricted(str(ir) for ir in full & useful)
            for layer, full, useful in zip(kept, filled, reachable)
        )
        sources = [[ir for _, ir in embedding], *([ir for _, ir in x.irreps] for x in live[:-1])]
        live = tuple(
            KeptLayer(layer.channels, _used_degrees(source, layer, gated))
            for source, layer in zip(sources, live)
        )
        if live == kept:
            return kept
        kept = live


def _used_degrees(source: Sequence[o3.Irrep], layer: KeptLayer, gated: bool) -> frozenset[int]:
    """Edge degrees of a layer that couple an input block with an output block or with gates."""
    targets = [ir for _, ir in layer.irreps]
    if gated and any(ir.l > 0 for ir in targets):
        targets.append(o3.Irrep("0e"))
    return frozenset(
        degree
        for degree in layer.edge_degrees
        for edge in (o3.Irrep(degree, natural_parity(degree)),)
        if any(target in one * edge for one in source for target in targets)
    )


def natural_irreps(degrees: Iterable[int]) -> o3.Irreps:
    """Make the irreps of spherical harmonics, one per degree, ascending."""
    return o3.Irreps([(1, (degree, natural_parity(degree))) for degree in sorted(degrees)])


def check_kept(kept: Kept, whole: Kept) -> None:
    """Refuse a restriction that keeps what is not there.

    Parameters
    ----------
    kept : Kept
        What shall stay.
    whole : Kept
        What there is.

    Raises
    ------
    ValueError
        If the number of layers differs, or an irrep, channel or edge degree does not exist, or
        channels are not ascending. The message names it.
    """
    if len(kept) != len(whole):
        raise ValueError(f"kept describes {len(kept)} layers, but the network has {len(whole)}")
    for k, (layer, there) in enumerate(zip(kept, whole)):
        if missing := sorted(layer.edge_degrees - there.edge_degrees):
            raise ValueError(
                f"kept asks for edge degrees {missing} in layer {k}, which has "
                f"{sorted(there.edge_degrees)}"
            )
        for name, channels in layer.channels.items():
            have = there.channels.get(name, ())
            if list(channels) != sorted(set(channels)) or not set(channels) <= set(have):
                raise ValueError(
                    f"kept asks for channels {list(channels)[:20]} of {name} in layer {k}, which "
                    f"has {list(have)[:20]}: give ascending channels among them"
                )


def column_indices(
    channels: Sequence[int], kept: Sequence[int], dim: int, start: int = 0
) -> list[int]:
    """Columns of a feature block that belong to some of its channels.

    Parameters
    ----------
    channels : sequence of int
        All channels of the block, in order.
    kept : sequence of int
        Those that are wanted, a subset.
    dim : int
        Components 2l + 1.
    start : int
        First column of the block.

    Returns
    -------
    list of int
        [len(kept) * dim].
    """
    position = {channel: i for i, channel in enumerate(channels)}
    return [start + dim * position[channel] + m for channel in kept for m in range(dim)]


def residual_columns(before: Channels, after: Channels) -> tuple[Tensor, Tensor]:
    """Columns that a residual connection carries from one layer's output to the next one's.

    A channel is carried if both layers have it.

    Parameters
    ----------
    before, after : Channels
        Of the two layers.

    Returns
    -------
    source, target : Tensor
        [columns] int64, in the layouts of `before` and of `after`; `target` ascends.
    """
    starts: dict[str, int] = {}
    column = 0
    for name, channels in before.items():
        starts[name] = column
        column += len(channels) * o3.Irrep(name).dim
    source: list[int] = []
    target: list[int] = []
    column = 0
    for name, channels in after.items():
        dim = o3.Irrep(name).dim
        both = [channel for channel in channels if channel in set(before.get(name, ()))]
        if both:
            source += column_indices(before[name], both, dim, starts[name])
            target += column_indices(channels, both, dim, column)
        column += len(channels) * dim
    return torch.tensor(source, dtype=torch.int64), torch.tensor(target, dtype=torch.int64)


@dataclass(frozen=True)
class WeightPath:
    """Weights of one tensor product path in e3nn's layout: [.., start + u * mul_out + w]."""

    start: int
    channels_in: tuple[int, ...]
    channels_out: tuple[int, ...]
    coefficient: float

    @property
    def num_weights(self) -> int:
        """Number of weights, mul_in * mul_out."""
        return len(self.channels_in) * len(self.channels_out)


def convolution_paths(
    channels_in: Channels, edge_degrees: Iterable[int], channels_out: Channels
) -> dict[tuple[str, int, str], WeightPath]:
    """Lay a convolution's weights out as e3nn does.

    Paths follow the order of the input's irreps, the edges' degrees (ascending) and the output's
    irreps. The path coefficient is sqrt((2 l_out + 1) / fan-in), where the fan-in is the sum of
    the input's multiplicities over all paths into the output irrep.

    Parameters
    ----------
    channels_in, channels_out : Channels
        Of the input and the output.
    edge_degrees : iterable of int
        Degrees of the edges' harmonics, natural parity.

    Returns
    -------
    dict
        (irrep in, edge degree, irrep out) to its weights.
    """
    allowed = [
        (name_in, degree, name_out)
        for name_in in channels_in
        for degree in sorted(edge_degrees)
        for name_out in channels_out
        if o3.Irrep(name_out) in o3.Irrep(name_in) * o3.Irrep(degree, (-1) ** degree)
    ]
    fan_in: dict[str, int] = {}
    for name_in, _, name_out in allowed:
        fan_in[name_out] = fan_in.get(name_out, 0) + len(channels_in[name_in])
    paths: dict[tuple[str, int, str], WeightPath] = {}
    start = 0
    for name_in, degree, name_out in allowed:
        ends = channels_in[name_in], channels_out[name_out]
        coefficient = (o3.Irrep(name_out).dim / fan_in[name_out]) ** 0.5
        paths[name_in, degree, name_out] = WeightPath(start, *ends, coefficient)
        start += len(ends[0]) * len(ends[1])
    return paths


def convolution_weights(
    larger: dict[tuple[str, int, str], WeightPath], smaller: dict[tuple[str, int, str], WeightPath]
) -> tuple[Tensor, Tensor]:
    """Weights of a larger convolution that a smaller one keeps, and their factors.

    e3nn divides by the square root of the fan-in. A smaller network has smaller fan-ins, so the
    kept weights are multiplied by the ratio of the path coefficients to compute the same messages.

    Parameters
    ----------
    larger, smaller : dict
        From `convolution_paths`.

    Returns
    -------
    columns : Tensor
        [weights of the smaller one] int64, in the larger one's layout.
    factors : Tensor
        [the same] float64.
    """
    columns: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    factors: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    for key, path in smaller.items():
        origin = larger[key]
        u = torch.tensor([origin.channels_in.index(c) for c in path.channels_in])
        w = torch.tensor([origin.channels_out.index(c) for c in path.channels_out])
        mul_out = len(origin.channels_out)
        columns.append((origin.start + u[:, None] * mul_out + w[None, :]).flatten())
        ratio = origin.coefficient / path.coefficient
        factors.append(torch.full((columns[-1].numel(),), ratio, dtype=torch.float64))
    return torch.cat(columns), torch.cat(factors)


@dataclass(frozen=True)
class WeightSelection:
    """Entries of a larger network's parameter that a smaller network keeps, and their factors.

    Attributes
    ----------
    axis : int
        Axis of the parameter along which entries are left out.
    positions : Tensor
        [kept] int64, on the parameter's device.
    factors : Tensor
        [kept] in the parameter's precision, on its device.
    """

    axis: int
    positions: Tensor
    factors: Tensor

    def of(self, weight: Tensor) -> Tensor:
        """Compute the smaller network's parameter; gradients flow to `weight`."""
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        return weight.index_select(self.axis, self.positions) * self.factors.view(shape)


def readout_weights(larger: Sequence[int], smaller: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights of a linear readout of one irrep that a network with fewer channels keeps.

    Parameters
    ----------
    larger, smaller : sequence of int
        Channels of the irrep in the last layer.

    Returns
    -------
    rows : Tensor
        [len(smaller)] int64 positions among `larger`.
    factors : Tensor
        [len(smaller)] float64; `o3.Linear` divides by the square root of the number of channels.
    """
    position = {channel: i for i, channel in enumerate(larger)}
    rows = torch.tensor([position[channel] for channel in smaller], dtype=torch.int64)
    factor = (len(smaller) / len(larger)) ** 0.5
    return rows, torch.full((len(smaller),), factor, dtype=torch.float64)
