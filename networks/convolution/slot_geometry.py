"""What the convolution derives from a batch's geometry, once, for all layers.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.clebsch_gordan import coupling
from networks.convolution.edge_frames import edge_frames, order_rows, wigner_d
from networks.convolution.neighborhoods import (
    EdgeSlots,
    NodeSlots,
    group_by_center,
    pair_edges,
    pair_sorted_edges,
)
from networks.convolution.products import Scratch, parts_of
from networks.geometry import Geometry

Couplings = tuple[tuple[int, tuple[int, ...]], ...]


@dataclass
class NodeGeometry:
    """Edges grouped by node, with their radial basis and harmonics.

    Attributes
    ----------
    slots : NodeSlots
        Arrangement of the edges.
    radial : Tensor
        [s, k], zero in padding.
    harmonics : Tensor
        [s, m] harmonics of the vector from the center to the neighbour.
    edge_irreps : o3.Irreps
        Degrees of the harmonics, each once.
    scratch : Scratch
        Memory for intermediate results, shared by all layers.
    """

    slots: NodeSlots
    radial: Tensor
    harmonics: Tensor
    edge_irreps: o3.Irreps
    scratch: Scratch
    _gammas: dict[tuple[int, Couplings], Tensor] = field(default_factory=dict)

    def gamma(self, l_neighbor: int, couplings: Couplings) -> Tensor:
        """Couple a neighbour's degree with centers' degrees through edge degrees.

        Gamma[s, (a q), b] = sum_m C[b, m, a] Y_s[m], with e3nn's 3j symbols C of
        (l_neighbor, degrees[q], l_center), for one (l_center, degrees) after the other.

        Parameters
        ----------
        l_neighbor : int
            The neighbour's degree.
        couplings : tuple of (int, tuple of int)
            Degrees of the centers, each with the edge degrees q.

        Returns
        -------
        Tensor
            [s, sum of (2 l_center + 1) * len(degrees), 2 l_neighbor + 1], computed once; a part of
            a larger table where that begins with the same couplings.
        """
        for (degree, larger), table in self._gammas.items():
            if degree == l_neighbor and larger[: len(couplings)] == couplings:
                return table[:, : sum((2 * a + 1) * len(each) for a, each in couplings)]
        degrees = tuple(sorted({degree for _, each in couplings for degree in each}))
        slices = dict(zip(self.edge_irreps.ls, self.edge_irreps.slices()))
        y = torch.cat([self.harmonics[:, slices[degree]] for degree in degrees], dim=1)
        table = _coupling_table(l_neighbor, couplings, degrees, y.dtype, y.device)
        num_b = 2 * l_neighbor + 1
        gamma = (y @ table).view(y.shape[0], table.shape[1] // num_b, num_b)
        self._gammas[l_neighbor, couplings] = gamma
        return gamma


@dataclass
class EdgeGeometry:
    """Single edges, each next to its reverse where all have one, with frames of their own.

    Attributes
    ----------
    slots : EdgeSlots
        Arrangement of the edges; the last ones may be padding.
    radial : Tensor
        [s, k], or [s / 2, k] for twins, which share their length; zero in padding.
    frames : Tensor
        [s, 3, 3], or [s / 2, 3, 3] for twins, float64: the first one's vector becomes the y axis.
    scratch : Scratch
        Memory for intermediate results, shared by all layers.
    """

    slots: EdgeSlots
    radial: Tensor
    frames: Tensor
    scratch: Scratch
    _turns: dict[o3.Irrep, Tensor] = field(default_factory=dict)
    _degrees: list[Tensor] = field(default_factory=list)

    def turns(self, irreps: Sequence[o3.Irrep]) -> list[Tensor]:
        """Turn irreps into the frames of the edges.

        Parameters
        ----------
        irreps : sequence of o3.Irrep
            Irreps.

        Returns
        -------
        list of Tensor
            [s, 2 l + 1, 2 l + 1] of each, rows sorted by order (`order_rows`); computed once. The
            reverse of an edge is inverted: its rows are multiplied by the parity.
        """
        degree = max(ir.l for ir in irreps)
        if degree >= len(self._degrees):
            self._degrees = wigner_d(self.frames, degree)
        for ir in irreps:
            if ir not in self._turns:
                d = order_rows(ir, self.frames.device) @ self._degrees[ir.l]
                if self.slots.twins == 2:
                    d = torch.stack([d, ir.p * d], dim=1).flatten(0, 1)
                self._turns[ir] = d.to(self.radial.dtype)
        return [self._turns[ir] for ir in irreps]


@cache
def _coupling_table(
    l_neighbor: int,
    couplings: Couplings,
    degrees: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """3j symbols [(m of all `degrees`), (a q b)]; rounded to `dtype` only here."""
    first = dict(zip(degrees, accumulate((2 * degree + 1 for degree in degrees), initial=0)))
    num_m = sum(2 * degree + 1 for degree in degrees)
    tables = []
    with torch.inference_mode(False):  # cached, so it must be of use to autograd later
        for l_center, each in couplings:
            shape = (num_m, 2 * l_center + 1, len(each), 2 * l_neighbor + 1)
            table = torch.zeros(shape, dtype=torch.float64)
            for q, degree in enumerate(each):
                m = slice(first[degree], first[degree] + 2 * degree + 1)
                table[m, :, q] = coupling(l_neighbor, degree, l_center).permute(1, 2, 0)
            tables.append(table.flatten(1))
        return torch.cat(tables, dim=1).to(device=device, dtype=dtype)


def is_symmetric(geometry: Geometry) -> bool:
    """Whether every edge has its reverse; looked at once a batch, unless it is promised.

    Parameters
    ----------
    geometry : Geometry
        The batch.

    Returns
    -------
    bool
    """
    return _pairs(geometry) is not None


def _pairs(geometry: Geometry) -> EdgeSlots | None:
    if "pairs" not in geometry.shared:
        source, target = geometry.edge_index
        pair = pair_edges if geometry.neighbor_counts is None else pair_sorted_edges
        geometry.shared["pairs"] = pair(source, target, geometry.num_nodes)
    pairs: EdgeSlots | None = geometry.shared["pairs"]
    return pairs


def node_geometry(geometry: Geometry, center_is_target: bool) -> NodeGeometry:
    """Group a batch's edges by node, once.

    A symmetric graph (every edge with its reverse) needs one arrangement for both directions.

    Parameters
    ----------
    geometry : Geometry
        The batch.
    center_is_target : bool
        Whether the nodes receive.

    Returns
    -------
    NodeGeometry
    """
    outward = center_is_target or is_symmetric(geometry)
    key = ("nodes", outward)
    if key not in geometry.shared:
        source, target = geometry.edge_index
        ends = (target, source) if outward else (source, target)
        # Where all edges have their reverse, as many come in as go out.
        slots = group_by_center(
            *ends, geometry.num_nodes, geometry.neighbor_counts, geometry.num_idle
        )
        radial = geometry.radial.index_select(0, slots.edge)
        if slots.mask is not None:
            radial = radial * slots.mask.unsqueeze(1)
        harmonics = geometry.harmonics.index_select(0, slots.edge)
        if not outward:
            signs = [(-1.0) ** ir.l for _, ir in geometry.edge_irreps for _ in range(ir.dim)]
            harmonics = harmonics * harmonics.new_tensor(signs)
        geometry.shared[key] = NodeGeometry(
            slots, radial, harmonics, geometry.edge_irreps, _scratch(geometry)
        )
    found: NodeGeometry = geometry.shared[key]
    return found


def edge_geometry(geometry: Geometry) -> EdgeGeometry:
    """Arrange a batch's edges and give them frames, once.

    Parameters
    ----------
    geometry : Geometry
        The batch.

    Returns
    -------
    EdgeGeometry
    """
    if "edges" not in geometry.shared:
        slots = _pairs(geometry)
        if slots is None:
            source, target = geometry.edge_index
            edge = torch.arange(source.shape[0], device=source.device)
            slots = EdgeSlots(target, source, edge, 1, geometry.num_nodes)
        slots, num_edges = _fill_up(slots)
        first = slots.edge[:: slots.twins]
        radial = geometry.radial.index_select(0, first)
        if num_edges < first.shape[0]:
            # Without a radial basis an edge carries nothing.
            radial = torch.cat([radial[:num_edges], torch.zeros_like(radial[num_edges:])])
        geometry.shared["edges"] = EdgeGeometry(
            slots,
            radial,
            edge_frames(geometry.vectors.index_select(0, first)),
            _scratch(geometry),
        )
    found: EdgeGeometry = geometry.shared["edges"]
    return found


def _fill_up(slots: EdgeSlots) -> tuple[EdgeSlots, int]:
    """Repeat some slots, so that edges can be shared out equally; how many edges are real."""
    num_edges = slots.edge.shape[0] // slots.twins
    more = -num_edges % parts_of(num_edges, slots.edge.device) * slots.twins
    if more == 0:
        return slots, num_edges
    center, neighbor, edge = (
        torch.cat([each, each[:more]]) for each in (slots.center, slots.neighbor, slots.edge)
    )
    return EdgeSlots(center, neighbor, edge, slots.twins, slots.num_nodes), num_edges


def _scratch(geometry: Geometry) -> Scratch:
    scratch: Scratch = geometry.shared.setdefault("scratch", Scratch())
    return scratch
