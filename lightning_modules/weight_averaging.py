"""`WeightAverage`: an exponential moving average of the weights is validated, kept and tested.

Imports Lightning only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from typing_extensions import override


class WeightAverage(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, safe for modules with buffers.

    After every optimizer step, average <- decay * average + (1 - decay) * weights. Validation runs
    on the average, checkpoints hold it as ``state_dict`` (the weights in training are beside it, so
    that a resumed run continues bit-identically), and training ends with it. `averaged_weights`
    lets other callbacks measure the same network.

    `EquivariantRegressor` adds this callback where ``model.ema_decay`` is set.

    Lightning's own callback copies the module before its ``setup`` and swaps buffers together with
    weights, so that the target's reference would be lost until the first update, and averaging
    would round it at every step. Here buffers are never averaged.

    Parameters
    ----------
    decay : float
        Share of the average that stays at each step.

    Raises
    ------
    ValueError
        If `decay` is not between 0 and 1.

    Examples
    --------
    .. code-block:: yaml

        model:
          ema_decay: 0.999
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay is {decay}: it must be between 0 and 1, e.g. 0.999")
        super().__init__(use_buffers=False, decay=decay)
        self._is_swapped = False

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the buffers that the module's ``setup`` has filled."""
        assert self._average_model is not None
        buffers = zip(self._average_model.module.buffers(), pl_module.buffers(), strict=True)
        for averaged, current in buffers:
            averaged.copy_(current)

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in place."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._is_swapped = True

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights in training back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._is_swapped = False

    @contextmanager
    def averaged_weights(self, pl_module: LightningModule) -> Iterator[None]:
        """Have the average in the module within a block, wherever training stands.

        Parameters
        ----------
        pl_module : LightningModule
            The module that is trained; its weights are put back afterwards.
        """
        if self._average_model is None or self._is_swapped:
            yield
            return
        self._swap_models(pl_module)
        self._is_swapped = True
        try:
            yield
        finally:
            self._swap_models(pl_module)
            self._is_swapped = False
