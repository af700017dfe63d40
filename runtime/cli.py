"""`IrrepscopeCLI`: the command line of ``train.py``, with one-line errors.

Imports Lightning, `lightning_modules`, `callbacks` and this package.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from callbacks.denoising_pretraining import DenoisingPretraining
from callbacks.irrep_utilization import IrrepUtilization
from callbacks.latent_umap import LatentUMAP
from callbacks.nested_subsets import NestedSubsets
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.own_data import takes
from lightning_modules.own_network import is_own
from lightning_modules.regressor import EquivariantRegressor
from records.bounded import read_text
from records.bounded_yaml import LARGEST_YAML, check_yaml, parse_yaml
from records.configuration import identity
from runtime.checkpoint_options import (
    GROUPS,
    NETWORK_KEYS,
    SIZES,
    config_files,
    conflicts,
    follow_moved_runs,
    keys_in,
    options_of_checkpoint,
    run_of_checkpoint,
)
from runtime.checkpoints import holds_double_precision, load_network
from runtime.configuration import RunConfiguration, expand_directory
from runtime.data_choice import (
    PATH,
    checkpoint_file,
    data_class,
    defaults_for,
    options_for_file,
)
from runtime.errors import UsageError, one_line
from runtime.extension import find_extendable
from runtime.lightning_internals import CustomizableCLI
from runtime.processes import is_rank_zero
from runtime.provenance import provenance
from runtime.run_name import default_run_name
from runtime.signals import StopSignals
from runtime.subcommands import DESCRIPTION, HELP_OPTIONS, SUBCOMMANDS, WITHOUT_SUBCOMMAND
from runtime.trainer import TrainerFactory

LIGHTNING_OPTIONS = {
    "model", "datamodule", "train_dataloaders", "val_dataloaders", "dataloaders", "ckpt_path",
    "weights_only", "verbose", "return_predictions",
}  # fmt: skip
"""Arguments of the trainer's methods that the program decides on itself."""
MAX_SEED = 2**32 - 1
"""NumPy's largest seed."""
TRANSIENT_OPTIONS = (
    "config",
    "ckpt_path",
    "fresh",
    "extend",
    "output",
)
"""Options of one command that are no part of the run, and so are not written to config.yaml."""


class OneLineParser(LightningArgumentParser):
    """A parser that raises its errors as a `UsageError` of one line."""

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UsageError(" ".join(message.split())) from ex


class IrrepscopeCLI(CustomizableCLI):
    """Parse a command line, and build what it asks for.

    Parameters
    ----------
    arguments : list of str
        Command line without the program. Without a subcommand, it is ``fit``.
    signals : StopSignals
        Installed by the caller.

    Attributes
    ----------
    configuration : RunConfiguration
        The whole command line, resolved and checked.
    model : EquivariantRegressor
    datamodule : MoleculeDataModule
        Has not read any data yet.
    build_trainer : TrainerFactory
        Builds the run's trainers.

    Raises
    ------
    UsageError
        If anything given is unusable. Nothing has been read or written by then.
    """

    configuration: RunConfiguration
    model: EquivariantRegressor
    datamodule: MoleculeDataModule
    build_trainer: TrainerFactory

    def __init__(self, arguments: list[str], signals: StopSignals) -> None:
        self._signals = signals
        self._bare = not arguments or arguments[0] not in (*SUBCOMMANDS, *HELP_OPTIONS)
        if self._bare and arguments and not arguments[0].startswith("-"):
            raise UsageError(
                f"subcommand {arguments[0]!r} is unknown: choose one of "
                f"{', '.join(SUBCOMMANDS)}, or none to fit and then test"
            )
        try:
            self._data_class = data_class(arguments)
        except ValueError as error:
            raise UsageError(one_line(error)) from error
        self._subcommand = "fit" if self._bare else arguments[0]
        super().__init__(
            EquivariantRegressor,
            self._data_class,
            save_config_callback=None,
            seed_everything_default=0,
            parser_class=OneLineParser,
            parser_kwargs={"description": DESCRIPTION},
            args=["fit", *arguments] if self._bare else arguments,
            run=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        """List the subcommands, and the arguments of the trainer that are no options."""
        return {name: set(LIGHTNING_OPTIONS) for name in SUBCOMMANDS}

    @override
    def descriptions(self) -> dict[str, str]:
        """Describe each subcommand."""
        return SUBCOMMANDS

    @override
    def parsed_subcommands(self) -> Collection[str]:
        """Name the subcommand that is given, or implied."""
        return SUBCOMMANDS if self._subcommand in HELP_OPTIONS else (self._subcommand,)

    @override
    def without_subcommand(self) -> str:
        """Say what happens if no subcommand is given."""
        return WITHOUT_SUBCOMMAND

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options, and link the options that model and data share."""
        _add_run_options(parser)
        parser.add_lightning_class_args(IrrepUtilization, "utilization")
        parser.add_lightning_class_args(LatentUMAP, "latent")
        parser.add_lightning_class_args(NestedSubsets, "nested")
        # Last, so that the others measure the untrained network.
        parser.add_lightning_class_args(DenoisingPretraining, "pretraining")
        parser.link_arguments("data.target", "model.target")
        if takes(self._data_class, "cutoff"):
            parser.link_arguments("model.cutoff", "data.cutoff")
        if takes(self._data_class, "unit"):
            parser.link_arguments("data.unit", "model.unit")
        parser.set_defaults(defaults_for("convnet", self._data_class))
        parser.set_defaults(
            {
                "trainer.max_epochs": 30,
                # Lightning's "auto" would share a small network among all GPUs of a machine.
                "trainer.devices": 1,
                "trainer.num_sanity_val_steps": 0,
                "trainer.enable_model_summary": False,
                "trainer.use_distributed_sampler": False,
                "trainer.logger": False,
                "trainer.log_every_n_steps": 1,
            }
        )

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning about a command line given in Python."""
        _check_arguments(args)
        _check_config_files(args)
        try:
            args = follow_moved_runs(args)
            self._given = keys_in(args)
            self.config = parser.parse_args(args)
            changed = self._set_network_defaults()
            if changed:
                self.config = parser.parse_args(args)
                self._say_defaults(changed)
            self._fill_in_network_defaults()
        except UsageError:
            raise
        except RecursionError as error:
            raise UsageError("a configuration contains itself, or is nested too deeply") from error
        except Exception as error:
            # Whatever the parser fails with, its cause is something that the user typed.
            raise UsageError(f"the command line cannot be parsed: {one_line(error)}") from error

    def _set_network_defaults(self) -> dict[str, Any]:
        """Make the defaults those of the network that was chosen; return those that change."""
        defaults = defaults_for(self._options["model"]["network"], self._data_class)
        parser = self.subcommand_parser
        before = parser.get_defaults(skip_validation=True)
        changed = {key: value for key, value in defaults.items() if before[key] != value}
        parser.set_defaults(changed)
        return changed

    def _say_defaults(self, changed: dict[str, Any]) -> None:
        """Say which defaults apply that are not those in the help."""
        options = self._options
        network = options["model"]["network"]
        if options["ckpt_path"] or options["init_from"] or is_own(network) or not is_rank_zero():
            return  # a checkpoint's options come with it, and those of others are their own
        applied = ", ".join(
            f"{key} {'as many as 0e in irreps' if value is None else value}"
            for key, value in changed.items()
            if key not in self._given and options[key] == value
        )
        if applied:
            print(f"note: by default network {network} has {applied}", file=sys.stderr)

    def _fill_in_network_defaults(self) -> None:
        """Replace options that were given as null by the network's defaults."""
        options = self._options
        defaults = defaults_for(options["model"]["network"], self._data_class)
        for key, value in defaults.items():
            group, _, name = key.partition(".")
            if options[group][name] is None:
                options[group][name] = value
        if "cutoff" in options["data"]:
            options["data"]["cutoff"] = options["model"]["cutoff"]

    @override
    def take_checkpoint_options(self) -> None:
        """Take the options of model and data from the checkpoint that ``--ckpt_path`` names."""
        path, options = self._options.get("ckpt_path"), self._options
        if not path:
            self._take_initial_options()
            return
        if self.config["subcommand"] == "fit":
            raise UsageError(
                "fit takes no --ckpt_path: the same command continues its own run after the last "
                "finished epoch; validate, test and predict take one"
            )
        path = options["ckpt_path"] = str(checkpoint_file(path))
        trained = _trained_options(path)
        reads_files = self._data_class is ExtXYZDataModule and PATH in self._given
        if self.config["subcommand"] in ("test", "predict") and reads_files:
            trained = options_for_file(trained)
        self._refuse_conflicts(trained)
        if holds_double_precision(Path(path)):
            self._use_double_precision()
        for key, value in trained.items():
            group, _, name = key.partition(".")
            if name in options[group] and not (key in SIZES and key in self._given):
                options[group][name] = value
        run = run_of_checkpoint(Path(path))
        if run is not None and not options["run_name"]:
            options["runs_dir"], options["run_name"] = str(run.parent), run.name
        self.config = self.parser.parse_object(self.config)

    def _use_double_precision(self) -> None:
        """Evaluate weights of 64 bits in 64 bits.

        Raises
        ------
        UsageError
            If another precision was given.
        """
        trainer = self._options["trainer"]
        if trainer["precision"] not in (None, "64", "64-true", 64):
            raise UsageError(
                f"the checkpoint was trained with trainer.precision 64-true, and "
                f"{trainer['precision']} is given: leave it out"
            )
        trainer["precision"] = "64-true"

    def _take_initial_options(self) -> None:
        """Take what is not given from the checkpoint that ``--init_from`` names.

        Raises
        ------
        UsageError
            If the options given describe another network than the checkpoint's.
        """
        path, options = self._options.get("init_from"), self._options
        if not path or self.config["subcommand"] != "fit":
            return
        trained = _trained_options(path)
        found = self._conflicts(trained)
        refused = [text for key, text in found.items() if key in NETWORK_KEYS]
        if refused:
            raise UsageError(
                f"--init_from {path} holds another network ({', '.join(refused[:4])}): leave "
                "these options out, as they come with the checkpoint"
            )
        if (PATH in trained) != (self._data_class is ExtXYZDataModule):
            # The network was trained on other data, whose options do not suit these.
            trained = {key: value for key, value in trained.items() if key.startswith("model.")}
        for key, value in trained.items():
            group, _, name = key.partition(".")
            if name in options[group] and key not in found:
                options[group][name] = value
        self.config = self.parser.parse_object(self.config)

    def _conflicts(self, trained: dict[str, Any]) -> dict[str, str]:
        """Compare what was given with the options of a checkpoint, see `conflicts`."""
        options = {
            f"{group}.{name}": value
            for group in GROUPS
            for name, value in self._options[group].items(branches=False)
        }
        defaults = self.subcommand_parser.get_defaults(skip_validation=True)
        self._given |= {key for key in options if options[key] != defaults.get(key)}
        return conflicts(trained, options, self._given)

    def _refuse_conflicts(self, trained: dict[str, Any]) -> None:
        """Refuse options that contradict the checkpoint, and mention another number of molecules.

        Raises
        ------
        UsageError
            Names the options.
        """
        found = self._conflicts(trained)
        refused = [text for key, text in found.items() if key not in SIZES]
        if refused:
            raise UsageError(
                f"the checkpoint was trained with other options ({', '.join(refused[:4])}): leave "
                "them out, as they come with the checkpoint"
            )
        if found and is_rank_zero():
            print(f"note: not as in training: {', '.join(found.values())}", file=sys.stderr)

    @override
    def set_seed(self) -> None:
        """Seed all random number generators. ``true`` draws a seed, which the run records."""
        seed = self._options["seed_everything"]
        if seed is None or not (isinstance(seed, bool) or 0 <= seed <= MAX_SEED):
            raise UsageError(f"seed_everything {seed} is out of range: give 0 to {MAX_SEED}")
        if seed is not False:
            used = seed_everything(None if seed is True else seed, workers=True, verbose=False)
            self._options["seed_everything"] = used

    @override
    def instantiate_classes(self) -> None:
        """Build model, data module, configuration and trainer factory, and check them."""
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
            built = self.config_init[self.subcommand]
            self.datamodule, self.model = built["data"], built["model"]
            built["latent"].check_network(self.model.network)
            built["pretraining"].check_module(self.model)
            if not isinstance(self.datamodule, ExtXYZDataModule):
                self.model.check_data(self.datamodule)
            if (start := self._options["init_from"]) and self.subcommand == "fit":
                load_network(self.model, Path(start))
            self.configuration = self._resolve()
        except (ValueError, TypeError, MemoryError, MisconfigurationException) as error:
            raise UsageError(one_line(error)) from error
        self.build_trainer = TrainerFactory(
            built["trainer"],
            [built[key] for key in self.subcommand_parser.callback_keys],
            self.configuration.directory,
            training=self.subcommand == "fit",
            deferring_stop=self._signals.deferred,
        )
        self.build_trainer.check(self.model)

    @property
    def _options(self) -> Any:
        """The parsed options of the subcommand."""
        return self.config[self.config["subcommand"]]

    def _resolve(self) -> RunConfiguration:
        """Turn the parsed options into a `RunConfiguration`.

        Raises
        ------
        ValueError
            If one of the run's options is unusable.
        """
        options, parser = self._options.clone(), self.subcommand_parser
        for key in ("config", "provenance"):
            options.pop(key, None)
        text = parser.dump(options, skip_none=False, skip_link_targets=False, skip_validation=True)
        resolved: dict[str, Any] = yaml.safe_load(text)
        runs_dir = expand_directory("runs_dir", options["runs_dir"])
        if options["extend"] and not options["run_name"]:
            run_name = find_extendable(runs_dir, identity(resolved))
        else:
            run_name = options["run_name"] or default_run_name(
                resolved, str(self.model.network.irreps)
            )
        described = provenance(self.model, self.datamodule)
        kept = options.clone()
        for key in TRANSIENT_OPTIONS:
            kept.pop(key, None)
        kept["run_name"], kept["provenance"] = run_name, described
        output, ckpt_path = options.get("output"), options.get("ckpt_path")
        return RunConfiguration(
            subcommand=self.config["subcommand"],
            bare=self._bare,
            run_name=run_name,
            runs_dir=runs_dir,
            fresh=options["fresh"],
            extend=options["extend"],
            wandb_checkpoint=options["wandb_checkpoint"],
            project=options["project"],
            wandb_start_timeout=options["wandb_start_timeout"],
            wandb_finish_timeout=options["wandb_finish_timeout"],
            output=Path(output) if output else None,
            ckpt_path=Path(ckpt_path) if ckpt_path else None,
            resolved=resolved,
            provenance=described,
            yaml_text=parser.dump(kept, skip_none=True, skip_validation=True),
        )


def _add_run_options(parser: LightningArgumentParser) -> None:
    """Add the options that are neither the model's, the data's nor the trainer's."""
    parser.add_argument(
        "--run_name",
        type=str | None,
        default=None,
        help="Name of the run's directory (default: made from the configuration)",
    )
    parser.add_argument(
        "--init_from",
        type=str | None,
        default=None,
        help="fit: start from the network in this checkpoint, e.g. one of prune.py; options that "
        "are not given come from it, too",
    )
    parser.add_argument(
        "--data_class",
        type=str | None,
        default=None,
        help="Import path of a data module of your own, whose options are then those of data "
        "(docs/own_network.md)",
    )
    parser.add_argument("--runs_dir", type=str, default="runs", help="Directory of all runs")
    parser.add_argument(
        "--fresh", type=bool, default=False, nargs="?", const=True,
        help="Start over: remove what an earlier run of this name has left",
    )  # fmt: skip
    parser.add_argument(
        "--extend", type=bool, default=False, nargs="?", const=True,
        help="fit: train a run for longer, to the larger trainer.max_epochs that is given",
    )  # fmt: skip
    parser.add_argument(
        "--project",
        type=str,
        default="irrepscope",
        help="W&B project (inside a sweep, the sweep's project is used)",
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
        help="Seconds to wait for uploads to W&B at the end; the rest stays on disk",
    )
    parser.add_argument(
        "--wandb_checkpoint", type=bool, default=False, nargs="?", const=True,
        help="fit: give W&B the best checkpoint at the end, as an artifact of type model",
    )  # fmt: skip
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="predict: CSV file to write (default: predictions.csv, or predictions_NAME.csv for a "
        "file NAME, in the run's directory)",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="validate, test, predict: checkpoint or run to use, with its own options of model and "
        "data (default: the run's best); fit takes none",
    )
    parser.add_argument(
        "--provenance",
        type=dict | None,
        default=None,
        help="Written into config.yaml by a run (irreps, parameters, versions), and ignored here",
    )


def _trained_options(path: str) -> dict[str, Any]:
    """Read the options of a checkpoint; its damage is the user's to know."""
    try:
        return options_of_checkpoint(Path(path))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_arguments(arguments: list[str]) -> None:
    """Refuse values that the parser, which reads them as YAML, would not finish with."""
    for argument in arguments:
        name, _, value = argument.partition("=") if argument[:1] == "-" else ("", "", argument)
        with suppress(yaml.YAMLError):  # it may be text all the same
            try:
                check_yaml(value)
            except ValueError as error:
                where = f"the value of {name}" if name else "a value"
                raise UsageError(f"{where} cannot be read: {one_line(error)}") from error


def _check_config_files(arguments: list[str]) -> None:
    """Name a damaged configuration file, which the parser's own error does not."""
    for _, path in config_files(arguments):
        try:
            if path.is_file():
                parse_yaml(read_text(path, LARGEST_YAML))
        except (OSError, ValueError) as error:
            problem = " ".join(str(error).split())
            raise UsageError(f"configuration file {path} cannot be read ({problem})") from error
