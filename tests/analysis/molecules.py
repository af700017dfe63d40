"""Random molecules for tests, and a plain rotation of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

ELEMENTS = torch.tensor([1, 6, 7, 8, 9])


def random_molecules(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    """Molecules of 3 to 7 atoms near a cube's corners, all pairs connected, with random targets."""
    generator = torch.Generator().manual_seed(seed)
    corners = 1.6 * torch.cartesian_prod(*[torch.arange(2, dtype=torch.float64)] * 3)
    molecules = []
    for _ in range(count):
        size = int(torch.randint(3, 8, (1,), generator=generator))
        pairs = torch.combinations(torch.arange(size))
        jitter = 0.3 * torch.randn(size, 3, generator=generator, dtype=torch.float64)
        molecules.append(
            Data(
                z=ELEMENTS[torch.randint(5, (size,), generator=generator)],
                pos=(corners[torch.randperm(8, generator=generator)[:size]] + jitter).to(dtype),
                edge_index=torch.cat([pairs, pairs.flip(1)]).T.contiguous(),
                y=torch.randn(1, generator=generator, dtype=torch.float64),
            )
        )
    return Batch.from_data_list(molecules)


def moved(batch: Batch, matrix: Tensor, shift: Tensor | float = 0.0) -> Batch:
    """The same molecules with pos -> matrix pos + shift."""
    copy = batch.clone()
    copy.pos = batch.pos @ matrix.to(batch.pos).T + shift
    return copy
