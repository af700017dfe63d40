"""`DenoisingPretraining`: train the network to predict noise in positions, before the target.

Imports Lightning, `lightning_modules`, `networks`, `records` and this package.
"""

from __future__ import annotations

import math
import os
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from callbacks.finite_guard import NonFiniteError
from callbacks.irrep_utilization import IrrepUtilization
from callbacks.latent_umap import LatentUMAP
from lightning_modules.denoising import (
    DenoisingSteps,
    depends_on_positions,
    draw_noise,
    noise_of,
    relative_error,
)
from lightning_modules.measured import MEASURED_PART, measured_batches
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.options import check_second_derivatives
from lightning_modules.regressor import EquivariantRegressor
from networks.layered import measuring
from records.names import PRETRAINED_ERROR, PRETRAINING_SECONDS, UNTRAINED, UNTRAINED_ERROR

FAST_DEV_MOLECULES = 32
NOISE_TO_MEASURE, NOISE_TO_TRAIN, ORDER = range(3)
"""What a generator of random numbers is for, beside the run's seed."""


class DenoisingPretraining(Callback):
    """Train the network on denoising before the first epoch of a run.

    Gaussian noise is added to the positions of the training molecules, and the gradient of the
    network's scalar by the positions is trained to predict it (`lightning_modules.denoising`). So
    no further readout is needed, and every layer is trained. Then the run goes on as without, from
    the weights that this leaves.

    Noise, and the order of molecules, are drawn from the run's seed by generators of their own:
    training sees the same batches as without. A run that is stopped here starts it again, with the
    same result; a run that continues from a checkpoint skips it. Several processes share every
    batch. In nested training the whole network is trained here, not its subsets.

    The error on noisy validation molecules, relative to that of predicting no noise, is printed
    before and after. It is logged with the untrained network's row (epoch -1) as
    ``pretraining/untrained_error`` and ``pretraining/error``, with ``pretraining/seconds``.
    Callbacks that measure the untrained network must come before this one.

    Parameters
    ----------
    epochs : int
        Passes over the training molecules; 0 leaves pretraining out.
    sigma : float
        Standard deviation of the noise in every coordinate, angstrom.
    lr : float, optional
        Learning rate of AdamW at the start, which falls to zero along a half cosine; by default the
        rate of the training, ``model.lr``.
    num_molecules : int
        Validation molecules that the error is measured on, of those that select no checkpoint.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    .. code-block:: yaml

        pretraining:
          epochs: 4
          sigma: 0.05
          lr: null
          num_molecules: 500
    """

    def __init__(
        self,
        epochs: int = 0,
        sigma: float = 0.05,
        lr: float | None = None,
        num_molecules: int = 500,
    ) -> None:
        if epochs < 0:
            raise ValueError(
                f"DenoisingPretraining: epochs is {epochs}: it must be 0 (no pretraining) or more"
            )
        for name, number, example in (("sigma", sigma, 0.05), ("lr", lr, 0.001)):
            if number is not None and not 0 < number < math.inf:
                raise ValueError(
                    f"DenoisingPretraining: {name} is {number}: it must be a positive number, e.g. "
                    f"{example}"
                )
        if num_molecules < 1:
            raise ValueError(
                f"DenoisingPretraining: num_molecules is {num_molecules}: it must be at least 1"
            )
        self.epochs = epochs
        self.sigma = sigma
        self.lr = lr
        self.num_molecules = num_molecules

    # ---- refusals ---------------------------------------------------------------------------

    def check_module(self, module: EquivariantRegressor) -> None:
        """Refuse a network whose prediction cannot be differentiated twice, or is no scalar.

        Parameters
        ----------
        module : EquivariantRegressor
            To be trained.

        Raises
        ------
        ValueError
            Says which option stands against it.
        """
        if not self.epochs:
            return
        if module.target.rank:
            kind = "vector" if module.target.rank == 1 else "tensor"
            raise ValueError(
                f"pretraining predicts noise by the gradient of a scalar, and target "
                f"{module.target.name} is a {kind}: leave pretraining.epochs at 0"
            )
        options = module.hparams
        check_second_derivatives(
            "pretraining", options["kernel"], options["compile"], options["cuda_graph"]
        )

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse processes that do not all hold the whole network.

        Parameters
        ----------
        trainer : Trainer
            Before it does anything.

        Raises
        ------
        ValueError
            Names the strategies that can be used.
        """
        if self.epochs and trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy):
            raise ValueError(
                f"pretraining with {trainer.world_size} devices needs trainer.strategy ddp, in "
                "which each holds the whole network: choose it, or leave pretraining.epochs at 0"
            )

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what is there to train, for trainers that `train.py` has not built."""
        if stage != "fit" or not self.epochs:
            return
        self.check_module(_regressor(pl_module))
        self.check_trainer(trainer)
        _molecules(trainer)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        later = callbacks[callbacks.index(self) + 1 :]
        for callback in later:
            if isinstance(callback, IrrepUtilization | LatentUMAP):
                name = type(callback).__name__
                raise ValueError(
                    f"{name} measures the untrained network, and DenoisingPretraining comes before "
                    f"it: put {name} first in the trainer's callbacks"
                )

    # ---- pretraining ------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pretrain, unless the run goes on from a checkpoint."""
        if self.epochs and trainer.global_step == 0:
            with isolate_rng(), torch.inference_mode(False), torch.enable_grad():
                self._pretrain(trainer, _regressor(pl_module), _molecules(trainer))

    def _pretrain(
        self, trainer: Trainer, module: EquivariantRegressor, data: MoleculeDataModule
    ) -> None:
        (batch,) = measured_batches(data, module.network, 1, 1, "train")
        with measuring(module.network):
            if not depends_on_positions(module.network, batch):
                raise ValueError(
                    f"pretraining differentiates predictions by the positions, and those of "
                    f"{type(module.network).__name__} do not depend on them: leave "
                    "pretraining.epochs at 0"
                )
        first_atom = torch.tensor(data.atoms()[1], device=module.device)
        noisy = self._noisy_validation(trainer, module, data, first_atom)
        before = self._measure(trainer, module, noisy)
        rate = trainer.optimizers[0].defaults["lr"] if self.lr is None else self.lr
        self._say(
            trainer,
            f"Pretraining by denoising: {self.epochs} epoch{'s' if self.epochs > 1 else ''} of "
            f"{len(data.splits['train']):,} molecules, sigma {self.sigma:g} angstrom, learning "
            f"rate {rate:g}; relative error of the untrained network {before:.3f}",
        )
        start = time.perf_counter()
        self._train(trainer, module, data, first_atom, rate)
        after = self._measure(trainer, module, noisy)
        seconds = time.perf_counter() - start
        if trainer.is_global_zero and not math.isfinite(after):
            raise _not_finite(self.epochs)
        self._say(trainer, f"Pretrained in {seconds:,.0f} s; relative error {after:.3f}")
        numbers = {
            UNTRAINED_ERROR: before,
            PRETRAINED_ERROR: after,
            PRETRAINING_SECONDS: seconds,
            "epoch": UNTRAINED,
        }
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        trainer.strategy.barrier("DenoisingPretraining")

    def _train(
        self,
        trainer: Trainer,
        module: EquivariantRegressor,
        data: MoleculeDataModule,
        first_atom: Tensor,
        rate: float,
    ) -> None:
        """Train in place; every process takes its share of each batch."""
        loader = data.shuffled(_number(_seed(), ORDER))
        # Fewer with `trainer.limit_train_batches` and `fast_dev_run`.
        length = int(min(len(loader), trainer.num_training_batches))
        add_up: Any = partial(trainer.strategy.reduce, reduce_op="sum")
        steps = DenoisingSteps(module.network, self.sigma, rate, self.epochs * length, add_up)
        for epoch in range(self.epochs):
            loader.sampler.set_epoch(epoch)
            noise = draw_noise(len(data.atoms()[0]), _seed(), NOISE_TO_TRAIN, epoch)
            noise = noise.to(module.device)
            total = torch.zeros((), device=module.device)
            for _, batch in zip(range(length), loader):
                here = data.transfer_batch_to_device(batch, module.device, 0)
                total += steps.step(here, noise_of(here, noise, first_atom))
            # Read once an epoch, so that no step waits for a GPU.
            if not math.isfinite(float(total)):
                raise _not_finite(epoch + 1)

    def _noisy_validation(
        self,
        trainer: Trainer,
        module: EquivariantRegressor,
        data: MoleculeDataModule,
        first_atom: Tensor,
    ) -> list[tuple[Batch, Tensor]]:
        """Collate validation molecules with their noise, on rank zero."""
        if not trainer.is_global_zero:
            return []
        fast = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        count = min(self.num_molecules, FAST_DEV_MOLECULES) if fast else self.num_molecules
        noise = draw_noise(len(data.atoms()[0]), _seed(), NOISE_TO_MEASURE).to(module.device)
        size = int(data.hparams["batch_size"])
        batches = measured_batches(data, module.network, count, size, MEASURED_PART)
        return [(batch, noise_of(batch, noise, first_atom)) for batch in batches]

    def _measure(
        self,
        trainer: Trainer,
        module: EquivariantRegressor,
        noisy: list[tuple[Batch, Tensor]],
    ) -> float:
        """Relative error on rank zero; NaN in other processes, which print and log nothing."""
        if not trainer.is_global_zero:
            return math.nan
        with measuring(module.network):
            return relative_error(module.network, noisy, self.sigma)

    def _say(self, trainer: Trainer, line: str) -> None:
        bar = trainer.progress_bar_callback
        if not trainer.is_global_zero:
            return
        if isinstance(bar, ProgressBar):
            bar.print(line)
        else:
            print(line, flush=True)


def _regressor(module: LightningModule) -> EquivariantRegressor:
    if not isinstance(module, EquivariantRegressor):
        raise TypeError(
            f"DenoisingPretraining trains an EquivariantRegressor, not a {type(module).__name__}"
        )
    return module


def _molecules(trainer: Trainer) -> MoleculeDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, MoleculeDataModule):
        raise TypeError(
            f"DenoisingPretraining collates molecules of a MoleculeDataModule, which "
            f"{type(data).__name__} is not"
        )
    return data


def _seed() -> int:
    """Look up the run's seed, as `MoleculeDataModule.train_dataloader` takes it."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def _number(*key: int) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _not_finite(epoch: int) -> NonFiniteError:
    return NonFiniteError(
        f"loss or gradient is not finite in epoch {epoch} of pretraining. Try a smaller "
        "--pretraining.lr"
    )
