"""`TrainerFactory`: Lightning's trainer with a run's checkpoints and loggers, options checked.

Imports Lightning, `callbacks`, `lightning_modules` and this package.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers.logger import Logger

from callbacks.denoising_pretraining import DenoisingPretraining
from callbacks.epoch_checkpoint import EpochCheckpoint
from callbacks.epoch_lines import EpochLines
from callbacks.finite_guard import FiniteGuard
from callbacks.run_progress_bar import RunProgressBar
from callbacks.throughput import Throughput
from callbacks.wandb_files import WandbFiles
from lightning_modules.regressor import EquivariantRegressor
from runtime.checkpoints import WholeCheckpointIO
from runtime.errors import UsageError, one_line
from runtime.processes import cluster_environment, unchanged_rank

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "32", "64")
"""Precisions that keep the weights in single or double precision. In ``16-mixed`` gradients
overflow as a matter of course, which could not be told from a training that has failed."""


class TrainerFactory:
    """Build trainers for one run.

    Parameters
    ----------
    options : mapping
        Lightning's options below ``--trainer``, instantiated.
    callbacks : sequence of Callback
        The run's own callbacks for training.
    directory : Path
        The run's directory.
    training : bool
        Whether the trainers are to train rather than to evaluate.
    deferring_stop : callable
        See `callbacks.epoch_checkpoint.EpochCheckpoint`.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        callbacks: Sequence[Callback],
        directory: Path,
        training: bool,
        deferring_stop: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.options = {**options, "accelerator": _usable_accelerator(options["accelerator"])}
        self.callbacks = list(callbacks)
        self.directory = directory
        self.training = training
        self.deferring_stop = deferring_stop
        self._environment: ClusterEnvironment | None = None

    def __call__(self, loggers: Sequence[Logger], callbacks: Sequence[Callback] = ()) -> Trainer:
        """Build a trainer.

        Parameters
        ----------
        loggers : sequence of Logger
            Where metrics go.
        callbacks : sequence of Callback
            More callbacks for training.

        Raises
        ------
        UsageError
            If Lightning refuses an option.
        """
        options = {
            **self.options,
            "logger": list(loggers),
            "default_root_dir": str(self.directory),
            "plugins": [*_as_list(self.options.get("plugins")), WholeCheckpointIO()],
        }
        if self._environment is not None:
            options["plugins"].append(self._environment)
        own = self._progress(options)
        if self.training:
            checkpoint = EpochCheckpoint(self.directory / "checkpoints", self.deferring_stop)
            own += [*self.callbacks, FiniteGuard(), Throughput(), checkpoint, *callbacks]
            own.append(WandbFiles())  # last, when the others have written their files
        else:
            options["enable_checkpointing"] = False
        options["callbacks"] = [*_as_list(options.get("callbacks")), *own]
        try:
            return Trainer(**options)
        except Exception as error:
            # Lightning refuses options with errors of many types.
            raise UsageError(f"trainer: {one_line(error)}") from error

    def _progress(self, options: dict[str, Any]) -> list[Callback]:
        """Choose how progress is shown, unless the user does."""
        wanted = options.get("enable_progress_bar")
        given = any(isinstance(c, ProgressBar) for c in _as_list(options.get("callbacks")))
        if wanted is False or given:
            return []
        options["enable_progress_bar"] = bool(wanted) or sys.stdout.isatty()
        bar: list[Callback] = [RunProgressBar()] if options["enable_progress_bar"] else []
        return [*bar, EpochLines()]

    def check(self, model: EquivariantRegressor) -> None:
        """Refuse unusable options now rather than when training has begun.

        Parameters
        ----------
        model : EquivariantRegressor
            Has its own conditions on the trainer.

        Raises
        ------
        UsageError
            Names the option.
        """
        for name in ("accumulate_grad_batches", "log_every_n_steps"):
            if self.options[name] is not None and self.options[name] < 1:
                raise UsageError(f"trainer.{name} is {self.options[name]}: it must be at least 1")
        if self.training and self.options["limit_val_batches"] == 0:
            raise UsageError(
                "trainer.limit_val_batches is 0: without validation there is no best checkpoint; "
                "give more"
            )
        if self.options["detect_anomaly"] and model.hparams["cuda_graph"]:
            raise UsageError(
                "trainer.detect_anomaly looks at every gradient on the host, which a recorded step "
                "cannot do: leave it, or model.cuda_graph, at false"
            )
        precision = self.options["precision"]
        if precision is not None and str(precision) not in PRECISIONS:
            raise UsageError(
                f"trainer.precision {precision} does not suit the network: give one of "
                f"{', '.join(PRECISIONS)}"
            )
        with _silence():
            self._choose_environment()
            trainer = self([])
        if self.training:
            try:
                model.check_trainer(trainer)
                for callback in self.callbacks:
                    if isinstance(callback, DenoisingPretraining):
                        callback.check_trainer(trainer)
            except ValueError as error:
                raise UsageError(str(error)) from error

    def _choose_environment(self) -> None:
        """Decide how the processes learn their ranks, unless one of the options does."""
        plugins = _as_list(self.options.get("plugins"))
        if any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            return
        with unchanged_rank():
            # Only a trainer knows how many devices "auto" means.
            self._environment = LightningEnvironment()
            trainer = self([])
        self._environment = cluster_environment(trainer.num_devices * trainer.num_nodes)


def _usable_accelerator(given: Any) -> Any:
    """Train on the CPU where Lightning would choose Apple's GPU, which has no float64.

    Raises
    ------
    UsageError
        If that GPU is asked for.
    """
    is_apples = MPSAccelerator.is_available()
    if given == "mps" or (given == "gpu" and is_apples):
        raise UsageError(
            f"trainer.accelerator {given}: Apple's GPU has no float64, in which references and "
            "errors are computed; leave it out to train on the CPU"
        )
    return "cpu" if given == "auto" and is_apples else given


def epoch_checkpoint(trainer: Trainer) -> EpochCheckpoint:
    """Find the checkpoint callback of a trainer that a `TrainerFactory` has built for training."""
    found: EpochCheckpoint = next(
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, EpochCheckpoint)
    )
    return found


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress Lightning's remarks on devices, which the real trainer will make again."""
    remarks = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        remarks.setLevel(level)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
