"""One layer's messages with the weights of every edge before the sums over neighbours.

Arranges a layer's blocks and mixes its paths' weights for
`networks.convolution.edges_first_kernel`. Imports torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.edge_frames import polar_coupling
from networks.convolution.edges_first_kernel import EdgeForm, cut_terms, send_along_edges
from networks.convolution.frame_layout import Side
from networks.convolution.paths import BlockPair, LayerPaths, Path
from networks.convolution.products import block_shapes, join
from networks.convolution.slot_geometry import edge_geometry
from networks.geometry import Geometry

MAX_TERM_ELEMENTS = 1024
"""Weights of an edge that a CPU computes at once (`cut_terms`). With few of them, a chunk that fits
the cache has many edges."""


class EdgesFirst:
    """Sends a layer's messages by the weights of every edge first.

    Parameters
    ----------
    layer : LayerPaths
        Irreps and paths of the layer.
    hidden : int
        Width of the radial MLP's hidden layer, k.
    """

    def __init__(self, layer: LayerPaths, hidden: int) -> None:
        self.layer = layer
        self.hidden = hidden
        self._forms: dict[float, EdgeForm] = {}
        self._polar_couplings: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    def send(
        self,
        weights: Mapping[Path, Tensor],
        radial_mlp: Callable[[Tensor], Tensor],
        x: Tensor,
        geometry: Geometry,
    ) -> Tensor:
        """Send messages and sum them at the targets.

        Parameters
        ----------
        weights : mapping of Path to Tensor
            [k, mul_in * mul_out] of each path.
        radial_mlp : callable
            From the radial basis [s, num_radial] to the hidden layer [s, k].
        x : Tensor
            [n, irreps_in.dim], m-major blocks.
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim], m-major blocks, without path coefficients.
        """
        edges = edge_geometry(geometry)
        form = self._form(x.device)
        return send_along_edges(
            form,
            edges.slots,
            x,
            h=radial_mlp(edges.radial),
            wigner_d=edges.wigner_d(self._irreps),
            weights=self._kernel_weights(form, weights),
            scratch=edges.scratch,
        )

    @cached_property
    def _irreps(self) -> tuple[o3.Irrep, ...]:
        """Every irrep of inputs and outputs once."""
        return tuple(sorted({ir for _, ir in (*self.layer.irreps_in, *self.layer.irreps_out)}))

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Blocks of the sending and of the receiving nodes."""
        sender, receiver = (
            Side(block_shapes(irreps), tuple(self._irreps.index(ir) for _, ir in irreps))
            for irreps in (self.layer.irreps_in, self.layer.irreps_out)
        )
        return sender, receiver

    def _form(self, device: torch.device) -> EdgeForm:
        max_elements = MAX_TERM_ELEMENTS if device.type == "cpu" else math.inf
        if max_elements not in self._forms:
            terms = cut_terms(*self.sides, max_elements)
            self._forms[max_elements] = EdgeForm(*self.sides, terms)
        return self._forms[max_elements]

    @cached_property
    def _stacks(self) -> list[list[BlockPair]]:
        """Pairs grouped so that the tensors of a group can be stacked."""
        stacks: dict[tuple[int, ...], list[BlockPair]] = {}
        for pair in self.layer.pairs:
            shape = pair.shape
            key = (min(shape.l_in, shape.l_out), shape.num_paths, shape.mul_in, shape.mul_out)
            stacks.setdefault(key, []).append(pair)
        return list(stacks.values())

    def _stacked_polar_couplings(self, like: Tensor) -> list[Tensor]:
        """Polar couplings [pair, order m, path] of every group of `_stacks`."""
        key = (like.dtype, like.device)
        if key not in self._polar_couplings:
            # The result is kept. Made in inference mode, it could not take part in autograd later.
            with torch.inference_mode(False):
                self._polar_couplings[key] = [
                    torch.stack([self._pair_couplings(pair) for pair in pairs]).to(like)
                    for pairs in self._stacks
                ]
        return self._polar_couplings[key]

    def _pair_couplings(self, pair: BlockPair) -> Tensor:
        """Polar couplings [order m, path] of one pair."""
        ir_in = self.layer.irreps_in[pair.block_in].ir
        ir_out = self.layer.irreps_out[pair.block_out].ir
        rows = [0, *range(1, 2 * min(ir_in.l, ir_out.l), 2)]  # m = 0, then the rows +m
        return torch.stack(
            [
                polar_coupling(ir_in, degree, ir_out).diagonal()[rows]
                for degree in pair.edge_degrees
            ],
            dim=1,
        )

    def _kernel_weights(self, form: EdgeForm, weights: Mapping[Path, Tensor]) -> list[Tensor]:
        """T [k, (i u o w)] of every term from the paths' weights [k, (u w)]."""
        like = weights[self.layer.paths[0]]
        mixed = self._mix_paths(weights, like)

        def block_weights(m: int, i: int, o: int) -> Tensor:
            """[k, u, w]; zero where no path leads from block i to block o."""
            if (m, i, o) in mixed:
                return mixed[m, i, o]
            muls = self.layer.irreps_in[i].mul, self.layer.irreps_out[o].mul
            return like.new_zeros(self.hidden, *muls)

        return [
            join(
                [
                    join([block_weights(term.m, i, o) for o in term.blocks], dim=2)
                    for i in form.sender.columns(term.m)
                ],
                dim=1,
            ).flatten(1)
            for term in form.terms
        ]

    def _mix_paths(
        self, weights: Mapping[Path, Tensor], like: Tensor
    ) -> dict[tuple[int, int, int], Tensor]:
        """Weights [k, u, w] by (order m, input block, output block), summed over paths."""
        mixed: dict[tuple[int, int, int], Tensor] = {}
        for pairs, couplings in zip(self._stacks, self._stacked_polar_couplings(like)):
            shape, orders = pairs[0].shape, range(couplings.shape[1])
            stacked = torch.stack([weights[path] for pair in pairs for path in pair.paths])
            by_order = couplings @ stacked.view(len(pairs), shape.num_paths, -1)
            by_order = by_order.view(-1, self.hidden, shape.mul_in, shape.mul_out)
            keys = [(m, pair.block_in, pair.block_out) for pair in pairs for m in orders]
            mixed.update(zip(keys, by_order.unbind()))
        return mixed

    def __getstate__(self) -> dict[str, Any]:
        """Leave cached tables out of copies and pickles; they are made again when needed."""
        return {**self.__dict__, "_forms": {}, "_polar_couplings": {}}
