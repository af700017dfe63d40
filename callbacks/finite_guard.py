"""`FiniteGuard`: no update from a loss or gradient that is NaN or infinite.

Imports Lightning and torch only.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override


class NonFiniteError(RuntimeError):
    """Training was stopped before an update with a NaN or infinite loss or gradient."""


class FiniteGuard(Callback):
    """Stop training at the first non-finite loss or gradient, before it reaches a weight.

    The optimizer gets the test's result as ``found_inf``, with which torch's fused optimizers
    leave the weights alone; so a GPU need not be waited for at every step, and the host looks
    every `check_every` steps and at the end of the epoch.

    Parameters
    ----------
    check_every : int
        Steps between looks on a GPU. On a CPU every step is looked at, as it costs nothing.

    Raises
    ------
    NonFiniteError
        During training; names step, epoch and molecules.

    Examples
    --------
    In YAML, beside the other callbacks:

    .. code-block:: yaml

        trainer:
          callbacks:
            - class_path: callbacks.finite_guard.FiniteGuard
              init_args: {check_every: 50}
    """

    def __init__(self, check_every: int = 50) -> None:
        if check_every < 1:
            raise ValueError(f"check_every is {check_every}: it must be at least 1 step")
        self.check_every = check_every
        self._molecules: deque[tuple[int, Tensor]] = deque(maxlen=check_every)
        self._loss: Tensor | None = None
        self._first_bad: Tensor | None = None

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._molecules.append((trainer.global_step, batch.idx))

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        self._loss = loss.detach()

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        total = norms.sum() if self._loss is None else norms.sum() + self._loss
        bad = ~torch.isfinite(total)
        optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
        never = torch.full((), -1, dtype=torch.int64, device=bad.device)
        before = never if self._first_bad is None else self._first_bad
        now = torch.full((), trainer.global_step, dtype=torch.int64, device=bad.device)
        self._first_bad = torch.where(bad & (before < 0), now, before)
        if bad.device.type == "cpu" or (trainer.global_step + 1) % self.check_every == 0:
            self._look(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        step = -1 if self._first_bad is None else int(self._first_bad)
        if step < 0:
            return
        indices = next((idx.tolist() for s, idx in self._molecules if s == step), [])
        shown = ", ".join(map(str, indices[:40])) + (" …" if len(indices) > 40 else "")
        raise NonFiniteError(
            f"loss or gradient is not finite at step {step} (epoch {trainer.current_epoch}, "
            f"molecules {shown}); the weights are those of the step before. Try a smaller "
            "--model.lr or --trainer.gradient_clip_val=1"
        )
