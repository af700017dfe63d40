"""`FiniteGuard`: no optimizer step with a NaN or infinite loss or gradient.

Imports Lightning and torch only.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from typing_extensions import override

SHOWN = 40
"""Molecules named in the error message."""


class NonFiniteError(RuntimeError):
    """A loss or gradient is NaN or infinite; training stopped before it changed a weight."""


class FiniteGuard(Callback):
    """Stop training at the first non-finite loss or gradient, before it changes a weight.

    The result of all checks so far is given to the optimizer as ``found_inf``, which makes torch's
    fused optimizers skip this step and all later ones. So the host need not wait for a GPU at every
    step: it reads the result every `check_every` steps and at the end of the epoch.

    Parameters
    ----------
    check_every : int
        Steps between two readings on a GPU. On a CPU every step is read, which costs nothing.

    Raises
    ------
    NonFiniteError
        During training. The message names step, epoch and molecules.

    Examples
    --------
    In a configuration file:

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
        self._molecules: dict[int, list[Tensor]] = {}  # of the steps since the last reading
        self._loss: Tensor | None = None
        self._first_bad: Tensor | None = None

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # With accumulated gradients, several batches make a step.
        self._molecules.setdefault(trainer.global_step, []).append(batch.idx)

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        total = get_total_norm(gradients)
        if self._loss is not None:
            total, self._loss = total + self._loss, None
        bad = ~torch.isfinite(total)
        if self._first_bad is None:
            self._first_bad = torch.full((), -1, dtype=torch.int64, device=bad.device)
        now = torch.full((), trainer.global_step, dtype=torch.int64, device=bad.device)
        self._first_bad = torch.where(bad & (self._first_bad < 0), now, self._first_bad)
        found = self._first_bad >= 0
        optimizer.found_inf = found.to(torch.float32)  # type: ignore[attr-defined]
        if bad.device.type == "cpu" or (trainer.global_step + 1) % self.check_every == 0:
            self._stop_if_bad(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_bad(trainer)

    def _stop_if_bad(self, trainer: Trainer) -> None:
        step = -1 if self._first_bad is None else int(self._first_bad)
        if step < 0:
            self._molecules.clear()
            return
        indices = [i for batch in self._molecules.get(step, []) for i in batch.tolist()]
        shown = ", ".join(map(str, indices[:SHOWN])) + (" …" if len(indices) > SHOWN else "")
        raise NonFiniteError(
            f"loss or gradient is not finite at step {step} (epoch {trainer.current_epoch}, "
            f"molecules {shown}); the weights are those before this step. Try a smaller "
            "--model.lr or --trainer.gradient_clip_val=1"
        )
