"""Networks of which it is known what they use, behind the contract of `LayeredNetwork`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data

from networks.layered import Edit, LayeredNetwork

FLUORINE = 9
Readout = Callable[[dict[str, Tensor]], Tensor]
"""From each atom's blocks [n, c, m] to its part of the prediction [n]."""


class Planted(LayeredNetwork):
    """One layer of features that are written down by hand, and a readout likewise.

    Parameters
    ----------
    irreps : str
        Blocks of the features.
    write : callable
        From a batch to each block [n, c, m].
    read : callable
        From the blocks to each atom's part of the prediction.
    """

    def __init__(
        self, irreps: str, write: Callable[[Data], dict[str, Tensor]], read: Readout
    ) -> None:
        parsed = o3.Irreps(irreps)
        # Nonlinear readouts can reach all blocks, which selection rules of one layer cannot know.
        super().__init__(parsed, [parsed], o3.Irreps("0e+1o+2e"), parsed, "1x0e")
        self.write = write
        self.read = read
        self.filled = [dict.fromkeys(map(str, (ir for _, ir in parsed)), True)]
        self.register_parameter("weight", torch.nn.Parameter(torch.ones(1, dtype=torch.float64)))

    def prepare(self, data: Data) -> Data:
        return data

    def run(
        self, prepared: Any, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        if start is None:
            blocks = self.write(prepared)
            x = torch.cat([blocks[str(ir)].flatten(1) for _, ir in self.irreps], dim=1)
            x = edit(0, x) if edit else x
        else:
            _, x = start
        pieces = x.split([each.dim for each in self.irreps], dim=1)
        blocks = {
            str(ir): piece.unflatten(1, (mul, ir.dim))
            for piece, (mul, ir) in zip(pieces, self.irreps)
        }
        atoms = self.read(blocks) * self.weight
        return atoms.new_zeros(prepared.num_graphs).index_add(0, prepared.batch, atoms)


def strength(data: Data) -> Tensor:
    """A positive number of each atom's neighbourhood, the same for its images, [n]."""
    source, target = data.edge_index
    lengths = (data.pos[source] - data.pos[target]).norm(dim=1)
    return torch.zeros(len(data.z), dtype=data.pos.dtype).index_add(0, target, lengths.cos() + 1)


def direction(data: Data, degree: int) -> Tensor:
    """Spherical harmonics of the sum of the vectors to an atom's neighbours, [n, m]; of norm 1."""
    source, target = data.edge_index
    vectors = torch.zeros_like(data.pos).index_add(0, target, data.pos[source] - data.pos[target])
    harmonics = o3.spherical_harmonics(degree, vectors, normalize=True, normalization="norm")
    return torch.as_tensor(harmonics)


def size(block: Tensor) -> Tensor:
    """Norm of the first channel, [n]."""
    return block[:, 0].square().sum(-1).sqrt()


def fluorinated(batch: Batch) -> Batch:
    """Make every fifth atom fluorine."""
    batch = batch.clone()
    batch.z[::5] = FLUORINE
    return batch
