import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch_geometric.data import Batch

from lightning_modules.qm9_datamodule import QM9DataModule
from qm9.cache import PreparedData


@pytest.fixture
def module(prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch):
    """Make data modules that share the data set already in memory."""
    monkeypatch.setattr(
        "lightning_modules.qm9_datamodule.load_or_build", lambda *_, **__: prepared_qm9
    )

    def make(**options) -> QM9DataModule:
        made = QM9DataModule(**options)
        made.prepare_data()
        made.setup()
        return made

    return make


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "U1"}, "'U1' is unknown: choose one of U0, U, H, G"),
        ({"graph": "knn"}, "'knn' is unknown: choose one of bonds, radius"),
        ({"split": "random"}, "'random' is unknown: choose one of standard, published"),
        ({"cutoff": 0.0}, "cutoff 0.0 is out of range"),
        ({"cutoff": math.nan}, "cutoff nan is out of range"),
        ({"train_size": 0}, "train_size 0 is out of range: give 1 to 110000"),
        ({"train_size": 110_001}, "train_size 110001 is out of range: give 1 to 110000"),
        ({"split": "published", "val_size": 13_084}, "val_size 13084 .* give 2 to 13083"),
        ({"val_size": 1}, "val_size 1 is out of range: give 2 to 10000"),
        ({"test_size": -1}, "test_size -1 is out of range: give 1 to 10831"),
        ({"batch_size": 0}, "batch_size 0 is out of range"),
        ({"eval_batch_size": -3}, "eval_batch_size -3 is out of range"),
        ({"split_seed": -1}, "split_seed -1 is negative"),
        ({"shuffle_seed": -1}, "shuffle_seed -1 is negative"),
    ],
)
def test_a_bad_option_is_refused_before_any_data_work(monkeypatch, options, message):
    monkeypatch.setattr("lightning_modules.qm9_datamodule.load_or_build", None)
    with pytest.raises(ValueError, match=message):
        QM9DataModule(**options)


def test_statistics_come_from_the_training_part_alone(module, prepared_qm9):
    data = module(target="gap", train_size=500)
    y = prepared_qm9.target("gap")[data.splits["train"]].numpy()
    assert len(y) == 500
    assert data.target_mean == pytest.approx(y.mean())
    assert data.target_std == pytest.approx(y.std())
    assert data.target.reporting_unit == "meV"


def test_one_molecule_has_a_usable_spread(module):
    assert module(train_size=1).target_std == 1.0


def test_loaders_cover_their_parts(module):
    data = module(train_size=100, val_size=70, test_size=50, batch_size=32, eval_batch_size=40)
    loaders = {
        "train": data.train_dataloader(),
        "val": data.val_dataloader(),
        "test": data.test_dataloader(),
    }
    sizes = {name: [batch.num_graphs for batch in loader] for name, loader in loaders.items()}
    assert sizes == {"train": [32, 32, 32, 4], "val": [35], "test": [40, 10]}
    parts = {"train": "train", "val": "val_select", "test": "test"}
    for name, loader in loaders.items():
        seen = torch.cat([batch.idx for batch in loader])
        assert torch.equal(seen.sort().values, data.splits[parts[name]].sort().values)
        assert len(loader) == len(sizes[name])
    assert [batch.num_graphs for batch in data.predict_dataloader()] == sizes["test"]


def test_no_molecule_is_both_selected_by_and_measured_on(module):
    splits = module(val_size=71).splits
    select, measure = splits["val_select"].tolist(), splits["val_measure"].tolist()
    assert sorted(select + measure) == sorted(splits["val"].tolist())
    assert (len(select), len(measure)) == (36, 35)
    larger = module(val_size=200).splits
    for half in ("val_select", "val_measure"):
        assert set(splits[half].tolist()) < set(larger[half].tolist())


def test_training_sizes_are_those_of_the_batches(module):
    data = module(train_size=20)
    num_atoms, neighbor_counts = data.training_sizes()
    batch = data.batch(data.splits["train"])
    assert torch.equal(batch.ptr.diff(), torch.from_numpy(num_atoms))
    edges_into_atoms = batch.edge_index[1].bincount(minlength=batch.num_nodes)
    assert torch.equal(edges_into_atoms, torch.from_numpy(neighbor_counts))


def test_counts_and_targets_are_those_of_the_batches(module):
    data = module(train_size=40, test_size=30)
    for part in ("train", "val_measure", "test"):
        batch = data.batch(data.splits[part])
        counts = torch.zeros(batch.num_graphs, 10, dtype=torch.int64)
        counts.index_put_((batch.batch, batch.z), torch.tensor(1), accumulate=True)
        assert torch.equal(torch.from_numpy(data.element_counts(part)), counts)
        assert torch.equal(torch.from_numpy(data.targets(part)), batch.y)


def test_baselines_are_of_test_and_validation_molecules_in_reporting_units(module):
    data = module(train_size=300, val_size=40, test_size=30)
    found = data.baselines()
    errors = data.targets("test") - data.targets("train").mean()
    assert found["baseline/mean_mae"] == pytest.approx(1000 * np.abs(errors).mean())
    errors = data.targets("val_select") - data.targets("train").mean()
    assert found["baseline/val_mean_mae"] == pytest.approx(1000 * np.abs(errors).mean())
    assert found["baseline/mean_mae"] > found["baseline/elements_mae"] > found["baseline/bonds_mae"]
    assert len(found) == 6


def test_batch_gives_any_molecules_in_the_order_asked_for(module, prepared_qm9):
    data = module(target="mu")
    batch = data.batch([7, 0, 130_830])
    assert batch.idx.tolist() == [7, 0, 130_830]
    assert torch.equal(batch.y, prepared_qm9.target("mu")[[7, 0, 130_830]])
    assert batch.pos.dtype == torch.float32
    assert data.batch(torch.tensor(3)).num_graphs == 1
    assert (data.smiles(0), data.molecule(130_830)[0]) == ("C", 133_885)


def test_radius_graphs_have_the_given_cutoff(module):
    assert module(graph="bonds").batch([0]).num_edges == 8
    # Methane: 1.09 A from carbon, 1.78 A between hydrogens.
    assert module(graph="radius", cutoff=1.5).batch([0]).num_edges == 8
    assert module(graph="radius", cutoff=2.0).batch([0]).num_edges == 20


def test_molecules_before_setup_are_refused():
    with pytest.raises(RuntimeError, match="setup"):
        QM9DataModule().batch([0])


def test_training_order_follows_the_global_seed(module, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    data = module(train_size=64)

    def order() -> list[int]:
        return torch.cat([batch.idx for batch in data.train_dataloader()]).tolist()

    without_seed = order()
    seed_everything(5, verbose=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert order() != without_seed
    explicit = module(train_size=64, shuffle_seed=5)
    assert order() == torch.cat([batch.idx for batch in explicit.train_dataloader()]).tolist()


def test_splits_are_kept_and_compared(module, tmp_path: Path):
    path = tmp_path / "splits.npz"
    data = module(train_size=100)
    data.save_splits(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["splits.npz"]
    module(train_size=100).check_splits(path)
    with np.load(path) as saved:
        row = int(data.splits["val"][3])
        assert int(saved["val"][3]) == data.molecule(row)[0]
    with pytest.raises(ValueError, match="the train part differs from the one in"):
        module(train_size=99).check_splits(path)
    with pytest.raises(ValueError, match="the train part differs"):
        module(train_size=100, split_seed=1).check_splits(path)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_a_damaged_split_file_is_named(module, tmp_path: Path, damage):
    path = tmp_path / "splits.npz"
    data = module(train_size=100)
    data.save_splits(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "text":
        path.write_text("not an archive")
    else:
        path.unlink()
    with pytest.raises(ValueError, match=r"splits\.npz cannot be read"):
        data.check_splits(path)


class Additive(LightningModule):
    """A sum of atomic energies: enough to train with, and it notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Embedding(10, 1)
        self.seen: dict[str, list[list[int]]] = {}

    def _step(self, batch: Batch, name: str) -> Tensor:
        self.seen.setdefault(f"{name}{self.current_epoch}", []).append(batch.idx.tolist())
        atoms = self.energy(batch.z)[:, 0]
        y = atoms.new_zeros(batch.num_graphs).index_add(0, batch.batch, atoms)
        return (y - batch.y.to(y.dtype)).square().mean() + 0 * batch.pos.to(y.dtype).sum()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", self._step(batch, "val"), batch_size=batch.num_graphs)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        assert batch.pos.dtype == self.energy.weight.dtype
        self.log("test/loss", self._step(batch, "test"), batch_size=batch.num_graphs)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return batch.idx

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(**options) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def test_lightning_trains_without_a_warning_and_reshuffles_each_epoch(module):
    data = module(train_size=100, val_size=60, test_size=50)
    model = Additive()
    runner = trainer()
    runner.fit(model, datamodule=data)
    runner.test(model, datamodule=data, verbose=False)
    predicted = runner.predict(model, datamodule=data)
    first, second = (list(chain(*model.seen[f"train{epoch}"])) for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(data.splits["train"].tolist())
    assert torch.equal(torch.cat(predicted), data.splits["test"])


def test_double_precision_gives_the_coordinates_of_the_csv(module, prepared_qm9):
    data = module(test_size=50)
    trainer(precision="64-true").test(Additive(), datamodule=data, verbose=False)
    assert torch.equal(data.batch([0]).pos, prepared_qm9.pos[:5])


def test_baselines_are_computed_once_for_the_same_molecules(tmp_path, monkeypatch, prepared_qm9):
    monkeypatch.setattr("lightning_modules.qm9_datamodule.load_or_build", lambda _: prepared_qm9)

    def data(**changed) -> QM9DataModule:
        sizes = {"train_size": 60, "val_size": 20, "test_size": 20}
        made = QM9DataModule(cache_dir=str(tmp_path), **{**sizes, **changed})
        made.load()
        return made

    first = data().baselines()
    assert data(graph="radius").baselines() == first
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("qm9.baselines.bond_kinds", lambda smiles: pytest.fail("read again"))
    assert data().baselines() == first
    monkeypatch.undo()
    monkeypatch.setattr("lightning_modules.qm9_datamodule.load_or_build", lambda _: prepared_qm9)
    for changed in ({"target": "U"}, {"split_seed": 1}, {"test_size": 21}):
        assert data(**changed).baselines() != first
