"""`LatentUMAP` in real fits; one of them with real UMAP, the rest with a quick worker."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from analysis.latent_embedding import choose_layer, molecule_embedding
from analysis.latent_metrics import standardize, trustworthiness
from callbacks import latent_umap
from callbacks.latent_umap import LatentUMAP, best_checkpoint
from latents import client as umap_client
from latents.metric_keys import logged_metrics
from latents.snapshots import Snapshots, temporarily_loaded
from lightning_modules.measured import MEASURED_PART
from records.latent_paths import BEST, epoch_path, epochs_in, picture_path, snapshot_path
from records.latent_tables import read_metric_table
from records.latents import METRICS, read_epoch, read_snapshot, write_snapshot
from records.metrics import read_metrics
from runtime.metrics_logger import MetricsCSVLogger
from tests.latents.latent_data import (
    BLOCKS,
    QUICK_WORKER,
    SMILES,
    NamedMolecules,
    small_latents,
    small_model,
    trainer,
    workers,
)


def messages(caught: Any) -> list[str]:
    """What `LatentUMAP` has warned of."""
    return [str(w.message) for w in caught if "LatentUMAP" in str(w.message)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_client, "WORKER", QUICK_WORKER)


# ---- one run with real UMAP, W&B and all files -----------------------------------------------


def best_by(monitor: str, root: Path, mode: str = "min") -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=root / "checkpoints", filename="best", monitor=monitor, mode=mode, save_last=True
    )


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    run = wandb.init(
        mode="offline",
        dir=str(root),
        settings=wandb.Settings(console="off", quiet=True, x_disable_stats=True),
    )
    loggers = [MetricsCSVLogger(root / "metrics.csv"), WandbLogger(experiment=run)]
    callbacks = [small_latents(table_size=5), best_by("val/mae", root)]
    fit = trainer(root, callbacks, epochs=3, logger=loggers, enable_checkpointing=True)
    fit.fit(small_model(), datamodule=NamedMolecules())
    assert workers() == []
    run.finish()
    return root


def history(root: Path) -> list[dict[str, Any]]:
    (offline,) = (root / "wandb").glob("offline-run-*")
    command = ["wandb", "leet", "inspect", "--json", str(offline)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in text.splitlines()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_every_epoch_and_the_untrained_baseline_have_picture_and_layouts(real_run: Path) -> None:
    latents = real_run / "latents"
    assert epochs_in(latents) == [-1, 0, 1, 2]
    assert {p.name for p in latents.iterdir()} == {
        *(f"epoch_{e}.{end}" for e in ("-01", "000", "001", "002") for end in ("png", "npz")),
        "best.png",
        "best.npz",
        "animation.gif",
        "metrics.csv",
        "molecules.csv",
        "molecules.npz",
    }
    for epoch in (-1, 0, 1, 2):
        latent = read_epoch(epoch_path(latents, epoch))
        assert tuple(latent.layouts) == BLOCKS
        assert all(np.isfinite(layout).all() for layout in latent.layouts.values())


def test_metrics_are_logged_with_their_epoch_beside_the_baseline(real_run: Path) -> None:
    rows = read_metrics(real_run / "metrics.csv")
    for epoch in (-1, 0, 1, 2):
        metrics = read_epoch(epoch_path(real_run / "latents", epoch)).metrics
        for name in METRICS:
            assert rows[epoch][f"latent/all/{name}"] == metrics["all"][name].value
        key = "knn_r2_composition_free"
        for block in ("0e", "1o", "element_counts"):
            assert rows[epoch][f"latent/{block}/{key}"] == metrics[block][key].value
        assert rows[epoch]["latent/num_molecules"] == 32
    assert sorted(rows) == [-1, 0, 1, 2]
    assert rows[-1]["step"] == 0
    key = "latent/all/knn_r2_target"
    assert rows[-1][f"{key}_untrained"] == rows[-1][key]


def test_every_measure_of_every_block_is_in_the_table_with_its_interval(real_run: Path) -> None:
    rows = read_metric_table(real_run / "latents" / "metrics.csv")
    moments = {(row.epoch, row.is_best) for row in rows}
    best = read_epoch(epoch_path(real_run / "latents", BEST)).epoch
    assert moments == {(-1, False), (0, False), (1, False), (2, False), (best, True)}
    for block in BLOCKS:
        assert [row.metric for row in rows if row.block == block] == list(METRICS) * 5
    assert all(row.low <= row.value <= row.high for row in rows if row.metric == "trustworthiness")
    assert all(row.num_molecules <= 32 for row in rows)


def test_a_run_with_nine_irreps_logs_at_most_24_keys(real_run: Path) -> None:
    latent = read_epoch(epoch_path(real_run / "latents", -1))
    for irrep in ("2e", "3o", "4e", "5o", "6e", "7o", "8e", "9o", "10e"):
        latent.layouts[irrep] = latent.layouts["1o"]
        latent.metrics[irrep] = latent.metrics["1o"]
    media = ("latent/umap", "latent/animation", "latent/molecules")
    assert len(logged_metrics(latent)) + len(media) == 24


def test_wandb_has_each_picture_in_order_with_its_epoch(real_run: Path) -> None:
    rows = history(real_run)
    pictures = [row for row in rows if any(key.startswith("latent/umap") for key in row)]
    best = read_epoch(epoch_path(real_run / "latents", BEST)).epoch
    assert [float(row["epoch"]) for row in pictures] == [-1, 0, 1, 2, best]
    (offline,) = (real_run / "wandb").glob("offline-run-*")
    assert len(list(offline.glob("files/media/images/latent/umap_*.png"))) == 5
    last = [row for row in rows if any(key.startswith("latent/molecules") for key in row)]
    assert [float(row["epoch"]) for row in last] == [best]
    (table,) = offline.glob("files/media/table/latent/molecules_*.json")
    columns = json.loads(table.read_text())["columns"]
    assert columns[:6] == [
        "idx",
        "smiles",
        "structure",
        "target (meV)",
        "prediction (meV)",
        "absolute error (meV)",
    ]
    assert len(json.loads(table.read_text())["data"]) == 5
    assert list(offline.glob("files/media/videos/latent/animation_*.gif"))


def test_umap_shows_the_space_and_frames_resemble_one_another(real_run: Path) -> None:
    epochs = [read_epoch(epoch_path(real_run / "latents", e)) for e in (-1, 0, 1, 2)]
    for before, after in pairwise(epochs):
        assert np.array_equal(before.molecules.idx, after.molecules.idx)
        one, two = before.layouts["all"], after.layouts["all"]
        order = np.random.default_rng(0).permutation(32)
        moved, shuffled = ((one - two) ** 2).sum(), ((one - two[order]) ** 2).sum()
        assert moved < 0.5 * shuffled
    assert epochs[0].metrics["0e"]["trustworthiness"].value > 0.8


def test_predictions_and_embeddings_are_the_networks(real_run: Path) -> None:
    latent = read_epoch(epoch_path(real_run / "latents", BEST))
    data, model = NamedMolecules(), small_model()
    checkpoint = torch.load(real_run / "checkpoints" / "best.ckpt", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"])
    assert (latent.epoch, latent.step) == (checkpoint["epoch"], checkpoint["global_step"])
    batch = data.batch(torch.from_numpy(latent.molecules.idx))
    assert latent.molecules.idx.tolist() == data.splits[MEASURED_PART][:32].tolist()
    with torch.no_grad():
        expected = model.predict_target(batch).numpy()
        features = model.network.run_recording(model.network.prepare(batch))[0][0]
    np.testing.assert_allclose(latent.prediction, expected, rtol=1e-6)
    np.testing.assert_allclose(latent.molecules.target, 1000 * batch.y.numpy())
    blocks = molecule_embedding(features, model.network.layer_irreps[0], batch.batch, 32)
    space = standardize(blocks["1o"])
    assert latent.metrics["1o"]["trustworthiness"].value == pytest.approx(
        trustworthiness(space, latent.layouts["1o"], n_neighbors=6).value, abs=1e-3
    )
    counts = [
        [(molecule.z == z).sum() for z in latent.molecules.elements]
        for molecule in batch.to_data_list()
    ]
    np.testing.assert_array_equal(latent.molecules.element_counts, np.array(counts))
    assert latent.molecules.smiles[0] == SMILES[latent.molecules.idx[0] % len(SMILES)]


def test_table_and_animation_are_there_without_wandb(real_run: Path) -> None:
    with (real_run / "latents" / "molecules.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 32
    with Image.open(real_run / "latents" / "animation.gif") as gif:
        assert gif.n_frames == 5


# ---- the best checkpoint ---------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("mode", "epoch"), [("min", 0), ("max", 2)])
def test_the_final_frame_and_table_describe_the_best_checkpoint(
    mode: str, epoch: int, tmp_path: Path
) -> None:
    # The step grows with every epoch, so that it says which checkpoint is the best.
    checkpoint = best_by("step", tmp_path, mode)
    fit = trainer(tmp_path, [small_latents(), checkpoint], epochs=3, enable_checkpointing=True)
    model = small_model()
    fit.fit(model, datamodule=NamedMolecules())
    latents = tmp_path / "latents"
    best, same_epoch = (read_epoch(epoch_path(latents, frame)) for frame in (BEST, epoch))
    assert (best.is_best, best.epoch) == (True, epoch)
    np.testing.assert_allclose(best.prediction, same_epoch.prediction)
    assert picture_path(latents, BEST).exists()
    with (latents / "molecules.csv").open(newline="") as file:
        predictions = [float(row["prediction (meV)"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(predictions, best.prediction, rtol=1e-6)
    state = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
    unchanged = all(  # elements that the training part lacks have a reference of NaN
        torch.allclose(state[name], tensor, rtol=0, atol=0, equal_nan=True)
        for name, tensor in model.state_dict().items()
    )
    assert unchanged == (epoch == 2)  # the module has kept its own weights


@pytest.mark.usefixtures("quick")
def test_weights_that_no_epoch_had_are_laid_out_anew(tmp_path: Path) -> None:
    checkpoint = best_by("step", tmp_path)
    callbacks = [small_latents(), DoubleReadout(), checkpoint]
    fit = trainer(tmp_path, callbacks, epochs=2, enable_checkpointing=True)
    fit.fit(small_model(), datamodule=NamedMolecules())
    best, epoch = (read_epoch(epoch_path(tmp_path / "latents", frame)) for frame in (BEST, 0))
    assert not np.allclose(best.prediction, epoch.prediction)


class DoubleReadout(Callback):
    """A checkpoint of other weights than those in training, as weight averaging writes."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: 2 * tensor for name, tensor in state.items()}


@pytest.mark.usefixtures("quick")
def test_without_a_monitored_checkpoint_the_last_epoch_is_final(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(dirpath=tmp_path / "checkpoints")
    fit = trainer(tmp_path, [small_latents(), checkpoint], epochs=1, enable_checkpointing=True)
    fit.fit(small_model(), datamodule=NamedMolecules())
    assert best_checkpoint(fit) is None
    assert not epoch_path(tmp_path / "latents", BEST).exists()
    assert not snapshot_path(tmp_path / "latents", BEST).exists()
    assert (tmp_path / "latents" / "molecules.csv").exists()


def test_weights_come_back_after_an_error() -> None:
    module = torch.nn.Linear(2, 1)
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in own.items()}

    def fail() -> None:
        with temporarily_loaded(module, other):
            assert torch.equal(module.weight, other["weight"])
            raise ValueError("planned")

    with pytest.raises(ValueError, match="planned"):
        fail()
    assert torch.equal(module.weight, own["weight"])


# ---- resuming --------------------------------------------------------------------------------


def fit_with_checkpoint(
    root: Path, epochs: int, stop_after: int | None = None, at_epoch_end: bool = True
) -> None:
    checkpoint = ModelCheckpoint(
        dirpath=root,
        filename="last",
        save_on_train_epoch_end=at_epoch_end,
        enable_version_counter=False,
    )
    callbacks = [small_latents(), checkpoint]
    if stop_after is not None:
        callbacks.append(RaiseAfter(stop_after))
    fit = trainer(
        root,
        callbacks,
        epochs,
        logger=[MetricsCSVLogger(root / "metrics.csv")],
        enable_checkpointing=True,
    )
    path = root / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")
        fit.fit(
            small_model(),
            datamodule=NamedMolecules(),
            ckpt_path=str(path) if path.exists() else None,
            weights_only=True,
        )


class RaiseAfter(Callback):
    """An exception in the first batch after an epoch."""

    def __init__(self, epoch: int, error: type[BaseException] = RuntimeError) -> None:
        self.epoch = epoch
        self.error = error

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.current_epoch == self.epoch + 1:
            raise self.error("planned")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(umap_client, "WORKER", QUICK_WORKER)
        fit_with_checkpoint(root, 4)
    return root


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("at_epoch_end", [True, False], ids=["epoch end", "after validation"])
def test_an_interrupted_run_ends_with_the_same_files_and_metrics(
    at_epoch_end: bool, whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path
    with pytest.raises(RuntimeError, match="planned"):
        fit_with_checkpoint(broken, 4, stop_after=1, at_epoch_end=at_epoch_end)
    assert workers() == []
    # What was drawn after the checkpoint by a process that went on longer is replaced.
    shutil.copy(whole / "latents" / "epoch_003.npz", broken / "latents" / "epoch_007.npz")
    fit_with_checkpoint(broken, 4)
    for epoch in (-1, 0, 1, 2, 3):
        paths = [epoch_path(root / "latents", epoch) for root in (whole, broken)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), epoch
    assert epochs_in(broken / "latents") == [-1, 0, 1, 2, 3]
    assert read_metrics(broken / "metrics.csv") == read_metrics(whole / "metrics.csv")


@pytest.mark.usefixtures("quick")
def test_a_run_killed_while_it_waited_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LatentUMAP, "on_fit_end", lambda *args: None)
    fit_with_checkpoint(tmp_path, 2)  # ends without waiting
    monkeypatch.undo()
    monkeypatch.setattr(umap_client, "WORKER", QUICK_WORKER)
    fit_with_checkpoint(tmp_path, 2)  # nothing left to train
    assert epochs_in(tmp_path / "latents") == [-1, 0, 1]
    assert sorted(read_metrics(tmp_path / "metrics.csv")) == [-1, 0, 1]
    assert (tmp_path / "latents" / "animation.gif").exists()


# ---- training is not touched -----------------------------------------------------------------


class Watch(Callback):
    """Random states, gradients and modes as the training loop leaves them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        gradients = [None if p.grad is None else p.grad.clone() for p in pl_module.parameters()]
        modes = [module.training for module in pl_module.modules()]
        states = (torch.get_rng_state().clone(), np.random.get_state()[1], random.getstate())  # noqa: NPY002
        weights = [p.detach().clone() for p in pl_module.parameters()]
        self.seen.append((gradients, modes, *states, weights))


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two))
    return bool(one == two)


@pytest.mark.usefixtures("quick")
def test_training_is_bit_identical_with_and_without(tmp_path: Path) -> None:
    seen = []
    for latents in ([], [small_latents()]):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        watch, model = Watch(), small_model()
        model.network.layers[0].eval()  # a module that someone has frozen stays so
        fit = trainer(tmp_path, [*latents, watch])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found .* module.* in eval mode")
            fit.fit(model, datamodule=NamedMolecules())
        seen.append(watch.seen)
    assert len(seen[0]) == 8
    assert same(seen[0], seen[1])


# ---- ends ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_no_worker_outlives_an_interrupted_fit(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICK_WORKER_SLEEPS", "30")
    fit = trainer(tmp_path, [small_latents(), RaiseAfter(-1, error)])
    started = time.monotonic()
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises((error, SystemExit)):
            fit.fit(small_model(), datamodule=NamedMolecules())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert workers() == []
    assert time.monotonic() - started < 25  # it did not wait for the worker
    # What was handed over waits for a resumed run.
    assert epochs_in(tmp_path / "latents", "pending_") == [-1]


@pytest.mark.usefixtures("quick")
def test_waiting_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICK_WORKER_SLEEPS", "30")
    fit = trainer(tmp_path, [small_latents(wait_seconds=0.5)], epochs=1)
    with pytest.warns(
        UserWarning, match="2 UMAP pictures are not finished; `python -m latents.worker"
    ):
        fit.fit(small_model(), datamodule=NamedMolecules())
    assert workers() == []


class Kill(Callback):
    """Kill the worker once, in the second epoch."""

    def __init__(self, latents: LatentUMAP) -> None:
        self.latents = latents

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            client = self.latents._client
            assert client is not None
            os.kill(client.pid, signal.SIGKILL)


@pytest.mark.usefixtures("quick")
def test_a_killed_worker_is_one_warning_and_no_picture_less(tmp_path: Path) -> None:
    latents = small_latents()
    fit = trainer(tmp_path, [latents, Kill(latents)], epochs=3)
    with pytest.warns(UserWarning, match="killed by SIGKILL. It is started again") as caught:
        fit.fit(small_model(), datamodule=NamedMolecules())
    assert len(messages(caught)) == 1
    assert fit.global_step == 12
    assert epochs_in(tmp_path / "latents") == [-1, 0, 1, 2]


def test_a_worker_that_cannot_start_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(umap_client, "WORKER", (QUICK_WORKER[0], "-c", "import nothing_of_that"))
    fit = trainer(tmp_path, [small_latents()])
    with pytest.warns(UserWarning, match="LatentUMAP: ") as caught:
        fit.fit(small_model(), datamodule=NamedMolecules())
    said = messages(caught)
    assert "No module named 'nothing_of_that'" in said[0]
    assert len(said) == 2  # the second names the command that draws what is left
    assert fit.global_step == 8


@pytest.mark.usefixtures("quick")
def test_processes_other_than_the_first_have_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = trainer(tmp_path, [small_latents()], epochs=1)
    monkeypatch.setattr(type(fit), "is_global_zero", False)
    monkeypatch.setattr(umap_client.subprocess, "Popen", None)  # type: ignore[attr-defined]
    fit.fit(small_model(), datamodule=NamedMolecules())
    assert not (tmp_path / "latents").exists()


# ---- unusual runs ----------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_fast_dev_run_leaves_the_run_directory_alone(tmp_path: Path) -> None:
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / "epoch_004.npz").touch()
    fit = trainer(tmp_path, [small_latents()], fast_dev_run=True)
    fit.fit(small_model(), datamodule=NamedMolecules())
    assert [p.name for p in (tmp_path / "latents").iterdir()] == ["epoch_004.npz"]


@pytest.mark.usefixtures("quick")
def test_only_every_nth_epoch_and_the_last(tmp_path: Path) -> None:
    fit = trainer(tmp_path, [small_latents(every_n_epochs=2)], epochs=5)
    fit.fit(small_model(irreps="4x0e"), datamodule=NamedMolecules())
    assert epochs_in(tmp_path / "latents") == [-1, 1, 3, 4]


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore:Encountered `nan` values")  # torchmetrics, of the loss
def test_nan_features_are_one_warning(tmp_path: Path) -> None:
    model = small_model()
    with torch.no_grad():
        model.network.embedding.weight[1] = float("nan")  # hydrogen, so some molecules
    fit = trainer(tmp_path, [small_latents()], epochs=1)
    with pytest.warns(UserWarning, match="no UMAP in epoch -1 of all: features of") as caught:
        fit.fit(model, datamodule=NamedMolecules())
    assert len(messages(caught)) == 1
    assert (tmp_path / "latents" / "epoch_000.png").exists()


@pytest.mark.usefixtures("quick")
def test_a_failing_callback_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(latent_umap, "write_snapshot", full)
    fit = trainer(tmp_path, [small_latents()])
    with pytest.warns(UserWarning, match="has stopped .OSError: no space left") as caught:
        fit.fit(small_model(), datamodule=NamedMolecules())
    assert len(messages(caught)) == 1
    assert fit.global_step == 8
    assert workers() == []


def test_disabled_it_starts_nothing(tmp_path: Path) -> None:
    fit = trainer(tmp_path, [LatentUMAP(enabled=False)], epochs=1)
    fit.fit(small_model(), datamodule=NamedMolecules())
    assert not (tmp_path / "latents").exists()


def test_snapshots_are_the_same_whatever_the_batch_size(tmp_path: Path) -> None:
    model, data = small_model(), NamedMolecules()
    idx = data.splits[MEASURED_PART][:32]
    smiles = [data.smiles(int(i)) for i in idx]
    taken = []
    for size in (32, 5):
        batches = [data.batch(idx[first : first + size]) for first in range(0, 32, size)]
        snapshots = Snapshots(idx, smiles, batches)
        taken.append(snapshots.take(model.network, lambda y, _: y.double(), 0, 0, 0))
    for name, block in taken[0].blocks.items():
        np.testing.assert_allclose(block, taken[1].blocks[name], rtol=1e-4, atol=1e-5)
    write_snapshot(tmp_path, taken[0])
    read = read_snapshot(tmp_path, 0)
    assert same(list(read.blocks.values()), list(taken[0].blocks.values()))


@pytest.mark.usefixtures("quick")
def test_fewer_molecules_than_asked_for_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit = trainer(tmp_path, [small_latents(num_molecules=1000)], epochs=1)
    with caplog.at_level("INFO"):
        fit.fit(small_model(), datamodule=NamedMolecules())
    assert "40 molecules are there to measure on instead of 1,000" in caplog.text


def test_a_module_without_a_network_is_refused_with_what_it_must_have(tmp_path: Path) -> None:
    fit = trainer(tmp_path, [LatentUMAP()])
    with pytest.raises(TypeError, match="BoringModel cannot be measured: it must have `network`"):
        fit.fit(BoringModel(), datamodule=NamedMolecules())


def test_a_data_module_without_molecules_is_refused(tmp_path: Path) -> None:
    data = NamedMolecules()
    del data.splits[MEASURED_PART]
    fit = trainer(tmp_path, [LatentUMAP()])
    with pytest.raises(TypeError, match="NamedMolecules cannot be measured on: it must have"):
        fit.fit(small_model(), datamodule=data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_molecules": 0}, "num_molecules is 0: it must be at least 1"),
        (
            {"color_by": "size"},
            "color_by 'size' is unknown: choose one of target, composition_free",
        ),
        ({"wait_seconds": float("nan")}, "wait_seconds is nan"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentUMAP(**options)


def test_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    fit = trainer(tmp_path, [LatentUMAP(layer=3)])
    with pytest.raises(ValueError, match="layer is 3: the network has layers 0 to 1"):
        fit.fit(small_model(), datamodule=NamedMolecules())
    assert choose_layer(small_model().network, 0) == 0
    assert choose_layer(small_model().network, None) == 0
    with pytest.raises(ValueError, match="layer is 3: the network has layers 0 to 1"):
        LatentUMAP(layer=3).check_network(small_model().network)
    LatentUMAP(layer=3, enabled=False).check_network(small_model().network)
