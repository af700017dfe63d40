"""On an accelerator nothing in a training step may wait for the device to tell a value."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch

from networks.convnet import EquivariantConvNet
from qm9.batching import MoleculeStore
from qm9.cache import PreparedData
from qm9.graphs import radius_edges

WAITING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
}
"""Operations whose result, or its size, CUDA brings to the host."""


class Watch(TorchDispatchMode):
    """Notes every operation that would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.operations += 1
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1] or ()
        )
        if by_mask or name in WAITING:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


def real_batch(data: PreparedData, graph: str) -> Batch:
    count = 40
    nodes = int(data.node_offsets[count])
    offsets = data.node_offsets[: count + 1]
    edges, edge_offsets = data.bonds, data.bond_offsets[: count + 1]
    if graph == "radius":
        edges, edge_offsets = radius_edges(data.pos[:nodes], offsets, 3.0)
    store = MoleculeStore(
        data.z[:nodes],
        data.pos[:nodes].float(),
        offsets,
        edges,
        edge_offsets,
        data.target("U0")[:count],
    )
    return store[torch.arange(3, 35)]


@pytest.mark.parametrize("irreps", ["8x0e+8x1o+8x2e", "32x0e"])
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_a_training_step_waits_for_nothing(
    prepared_qm9: PreparedData, graph: str, irreps: str
) -> None:
    batch = real_batch(prepared_qm9, graph)
    network = EquivariantConvNet(irreps, num_layers=3)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(batch).sum().backward()  # tables that are made once
    with Watch() as watch:
        torch.nn.functional.mse_loss(network(batch), batch.y.float()).backward()
        optimizer.step()
    assert watch.operations > 300
    assert watch.waits == []


@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_the_watch_sees_what_an_unpromised_graph_costs(
    prepared_qm9: PreparedData, graph: str
) -> None:
    batch = real_batch(prepared_qm9, graph)
    promised = EquivariantConvNet("8x0e+8x1o", num_layers=3)
    expected = promised(batch)
    del batch.neighbor_counts
    with Watch() as watch:
        found = promised(batch)
    assert "nonzero" in watch.waits
    assert torch.allclose(found, expected, rtol=1e-5)
