"""Structures of thousands of atoms are counted, evaluated and measured a few at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from ase.io import write
from torch_geometric.data import Batch

from benchmarks.scale.structures import crystal
from lightning_modules import compute_cost, measured, molecule_datamodule
from lightning_modules.compute_cost import memory_per_molecule, operations_per_molecule
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.measured import count_to_keep, measured_batches
from networks.convnet import EquivariantConvNet

ATOMS = 128


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ExtXYZDataModule:
    folder = tmp_path_factory.mktemp("structures")
    frames = []
    for seed in range(12):
        atoms = crystal(ATOMS)
        atoms.rattle(0.01, seed=seed)
        atoms.info |= {"energy": float(seed), "split": ("train", "val", "test")[seed // 4]}
        frames.append(atoms)
    write(folder / "crystals.extxyz", frames)
    module = ExtXYZDataModule(
        str(folder / "crystals.extxyz"), cutoff=4.0, forces=None, cache_dir=str(folder / "cache")
    )
    module.setup()
    return module


class Counting:
    """Training molecules, and the sizes of the batches that were asked for."""

    def __init__(self, data: ExtXYZDataModule) -> None:
        self.data, self.splits = data, data.splits
        self.sizes: list[int] = []

    def batch(self, indices: torch.Tensor | Sequence[int]) -> Batch:
        self.sizes.append(len(indices))
        return self.data.batch(indices)


def test_costs_are_counted_on_as_many_structures_as_have_few_edges(
    data: ExtXYZDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = EquivariantConvNet("2x0e+2x1o", num_layers=3, cutoff=4.0)
    edges = [data.batch([row]).edge_index.shape[1] for row in data.splits["train"].tolist()]
    for most, count in ((edges[0] - 1, 1), (edges[0] + edges[1], 2), (sum(edges), 4)):
        monkeypatch.setattr(compute_cost, "MOST_EDGES", most)
        for measure in (memory_per_molecule, operations_per_molecule):
            counting = Counting(data)
            cost = measure(network, counting)
            assert counting.sizes[-1] == max(counting.sizes) == count
            monkeypatch.setattr(compute_cost, "MOST_EDGES", sum(edges))
            assert cost == pytest.approx(measure(network, data), rel=0.05)
            monkeypatch.setattr(compute_cost, "MOST_EDGES", most)


def test_evaluation_takes_fewer_large_structures_at_once(
    data: ExtXYZDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [batch.num_graphs for batch in data.test_dataloader()] == [4]
    largest = max(data.batch([row]).edge_index.shape[1] for row in range(12))
    for most, sizes in ((2 * largest, [2, 2]), (1, [1, 1, 1, 1])):
        monkeypatch.setattr(molecule_datamodule, "MOST_EVALUATED_EDGES", most)
        for loader in (data.test_dataloader(), data.predict_dataloader()):
            batches = list(loader)
            assert [batch.num_graphs for batch in batches] == sizes
            assert torch.cat([batch.idx for batch in batches]).equal(data.splits["test"])
        assert [batch.num_graphs for batch in data.val_dataloader()] == sizes[:1] * (2 // sizes[0])


def test_large_structures_are_measured_a_few_at_a_time_and_not_too_many(
    data: ExtXYZDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = EquivariantConvNet("2x0e+2x1o", num_layers=3, cutoff=4.0)
    edges = data.store.num_edges(data.splits["train"])
    assert edges.tolist() == [
        data.batch([row]).edge_index.shape[1] for row in data.splits["train"].tolist()
    ]
    assert count_to_keep(data, 500, "train") == 500
    whole = measured_batches(data, network, 500, 64, "train")
    assert [batch.num_graphs for batch in whole] == [4]
    monkeypatch.setattr(measured, "MOST_EDGES_AT_ONCE", 3 * int(edges.max()))
    parts = measured_batches(data, network, 500, 64, "train")
    assert [batch.num_graphs for batch in parts] == [3, 1]
    assert torch.cat([batch.idx for batch in parts]).equal(whole[0].idx)
    for most, count in ((edges[:2].sum(), 2), (edges.sum(), 500), (1, 1)):
        monkeypatch.setattr(measured, "MOST_EDGES_KEPT", int(most))
        assert count_to_keep(data, 500, "train") == count
