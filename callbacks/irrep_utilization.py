"""`IrrepUtilization`: what each irrep of each layer is worth, measured at every epoch.

Imports Lightning, `analysis`, `figures`, `lightning_modules.measured` and `records`.
"""

from __future__ import annotations

import copy
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from analysis.decomposition import MAX_DEGREES, decompose, restricted_predictions
from analysis.equivariance import rotation_error
from analysis.measurement import Scope, TargetScale, measure_utilization
from analysis.missed import FineTuning, candidates, missed_errors
from callbacks.media_loggers import media_loggers
from figures.utilization_lines import utilization_lines
from lightning_modules.measured import (
    MEASURED_PART,
    MeasurableData,
    MeasurableModule,
    count_to_keep,
    device_is_lost,
    evaluated_weights,
    measurable_data,
    measurable_module,
    measurable_network,
    measured_batches,
    training_batches,
    without_reference,
)
from networks.layered import LayeredNetwork, measuring
from records.decomposition import write_decomposition
from records.files import replacing
from records.names import NETWORK, UNTRAINED
from records.utilization import PAIR, Utilization, UtilizationTable, flat_row
from records.wandb_media import Picture, Table

FAST_DEV_MOLECULES = 32
BATCH_SIZE = {"cpu": 64, "cuda": 256}
"""On a CPU larger batches are no faster; on a GPU the number of launches counts."""
LOGGED = ("reliance", "refitted", "probe")
"""Measures of irreps in all layers that are logged at every epoch; the rest is in the table."""
MISSED_RATE = 0.3
"""Part of the training's learning rate with which networks are trained on after a removal."""
EVERY_EPOCH = Scope(layers=False, pairs=False)
"""Taking blocks away from single layers costs several times as much as from all layers at once."""
ROTATED_MOLECULES = 16
"""Molecules that equivariance is checked on; every atom's features are compared."""


class IrrepUtilization(Callback):
    """Measure and log the utilization of every irrep in every layer.

    Once before training (epoch -1, the untrained baseline) and at the end of validation epochs,
    the measures of `analysis.measurement` are taken on the first molecules of the validation
    molecules that select no checkpoint. At every epoch that is what each block carries and what
    the network loses when an irrep is taken out of all layers; before training, and at the end for
    the best checkpoint, blocks of single layers and pairs of irreps are taken away as well.

    Logged are ``utilization/network/<irrep>/<measure>`` (reliance, refitted, probe and
    contribution_sd), the number of blocks with each verdict on the reliance as
    ``utilization/verdicts/<verdict>``, and ``equivariance/rotation_error``. The run directory gets
    ``utilization.csv`` (epochs), ``utilization_best.csv`` and ``decomposition.csv`` (the best
    checkpoint) and ``utilization/*.png``; W&B gets the picture ``utilization/heatmap`` and the
    table ``utilization/table`` of every epoch. The verdicts on the best checkpoint are printed.

    Training is not affected: parameters, gradients, module modes and random states are as before.
    The validation pass itself is not reused: it may run in reduced precision, without gradients,
    and on other molecules, and it would save one forward pass of the dozen that removals take.
    With several processes rank zero measures alone while the others wait, so that the numbers are
    those of one process. A failure is a warning.

    Parameters
    ----------
    enabled : bool
        Whether to do anything.
    num_molecules : int
        Molecules to measure on before training and at the end, and as many training molecules for
        refits and probes.
    epoch_molecules : int
        The first of these are measured on at every epoch. With 20,000 training molecules, 150 keep
        the cost below 3 % of an epoch (``python -m benchmarks.callbacks``).
    every_n_epochs : int
        Measure at the end of every n-th epoch, and of the last.
    num_bootstrap : int
        Resamples for the 95 % intervals.
    seed : int
        Seed of resamples, donors, orientations and of the rotation.
    batch_size : int, optional
        Molecules at a time; by default `BATCH_SIZE`, more on a GPU than on a CPU. It only decides
        on time and memory, which is that of a training step with as many molecules.
    heatmap : bool
        Draw the heatmaps.
    missed_share : float
        Share of the training's optimizer steps that is spent at the end on finding what is missed:
        every degree, and every pair, is taken out of the best checkpoint, and the networks are
        trained on, beside the intact one. 0 leaves it out.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    .. code-block:: yaml

        utilization:
          enabled: true
          num_molecules: 500
          epoch_molecules: 150
          every_n_epochs: 1
          num_bootstrap: 1000
          seed: 0
          batch_size: null
          heatmap: true
          missed_share: 0.1
    """

    def __init__(
        self,
        enabled: bool = True,
        num_molecules: int = 500,
        epoch_molecules: int = 150,
        every_n_epochs: int = 1,
        num_bootstrap: int = 1000,
        seed: int = 0,
        batch_size: int | None = None,
        heatmap: bool = True,
        missed_share: float = 0.1,
    ) -> None:
        if not 0 <= missed_share <= 1:
            raise ValueError(
                f"IrrepUtilization: missed_share is {missed_share}: it must be between 0 and 1"
            )
        for name, number in (
            ("num_molecules", num_molecules),
            ("epoch_molecules", epoch_molecules),
            ("every_n_epochs", every_n_epochs),
            ("num_bootstrap", num_bootstrap),
            ("batch_size", batch_size),
        ):
            if number is not None and number < 1:
                raise ValueError(f"IrrepUtilization: {name} is {number}: it must be at least 1")
        self.enabled = enabled
        self.num_molecules = num_molecules
        self.epoch_molecules = epoch_molecules
        self.every_n_epochs = every_n_epochs
        self.num_bootstrap = num_bootstrap
        self.seed = seed
        self.batch_size = batch_size
        self.heatmap = heatmap
        self.missed_share = missed_share
        self._measured: int | None = None  # last epoch measured, part of the checkpoint
        self._table: UtilizationTable | None = None
        self._batches: dict[tuple[str, int], list[Batch]] = {}
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
                keep = known if goes_on else UNTRAINED - 1
                self._table = _open_table(_root(trainer) / "utilization.csv", pl_module, keep)
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
        """Measure the best checkpoint in full, and print the verdicts on it."""
        if self.enabled and trainer.is_global_zero and self._table is not None:
            failures = self._failures_are_warnings("measured at the end")
            with isolate_rng(), failures, evaluated_weights(trainer, pl_module):
                self._conclude(trainer, pl_module)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the molecules."""
        self._batches = {}

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
            failures = self._failures_are_warnings(f"measured {when}")
            with isolate_rng(), failures, evaluated_weights(trainer, pl_module):
                module = measurable_module(pl_module)
                network = measurable_network(module)
                data = measurable_data(_datamodule(trainer))
                scope = Scope() if epoch == UNTRAINED else EVERY_EPOCH
                utilization = self._analyse(trainer, module, data, network, scope)
                few = measured_batches(data, network, ROTATED_MOLECULES, ROTATED_MOLECULES)
                with measuring(network):
                    error = rotation_error(network, few[0], seed=self.seed + epoch - UNTRAINED)
                self._log(trainer, module, epoch, utilization, error)
                if self.heatmap and epoch == UNTRAINED:
                    self._draw(trainer, module, epoch, utilization, "untrained")
        self._measured = epoch
        trainer.strategy.barrier("IrrepUtilization")

    def _analyse(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        data: MeasurableData,
        network: LayeredNetwork,
        scope: Scope,
        missed: dict[frozenset[int], Tensor] | None = None,
    ) -> Utilization:
        count = self.num_molecules
        if scope == EVERY_EPOCH:
            count = min(count, self.epoch_molecules)
        measured, training = (
            self._collated(trainer, module, data, network, part, count)
            for part in (MEASURED_PART, "train")
        )
        with measuring(network):
            return measure_utilization(
                network,
                measured,
                _scale(module),
                training=training,
                scope=scope,
                num_bootstrap=self.num_bootstrap,
                seed=self.seed,
                missed=missed,
            )

    def _find_missed(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        data: MeasurableData,
        network: LayeredNetwork,
    ) -> dict[frozenset[int], Tensor] | None:
        """Take degrees out and train on: the increase of each molecule's error, by degrees."""
        if not network.offers("restricted"):
            return None
        gone = candidates(network)
        steps = int(self.missed_share * trainer.global_step / (len(gone) + 1))
        if not gone or steps < 1:
            return None
        size = max(1, round(len(data.splits["train"]) / max(1, trainer.num_training_batches)))
        count = self.num_molecules
        measured = self._collated(trainer, module, data, network, MEASURED_PART, count)
        tuning = FineTuning(
            batches=lambda: training_batches(data, module, network, size, self.seed),
            steps=steps,
            lr=MISSED_RATE * trainer.optimizers[0].defaults["lr"],
        )
        errors = missed_errors(network, network.kept, measured, _scale(module), tuning, gone)
        intact = errors.pop(())
        return {frozenset(degrees): error - intact for degrees, error in errors.items()}

    def _collated(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        data: MeasurableData,
        network: LayeredNetwork,
        part: str,
        count: int,
    ) -> list[Batch]:
        """Collate the first molecules of a part, once; targets are what the network predicts."""
        if getattr(trainer, "fast_dev_run", False):
            count = min(count, FAST_DEV_MOLECULES)
        if (part, count) not in self._batches:
            fitting = count_to_keep(data, count, part)
            if fitting < count:
                rank_zero_info(
                    f"IrrepUtilization: {fitting:,} structures of the {part} part are measured on "
                    f"instead of {count:,}, as the features of more would fill the memory"
                )
            size = self.batch_size or BATCH_SIZE.get(module.device.type, BATCH_SIZE["cuda"])
            batches = measured_batches(data, network, fitting, size, part)
            self._batches[part, count] = [without_reference(batch, module) for batch in batches]
        return self._batches[part, count]

    # ---- where to -----------------------------------------------------------------------------

    def _log(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        epoch: int,
        utilization: Utilization,
        error: float,
    ) -> None:
        metrics = {"equivariance/rotation_error": error, **logged_numbers(utilization)}
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "epoch": epoch}, step=trainer.global_step)
        if self._table is not None:
            self._table.add(epoch, utilization)
        _log_table(trainer, utilization, epoch, module.target.reporting_unit)

    def _draw(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        epoch: int,
        utilization: Utilization,
        name: str,
    ) -> None:
        # Late, as matplotlib takes a second to load.
        from figures.utilization_heatmap import draw_heatmap

        unit = module.target.reporting_unit
        when = "before training" if epoch == UNTRAINED else f"after epoch {epoch}, {name}"
        title = f"{module.target.name} {when}: {_headline(utilization, module)}"
        path = _root(trainer) / "utilization" / f"{name}.png"
        with replacing(path) as temporary:
            draw_heatmap(utilization, title, unit, temporary)
        for logger in media_loggers(trainer):
            logger.log_media({"utilization/heatmap": Picture(path)}, epoch)

    def _conclude(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the best checkpoint with everything, write, draw and print it."""
        module = measurable_module(pl_module)
        data = measurable_data(_datamodule(trainer))
        network, epoch = _best_network(trainer, module)
        missed = self._find_missed(trainer, module, data, network)
        utilization = self._analyse(trainer, module, data, network, Scope(), missed)
        self._decompose(trainer, module, data, network)
        unit = module.target.reporting_unit
        path = _root(trainer) / "utilization_best.csv"
        table = _open_table(path, pl_module, keep=UNTRAINED - 1)
        table.add(epoch, utilization)
        when = f"after epoch {epoch} (best checkpoint)"
        if self.heatmap:
            self._draw(trainer, module, epoch, utilization, "best")
        untrained = self._table.epochs.get(UNTRAINED) if self._table is not None else None
        print(f"\nUtilization {when}: {_headline(utilization, module)}")
        print(utilization_lines(utilization, unit, untrained))
        best = {
            f"utilization/network/{row.irrep}/{name}_best": effect.value
            for row in utilization.rows
            if row.layer == NETWORK and PAIR not in row.irrep
            for name, effect in row.effects.items()
        }
        for logger in media_loggers(trainer):
            logger.log_summary(best)

    def _decompose(
        self,
        trainer: Trainer,
        module: MeasurableModule,
        data: MeasurableData,
        network: LayeredNetwork,
    ) -> None:
        """Write the prediction as a sum over visited degrees, where a network can be restricted."""
        degrees = {ir.l for _, ir in network.irreps} - {0}
        if not degrees or len(degrees) > MAX_DEGREES:
            return
        if any(network.irreps_readout.ls):
            print(
                f"No decomposition: a {network.irreps_readout[0].ir} needs its own degree in every "
                "term, and terms are compared by their variance"
            )
            return
        if not (network.linear_in_features and network.offers("restricted")):
            print(
                f"No decomposition: {type(network).__name__} is not linear in its features, so its "
                "prediction is no sum over paths"
            )
            return
        batches = self._collated(trainer, module, data, network, MEASURED_PART, self.num_molecules)
        with measuring(network):
            predictions = restricted_predictions(network, network.kept, batches)
        factor = float(module.target.reporting_factor)
        reference = torch.cat([module.reference_of(batch) for batch in batches]).cpu() * factor
        target = torch.cat([batch.y for batch in batches]).cpu() * factor + reference
        if len(target) < 2:
            print(
                "No decomposition: terms are compared by their variance, and one molecule has none"
            )
            return
        found = decompose(predictions, reference, target, _scale(module).unit)
        unit = module.target.reporting_unit
        write_decomposition(_root(trainer) / "decomposition.csv", found, unit)

    @contextmanager
    def _failures_are_warnings(self, done: str) -> Iterator[None]:
        """Go on after an error. Only the first is reported: later ones have the same cause."""
        try:
            yield
        except Exception as error:
            if device_is_lost(error):
                raise
            if not self._has_warned:
                self._has_warned = True
                where = traceback.extract_tb(error.__traceback__)[-1]
                warnings.warn(
                    f"irrep utilization could not be {done}; training goes on. "
                    f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})",
                    stacklevel=2,
                )


def logged_numbers(utilization: Utilization) -> dict[str, float]:
    """Choose the few numbers of an epoch that loggers get; all of them are in the table.

    Parameters
    ----------
    utilization : Utilization
        One epoch.

    Returns
    -------
    dict of str to float
        ``utilization/network/<irrep>/<measure>`` for single irreps and the measures of `LOGGED`
        and ``contribution_sd`` (root mean square over layers), and
        ``utilization/verdicts/<verdict>``: how many network rows the reliance's verdict has.
    """
    numbers: dict[str, float] = {}
    squares: dict[str, list[float]] = {}
    verdicts: Counter[str] = Counter()
    for row in utilization.rows:
        if row.layer != NETWORK:
            if row.contribution_sd == row.contribution_sd:  # a layer may lack the block
                squares.setdefault(row.irrep, []).append(row.contribution_sd**2)
        elif PAIR not in row.irrep:
            for name in LOGGED:
                if name in row.effects:
                    key = f"utilization/network/{row.irrep}/{name}"
                    numbers[key] = row.effects[name].value
            if "reliance" in row.effects:
                verdicts[row.effects["reliance"].verdict] += 1
    for irrep, values in squares.items():
        key = f"utilization/network/{irrep}/contribution_sd"
        numbers[key] = (sum(values) / len(values)) ** 0.5
    for verdict in ("relied on", "negligible", "harmful", "undecided"):
        numbers[f"utilization/verdicts/{verdict.replace(' ', '_')}"] = verdicts[verdict]
    return numbers


def _scale(module: MeasurableModule) -> TargetScale:
    return TargetScale(std=float(module.target_std), factor=float(module.target.reporting_factor))


def _best_network(trainer: Trainer, module: MeasurableModule) -> tuple[LayeredNetwork, int]:
    """Load the best checkpoint into a copy of the network; also give the epoch it is of.

    Without a checkpoint, as in a fast development run, it is the network as it is now.
    """
    network = measurable_network(module)
    path = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not path or not Path(path).is_file():
        return network, trainer.current_epoch - 1
    checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    prefix = "network."
    state = {
        name.removeprefix(prefix): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    best = copy.deepcopy(network)
    best.load_state_dict(state)
    return best, int(checkpoint["epoch"])


def _open_table(path: Path, pl_module: LightningModule, keep: int) -> UtilizationTable:
    """Open a table, setting a damaged file aside, and forget epochs after `keep`."""
    unit = measurable_module(pl_module).target.reporting_unit
    try:
        table = UtilizationTable(path, unit)
    except ValueError as error:
        aside = path.with_suffix(".csv.damaged")
        path.replace(aside)
        table = UtilizationTable(path, unit)
        warnings.warn(f"{error}: moved to {aside.name}, starting a new one", stacklevel=2)
    table.drop_after(keep)
    return table


def _log_table(trainer: Trainer, utilization: Utilization, epoch: int, unit: str) -> None:
    """Give W&B all rows of an epoch as one table."""
    rows = [{**flat_row(row), "unit": unit} for row in utilization.rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(columns, [[row.get(column) for column in columns] for row in rows])
    for logger in media_loggers(trainer):
        logger.log_media({"utilization/table": table}, epoch)


def _headline(utilization: Utilization, module: MeasurableModule) -> str:
    # Targets of one's own may not say their rank; they are scalars.
    is_scalar = not getattr(module.target, "rank", 0)
    error = "MAE" if is_scalar else "mean norm of the deviation"
    unit, count = module.target.reporting_unit, utilization.num_molecules
    return f"{error} {utilization.mae:.4g} {unit} on {count:,} validation molecules"


def _root(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)


def _datamodule(trainer: Trainer) -> object:
    return getattr(trainer, "datamodule", None)
