"""What the convolution derives from a batch's geometry, once, for all layers.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from e3nn import o3
from torch import Tensor

from networks.clebsch_gordan import coupling
from networks.geometry import Geometry
from networks.neighborhoods import EdgeSlots, NodeSlots, group_by_center, pair_edges

Order = Literal["nodes", "edges"]


@dataclass
class SlotGeometry:
    """Slots with their radial basis and harmonics.

    Attributes
    ----------
    slots : NodeSlots or EdgeSlots
        Arrangement of the edges.
    radial : Tensor
        [s, k], or [s / 2, k] for twins, which share their length; zero in padding.
    harmonics : Tensor
        [s, m] harmonics of the vector from the center to the neighbour.
    irreps_harmonics : o3.Irreps
        Degrees of the harmonics, each once.
    """

    slots: NodeSlots | EdgeSlots
    radial: Tensor
    harmonics: Tensor
    irreps_harmonics: o3.Irreps
    _gammas: dict[tuple[int, int, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def gamma(self, l_center: int, l_neighbor: int, degrees: tuple[int, ...]) -> Tensor:
        """Couple a center's degree with a neighbour's through the edge degrees.

        Gamma[s, (a q), b] = sum_m C[b, m, a] Y_s[m], with e3nn's 3j symbols C of
        (l_neighbor, degrees[q], l_center).

        Parameters
        ----------
        l_center, l_neighbor : int
            The two degrees.
        degrees : tuple of int
            Edge degrees q.

        Returns
        -------
        Tensor
            [s, (2 l_center + 1) * len(degrees), 2 l_neighbor + 1], computed once.
        """
        key = (l_center, l_neighbor, degrees)
        if key not in self._gammas:
            self._gammas[key] = self._gamma(*key)
        return self._gammas[key]

    def _gamma(self, l_center: int, l_neighbor: int, degrees: tuple[int, ...]) -> Tensor:
        slices = {
            ir.l: s for s, (_, ir) in zip(self.irreps_harmonics.slices(), self.irreps_harmonics)
        }
        table = torch.block_diag(
            *[coupling(l_neighbor, l, l_center).permute(1, 2, 0).flatten(1) for l in degrees]
        )
        y = torch.cat([self.harmonics[:, slices[l]] for l in degrees], dim=1)
        shape = (y.shape[0], len(degrees), 2 * l_center + 1, 2 * l_neighbor + 1)
        columns = torch.arange(table.shape[1]).view(shape[1:]).transpose(0, 1).flatten()
        return (y @ table[:, columns].to(y)).view(shape[0], -1, shape[3])


def slot_geometry(geometry: Geometry, order: Order, center_is_target: bool) -> SlotGeometry:
    """Arrange a batch's edges for an order of contraction, once.

    A symmetric graph (every edge with its reverse) needs one arrangement for both directions.

    Parameters
    ----------
    geometry : Geometry
        The batch.
    order : {"nodes", "edges"}
        Order of contraction, see `networks.contractions`.
    center_is_target : bool
        Whether centers receive.

    Returns
    -------
    SlotGeometry
    """
    shared = geometry.shared
    if "pairs" not in shared:
        shared["pairs"] = pair_edges(*geometry.edge_index, geometry.num_nodes)
    pairs: EdgeSlots | None = shared["pairs"]
    key = (order, center_is_target or pairs is not None)
    if key not in shared:
        source, target = geometry.edge_index
        ends = (target, source) if key[1] else (source, target)
        slots: NodeSlots | EdgeSlots
        if order == "nodes":
            slots = group_by_center(*ends, geometry.num_nodes)
        elif pairs is not None:
            slots = pairs
        else:
            edge = torch.arange(source.shape[0], device=source.device)
            slots = EdgeSlots(*ends, edge, 1, geometry.num_nodes)
        shared[key] = _expand(slots, geometry, outward=1 if key[1] else -1)
    expanded: SlotGeometry = shared[key]
    return expanded


def _expand(slots: NodeSlots | EdgeSlots, geometry: Geometry, outward: int) -> SlotGeometry:
    """Radial basis and harmonics of the slots; vectors point to the target times `outward`."""
    one_a_twin = slots.edge[:: slots.twins] if isinstance(slots, EdgeSlots) else slots.edge
    radial = geometry.radial.index_select(0, one_a_twin)
    if isinstance(slots, NodeSlots) and slots.mask is not None:
        radial = radial * slots.mask.unsqueeze(1)
    harmonics = geometry.harmonics.index_select(0, slots.edge)
    if outward < 0:
        signs = [(-1.0) ** ir.l for _, ir in geometry.irreps_harmonics for _ in range(ir.dim)]
        harmonics = harmonics * harmonics.new_tensor(signs)
    return SlotGeometry(slots, radial, harmonics, geometry.irreps_harmonics)
