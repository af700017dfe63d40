"""What all layers need to know about a batch's edges, derived from its geometry once.

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
    pair_known_edges,
    pair_sorted_edges,
)
from networks.convolution.products import Scratch, num_row_parts
from networks.geometry import Geometry

Couplings = tuple[tuple[int, tuple[int, ...]], ...]
"""Degree of a center's block, and the edge degrees that couple it to a neighbour's block."""


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
        Irreps of the harmonics, each degree once.
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
        (l_neighbor, edge_degrees[q], l_center), for one (l_center, edge_degrees) of `couplings`
        after the other.

        Parameters
        ----------
        l_neighbor : int
            The neighbour's degree.
        couplings : Couplings
            Degrees of the centers, each with the edge degrees q.

        Returns
        -------
        Tensor
            [s, sum of (2 l_center + 1) * len(edge_degrees), 2 l_neighbor + 1]. It is computed once,
            and not at all if a table in memory begins with the same couplings.
        """
        for (degree, longer), gamma in self._gammas.items():
            if degree == l_neighbor and longer[: len(couplings)] == couplings:
                return gamma[:, : num_coupling_rows(couplings)]
        degrees = tuple(
            sorted({degree for _, edge_degrees in couplings for degree in edge_degrees})
        )
        slices = dict(zip(self.edge_irreps.ls, self.edge_irreps.slices()))
        y = torch.cat([self.harmonics[:, slices[degree]] for degree in degrees], dim=1)
        table = _coupling_table(l_neighbor, couplings, degrees, y.dtype, y.device)
        gamma = (y @ table).view(y.shape[0], num_coupling_rows(couplings), 2 * l_neighbor + 1)
        self._gammas[l_neighbor, couplings] = gamma
        return gamma


@dataclass
class EdgeGeometry:
    """Edges one by one, each with its reverse if all have one, with their frames.

    Attributes
    ----------
    slots : EdgeSlots
        Arrangement of the edges. The last ones may be padding.
    radial : Tensor
        [e, k] for e = s / `slots.slots_per_edge`, since an edge and its reverse share a length;
        zero in padding.
    frames : Tensor
        [e, 3, 3] float64 rotation of each edge's vector to the y axis; of an edge and its reverse,
        the first one's.
    scratch : Scratch
        Memory for intermediate results, shared by all layers.
    """

    slots: EdgeSlots
    radial: Tensor
    frames: Tensor
    scratch: Scratch
    _wigner_d: dict[o3.Irrep, Tensor] = field(default_factory=dict)
    _wigner_d_of_degree: list[Tensor] = field(default_factory=list)

    def wigner_d(self, irreps: Sequence[o3.Irrep]) -> list[Tensor]:
        """Compute the matrices that rotate irreps into the frames of the edges, once.

        The reverse of an edge is inverted: its rows are multiplied by the parity.

        Parameters
        ----------
        irreps : sequence of o3.Irrep
            Irreps to rotate.

        Returns
        -------
        list of Tensor
            [s, 2 l + 1, 2 l + 1] for each irrep, rows sorted by order (`order_rows`).
        """
        lmax = max(ir.l for ir in irreps)
        if lmax >= len(self._wigner_d_of_degree):
            self._wigner_d_of_degree = wigner_d(self.frames, lmax)
        for ir in irreps:
            if ir not in self._wigner_d:
                d = order_rows(ir, self.frames.device) @ self._wigner_d_of_degree[ir.l]
                if self.slots.slots_per_edge == 2:
                    d = torch.stack([d, ir.p * d], dim=1).flatten(0, 1)
                self._wigner_d[ir] = d.to(self.radial.dtype)
        return [self._wigner_d[ir] for ir in irreps]


def num_coupling_rows(couplings: Couplings) -> int:
    """Count the rows (a q) of Gamma.

    Parameters
    ----------
    couplings : Couplings
        Degrees of the centers, each with the edge degrees q.
    """
    return sum((2 * l_center + 1) * len(edge_degrees) for l_center, edge_degrees in couplings)


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
    # The result is cached. Made in inference mode, it could not take part in autograd later.
    with torch.inference_mode(False):
        for l_center, edge_degrees in couplings:
            shape = (num_m, 2 * l_center + 1, len(edge_degrees), 2 * l_neighbor + 1)
            table = torch.zeros(shape, dtype=torch.float64)
            for q, degree in enumerate(edge_degrees):
                m = slice(first[degree], first[degree] + 2 * degree + 1)
                table[m, :, q] = coupling(l_neighbor, degree, l_center).permute(1, 2, 0)
            tables.append(table.flatten(1))
        return torch.cat(tables, dim=1).to(device=device, dtype=dtype)


def is_symmetric(geometry: Geometry) -> bool:
    """Whether every edge has its reverse.

    Checked once per batch, unless `Geometry.neighbor_counts` promises it.

    Parameters
    ----------
    geometry : Geometry
        The batch.
    """
    return _paired_edges(geometry) is not None


def _paired_edges(geometry: Geometry) -> EdgeSlots | None:
    if "paired_edges" not in geometry.shared:
        geometry.shared["paired_edges"] = paired_edges(geometry)
    slots: EdgeSlots | None = geometry.shared["paired_edges"]
    return slots


def paired_edges(geometry: Geometry) -> EdgeSlots | None:
    """Put each edge of a batch next to its reverse, in the way that the batch allows.

    Parameters
    ----------
    geometry : Geometry
        The batch.

    Returns
    -------
    EdgeSlots or None
        None if some edge has no reverse.
    """
    source, target = geometry.edge_index
    if geometry.reverse is not None:
        return pair_known_edges(source, target, geometry.reverse, geometry.num_nodes)
    pair = pair_edges if geometry.neighbor_counts is None else pair_sorted_edges
    return pair(source, target, geometry.num_nodes)


def node_geometry(geometry: Geometry, center_is_target: bool) -> NodeGeometry:
    """Group a batch's edges by node, once.

    A symmetric graph (every edge has its reverse) needs one arrangement for both directions.

    Parameters
    ----------
    geometry : Geometry
        The batch.
    center_is_target : bool
        Whether centers receive the messages; otherwise they send them.
    """
    group_by_target = center_is_target or is_symmetric(geometry)
    key = ("nodes", group_by_target)
    if key not in geometry.shared:
        source, target = geometry.edge_index
        center, neighbor = (target, source) if group_by_target else (source, target)
        # The counts are of incoming edges. They are given for symmetric graphs only, where a node
        # has as many outgoing ones.
        slots = group_by_center(
            center,
            neighbor,
            geometry.num_nodes,
            geometry.neighbor_counts,
            geometry.num_padding_nodes,
        )
        radial = geometry.radial.index_select(0, slots.edge)
        if slots.mask is not None:
            radial = radial * slots.mask.unsqueeze(1)
        harmonics = geometry.harmonics.index_select(0, slots.edge)
        if not group_by_target:
            signs = [(-1.0) ** ir.l for _, ir in geometry.edge_irreps for _ in range(ir.dim)]
            harmonics = harmonics * harmonics.new_tensor(signs)
        geometry.shared[key] = NodeGeometry(
            slots, radial, harmonics, geometry.edge_irreps, _scratch(geometry)
        )
    nodes: NodeGeometry = geometry.shared[key]
    return nodes


def edge_geometry(geometry: Geometry) -> EdgeGeometry:
    """Arrange a batch's edges and give them frames, once.

    Parameters
    ----------
    geometry : Geometry
        The batch.
    """
    if "edges" not in geometry.shared:
        slots = _paired_edges(geometry)
        if slots is None:
            source, target = geometry.edge_index
            edge = torch.arange(source.shape[0], device=source.device)
            slots = EdgeSlots(target, source, edge, 1, geometry.num_nodes)
        slots, num_edges = _pad_for_threads(slots)
        first = slots.edge[:: slots.slots_per_edge]
        radial = geometry.radial.index_select(0, first)
        if num_edges < first.shape[0]:
            # An edge whose radial basis is zero sends zero messages.
            radial = torch.cat([radial[:num_edges], torch.zeros_like(radial[num_edges:])])
        geometry.shared["edges"] = EdgeGeometry(
            slots,
            radial,
            edge_frames(geometry.vectors.index_select(0, first)),
            _scratch(geometry),
        )
    edges: EdgeGeometry = geometry.shared["edges"]
    return edges


def _pad_for_threads(slots: EdgeSlots) -> tuple[EdgeSlots, int]:
    """Repeat some edges until all threads get equally many; also return how many are real."""
    num_edges = slots.edge.shape[0] // slots.slots_per_edge
    missing = -num_edges % num_row_parts(num_edges, slots.edge.device) * slots.slots_per_edge
    if missing == 0:
        return slots, num_edges
    center, neighbor, edge = (
        torch.cat([column, column[:missing]])
        for column in (slots.center, slots.neighbor, slots.edge)
    )
    return EdgeSlots(center, neighbor, edge, slots.slots_per_edge, slots.num_nodes), num_edges


def _scratch(geometry: Geometry) -> Scratch:
    scratch: Scratch = geometry.shared.setdefault("scratch", Scratch())
    return scratch
