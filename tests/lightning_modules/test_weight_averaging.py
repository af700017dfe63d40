"""WeightAverage beside other callbacks: which weights are in the module, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from lightning_modules.measured import evaluated_weights
from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.weight_averaging import WeightAverage
from tests.lightning_modules.made_up import SMALL, Molecules, quiet_trainer


def weight(module: Any) -> Tensor:
    return next(module.network.parameters()).detach().clone()


class Watch(Callback):
    """Compare the weights that validation has with those within `averaged_weights`."""

    def __init__(self) -> None:
        self.equal: list[bool] = []
        self.restored: list[bool] = []

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated = weight(pl_module)
        with average_of(trainer).averaged_weights(pl_module):
            self.equal.append(torch.equal(weight(pl_module), self.validated))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        before = weight(pl_module)
        with evaluated_weights(trainer, pl_module):
            self.equal.append(torch.equal(weight(pl_module), self.validated))
            with evaluated_weights(trainer, pl_module):
                self.equal.append(torch.equal(weight(pl_module), self.validated))
        self.restored.append(torch.equal(weight(pl_module), before))
        self.restored.append(not torch.equal(before, self.validated))


def average_of(trainer: Any) -> WeightAverage:
    return next(c for c in trainer.callbacks if isinstance(c, WeightAverage))


def test_the_averaged_weights_are_at_hand_at_any_time(tmp_path: Path) -> None:
    watch = Watch()
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[watch])
    trainer.fit(EquivariantRegressor(**SMALL, ema_decay=0.8, lr=0.01), datamodule=Molecules())
    assert len(watch.equal) == 6
    assert all(watch.equal)
    assert all(watch.restored)


def test_without_an_average_the_evaluated_weights_are_those_in_training(tmp_path: Path) -> None:
    trainer, model = quiet_trainer(tmp_path), EquivariantRegressor(**SMALL)
    before = weight(model)
    with evaluated_weights(trainer, model):
        assert torch.equal(weight(model), before)


def test_weights_come_back_after_an_error(tmp_path: Path) -> None:
    model = EquivariantRegressor(**SMALL, lr=0.01)
    average = WeightAverage(0.5)
    average.setup(quiet_trainer(tmp_path), model, "fit")
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    before = weight(model)

    def fail() -> None:
        with average.averaged_weights(model):
            assert not torch.equal(weight(model), before)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert torch.equal(weight(model), before)


def test_the_reference_is_there_before_the_first_update(tmp_path: Path) -> None:
    class Reference(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            with average_of(trainer).averaged_weights(pl_module):
                self.std = float(pl_module.target_std)

    seen, model = Reference(), EquivariantRegressor(**SMALL, ema_decay=0.9)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[seen]).fit(model, datamodule=Molecules())
    assert seen.std == float(model.target_std) != 1.0


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="it must be between 0 and 1, e.g. 0.999"):
        WeightAverage(decay)
