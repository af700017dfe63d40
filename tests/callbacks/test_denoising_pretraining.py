"""DenoisingPretraining: what it trains, what it leaves alone, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ase import Atoms
from ase.io import write
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor

from callbacks.denoising_pretraining import DenoisingPretraining
from callbacks.finite_guard import NonFiniteError
from callbacks.irrep_utilization import IrrepUtilization
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.regressor import EquivariantRegressor
from networks.layered import LayeredNetwork
from records.metrics import Row
from runtime.metrics_logger import MetricsCSVLogger
from tests.lightning_modules.made_up import Molecules, quiet_trainer
from tests.structures.made import copper, ethanol

SMALL: dict[str, Any] = {
    "irreps": "4x0e+4x1o",
    "num_layers": 2,
    "num_elements": 30,
    "num_radial": 8,
    "radial_hidden": 8,
    "cutoff": 4.0,
    "unit": "eV",
    "target": "energy",
    "lr": 0.02,
}


class Witness(Callback):
    """Notes the weights with which the first epoch begins, the batches, and the random state."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.seen: list[list[int]] = []
        self.random = torch.zeros(0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.seen:
            self.random = torch.get_rng_state()
            network = cast(EquivariantRegressor, pl_module).network
            self.weights = {k: v.clone() for k, v in network.state_dict().items()}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert all(p.grad is None for p in pl_module.parameters()) or self.seen
        self.seen.append(batch.idx.tolist())


class Fitted:
    """A run of one epoch on rattled molecules (by default) and what it has left."""

    def __init__(
        self,
        folder: Path,
        pretraining: DenoisingPretraining | None,
        structures: list[Atoms] | None = None,
        before: tuple[Callback, ...] = (),
        epochs: int = 1,
        resume: bool = False,
        trainer: dict[str, Any] | None = None,
        forces: str | None = None,
        **options: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        file = folder / "molecules.extxyz"
        if not file.exists():
            write(file, structures or ethanol(24), format="extxyz")
        seed_everything(0, verbose=False)
        self.model = EquivariantRegressor(**{**SMALL, **options})
        data = ExtXYZDataModule(
            str(file),
            cutoff=4.0,
            forces=forces,
            batch_size=4,
            val_size=6,
            test_size=2,
            cache_dir=str(folder / "cache"),
        )
        self.witness, self.metrics = Witness(), MetricsCSVLogger(folder / "metrics.csv")
        last = () if pretraining is None else (pretraining,)
        self.trainer = quiet_trainer(
            folder,
            max_epochs=epochs,
            logger=[self.metrics],
            log_every_n_steps=1,
            callbacks=[*before, *last, self.witness],
            **(trainer or {}),
        )
        saved = folder / "a.ckpt"
        checkpoint: dict[str, Any] = (
            {"ckpt_path": str(saved), "weights_only": True} if resume else {}
        )
        self.trainer.fit(self.model, datamodule=data, **checkpoint)
        self.trainer.save_checkpoint(saved)

    @property
    def network_weights(self) -> dict[str, Tensor]:
        return self.model.network.state_dict()

    @property
    def untrained(self) -> Row:
        return self.metrics.rows.get(-1, {})


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_the_error_falls_and_is_printed_and_logged(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Fitted(tmp_path, DenoisingPretraining(epochs=10), network=network)
    row = run.untrained
    before, after = row["pretraining/untrained_error"], row["pretraining/error"]
    assert after < min(before, 0.9)
    assert row["pretraining/seconds"] > 0
    first, last = [line for line in capsys.readouterr().out.splitlines() if "retrain" in line]
    assert first == (
        "Pretraining by denoising: 10 epochs of 16 molecules, sigma 0.05 angstrom, learning rate "
        f"0.02; relative error of the untrained network {before:.3f}"
    )
    assert last.startswith("Pretrained in ")
    assert last.endswith(f" s; relative error {after:.3f}")


def test_training_draws_what_it_would_draw_without_and_starts_elsewhere(tmp_path: Path) -> None:
    plain = Fitted(tmp_path / "plain", None)
    run = Fitted(tmp_path / "run", DenoisingPretraining(epochs=1))
    assert run.witness.seen == plain.witness.seen
    assert torch.equal(run.witness.random, plain.witness.random)
    changed = {
        name
        for name, weights in plain.witness.weights.items()
        if not torch.equal(weights, run.witness.weights[name])
    }
    assert changed == dict(plain.model.network.named_parameters()).keys() - {"output.bias"}
    assert run.trainer.optimizers[0].state_dict()["param_groups"][0]["lr"] == 0.02
    off = Fitted(tmp_path / "off", DenoisingPretraining())
    assert same(off.network_weights, plain.network_weights)
    assert off.untrained == {}


def test_the_same_seed_pretrains_the_same_and_another_rate_another(tmp_path: Path) -> None:
    one = Fitted(tmp_path, DenoisingPretraining(epochs=2))
    again = Fitted(tmp_path, DenoisingPretraining(epochs=2, lr=0.02))
    other = Fitted(tmp_path, DenoisingPretraining(epochs=2, lr=0.01))
    assert same(one.witness.weights, again.witness.weights)
    assert same(one.network_weights, again.network_weights)
    assert not same(one.witness.weights, other.witness.weights)


def test_a_resumed_run_does_not_pretrain_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Fitted(tmp_path / "whole", DenoisingPretraining(epochs=1), epochs=2)
    Fitted(tmp_path / "broken", DenoisingPretraining(epochs=1), epochs=1)
    capsys.readouterr()
    resumed = Fitted(tmp_path / "broken", DenoisingPretraining(epochs=1), epochs=2, resume=True)
    assert "retrain" not in capsys.readouterr().out
    assert same(resumed.network_weights, whole.network_weights)


def test_the_untrained_network_is_measured_before(tmp_path: Path) -> None:
    def measured(folder: Path, pretraining: DenoisingPretraining | None) -> list[str]:
        measuring = IrrepUtilization(num_molecules=6, num_bootstrap=20, missed_share=0.0)
        Fitted(folder, pretraining, before=(measuring,))
        lines = (folder / "utilization.csv").read_text().splitlines()
        return [line for line in lines if ",-1," in f",{line}"]

    plain = measured(tmp_path / "plain", None)
    assert len(plain) > 2
    assert measured(tmp_path / "run", DenoisingPretraining(epochs=2)) == plain


def test_a_measure_that_comes_later_is_refused(tmp_path: Path) -> None:
    pretraining = DenoisingPretraining(epochs=1)
    with pytest.raises(ValueError, match="put IrrepUtilization first in the trainer's callbacks"):
        Fitted(tmp_path, IrrepUtilization(), before=(pretraining,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"structures": copper(24)},
        {"structures": copper(24), "network": "gated", "force_weight": 1.0, "forces": "forces"},
        {"irrep_dropout": "sandwich", "ema_decay": 0.9},
        {"network": "gated", "power_balance": 0.1, "group_lasso": 0.1},
        {"trainer": {"precision": "64-true"}},
        {"trainer": {"precision": "bf16-mixed"}},
        {"trainer": {"fast_dev_run": True}},
    ],
    ids=["periodic", "forces", "nested, averaged", "penalties", "double", "bfloat16", "fast"],
)
def test_it_works_beside_other_options(options: dict[str, Any], tmp_path: Path) -> None:
    run = Fitted(tmp_path, DenoisingPretraining(epochs=3), **options)
    assert run.trainer.global_step == (1 if "fast_dev_run" in options.get("trainer", {}) else 4)
    assert all(p.isfinite().all() for p in run.model.parameters())
    if run.untrained:
        assert run.untrained["pretraining/error"] < run.untrained["pretraining/untrained_error"]
    if "ema_decay" in options:
        # The average begins with the weights after the first step, not with the untrained ones.
        plain = Fitted(tmp_path / "plain", None, **options).model.network
        assert not same(run.model.network.state_dict(), plain.state_dict())


def test_limited_batches_limit_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    step = "lightning_modules.denoising.DenoisingSteps.step"
    monkeypatch.setattr(step, lambda _, batch, __: taken.append(batch.num_graphs) or torch.ones(()))
    Fitted(tmp_path, DenoisingPretraining(epochs=2), trainer={"limit_train_batches": 3})
    assert taken == [4] * 6


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="not finite in epoch 1 of pretraining"):
        Fitted(tmp_path, DenoisingPretraining(epochs=3, lr=1e30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs is -1: it must be 0"),
        ({"epochs": 1, "sigma": 0.0}, "sigma is 0.0: it must be a positive number"),
        ({"epochs": 1, "sigma": float("nan")}, "sigma is nan"),
        ({"epochs": 1, "lr": -0.1}, "lr is -0.1: it must be a positive number"),
        ({"epochs": 1, "num_molecules": 0}, "num_molecules is 0: it must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoisingPretraining(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "dipole"}, "target dipole is a vector: leave pretraining.epochs at 0"),
        ({"convolution": "e3nn", "compile": True}, "leave model.compile at false"),
        ({"cuda_graph": True}, "leave model.cuda_graph at false"),
    ],
)
def test_networks_that_cannot_be_pretrained_are_refused(
    options: dict[str, Any], message: str
) -> None:
    model = EquivariantRegressor("4x0e+4x1o", **options)
    DenoisingPretraining().check_module(model)
    with pytest.raises(ValueError, match=message):
        DenoisingPretraining(epochs=1).check_module(model)


def test_processes_without_the_whole_network_are_refused(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.__class__ = FSDPStrategy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "world_size", 2)
        with pytest.raises(ValueError, match=r"2 devices needs trainer.strategy ddp"):
            DenoisingPretraining(epochs=1).check_trainer(trainer)
        DenoisingPretraining().check_trainer(trainer)


def test_predictions_that_do_not_see_positions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts(self: LayeredNetwork, data: Any) -> Tensor:
        return torch.zeros(data.num_graphs).index_add(0, data.batch, data.z.float())

    monkeypatch.setattr(LayeredNetwork, "forward", counts)
    with pytest.raises(ValueError, match="those of EquivariantConvNet do not depend on them"):
        Fitted(tmp_path, DenoisingPretraining(epochs=1))


def test_other_modules_and_data_are_refused(tmp_path: Path) -> None:
    callback = DenoisingPretraining(epochs=1)
    trainer = quiet_trainer(tmp_path, callbacks=[callback], max_epochs=1)
    with pytest.raises(TypeError, match="which Molecules is not"):
        trainer.fit(EquivariantRegressor("4x0e+4x1o", num_layers=2), datamodule=Molecules())
    with pytest.raises(TypeError, match="an EquivariantRegressor, not a LightningModule"):
        callback.setup(trainer, LightningModule(), "fit")
