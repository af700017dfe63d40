"""`IrrepUtilization`: what each irrep of each layer is worth, measured at every epoch.

Imports Lightning, wandb, `analysis` and `runtime`.
"""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch_geometric.data import Batch
from typing_extensions import override

from analysis.equivariance import rotation_error
from analysis.measurement import TargetScale, measure_utilization
from figures.utilization_lines import utilization_lines
from lightning_modules.measured import (
    MeasurableModule,
    measurable_data,
    measurable_module,
    measurable_network,
    measured_batches,
)
from networks.layered import measuring
from records.files import replacing
from records.names import UNTRAINED
from records.utilization import Utilization, UtilizationTable

FAST_DEV_MOLECULES = 32
BATCH_SIZE = {"cpu": 64, "cuda": 256}
"""On a CPU larger batches are no faster; on a GPU the number of launches counts."""
METRICS = (
    "power",
    "power_share",
    "effective_channels",
    "attribution",
    "ablation",
    "ablation_low",
    "ablation_high",
    "reachable",
)


class IrrepUtilization(Callback):
    """Measure and log the utilization of every irrep in every layer.

    Once before training (epoch -1, the untrained baseline) and at the end of validation epochs,
    the measures of `analysis.utilization` are taken on the first molecules of the validation part
    and logged as ``utilization/<layer>/<irrep>/<metric>``, ``utilization/network/<irrep>/<metric>``
    and ``equivariance/rotation_error``. The run directory gets ``utilization.csv`` and
    ``utilization/epoch_*.png``, W&B the picture ``utilization/heatmap`` and, at the end, the table
    ``utilization/table``; the verdicts are printed.

    Training is not affected: parameters, gradients, module modes and random states are as before.
    The validation pass itself is not reused: it may run in reduced precision, without gradients,
    and on other molecules, and it would save one forward pass of the dozen that ablations take.
    With several processes rank zero measures alone while the others wait, so that the numbers are
    those of one process. A failure is a warning.

    Parameters
    ----------
    enabled : bool
        Whether to do anything.
    num_molecules : int
        Molecules to measure on. Each costs about as much as four in training.
    every_n_epochs : int
        Measure at the end of every n-th epoch, and of the last.
    num_bootstrap : int
        Resamples for the 95 % intervals.
    seed : int
        Of resamples and of the rotation.
    batch_size : int, optional
        Molecules at a time; by default `BATCH_SIZE`, more on a GPU than on a CPU. It only decides
        on time and memory, which is that of a training step with as many molecules.
    heatmap : bool
        Draw the heatmaps.

    Raises
    ------
    ValueError
        If a number is smaller than 1.

    Examples
    --------
    .. code-block:: yaml

        utilization:
          enabled: true
          num_molecules: 500
          every_n_epochs: 1
          num_bootstrap: 1000
          seed: 0
          batch_size: null
          heatmap: true
    """

    def __init__(
        self,
        enabled: bool = True,
        num_molecules: int = 500,
        every_n_epochs: int = 1,
        num_bootstrap: int = 1000,
        seed: int = 0,
        batch_size: int | None = None,
        heatmap: bool = True,
    ) -> None:
        for name, number in (
            ("num_molecules", num_molecules),
            ("every_n_epochs", every_n_epochs),
            ("num_bootstrap", num_bootstrap),
            ("batch_size", batch_size),
        ):
            if number is not None and number < 1:
                raise ValueError(f"IrrepUtilization: {name} is {number}: it must be at least 1")
        self.enabled = enabled
        self.num_molecules = num_molecules
        self.every_n_epochs = every_n_epochs
        self.num_bootstrap = num_bootstrap
        self.seed = seed
        self.batch_size = batch_size
        self.heatmap = heatmap
        self._measured: int | None = None  # last epoch measured, part of the checkpoint
        self._table: UtilizationTable | None = None
        self._batches: list[Batch] = []
        self._has_warned = False

    # ---- when ---------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; Lightning loads a checkpoint's state after this."""
        self._measured = None
        self._table = None
        self._has_warned = False

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained network, unless the run goes on from a checkpoint."""
        if not self.enabled:
            return
        goes_on = trainer.global_step > 0
        if trainer.is_global_zero:
            # Without a state in the checkpoint this callback is new to the run.
            known = trainer.current_epoch - 1 if self._measured is None else self._measured
            with self._failures_are_warnings("prepared"):
                self._open_table(trainer, pl_module, keep=known if goes_on else UNTRAINED - 1)
        if not goes_on:
            self._measure(trainer, pl_module, UNTRAINED)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, if this epoch is due."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        epoch = trainer.current_epoch
        last = trainer.max_epochs is not None and epoch + 1 == trainer.max_epochs
        if self.enabled and fitting and (last or (epoch + 1) % self.every_n_epochs == 0):
            self._measure(trainer, pl_module, epoch)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the verdicts and log the table."""
        if self.enabled and trainer.is_global_zero:
            with self._failures_are_warnings("summarized"):
                self._conclude(trainer)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the molecules."""
        self._batches = []

    @override
    def state_dict(self) -> dict[str, Any]:
        """Last epoch measured."""
        return {"measured": self._measured}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the last epoch measured."""
        self._measured = state_dict["measured"]

    # ---- what ---------------------------------------------------------------------------------

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Measure and log on rank zero; the other processes wait."""
        when = "before training" if epoch == UNTRAINED else f"after epoch {epoch}"
        if trainer.is_global_zero:
            with isolate_rng(), self._failures_are_warnings(f"measured {when}"):
                utilization, error = self._analyse(trainer, pl_module, epoch)
                self._log(trainer, pl_module, epoch, utilization, error)
                if self.heatmap:
                    self._draw(trainer, pl_module, epoch, utilization, when)
        self._measured = epoch
        trainer.strategy.barrier("IrrepUtilization")

    def _analyse(
        self, trainer: Trainer, pl_module: LightningModule, epoch: int
    ) -> tuple[Utilization, float]:
        module = measurable_module(pl_module)
        network = measurable_network(module)
        with measuring(network):
            if not self._batches:
                fast = bool(getattr(trainer, "fast_dev_run", False))
                count = min(self.num_molecules, FAST_DEV_MOLECULES) if fast else self.num_molecules
                size = self.batch_size or BATCH_SIZE.get(pl_module.device.type, BATCH_SIZE["cuda"])
                data = measurable_data(getattr(trainer, "datamodule", None))
                self._batches = measured_batches(data, network, count, size)
                for batch in self._batches:
                    batch.y = batch.y - module.reference_of(batch)
            utilization = measure_utilization(
                network,
                self._batches,
                _target_scale(module),
                num_bootstrap=self.num_bootstrap,
                seed=self.seed,
            )
            seed = self.seed + epoch - UNTRAINED
            error = rotation_error(network, self._batches[0], seed=seed)
        return utilization, error

    # ---- where to -----------------------------------------------------------------------------

    def _open_table(self, trainer: Trainer, pl_module: LightningModule, keep: int) -> None:
        path = Path(trainer.default_root_dir) / "utilization.csv"
        try:
            self._table = UtilizationTable(path, _unit(pl_module))
        except ValueError as error:
            aside = path.with_suffix(".csv.damaged")
            path.replace(aside)
            self._table = UtilizationTable(path, _unit(pl_module))
            warnings.warn(f"{error}: moved to {aside.name}, starting a new one", stacklevel=2)
        self._table.drop_after(keep)

    def _log(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        epoch: int,
        utilization: Utilization,
        error: float,
    ) -> None:
        metrics: dict[str, float] = {"equivariance/rotation_error": error}
        for row in utilization.rows:
            for metric in METRICS:
                value = float(getattr(row, metric))
                if value == value:  # a layer may lack a block
                    metrics[f"utilization/{row.layer}/{row.irrep}/{metric}"] = value
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "epoch": epoch}, step=trainer.global_step)
        if self._table is not None:
            self._table.add(epoch, utilization)

    def _draw(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        epoch: int,
        utilization: Utilization,
        when: str,
    ) -> None:
        from figures.utilization_heatmap import draw_heatmap  # matplotlib takes a second to load

        unit = _unit(pl_module)
        target = getattr(getattr(pl_module, "target", None), "name", "")
        title = f"{target} {when}: {_summary(utilization, unit)}".strip()
        path = Path(trainer.default_root_dir) / "utilization" / f"epoch_{epoch:03d}.png"
        with replacing(path) as temporary:
            draw_heatmap(utilization, title[0].upper() + title[1:], unit, temporary)
        for run in _wandb_runs(trainer):
            run.log({"utilization/heatmap": wandb.Image(str(path)), "epoch": epoch})

    def _conclude(self, trainer: Trainer) -> None:
        if self._table is None or self._table.last_epoch is None:
            return
        table, epoch = self._table, self._table.last_epoch
        utilization, untrained = table.epochs[epoch], table.epochs.get(UNTRAINED)
        when = "before training" if epoch == UNTRAINED else f"after epoch {epoch}"
        print(f"\nUtilization {when}: {_summary(utilization, table.unit)}")
        print(utilization_lines(utilization, table.unit, None if epoch == UNTRAINED else untrained))
        rows = [asdict(row) | {"unit": table.unit} for row in utilization.rows]
        for run in _wandb_runs(trainer):
            data = [[_cell(value) for value in row.values()] for row in rows]
            wandb_table = wandb.Table(columns=list(rows[0]), data=data)
            run.log({"utilization/table": wandb_table, "epoch": epoch})
            for row in utilization.rows:
                run.summary[f"utilization/{row.layer}/{row.irrep}/verdict"] = row.verdict

    @contextmanager
    def _failures_are_warnings(self, done: str) -> Iterator[None]:
        """Go on after an error; only the first is told, as the next ones will be like it."""
        try:
            yield
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                where = traceback.extract_tb(error.__traceback__)[-1]
                warnings.warn(
                    f"irrep utilization could not be {done}; training goes on. "
                    f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})",
                    stacklevel=2,
                )


def _target_scale(module: MeasurableModule) -> TargetScale:
    """Scale of residuals: what is left of a target without the molecule's reference."""
    return TargetScale(std=float(module.target_std), factor=module.target.reporting_factor)


def _unit(pl_module: LightningModule) -> str:
    return str(getattr(getattr(pl_module, "target", None), "reporting_unit", "target units"))


def _summary(utilization: Utilization, unit: str) -> str:
    count = utilization.num_molecules
    return f"MAE {utilization.mae:.4g} {unit} on {count:,} validation molecules"


def _wandb_runs(trainer: Trainer) -> list[Any]:
    """List the runs of W&B loggers; the logger is asked for its type, never the run."""
    return [log.experiment for log in trainer.loggers if isinstance(log, WandbLogger)]


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
