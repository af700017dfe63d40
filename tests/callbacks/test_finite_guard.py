"""A NaN stops training with the weights of the step before, naming step and molecules."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from callbacks.finite_guard import FiniteGuard, NonFiniteError
from lightning_modules.regressor import EquivariantRegressor
from tests.lightning_modules.test_regressor import SMALL, Molecules


class Poisoned(EquivariantRegressor):
    """Keeps its weights before each step; one step's loss or gradient is poisoned."""

    poison = "loss"

    def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        self.before = [p.detach().clone() for p in self.parameters()]
        loss = super().training_step(batch, batch_idx)
        if self.global_step != 4:
            return loss
        if self.poison == "loss":
            return loss * float("nan")
        self.network.readout.weight.register_hook(lambda grad: grad * float("inf"))
        return loss


@pytest.mark.parametrize("poison", ["loss", "gradient"])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_stops_before_the_update(
    poison: str, as_on_gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = Poisoned(**SMALL)
    model.poison = poison
    guard = FiniteGuard()
    if as_on_gpu:  # the host looks at the end of the epoch only; the optimizer must hold back
        look = guard._look
        monkeypatch.setattr(
            guard, "_look", lambda trainer: None if trainer.global_step < 6 else look(trainer)
        )
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=3,
        callbacks=[guard],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(NonFiniteError, match=r"not finite at step 4 \(epoch 1, molecules 0, 0"):
        trainer.fit(model, datamodule=Molecules())
    if not as_on_gpu:
        for before, now in zip(model.before, model.parameters()):
            assert torch.equal(before, now)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_bad_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="check_every is 0"):
        FiniteGuard(check_every=0)
