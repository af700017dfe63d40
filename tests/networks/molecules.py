"""Small synthetic batches: clusters of atoms with a radius graph or with few bonds."""

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from qm9.batching import MoleculeStore
from qm9.cache import PreparedData
from qm9.graphs import radius_edges


def cluster(num_atoms: int, generator: torch.Generator) -> Tensor:
    """Draw positions [n, 3] float64, at least 0.9 angstrom apart like atoms in a molecule."""
    points: list[Tensor] = []
    side = 1.6 * num_atoms ** (1 / 3)
    while len(points) < num_atoms:
        point = side * torch.rand(3, generator=generator, dtype=torch.float64)
        if all((point - other).norm() > 0.9 for other in points):
            points.append(point)
    return torch.stack(points)


def molecule(num_atoms: int, graph: str, generator: torch.Generator) -> Data:
    pos = cluster(num_atoms, generator)
    reach = {"bonds": 1.6, "radius": 3.0}[graph]
    near = (torch.cdist(pos, pos) < reach) & ~torch.eye(num_atoms, dtype=torch.bool)
    target, source = near.nonzero(as_tuple=True)
    z = torch.tensor([1, 6, 7, 8, 9])[torch.randint(5, (num_atoms,), generator=generator)]
    return Data(z=z, pos=pos, edge_index=torch.stack([source, target]))


def batch(sizes: list[int], graph: str = "radius", seed: int = 0) -> Batch:
    """Make a float64 batch of molecules of the given sizes; size 1 is a lone atom."""
    generator = torch.Generator().manual_seed(seed)
    return Batch.from_data_list([molecule(size, graph, generator) for size in sizes])


def directed_batch(seed: int = 0) -> Batch:
    """Make a batch whose edges are in random order and partly without a reverse."""
    whole = batch([6, 1, 5], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(whole.edge_index.shape[1], generator=generator)
    whole.edge_index = whole.edge_index[:, order[: 2 * len(order) // 3]]
    return whole


def real_store(data: PreparedData, graph: str) -> MoleculeStore:
    """Store QM9's first 40 molecules, with bonds or all pairs within 3 angstrom."""
    count = 40
    nodes = int(data.node_offsets[count])
    offsets = data.node_offsets[: count + 1]
    edges, edge_offsets = data.bonds, data.bond_offsets[: count + 1]
    if graph == "radius":
        edges, edge_offsets = radius_edges(data.pos[:nodes], offsets, 3.0)
    z, pos, y = data.z[:nodes], data.pos[:nodes].float(), data.target("U0")[:count]
    return MoleculeStore(z, pos, offsets, edges, edge_offsets, y)
