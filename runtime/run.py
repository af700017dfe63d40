"""`Run`: what `train.py` does with a parsed command line, from first line to last.

Imports Lightning, wandb and this package.
"""

from __future__ import annotations

import csv
import os
import secrets
import shlex
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from callbacks.finite_guard import NonFiniteError
from records.configuration import configuration_hash, flatten, identity
from records.files import CannotWriteError, remove_leftovers, replacing, write_text
from records.metrics import Row
from records.names import UNTRAINED
from runtime.checkpoints import read_checkpoint
from runtime.cli import IrrepscopeCLI, UsageError
from runtime.signals import StopRequestedError
from runtime.wandb_logger import EpochWandbLogger
from runtime.wandb_session import (
    WandbSession,
    check_project,
    check_timeout,
    choose_mode,
    start_wandb,
)

FAILED = 1
EXPECTED = (ValueError, OSError, NonFiniteError, MisconfigurationException, UsageError)
"""Errors whose message is enough for the user."""


class Run:
    """One run, from the command line's arguments to its files.

    Parameters
    ----------
    cli : IrrepscopeCLI
        Model, data and options, all checked.
    """

    def __init__(self, cli: IrrepscopeCLI) -> None:
        self.cli = cli
        self.directory = cli.run
        self.wandb: WandbSession | None = None
        self.is_writer = rank_zero_only.rank == 0  # type: ignore[attr-defined]

    def open(self) -> None:
        """Take the run's directory and compare what is there with what was asked for.

        Raises
        ------
        UsageError
            If the directory is another process's, cannot be written, or holds a run with
            another configuration; or if there is no checkpoint to evaluate.
        """
        try:
            if self.is_writer:
                self.directory.acquire()
                remove_leftovers(self.directory.path)
                if self.cli.subcommand == "fit" and self.cli.options["fresh"]:
                    self.directory.clear()
            self.summary = self.directory.read_summary()
            self._check_same_configuration()
            for name in ("wandb_start_timeout", "wandb_finish_timeout"):
                check_timeout(f"--{name}", self.cli.options[name])
            check_project(self.cli.options["project"])
            self.mode, self.mode_reason = choose_mode(self.cli.options["wandb_start_timeout"])
        except ValueError as error:
            raise UsageError(" ".join(str(error).split())) from error
        if self.cli.subcommand != "fit" and not self._checkpoint().is_file():
            raise UsageError(
                f"no checkpoint {self._checkpoint()}: train first with "
                "`python train.py fit` and the same options, or name one with --ckpt_path"
            )

    def _checkpoint(self) -> Path:
        """Checkpoint to evaluate."""
        given = self.cli.options.get("ckpt_path")
        return Path(given) if given else self.directory.best

    def _check_same_configuration(self) -> None:
        then = self.summary.get("configuration")
        if then is None or self.cli.options.get("ckpt_path"):
            return
        now = identity(self.cli.resolved_config())
        different = sorted(k for k in {**then, **now} if then.get(k) != now.get(k))
        if different:
            changes = ", ".join(f"{k} {then.get(k)} -> {now.get(k)}" for k in different[:4])
            raise ValueError(
                f"run {self.directory.name} exists with another configuration ({changes}): give "
                f"another --run_name, start over with --fresh, or take its own with "
                f"--config {self.directory.config}"
            )

    def execute(self) -> int:
        """Do what the subcommand says.

        Returns
        -------
        int
            Exit code.
        """
        try:
            if self.cli.subcommand == "fit":
                return self._fit()
            if self.cli.subcommand == "predict":
                return self._predict()
            return self._evaluate(str(self.cli.subcommand))
        except StopRequestedError as stop:
            if self.cli.signals.by_server:
                self._end("stopped", 0)
                self._say(f"Stopped by W&B after the last finished epoch: {self.directory.path}")
                return 0
            with suppress(CannotWriteError):  # the checkpoint alone says where to go on
                self._end("preempted", stop.exit_code)
            self._say(
                f"Stopped ({stop}). The same command continues after the last finished epoch: "
                f"{self.directory.path}"
            )
            return stop.exit_code
        except Exception as error:
            return self._failed(error)
        finally:
            if self.is_writer:
                self.directory.release()

    def _failed(self, error: Exception) -> int:
        """Mark the run failed. Damaged data, a full disk or a NaN is one line for the user."""
        text = " ".join(_message(error).split()) or type(error).__name__
        details = traceback.format_exc()
        log = self.directory.error
        where = f" (details: {_shown(log)})"
        try:
            self._end("failed", FAILED, error=text)
            if self.is_writer:
                write_text(log, details)
        except CannotWriteError:
            where = ""  # the full disk that has ended the run leaves no room to say so
        if not isinstance(error, EXPECTED):
            raise error
        if self.is_writer:
            print(f"error: {text}{where}", file=sys.stderr, flush=True)
        return FAILED

    # ---- fit ------------------------------------------------------------------------------

    def _fit(self) -> int:
        if self.summary.get("status") == "finished":
            return self._already_finished()
        resume = self.directory.last.is_file()
        metrics = self.cli.metrics_logger()
        loggers: list[Any] = [metrics]
        if self.is_writer:
            self._write_start(resume)
        if self.mode != "disabled":
            loggers.append(self._start_wandb(metrics.rows, resume))
        splits = LambdaCallback(on_train_start=lambda trainer, module: self._keep_splits())
        trainer = self.cli.build_trainer(loggers, [splits])
        self._introduce(resume)
        if resume:
            epoch = int(read_checkpoint(self.directory.last)["epoch"])
            metrics.drop_after(epoch)
            if self.wandb is not None:
                loggers[1].fill(metrics.rows, through=epoch)
        elif metrics.rows:
            metrics.drop_after(UNTRAINED - 1)  # of a process that was killed in its first epoch
        trainer.fit(
            self.cli.model,
            datamodule=self.cli.datamodule,
            ckpt_path=str(self.directory.last) if resume else None,
            weights_only=True,
        )
        self._record_training(trainer, metrics.rows)
        if self.cli.bare and self.directory.best.is_file():
            results = self._test(trainer, self.directory.best)
            last_epoch = max(metrics.rows, default=0)
            for logger in loggers:
                logger.log_metrics({**results, "epoch": last_epoch}, step=trainer.global_step)
            self._record(**results)
        self._end("finished", 0)
        self._conclude()
        return 0

    def _keep_splits(self) -> None:
        """Save the splits with the run; a continued run must have the same."""
        if self.is_writer:
            path = self.directory.path / "splits.npz"
            if path.exists():
                self.cli.datamodule.check_splits(path)
            else:
                self.cli.datamodule.save_splits(path)

    def _already_finished(self) -> int:
        self._record_result_path()
        if os.environ.get("WANDB_SWEEP_ID") and self.is_writer:
            # A sweep may hand the same configuration out twice: answer from the first run.
            self.wandb = self._init_wandb(os.environ.get("WANDB_RUN_ID") or "")
            self.wandb.run.log({k: v for k, v in self.summary.items() if "/" in k})
            self._finish_wandb(0)
        self._conclude(self.summary, again=True)
        return 0

    def _write_start(self, resume: bool) -> None:
        write_text(self.directory.config, self.cli.config_yaml())
        self.directory.error.unlink(missing_ok=True)
        if not self.summary.get("wandb_run_id"):
            run_id = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
            self._record(wandb_run_id=run_id)
        elif os.environ.get("WANDB_RUN_ID"):
            self._record(wandb_run_id=os.environ["WANDB_RUN_ID"])
        provenance = self.cli.provenance()
        config = self.cli.resolved_config()
        self._record(
            run_name=self.directory.name,
            status="running",
            error=None,
            seed=config["seed_everything"],
            **provenance,
            configuration_hash=configuration_hash(config),
            configuration=identity(config),
            resumed=int(self.summary.get("resumed", 0)) + int(resume),
        )
        self._record_result_path()

    def _record_result_path(self) -> None:
        """Tell the program that started this one where the run lies."""
        result = os.environ.get("IRREPSCOPE_RESULT")
        if result and self.is_writer:
            write_text(Path(result), f"{self.directory.path}\n")

    def _start_wandb(self, rows: dict[int, Any], resume: bool) -> EpochWandbLogger:
        if not self.is_writer:
            return EpochWandbLogger(None)
        self.wandb = self._init_wandb(self.summary["wandb_run_id"])
        run, logged = self.wandb.run, None
        if resume and self.wandb.mode == "online":
            # What an earlier, offline part has logged is not there: only the server can tell.
            epochs = run.summary.get("epochs")
            logged = None if epochs is None else int(epochs) - 1
        elif resume:
            logged = self.summary.get("wandb_epoch")
        return EpochWandbLogger(run, logged, record=lambda epoch: self._record(wandb_epoch=epoch))

    def _init_wandb(self, run_id: str) -> WandbSession:
        config = flatten(self.cli.resolved_config())
        session = start_wandb(
            mode=self.mode,
            reason=self.mode_reason,
            directory=self.directory.path,
            run_id=run_id,
            name=self.directory.name,
            project=self.cli.options["project"],
            config={**config, **self.cli.provenance()},
            stop=self.cli.signals.stop_by_server,
            start_timeout=self.cli.options["wandb_start_timeout"],
            finish_timeout=self.cli.options["wandb_finish_timeout"],
        )
        self.mode, self.mode_reason = session.mode, session.reason
        return session

    def _introduce(self, resume: bool) -> None:
        network = self.cli.model.network
        self._say(
            f"{'Continuing' if resume else 'Starting'} run {self.directory.name}\n"
            f"  network   {network.irreps}, {len(network.layers)} layers, "
            f"{network.num_parameters():,} parameters "
            f"({network.num_reachable_parameters():,} can reach the output)\n"
            f"  files     {_shown(self.directory.path)}\n"
            f"  {self._wandb_line()}"
        )

    def _wandb_line(self) -> str:
        if self.mode == "offline":
            return f"{self.mode_reason} Upload later: `wandb sync {self._offline_directory()}`"
        return self.mode_reason

    def _offline_directory(self) -> str:
        return f"{shlex.quote(_shown(self.directory.path))}/wandb/offline-run-*"

    # ---- evaluation -----------------------------------------------------------------------

    def _load_weights(self, checkpoint: Path) -> None:
        """Load weights alone: an evaluation has none of training's callbacks to restore."""
        self.cli.model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])

    def _test(self, trainer: Trainer, checkpoint: Path) -> dict[str, float]:
        start = time.perf_counter()
        self._load_weights(checkpoint)
        trainer.test(self.cli.model, datamodule=self.cli.datamodule, verbose=False)
        results = _metrics(trainer, "test/")
        results["test/seconds"] = time.perf_counter() - start
        results["test/mae_of_mean"] = self._mae_of_mean()
        return results

    def _mae_of_mean(self) -> float:
        """MAE of predicting every test molecule by the training part's mean, reporting units."""
        data = self.cli.datamodule
        y = data.batch(data.splits["test"]).y.to(torch.float64).cpu()
        return float((y - data.target_mean).abs().mean()) * data.target.reporting_factor

    def _evaluate(self, split: str) -> int:
        trainer = self.cli.build_trainer([])
        checkpoint = self._checkpoint()
        if split == "test":
            results = self._test(trainer, checkpoint)
        else:
            self._load_weights(checkpoint)
            trainer.validate(self.cli.model, datamodule=self.cli.datamodule, verbose=False)
            results = _metrics(trainer, "val/")
        name = "validation" if split == "validate" else split
        prefix = "val" if split == "validate" else split
        unit = self.cli.model.target.reporting_unit
        self._say(
            f"{name} MAE {results[f'{prefix}/mae']:.4g} {unit}, "
            f"RMSE {results[f'{prefix}/rmse']:.4g} {unit} ({_shown(checkpoint)})"
        )
        return 0

    def _predict(self) -> int:
        trainer = self.cli.build_trainer([])
        if trainer.world_size > 1:
            raise ValueError("predict runs on one device: add --trainer.devices=1")
        self._load_weights(self._checkpoint())
        batches = trainer.predict(self.cli.model, datamodule=self.cli.datamodule)
        output = Path(self.cli.options.get("output") or self.directory.predictions)
        unit = self.cli.model.target.reporting_unit
        count = 0
        with replacing(output) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["index", "smiles", "prediction", "target", "unit"])
            for idx_g, prediction_g, target_g in batches or []:
                for idx, prediction, target in zip(
                    idx_g.tolist(), prediction_g.tolist(), target_g.tolist()
                ):
                    number, smiles = self.cli.datamodule.molecule(idx)
                    writer.writerow([number, smiles, f"{prediction:.6g}", f"{target:.6g}", unit])
                    count += 1
        self._say(f"{count:,} predictions in {_shown(output)}")
        return 0

    # ---- ends -----------------------------------------------------------------------------

    def _record(self, **values: Any) -> None:
        if self.is_writer:
            self.directory.update_summary(**values)
            self.summary = self.directory.read_summary()

    def _record_training(self, trainer: Trainer, rows: dict[int, Row]) -> None:
        checkpoint = self.cli.checkpoint
        # The trainer knows nothing of epochs that an earlier process has trained.
        last = rows[max(rows)] if rows else {}
        kept = ("train/loss", "throughput/molecules_per_s", "lr")
        metrics = {key: last[key] for key in kept if key in last}
        best = checkpoint.best_model_score
        if best is not None:
            metrics["val/mae"] = float(best)
        data = self.cli.datamodule
        sizes = {split: len(data.splits[split]) for split in ("train", "val", "test")}
        self._record(epochs=trainer.current_epoch, **metrics, molecules=sizes)

    def _end(self, status: str, exit_code: int, error: str | None = None) -> None:
        try:
            self._record(status=status, error=error)
        finally:
            self._finish_wandb(exit_code, preempted=status == "preempted")

    def _finish_wandb(self, exit_code: int, preempted: bool = False) -> None:
        if self.wandb is None:
            return
        session, self.wandb = self.wandb, None
        # "test/mae" and its kind also belong in W&B's summary of the run.
        tested = not preempted and self.summary.get("test/mae") is not None
        results = {k: v for k, v in self.summary.items() if "/" in k} if tested else None
        if warning := session.finish(exit_code, preempted, results):
            print(f"warning: {warning}", file=sys.stderr, flush=True)

    def _conclude(self, summary: dict[str, Any] | None = None, again: bool = False) -> None:
        summary = summary or self.summary
        unit = self.cli.model.target.reporting_unit
        lines = []
        if again:
            lines.append(
                f"Run {self.directory.name} is finished; nothing was trained. "
                "--fresh starts it over."
            )
        if summary.get("test/mae") is not None:
            lines.append(
                f"Test MAE {summary['test/mae']:.4g} {unit} "
                f"({summary['molecules']['test']:,} molecules; predicting the mean gives "
                f"{summary['test/mae_of_mean']:.4g} {unit})"
            )
        elif summary.get("val/mae") is not None:
            lines.append(f"Best validation MAE {summary['val/mae']:.4g} {unit}")
        lines.append(f"Files: {_shown(self.directory.path)}")
        self._say("\n".join(lines))

    def _say(self, text: str) -> None:
        if self.is_writer:
            print(text, flush=True)


def _metrics(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(prefix)}


def _message(error: Exception) -> str:
    """Give an error's words, without the number that Python puts before our own."""
    if isinstance(error, OSError) and error.strerror and not error.filename:
        return error.strerror
    return str(error)


def _shown(path: Path) -> str:
    """Path as short as it can be given from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
