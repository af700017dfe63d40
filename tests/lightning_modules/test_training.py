"""How the regressor trains: losses, warm-up, clipping and averaging, against plain PyTorch."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch_geometric.data import Batch

from callbacks.finite_guard import FiniteGuard, NonFiniteError
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from qm9.cache import PreparedData
from tests.lightning_modules.made_up import SMALL, Molecules, molecules, quiet_trainer
from tests.networks.operation_log import OperationLog

STEPS = 6
"""Batches of an epoch of `Molecules`."""


def regressor(**options: Any) -> EquivariantRegressor:
    torch.manual_seed(0)
    return EquivariantRegressor(**(SMALL | {"lr": 0.01, "reference": "mean"} | options))


def fit(tmp_path: Any, model: EquivariantRegressor, **options: Any) -> Trainer:
    trainer = quiet_trainer(tmp_path, **({"max_epochs": 1} | options))
    trainer.fit(model, datamodule=Molecules())
    return trainer


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def plain_training(
    model: EquivariantRegressor, loss: Any, clip: float | None = None, accumulate: int = 1
) -> nn.Module:
    """Train a copy of the network for one epoch without Lightning; averages are in `.average`."""
    model, data = copy.deepcopy(model), Molecules()
    model.reference.fit(data)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=0.01, weight_decay=0.0, fused=True)
    for i, batch in enumerate(data.train_dataloader()):
        y = model.reference.standardize(batch)
        (loss(model.network(batch), y) / accumulate).backward()
        if (i + 1) % accumulate == 0:
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.network.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
    return model.network


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mse", nn.functional.mse_loss),
        ("l1", nn.functional.l1_loss),
        ("huber", nn.functional.huber_loss),
    ],
)
def test_losses_train_as_in_plain_pytorch(name: Any, loss: Any, tmp_path: Any) -> None:
    model = regressor(loss=name)
    expected = plain_training(model, loss)
    fit(tmp_path, model)
    assert same(weights(model.network), weights(expected))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_clipping_is_that_of_plain_pytorch_beside_the_guard(accumulate: int, tmp_path: Any) -> None:
    model, clip = regressor(), 1e-2
    expected = plain_training(model, nn.functional.mse_loss, clip, accumulate)
    free = plain_training(model, nn.functional.mse_loss, None, accumulate)
    fit(
        tmp_path,
        model,
        gradient_clip_val=clip,
        accumulate_grad_batches=accumulate,
        callbacks=[FiniteGuard()],
    )
    assert same(weights(model.network), weights(expected))
    assert not same(weights(model.network), weights(free))


class NaNAfter(Callback):
    """Spoil one gradient at a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.before: list[torch.Tensor] = []

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.step:
            self.before = weights(pl_module)
            next(pl_module.parameters()).grad[0] = float("nan")


def test_a_nan_gradient_is_caught_before_clipping_spreads_it(tmp_path: Any) -> None:
    model, spoil = regressor(), NaNAfter(2)
    with pytest.raises(NonFiniteError, match="step 2"):
        fit(tmp_path, model, gradient_clip_val=1.0, callbacks=[spoil, FiniteGuard()])
    assert same(weights(model), spoil.before)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_gradients_are_clipped_in_every_precision(precision: Any, tmp_path: Any) -> None:
    norms = []

    class Norms(Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            norms.extend([float(torch.cat(gradients).norm())] if gradients else [])

    model, data = regressor(), Molecules()
    if precision == "64-true":
        for molecule in [m for part in data.sets.values() for m in part]:
            molecule.pos = molecule.pos.double()
    trainer = quiet_trainer(
        tmp_path, max_epochs=1, precision=precision, gradient_clip_val=1e-3, callbacks=[Norms()]
    )
    trainer.fit(model, datamodule=data)
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)
    assert len(norms) >= STEPS - 1


@pytest.mark.parametrize("options", [{}, {"convolution": "e3nn"}, {"network": "gated"}])
def test_predictions_in_bfloat16_can_be_told_apart(options: dict[str, Any]) -> None:
    model, batch = regressor(**options), Batch.from_data_list(molecules(32, seed=5))
    model.reference.fit(Molecules())
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch)
    torch.testing.assert_close(found, model(batch), rtol=0.05, atol=0.05)
    assert found.dtype == torch.float32
    assert len(found.unique()) == batch.num_graphs


class Waits(Callback):
    """Log the operations of every training step, the logging of its metrics included."""

    def __init__(self) -> None:
        self.log = OperationLog()
        self.steps = 0

    def wrap(self, module: Any) -> None:
        step = module.training_step

        def logged(batch: Any, batch_idx: int) -> Any:
            with self.log:
                self.steps += 1
                return step(batch, batch_idx)

        module.training_step = logged


def test_a_training_step_with_its_metrics_waits_for_nothing(
    tmp_path: Any, prepared_qm9: PreparedData
) -> None:
    data = QM9DataModule(train_size=64, val_size=8, test_size=8, batch_size=16)
    model, waits = regressor(num_elements=10, group_lasso=0.01, power_balance=0.01), Waits()
    waits.wrap(model)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[FiniteGuard()]).fit(model, datamodule=data)
    assert waits.steps == 4
    assert waits.log.waits == []


class Rates(Callback):
    """Note the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warmup_grows_linearly_into_the_schedule(schedule: Any, tmp_path: Any) -> None:
    rates = Rates()
    fit(tmp_path, regressor(lr_schedule=schedule, warmup_steps=3), max_epochs=2, callbacks=[rates])
    assert rates.seen[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    progress = np.arange(2 * STEPS - 3) / (2 * STEPS - 3)
    rest = 0.005 * (1 + np.cos(np.pi * progress)) if schedule == "cosine" else 0.01 + 0 * progress
    assert rates.seen[3:] == pytest.approx(rest.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "rmse"}, "loss 'rmse' is unknown: choose one of mse, l1, huber"),
        ({"warmup_steps": -1}, "warmup_steps is -1: it must be 0 or"),
        ({"warmup_steps": 5, "lr_schedule": "plateau"}, "which the plateau schedule does not have"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0: it must be between 0 and 1"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regressor(**options)


def test_a_warmup_longer_than_training_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="warmup_steps is 12, but training has 12 steps"):
        fit(tmp_path, regressor(warmup_steps=12), max_epochs=2)


def test_a_cosine_without_an_end_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="lr_schedule cosine needs an end of training"):
        fit(tmp_path, regressor(lr_schedule="cosine"), max_epochs=-1)


# ---- weight averaging ------------------------------------------------------------------------


class Average(Callback):
    """Average the weights beside Lightning, and note validation errors and weights."""

    def __init__(self) -> None:
        self.model: AveragedModel | None = None
        self.errors: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if self.model is None:
            self.model = AveragedModel(pl_module.network, avg_fn=get_ema_avg_fn(0.8))
        self.model.update_parameters(pl_module.network)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        assert self.model is not None
        assert same(weights(pl_module.network), weights(self.model.module))


def checkpoints(directory: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        directory, "best", monitor="val/mae", save_last=True, save_on_train_epoch_end=True
    )


def test_validation_checkpoint_and_end_have_the_averaged_weights(tmp_path: Path) -> None:
    model, average = regressor(ema_decay=0.8), Average()
    fit(
        tmp_path,
        model,
        max_epochs=3,
        callbacks=[average, checkpoints(tmp_path)],
        enable_checkpointing=True,
    )
    assert average.model is not None
    assert same(weights(model.network), weights(average.model.module))
    loaded = EquivariantRegressor.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert same(weights(loaded), weights(model))
    assert float(loaded.target_std) == float(model.target_std) != 1.0
    assert torch.equal(loaded.reference.weights, model.reference.weights)


def test_averaging_does_not_change_the_training_itself(tmp_path: Path) -> None:
    class Last(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen = weights(pl_module)

    seen = []
    for name, decay in (("plain", None), ("averaged", 0.8)):
        last = Last()
        fit(tmp_path / name, regressor(ema_decay=decay), max_epochs=2, callbacks=[last])
        seen.append(last.seen)
    assert same(*seen)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("kind", ["mean", "composition"])
def test_a_resumed_average_continues_bit_identically(kind: Any, tmp_path: Path) -> None:
    found = []
    for name in ("whole", "resumed"):
        path = tmp_path / name
        options: dict[str, Any] = {"enable_checkpointing": True}
        model = regressor(ema_decay=0.9, warmup_steps=2, reference=kind)
        epochs = 4 if name == "whole" else 2
        trainer = quiet_trainer(path, max_epochs=epochs, callbacks=[checkpoints(path)], **options)
        trainer.fit(model, datamodule=Molecules())
        if name == "resumed":
            model = regressor(ema_decay=0.9, warmup_steps=2, reference=kind)
            trainer = quiet_trainer(path, max_epochs=4, callbacks=[checkpoints(path)], **options)
            last = str(path / "last.ckpt")
            trainer.fit(model, datamodule=Molecules(), ckpt_path=last, weights_only=True)
        found.append((weights(model), float(trainer.callback_metrics["val/mae"])))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
