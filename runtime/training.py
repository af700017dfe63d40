"""`Training`: fit a run from its beginning or its last epoch, then test it.

Imports Lightning, `lightning_modules`, `records` and this package.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers.logger import Logger

from lightning_modules.compute_cost import memory_per_molecule, operations_per_molecule
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.regressor import EquivariantRegressor
from records.baselines import baselines_of
from records.configuration import write_configuration
from records.metrics import Row
from records.names import (
    EXTENDED_TO,
    MEMORY,
    OPERATIONS,
    PRETRAINED_ERROR,
    PRETRAINING_SECONDS,
    RUNNING,
    UNTRAINED,
    UNTRAINED_ERROR,
)
from runtime import evaluation, messages
from runtime.checkpoints import check_resumable
from runtime.configuration import RunConfiguration
from runtime.device import describe_device, missing_gpu
from runtime.extension import KEY, describe_extension
from runtime.journal import RunJournal
from runtime.metrics_logger import MetricsCSVLogger
from runtime.run_directory import RunDirectory
from runtime.trainer import TrainerFactory, epoch_checkpoint

LAST_EPOCH_RESULTS = ("train/loss", "throughput/molecules_per_s", "lr")
"""Metrics of the last epoch that go into the summary."""
PRETRAINING_RESULTS = (UNTRAINED_ERROR, PRETRAINED_ERROR, PRETRAINING_SECONDS)
"""Metrics of the untrained network's row that go into the summary."""


class Training:
    """Train one run.

    Parameters
    ----------
    configuration : RunConfiguration
    model : EquivariantRegressor
    datamodule : MoleculeDataModule
    build_trainer : TrainerFactory
    directory : RunDirectory
        Acquired by the process of rank zero.
    journal : RunJournal
        Opened.
    """

    def __init__(
        self,
        configuration: RunConfiguration,
        model: EquivariantRegressor,
        datamodule: MoleculeDataModule,
        build_trainer: TrainerFactory,
        directory: RunDirectory,
        journal: RunJournal,
    ) -> None:
        self.configuration = configuration
        self.model = model
        self.datamodule = datamodule
        self.build_trainer = build_trainer
        self.directory = directory
        self.journal = journal

    def fit(self) -> None:
        """Train to the end, then test the best checkpoint if the command had no subcommand."""
        resume = self.directory.last.is_file() and not self.configuration.starts_over
        metrics = MetricsCSVLogger(self.directory.metrics)
        loggers: list[Logger] = [metrics]
        if self.journal.is_writer:
            self._write_start(resume)
        wandb = None
        if self.journal.mode != "disabled":
            wandb = self.journal.wandb_logger(resume)
            loggers.append(wandb)
        record_data = LambdaCallback(
            on_train_start=lambda trainer, module: self._record_start(metrics)
        )
        trainer = self.build_trainer(loggers, [record_data])
        root = trainer.strategy.root_device
        device = describe_device(root, trainer.world_size)
        self.journal.record(device=device)
        wandb_line = messages.wandb_line(self.directory, self.journal.mode, self.journal.reason)
        self.journal.say(
            messages.introduction(self.directory, self.model, resume, device, wandb_line)
        )
        chosen = self.configuration.resolved["trainer"]["accelerator"] != "auto"
        if not chosen and (warning := missing_gpu(root)):
            self.journal.complain(warning)
        if str(trainer.precision) == "64-true":
            # Lightning loads a checkpoint before it converts the module, and rounds the weights.
            self.model.double()
        if resume:
            epoch = check_resumable(self.directory.last, self.model)
            metrics.drop_after(epoch)
            if wandb is not None:
                wandb.fill(metrics.rows, through=epoch)
        elif metrics.rows:
            # A process that was killed in its first epoch has left the baseline's row.
            metrics.drop_after(UNTRAINED - 1)
        trainer.fit(
            self.model,
            datamodule=self.datamodule,
            ckpt_path=str(self.directory.last) if resume else None,
            weights_only=True,
        )
        self._record_training(trainer, metrics.rows)
        if self.configuration.bare and self.directory.best.is_file():
            self._test(trainer, loggers, last_epoch=max(metrics.rows, default=0))

    def answer_again(self) -> None:
        """Answer an agent that asks for a finished run: a sweep may hand out a duplicate."""
        if os.environ.get("WANDB_SWEEP_ID") and self.journal.is_writer:
            self.journal.log_results(os.environ.get("WANDB_RUN_ID") or "")

    def _write_start(self, resume: bool) -> None:
        """Write what is known before the first epoch."""
        extending = self.configuration.extend
        if not extending:
            write_configuration(self.directory.config, self.configuration.yaml_text)
        self.directory.error.unlink(missing_ok=True)
        summary = self.journal.summary
        # An agent that resumes a run gives its id; otherwise the run keeps the one it has.
        run_id = os.environ.get("WANDB_RUN_ID") or summary.wandb_run_id or secrets.token_hex(4)
        kept: dict[str, Any] = {
            "configuration": self.configuration.identity,
            "configuration_hash": self.configuration.hash,
        }
        if extending:
            before, epochs = summary.epochs or 0, int(self.configuration.identity[KEY])
            self.journal.say(describe_extension(self.model.hparams, before, epochs))
            kept = {EXTENDED_TO: epochs}
        self.journal.record(
            **self.configuration.provenance,
            **kept,
            run_name=self.directory.name,
            status=RUNNING,
            error=None,
            seed=self.configuration.seed,
            resumed=summary.resumed + int(resume),
            wandb_run_id=run_id,
            wandb_epoch=summary.wandb_epoch if run_id == summary.wandb_run_id else None,
        )

    def _record_start(self, metrics: MetricsCSVLogger) -> None:
        """Save the splits, which a continued run must share, and what is known before training.

        That is what costs and errors are compared with, and how pretraining went, if there was any.
        """
        if not self.journal.is_writer:
            return
        if self.directory.splits.exists():
            self.datamodule.check_splits(self.directory.splits)
        else:
            self.datamodule.save_splits(self.directory.splits)
        known = baselines_of(self.journal.summary.results)
        described = self.datamodule.baselines() if known is None else known.to_results()
        network = self.model.network
        described[MEMORY] = memory_per_molecule(network, self.datamodule)
        if network.offers("operations"):
            described[OPERATIONS] = operations_per_molecule(network, self.datamodule)
        untrained = metrics.rows.get(UNTRAINED, {})
        described |= {key: untrained[key] for key in PRETRAINING_RESULTS if key in untrained}
        self.journal.describe(described)

    def _record_training(self, trainer: Trainer, rows: dict[int, Row]) -> None:
        # The trainer does not know the metrics of epochs that an earlier process has trained.
        last = rows[max(rows)] if rows else {}
        results = {key: last[key] for key in LAST_EPOCH_RESULTS if key in last}
        best = epoch_checkpoint(trainer).best_model_score
        if best is not None:
            results["val/mae"] = float(best)
        sizes = {part: len(self.datamodule.splits[part]) for part in ("train", "val", "test")}
        self.journal.record(epochs=trainer.current_epoch, molecules=sizes, **results)

    def _test(self, trainer: Trainer, loggers: list[Logger], last_epoch: int) -> None:
        results = evaluation.test(trainer, self.model, self.datamodule, self.directory.best)
        for logger in loggers:
            logger.log_metrics({**results, "epoch": last_epoch}, step=trainer.global_step)
        self.journal.record(**results)
