"""`Run`: what `train.py` does with a parsed command line, from taking the directory to the end.

Imports `lightning_modules`, `callbacks`, `records` and this package.
"""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from callbacks.finite_guard import NonFiniteError
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.regressor import EquivariantRegressor
from records import names
from records.files import CannotWriteError, shown, write_text
from records.run_files import is_run_directory, remove_leftovers
from runtime import evaluation, messages
from runtime.configuration import RunConfiguration
from runtime.errors import FAILED, UsageError, one_line
from runtime.evaluation import check_output
from runtime.journal import RunJournal
from runtime.processes import is_rank_zero
from runtime.run_directory import RunDirectory
from runtime.signals import StopRequestedError, StopSignals
from runtime.step_memory import check_step_memory
from runtime.trainer import TrainerFactory
from runtime.training import Training

EXPECTED_ERRORS = (ValueError, OSError, NonFiniteError, MisconfigurationException, UsageError)
"""Errors whose message is enough for the user. Others are shown with their traceback."""


class Run:
    """One run, or the evaluation of one.

    Parameters
    ----------
    configuration : RunConfiguration
        What to do.
    model : EquivariantRegressor
    datamodule : MoleculeDataModule
    build_trainer : TrainerFactory
    signals : StopSignals
        Installed by the caller.
    """

    def __init__(
        self,
        configuration: RunConfiguration,
        model: EquivariantRegressor,
        datamodule: MoleculeDataModule,
        build_trainer: TrainerFactory,
        signals: StopSignals,
    ) -> None:
        self.configuration = configuration
        self.model = model
        self.datamodule = datamodule
        self.build_trainer = build_trainer
        self.signals = signals
        self.is_writer = is_rank_zero()
        self.directory = RunDirectory(configuration.runs_dir, configuration.run_name)
        self.journal = RunJournal(
            configuration,
            self.directory,
            signals.stop_by_server,
            signals.deferred,
            self.is_writer,
        )

    def open(self) -> None:
        """Check everything that can be checked; then take the run's directory, if it is to train.

        Raises
        ------
        UsageError
            If another process has the directory, it cannot be written, or it holds a run with
            another configuration or files that ``--fresh`` must not remove; or if there is no
            checkpoint to evaluate, or the predictions cannot be written. Nothing was removed or
            created then.
        """
        try:
            self.journal.open()
            if self.configuration.subcommand != "fit" or not self.journal.is_complete:
                self._check_data()
            if self.configuration.subcommand != "fit":
                self._check_evaluation()
            elif self.is_writer:
                self._take_directory()
        except (ValueError, OSError) as error:
            raise UsageError(one_line(error)) from error

    def _check_data(self) -> None:
        """Read structures that a user may have to correct."""
        if isinstance(self.datamodule, ExtXYZDataModule):
            self.datamodule.check()
            self.model.check_data(self.datamodule)
            if self.configuration.subcommand == "fit":
                check_step_memory(self.model, self.datamodule)

    def _take_directory(self) -> None:
        fresh = self.configuration.fresh
        if fresh:
            self.directory.check_clearable()
            if is_run_directory(self.directory.path):
                # Fails for data that cannot be read, before the earlier run is removed for it.
                self.datamodule.prepare_data()
        self.directory.acquire()
        try:
            self.journal.read()  # once more: another process may have trained until just now
            if fresh:
                self.directory.clear()
            else:
                remove_leftovers(self.directory.path)
        except BaseException:
            self.directory.release()
            raise

    def _check_evaluation(self) -> None:
        if not self._checkpoint.is_file():
            raise ValueError(
                f"no checkpoint {self._checkpoint}: train first with "
                "`python train.py fit` and the same options, or name one with --ckpt_path"
            )
        if isinstance(self.datamodule, ExtXYZDataModule):
            evaluation.check_elements(self.model, self.datamodule, self._checkpoint)
        evaluation.load_weights(self.model, self._checkpoint)
        if self.configuration.subcommand == "predict" and self.is_writer:
            check_output(self._output)

    @property
    def _output(self) -> Path:
        """Where predictions go."""
        if self.configuration.output is not None:
            return self.configuration.output
        default = self.directory.predictions
        if isinstance(self.datamodule, ExtXYZDataModule) and self.datamodule.is_whole_file:
            return default.with_stem(f"{default.stem}_{self.datamodule.files[0].stem}")
        return default

    @property
    def _checkpoint(self) -> Path:
        """The checkpoint to evaluate."""
        return self.configuration.ckpt_path or self.directory.best

    def execute(self) -> int:
        """Do what the subcommand says.

        Returns
        -------
        int
            Exit code of the program.
        """
        try:
            if self.configuration.subcommand == "fit":
                self._fit()
            else:
                self._evaluate()
        except StopRequestedError as stop:
            return self._stopped(stop)
        except Exception as error:
            return self._failed(error)
        finally:
            if self.is_writer:
                self.directory.release()
        return 0

    def _fit(self) -> None:
        self._write_result_path()
        unit = self.model.target.reporting_unit
        training = Training(
            self.configuration,
            self.model,
            self.datamodule,
            self.build_trainer,
            self.directory,
            self.journal,
        )
        if self.journal.is_complete:
            training.answer_again()
            self.journal.say(messages.already_finished(self.directory))
        else:
            training.fit()
            self.journal.log_checkpoint()
            self.journal.write_log(messages.conclusion(self.directory, self.journal.summary, unit))
            self.journal.end(names.FINISHED, 0)
        self.journal.say(messages.conclusion(self.directory, self.journal.summary, unit))

    def _write_result_path(self) -> None:
        """Tell the program that has started this one where the run's directory is."""
        result = os.environ.get("IRREPSCOPE_RESULT")
        if result and self.is_writer:
            write_text(Path(result), f"{self.directory.path}\n")

    def _evaluate(self) -> None:
        parts = (self.build_trainer([]), self.model, self.datamodule, self._checkpoint)
        unit = self.model.target.reporting_unit
        if self.configuration.subcommand == "predict":
            count = evaluation.predict(*parts, self._output)
            self.journal.say(f"{count:,} predictions in {shown(self._output)}")
        elif self.configuration.subcommand == "test":
            results = evaluation.test(*parts)
            self.journal.say(messages.evaluation("test", results, unit, self._checkpoint))
        else:
            results = evaluation.validate(*parts)
            self.journal.say(messages.evaluation("validation", results, unit, self._checkpoint))

    def _stopped(self, stop: StopRequestedError) -> int:
        """End a run that a signal or W&B's server has stopped; return the exit code."""
        if self.configuration.subcommand != "fit":
            self.journal.finish_wandb(stop.exit_code, preempted=True)
            self.journal.say(f"Stopped ({stop}).")
            return stop.exit_code
        if self.signals.by_server:
            self.journal.end(names.STOPPED, 0)
            self.journal.say(messages.stopped_by_server(self.directory))
            return 0
        with suppress(CannotWriteError):  # the checkpoint alone is enough to continue
            self.journal.end(names.PREEMPTED, stop.exit_code)
        self.journal.say(messages.interrupted(self.directory, stop))
        return stop.exit_code

    def _failed(self, error: Exception) -> int:
        """Mark the run as failed; return the exit code, or raise what nobody has expected.

        An evaluation that fails says nothing of the run, and so writes nothing into it.
        """
        text = one_line(error)
        if self.configuration.subcommand != "fit":
            if not isinstance(error, EXPECTED_ERRORS):
                raise error
            self.journal.complain(f"error: {text}")
            return FAILED
        details = traceback.format_exc()
        where = f" (details: {shown(self.directory.error)})"
        try:
            self.journal.end(names.FAILED, FAILED, error=text)
            if self.is_writer:
                write_text(self.directory.error, details)
        except CannotWriteError:
            where = ""  # the full disk that has ended the run has no room for the details either
        if not isinstance(error, EXPECTED_ERRORS):
            raise error
        self.journal.complain(f"error: {text}{where}")
        return FAILED
