"""`NestedSubsets`: the error of every subset of degrees in nested training, epoch by epoch.

Imports Lightning, `analysis`, `figures`, `lightning_modules.measured`, `networks` and
`records`.
"""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch_geometric.data import Batch
from typing_extensions import override

from analysis.subsets import joining_orders, measured_subsets, subset_errors, summarize_subsets
from callbacks.media_loggers import media_loggers
from lightning_modules.measured import (
    MeasurableModule,
    device_is_lost,
    evaluated_weights,
    measurable_data,
    measurable_module,
    measured_batches,
    without_reference,
)
from networks.layered import measuring
from networks.nested import NestedNetworks
from records.files import replacing
from records.nested import NestedEpoch, NestedTable
from records.wandb_media import Picture

FAST_DEV_MOLECULES = 32


class NestedSubsets(Callback):
    """Measure every subset of degrees at the end of validation epochs of nested training.

    Measured on the first molecules of the validation molecules that select no checkpoint: the MAE
    of the network restricted to degree 0 and each subset of the others, in features and edges of
    all layers, and the Shapley value of each degree: the fall of the MAE when it joins, averaged
    over the orders of joining. With more than five degrees above 0, 32 subsets are measured, and
    the average is over the orders that lie among them (`analysis.subsets.joining_orders`).

    The run directory gets ``nested.csv`` and ``nested/epoch_*.png``. Logged are
    ``nested/<degrees>/mae`` of the smallest and the largest subsets, e.g. ``nested/0,1/mae``,
    ``nested/shapley/<l>`` and the picture ``nested/bars``. ``val/mae`` is the full set's.

    Does nothing unless the module's ``nested_networks`` are set, as `EquivariantRegressor` does
    where ``model.irrep_dropout`` is on. Training is not affected. With several processes rank zero
    measures alone while the others wait. A failure is a warning.

    Parameters
    ----------
    num_molecules : int
        Molecules to measure on. A subset costs each of them a forward pass.
    every_n_epochs : int
        Measure at the end of every n-th epoch, and of the last.
    num_bootstrap : int
        Resamples for the 95 % intervals.
    seed : int
        Seed of the resamples and of the orders.
    batch_size : int
        Molecules at a time.

    Raises
    ------
    ValueError
        If a number is smaller than 1.

    Examples
    --------
    .. code-block:: yaml

        model:
          irrep_dropout: uniform
        nested:
          num_molecules: 500
          every_n_epochs: 1
    """

    def __init__(
        self,
        num_molecules: int = 500,
        every_n_epochs: int = 1,
        num_bootstrap: int = 1000,
        seed: int = 0,
        batch_size: int = 128,
    ) -> None:
        for name, number in (
            ("num_molecules", num_molecules),
            ("every_n_epochs", every_n_epochs),
            ("num_bootstrap", num_bootstrap),
            ("batch_size", batch_size),
        ):
            if number < 1:
                raise ValueError(f"NestedSubsets: {name} is {number}: it must be at least 1")
        self.num_molecules = num_molecules
        self.every_n_epochs = every_n_epochs
        self.num_bootstrap = num_bootstrap
        self.seed = seed
        self.batch_size = batch_size
        self._table: NestedTable | None = None
        self._batches: list[Batch] = []
        self._has_warned = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the table, without the epochs that a resumed run trains again."""
        self._table, self._has_warned = None, False
        if _networks(pl_module) is None or not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "nested.csv"
        unit = measurable_module(pl_module).target.reporting_unit
        try:
            self._table = NestedTable(path, unit)
        except ValueError as error:
            aside = path.with_suffix(".csv.damaged")
            path.replace(aside)
            self._table = NestedTable(path, unit)
            warnings.warn(f"{error}: moved to {aside.name}, starting a new one", stacklevel=2)
        self._table.drop_after(trainer.current_epoch - 1)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, if this epoch is due."""
        networks, epoch = _networks(pl_module), trainer.current_epoch
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        last = trainer.max_epochs is not None and epoch + 1 == trainer.max_epochs
        if networks is None or not fitting or not (last or (epoch + 1) % self.every_n_epochs == 0):
            return
        if trainer.is_global_zero:
            try:
                with isolate_rng(), evaluated_weights(trainer, pl_module):
                    self._measure(trainer, measurable_module(pl_module), networks)
            except Exception as error:  # whatever fails here, training is worth more
                if device_is_lost(error):
                    raise
                self._warn_once(epoch, error)
        trainer.strategy.barrier("NestedSubsets")

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the molecules."""
        self._batches = []

    def _measure(
        self, trainer: Trainer, module: MeasurableModule, networks: NestedNetworks
    ) -> None:
        if not self._batches:
            self._batches = self._collate(trainer, module)
        measured = measured_subsets(networks.degrees, seed=self.seed)
        orders = joining_orders(networks.degrees, seed=self.seed)
        unit = float(module.target_std) * module.target.reporting_factor
        with measuring(module.network):
            errors = subset_errors(networks, self._batches, measured, unit)
        nested = summarize_subsets(errors, measured, orders, self.num_bootstrap, self.seed)
        if self._table is not None:
            self._table.add(trainer.current_epoch, nested)
        metrics = {**logged_numbers(nested), "epoch": trainer.current_epoch}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        self._draw(trainer, module, nested)

    def _collate(self, trainer: Trainer, module: MeasurableModule) -> list[Batch]:
        """Collate the molecules to measure on, with the standardized target."""
        fast = bool(getattr(trainer, "fast_dev_run", False))
        count = min(self.num_molecules, FAST_DEV_MOLECULES) if fast else self.num_molecules
        data = measurable_data(getattr(trainer, "datamodule", None))
        batches = measured_batches(data, module.network, count, self.batch_size)
        for batch in batches:
            batch.y = without_reference(batch, module).y / module.target_std
        return batches

    def _draw(self, trainer: Trainer, module: MeasurableModule, nested: NestedEpoch) -> None:
        from figures.nested_bars import draw_nested  # matplotlib takes a second to load

        epoch, target = trainer.current_epoch, module.target
        count = f"{nested.num_molecules:,} validation molecules"
        title = f"{target.name} after epoch {epoch}: every subset of degrees, {count}"
        path = Path(trainer.default_root_dir) / "nested" / f"epoch_{epoch:03d}.png"
        with replacing(path) as temporary:
            draw_nested(nested, title, target.reporting_unit, temporary)
        for logger in media_loggers(trainer):
            logger.log_media({"nested/bars": Picture(path)}, epoch)

    def _warn_once(self, epoch: int, error: Exception) -> None:
        """Report the first failure only: later ones have the same cause."""
        if not self._has_warned:
            self._has_warned = True
            where = traceback.extract_tb(error.__traceback__)[-1]
            warnings.warn(
                f"subsets of degrees could not be measured after epoch {epoch}; training goes on. "
                f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})",
                stacklevel=2,
            )


def logged_numbers(nested: NestedEpoch) -> dict[str, float]:
    """Choose the few numbers of an epoch that loggers get; all of them are in ``nested.csv``.

    Parameters
    ----------
    nested : NestedEpoch
        One epoch.

    Returns
    -------
    dict of str to float
        ``nested/<degrees>/mae`` of the subsets without a degree above 0, with one, with all and
        with all but one, and ``nested/shapley/<l>``.
    """
    count = len(nested.shapley)
    numbers: dict[str, Any] = {
        f"nested/{name}/mae": estimate.value
        for name, estimate in nested.mae.items()
        if name.count(",") in (0, 1, count - 1, count)
    }
    shapley = {f"nested/shapley/{degree}": e.value for degree, e in nested.shapley.items()}
    return numbers | shapley


def _networks(pl_module: LightningModule) -> NestedNetworks | None:
    networks = getattr(pl_module, "nested_networks", None)
    return networks if isinstance(networks, NestedNetworks) else None
