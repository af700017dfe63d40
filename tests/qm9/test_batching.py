import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from qm9.batching import EpochSampler, MoleculeLoader, MoleculeStore
from qm9.cache import PreparedData
from qm9.graphs import radius_edges

FIELDS = ("z", "pos", "edge_index", "batch", "ptr", "y", "idx")
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def make_store(data: PreparedData, graph: str = "bonds", device: str = "cpu") -> MoleculeStore:
    """The first 3,000 molecules; a radius of 1.2 A leaves most heavy atoms without an edge."""
    count = 3000
    nodes = int(data.node_offsets[count])
    offsets = data.node_offsets[: count + 1]
    if graph == "bonds":
        edges, edge_offsets = data.bonds, data.bond_offsets[: count + 1]
    else:
        edges, edge_offsets = radius_edges(data.pos[:nodes], offsets, float(graph))
    y = data.target("U0")[:count]
    return MoleculeStore(
        data.z[:nodes], data.pos[:nodes].float(), offsets, edges, edge_offsets, y, device
    )


def single(data: PreparedData, row: int) -> Data:
    """One molecule made the plain way from the prepared arrays."""
    nodes = slice(*data.node_offsets[row : row + 2].tolist())
    bonds = slice(*data.bond_offsets[row : row + 2].tolist())
    return Data(
        z=data.z[nodes].long(),
        pos=data.pos[nodes].float(),
        edge_index=data.bonds[:, bonds].long(),
        y=data.target("U0")[row : row + 1],
        idx=torch.tensor([row]),
    )


def assert_equal(ours: Batch, peer: Batch) -> None:
    assert ours.num_graphs == peer.num_graphs
    assert ours.num_nodes == peer.num_nodes
    for field in FIELDS:
        a, b = ours[field], peer[field]
        assert a.dtype == b.dtype, field
        assert torch.equal(a.cpu(), b), field


@pytest.mark.parametrize("device", DEVICES)
def test_batches_equal_pygs_own(prepared_qm9: PreparedData, device: str):
    store = make_store(prepared_qm9, device=device)
    groups = [torch.randint(3000, (size,)) for size in (1, 32, 7, 90, 32, 1, 400)]
    for group, ours in zip(groups, store.batches(groups), strict=True):
        assert isinstance(ours, Batch)
        assert ours.pos.device.type == device
        peer = Batch.from_data_list([single(prepared_qm9, row) for row in group.tolist()])
        assert_equal(ours, peer)
        assert type(ours) is type(peer)


def test_pyg_can_take_a_batch_apart(prepared_qm9: PreparedData):
    rows = [5, 2999, 17, 17]
    batch = make_store(prepared_qm9)[rows]
    assert_equal(Batch.from_data_list(batch.to_data_list()), batch)
    for row, data in zip(rows, batch.to_data_list()):
        expected = single(prepared_qm9, row)
        assert torch.equal(data.edge_index, expected.edge_index)
        assert torch.equal(data.pos, expected.pos)


@pytest.mark.parametrize("graph", ["bonds", "1.2", "6.0"])
def test_edges_are_sorted_by_target_then_source(prepared_qm9: PreparedData, graph: str):
    for batch in make_store(prepared_qm9, graph).batches(torch.arange(3000).split(100)):
        source, target = batch.edge_index
        assert (target * batch.num_nodes + source).diff().gt(0).all()
        assert torch.equal(batch.batch[source], batch.batch[target])
        assert batch.edge_index.is_contiguous()


def test_distances_of_edges_stay_below_the_cutoff(prepared_qm9: PreparedData):
    batch = make_store(prepared_qm9, "3.0")[list(range(100))]
    source, target = batch.edge_index
    assert (batch.pos[source] - batch.pos[target]).norm(dim=1).max() <= 3.0 + 1e-6


def test_a_batch_made_under_inference_mode_can_enter_autograd(prepared_qm9: PreparedData):
    with torch.inference_mode():
        batch = make_store(prepared_qm9)[[1, 2]]
    batch.pos.requires_grad_()
    (batch.pos**2).sum().backward()
    assert torch.equal(batch.pos.grad, 2 * batch.pos)


def test_batches_of_one_gather_share_no_elements(prepared_qm9: PreparedData):
    first, second = make_store(prepared_qm9).batches([torch.arange(9), torch.arange(9)])
    first.pos.zero_()
    assert_equal(second, make_store(prepared_qm9)[range(9)])


def test_a_torch_dataloader_takes_store_and_sampler(prepared_qm9: PreparedData):
    store = make_store(prepared_qm9)
    sampler = EpochSampler(torch.arange(100), 32, seed=1)
    torch_loader = DataLoader(store, sampler=sampler, batch_size=None)
    for ours, peer in zip(MoleculeLoader(store, sampler), torch_loader, strict=True):
        assert_equal(ours, peer)


@pytest.mark.parametrize("device", DEVICES)
def test_collation_covers_the_data_without_waiting_for_the_device(
    prepared_qm9: PreparedData, device: str
):
    store = make_store(prepared_qm9, "6.0", device)
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(store.batches(torch.arange(3000).split(32)))
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert sum(batch.num_graphs for batch in batches) == 3000


# ---- order of an epoch ------------------------------------------------------------------------


def shares(n: int, batch_size: int, world_size: int, seed: int | None) -> list[list[torch.Tensor]]:
    rows = torch.arange(n) * 3
    return [
        list(EpochSampler(rows, batch_size, seed=seed, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 40),
    world_size=st.integers(1, 6),
    seed=st.none() | st.integers(0, 99),
)
def test_processes_cover_every_molecule_exactly_once(n, batch_size, world_size, seed):
    if min(n, batch_size) < world_size:
        with pytest.raises(ValueError, match="cannot be shared between"):
            shares(n, batch_size, world_size, seed)
        return
    by_rank = shares(n, batch_size, world_size, seed)
    assert len({len(batches) for batches in by_rank}) == 1
    assert all(len(batch) > 0 for batches in by_rank for batch in batches)
    everything = torch.cat([batch for batches in by_rank for batch in batches])
    assert torch.equal(everything.sort().values, torch.arange(n) * 3)


@given(
    n=st.integers(4, 200),
    batch_size=st.integers(4, 40),
    world_size=st.integers(1, 4),
)
def test_weighted_means_over_processes_are_the_mean_over_molecules(n, batch_size, world_size):
    samplers = [
        EpochSampler(torch.arange(n), batch_size, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    by_rank = [list(zip(sampler, sampler.loss_weights(), strict=True)) for sampler in samplers]
    for step in zip(*by_rank, strict=True):
        mean = sum(float(rows.double().mean()) * weight for rows, weight in step) / world_size
        assert mean == pytest.approx(float(torch.cat([r for r, _ in step]).double().mean()))


def test_two_processes_take_the_steps_of_one():
    (alone,), pair = shares(100, 32, 1, 5), shares(100, 32, 2, 5)
    for whole, first, second in zip(alone, *pair, strict=True):
        assert torch.equal(whole.sort().values, torch.cat([first, second]).sort().values)


def test_the_order_follows_from_seed_and_epoch_alone():
    sampler = EpochSampler(torch.arange(50), 8, seed=3)
    first = torch.cat(list(sampler))
    torch.manual_seed(99)
    np.random.default_rng(1)
    assert torch.equal(torch.cat(list(sampler)), first)
    sampler.set_epoch(7)
    seventh = torch.cat(list(sampler))
    assert not torch.equal(seventh, first)
    resumed = EpochSampler(torch.arange(50), 8, seed=3)
    resumed.set_epoch(7)
    assert torch.equal(torch.cat(list(resumed)), seventh)


def test_an_iterator_takes_the_epoch_that_is_set_before_its_first_batch(
    prepared_qm9: PreparedData,
):
    """Lightning sets the first epoch of a resumed run after it has asked for the iterator."""
    sampler = EpochSampler(torch.arange(50), 8, seed=3)
    early = iter(MoleculeLoader(make_store(prepared_qm9), sampler))
    sampler.set_epoch(7)
    assert torch.equal(next(early).idx, next(iter(sampler)))


def test_without_a_seed_the_order_is_kept():
    batches = list(EpochSampler(torch.arange(10), 4))
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
