"""`IrrepscopeCLI`: LightningCLI with a run directory, one-line errors and fit-then-test.

Imports Lightning, `lightning_modules`, `callbacks` and this package.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from typing_extensions import override

from callbacks.epoch_checkpoint import EpochCheckpoint
from callbacks.epoch_lines import EpochLines
from callbacks.finite_guard import FiniteGuard
from callbacks.irrep_utilization import IrrepUtilization
from callbacks.latent_umap import LatentUMAP, choose_layer
from callbacks.throughput import Throughput
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from runtime.checkpoints import WholeCheckpointIO, read_checkpoint
from runtime.metrics_logger import MetricsCSVLogger
from runtime.provenance import git_commit, package_versions
from runtime.run_directory import RunDirectory
from runtime.run_name import check_run_name, default_run_name
from runtime.signals import StopSignals

SUBCOMMANDS = ("fit", "validate", "test", "predict")
USAGE_ERROR = 2
MAX_SEED = 2**32 - 1
"""NumPy's."""
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "32", "64")
"""Those with weights in single or double precision."""


class UsageError(Exception):
    """Something the user gave cannot be used; the message says what, and what to do."""


class OneLineParser(LightningArgumentParser):
    """A parser whose errors are one line, raised as `UsageError`."""

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing usage and exiting."""
        raise UsageError(" ".join(message.split())) from ex


class IrrepscopeCLI(LightningCLI):
    """Parse a command line, build model and data, and find the run they belong to.

    Parameters
    ----------
    arguments : list of str
        Command line without the program; without a subcommand, ``fit`` is meant.
    signals : StopSignals
        Installed by the caller.

    Attributes
    ----------
    run : RunDirectory
        The run, by ``--run_name`` or by its configuration.

    Raises
    ------
    UsageError
        If anything given is unusable. No data has been touched by then.
    """

    def __init__(self, arguments: list[str], signals: StopSignals) -> None:
        self.signals = signals
        self.bare = not arguments or arguments[0] not in (*SUBCOMMANDS, "-h", "--help")
        if self.bare and arguments and not arguments[0].startswith("-"):
            raise UsageError(
                f"subcommand {arguments[0]!r} is unknown: choose one of "
                f"{', '.join(SUBCOMMANDS)}, or none to fit and then test"
            )
        super().__init__(
            EquivariantRegressor,
            QM9DataModule,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=OneLineParser,
            parser_kwargs={"description": "Train and examine an equivariant molecular network."},
            args=["fit", *arguments] if self.bare else arguments,
            run=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's remark on explicit arguments."""
        _check_config_files(args)
        try:
            self.config = parser.parse_args(args)
        except UsageError:
            raise
        except RecursionError as error:
            raise UsageError("a configuration holds itself, or is nested too deeply") from error
        except Exception as error:
            # The parser's own faults too are about something that was typed.
            raise UsageError(f"the command line cannot be parsed: {_one_line(error)}") from error

    @override
    def _parse_ckpt_path(self) -> None:
        """Take the model's options from the checkpoint that is named, if one is."""
        path = self.options.get("ckpt_path")
        if not path:
            return
        try:
            hparams = dict(read_checkpoint(Path(path)).get("hyper_parameters", {}))
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.options["data"]["target"] = hparams.pop("target", self.options["data"]["target"])
        for key, value in hparams.items():
            if key in self.options["model"]:
                self.options["model"][key] = value
        self.config = self.parser.parse_object(self.config)

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options, and link what model and data share."""
        parser.add_argument(
            "--run_name",
            type=str | None,
            default=None,
            help="Name of the run's directory (default: from the configuration)",
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="Where all runs lie")
        parser.add_argument(
            "--fresh", type=bool, default=False, nargs="?", const=True,
            help="Start over: remove what an earlier run of this name left",
        )  # fmt: skip
        parser.add_argument(
            "--project", type=str, default="irrepscope", help="W&B project (a sweep has its own)"
        )
        parser.add_argument(
            "--wandb_start_timeout",
            type=float,
            default=60.0,
            help="Seconds to wait for W&B's server before training goes on offline",
        )
        parser.add_argument(
            "--wandb_finish_timeout",
            type=float,
            default=60.0,
            help="Seconds to wait at the end for uploads to W&B; the rest stays on disk",
        )
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="predict: CSV file to write (default: predictions.csv in the run's directory)",
        )
        parser.add_argument(
            "--provenance",
            type=dict | None,
            default=None,
            help="Written by a run into its config.yaml (irreps, parameters, versions); not read",
        )
        parser.add_lightning_class_args(IrrepUtilization, "utilization")
        parser.add_lightning_class_args(LatentUMAP, "latent")
        parser.link_arguments("data.target", "model.target")
        parser.link_arguments("model.cutoff", "data.cutoff")
        parser.set_defaults(
            {
                "trainer.max_epochs": 30,
                "trainer.num_sanity_val_steps": 0,
                "trainer.enable_model_summary": False,
                "trainer.use_distributed_sampler": False,
                "trainer.logger": False,
                "trainer.log_every_n_steps": 1,
            }
        )

    @override
    def _set_seed(self) -> None:
        """Seed all generators; True draws a seed, which the run then records."""
        seed = self.options["seed_everything"]
        if seed is None or not (isinstance(seed, bool) or 0 <= seed <= MAX_SEED):
            raise UsageError(f"seed_everything {seed} is out of range: give 0 to {MAX_SEED}")
        if seed is not False:
            drawn = seed_everything(None if seed is True else seed, workers=True, verbose=False)
            self.options["seed_everything"] = drawn

    @override
    def instantiate_classes(self) -> None:
        """Build model, data and a trainer; what their constructors refuse is a `UsageError`."""
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
            self.datamodule = self._get(self.config_init, "data")
            self.model = self._get(self.config_init, "model")
            if self.options["latent"]["enabled"]:
                choose_layer(self.model.network, self.options["latent"]["layer"])
            self.run = self._find_run()
        except (ValueError, TypeError, MemoryError, MisconfigurationException) as error:
            raise UsageError(_one_line(error)) from error
        self._check_trainer()

    def _check_trainer(self) -> None:
        """Let Lightning refuse the trainer's options now, and those that it finds out later."""
        options = self.options["trainer"]
        for name in ("accumulate_grad_batches", "log_every_n_steps"):
            if options[name] is not None and options[name] < 1:
                raise UsageError(f"trainer.{name} is {options[name]}: it must be at least 1")
        if self.subcommand == "fit" and options["limit_val_batches"] == 0:
            raise UsageError(
                "trainer.limit_val_batches is 0: without validation no checkpoint is the best; "
                "give more"
            )
        if options["precision"] is not None and str(options["precision"]) not in PRECISIONS:
            raise UsageError(
                f"trainer.precision {options['precision']} is not the network's: give one of "
                f"{', '.join(PRECISIONS)}"
            )
        remarks = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        level = remarks.level
        remarks.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings(action="ignore"):
                trainer = self.build_trainer([])
        finally:
            remarks.setLevel(level)
        if self.subcommand == "fit":
            try:
                self.model.check_trainer(trainer)
            except ValueError as error:
                raise UsageError(str(error)) from error

    def _find_run(self) -> RunDirectory:
        options = self.options
        name = options["run_name"] or default_run_name(
            self.resolved_config(), str(self.model.network.irreps)
        )
        try:
            runs_dir = Path(options["runs_dir"]).expanduser()
        except RuntimeError as error:
            raise ValueError(f"runs_dir {options['runs_dir']!r}: there is no such user") from error
        if "\0" in str(runs_dir):
            raise ValueError(f"runs_dir {options['runs_dir']!r} holds a null character")
        return RunDirectory(runs_dir, check_run_name(name))

    @property
    def options(self) -> Any:
        """The subcommand's part of the parsed configuration."""
        return self.config[self.config["subcommand"]]

    def resolved_config(self) -> dict[str, Any]:
        """Everything that was given or defaulted, nested, linked values included.

        Returns
        -------
        dict
            What `config.yaml` is made of.
        """
        parser = self._parser(self.subcommand)
        config = self.options.clone()
        config.pop("config", None)
        text = parser.dump(config, skip_none=False, skip_link_targets=False, skip_validation=True)
        resolved: dict[str, Any] = yaml.safe_load(text)
        return resolved

    def provenance(self) -> dict[str, Any]:
        """Say what the configuration implies and where it was run.

        Returns
        -------
        dict
            Irreps, degrees, parameter counts, unit, git commit and package versions.
        """
        network, target = self.model.network, self.model.target
        return {
            "irreps": str(network.irreps),
            "l_values": sorted(set(network.irreps.ls)),
            "channels": [mul for mul, _ in network.irreps],
            "irreps_dim": network.irreps.dim,
            "layer_irreps": [str(irreps) for irreps in network.layer_irreps],
            "params/total": network.num_parameters(),
            "params/reachable": network.num_reachable_parameters(),
            "target": target.name,
            "unit": target.reporting_unit,
            "graph": self.datamodule.hparams["graph"],
            "git_commit": git_commit(),
            "versions": package_versions(),
        }

    def config_yaml(self) -> str:
        """Text of ``config.yaml``, which ``--config`` takes again.

        Returns
        -------
        str
            The subcommand's options without those that are linked, and the provenance.
        """
        parser = self._parser(self.subcommand)
        config = self.options.clone()
        for key in ("config", "ckpt_path", "weights_only", "return_predictions", "fresh", "output"):
            config.pop(key, None)
        config["run_name"] = self.run.name
        config["provenance"] = self.provenance()
        text: str = parser.dump(config, skip_none=True, skip_validation=True)
        return text

    def build_trainer(self, loggers: list[Any], callbacks: Sequence[Callback] = ()) -> Trainer:
        """Make the trainer with this run's checkpoints and loggers.

        Parameters
        ----------
        loggers : list of Logger
            `MetricsCSVLogger` and, if it is on, W&B's.
        callbacks : sequence of Callback
            Beside those that every run has.

        Returns
        -------
        Trainer
        """
        config = {
            **self._get(self.config_init, "trainer"),
            "logger": loggers,
            "default_root_dir": str(self.run.path),
        }
        # Lightning adds ours to the very list that it is given.
        config["callbacks"] = _as_list(config.get("callbacks"))
        config["plugins"] = [*_as_list(config.get("plugins")), WholeCheckpointIO()]
        own: list[Callback] = []
        if config.get("enable_progress_bar") is None and not sys.stdout.isatty():
            config["enable_progress_bar"] = False
            own.append(EpochLines())
        if self.subcommand == "fit":
            self.checkpoint = EpochCheckpoint(self.run.path / "checkpoints", self.signals)
            keys = self._parser(self.subcommand).callback_keys
            own += [self._get(self.config_init, key) for key in keys]
            own += [FiniteGuard(), Throughput(), self.checkpoint, *callbacks]
        else:
            config["enable_checkpointing"] = False
        try:
            return self._instantiate_trainer(config, own)
        except Exception as error:
            # Lightning refuses options with errors of all kinds.
            raise UsageError(f"trainer: {_one_line(error)}") from error

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Leave running to `train.py`, which reads from top to bottom."""

    def metrics_logger(self) -> MetricsCSVLogger:
        """Open the run's metrics.csv.

        Returns
        -------
        MetricsCSVLogger
        """
        return MetricsCSVLogger(self.run.metrics)


def _check_config_files(arguments: list[str]) -> None:
    """Name a damaged configuration file, which the parser's own error does not."""
    pairs = zip(arguments, [*arguments[1:], ""])
    given = [following for option, following in pairs if option in ("--config", "-c")]
    given += [option.partition("=")[2] for option in arguments if option.startswith("--config=")]
    for path in map(Path, given):
        try:
            if path.is_file():
                yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            problem = " ".join(str(error).split())
            raise UsageError(f"configuration file {path} cannot be read ({problem})") from error


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def fail(message: str) -> NoReturn:
    """End the program over something the user gave.

    Parameters
    ----------
    message : str
        One line.
    """
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USAGE_ERROR)
