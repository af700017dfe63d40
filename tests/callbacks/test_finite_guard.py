"""A NaN stops training before it changes a weight, and the error names step and molecules."""

import itertools
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from callbacks.finite_guard import FiniteGuard, NonFiniteError
from lightning_modules.regressor import EquivariantRegressor
from tests.lightning_modules.test_regressor import SMALL, Molecules

POISONED_STEP = 7
"""In the second epoch, as each has six steps."""
LATE_STEP = 9
"""Where a host that does not wait for its GPU may notice, still in the second epoch."""


class Poisoned(EquivariantRegressor):
    """Keeps the weights before each step; `POISONED_STEP` has a bad loss or gradient."""

    poison = "loss"

    def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        self.before = [p.detach().clone() for p in self.parameters()]
        loss = super().training_step(batch, batch_idx)
        if self.global_step != POISONED_STEP:
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
    if as_on_gpu:  # the host reads late, so that the optimizer itself must skip the step
        stop_if_bad = guard._stop_if_bad
        monkeypatch.setattr(
            guard,
            "_stop_if_bad",
            lambda trainer: None if trainer.global_step < LATE_STEP else stop_if_bad(trainer),
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
    words = r"not finite at step 7 \(epoch 1, molecules 4, 5, 6, 7\)"
    with pytest.raises(NonFiniteError, match=words):
        trainer.fit(model, datamodule=Molecules())
    if not as_on_gpu:
        for before, now in zip(model.before, model.parameters()):
            assert torch.equal(before, now)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_no_weight_moves_between_a_bad_step_and_the_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the host looks later; of accumulated batches all are named."""
    torch.manual_seed(0)
    model, guard, seen = Poisoned(**SMALL), FiniteGuard(), []
    stop_if_bad = guard._stop_if_bad
    monkeypatch.setattr(
        guard, "_stop_if_bad", lambda t: None if t.global_step < 11 else stop_if_bad(t)
    )
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=6,
        accumulate_grad_batches=2,
        callbacks=[guard, Weights(seen)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    words = r"not finite at step 7 \(epoch \d, molecules 8, 9, 10, 11, 12, 13, 14, 15\)"
    with pytest.raises(NonFiniteError, match=words):
        trainer.fit(model, datamodule=Molecules())
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert changes == [True] * 7 + [False] * (len(changes) - 7)
    assert len(changes) >= 10


class Weights(Callback):
    """Keep a copy of all weights before every optimizer step."""

    def __init__(self, seen: list[torch.Tensor]) -> None:
        self.seen = seen

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # type: ignore[no-untyped-def]
        self.seen.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]))


def test_bad_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="check_every is 0"):
        FiniteGuard(check_every=0)
