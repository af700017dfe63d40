"""The only place that touches private parts of Lightning: four steps of its command line.

`tests/runtime/test_lightning_internals.py` fails when a release of Lightning changes them.
Imports Lightning only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override


class CustomizableCLI(LightningCLI):
    """A `LightningCLI` whose private steps a subclass can replace under public names.

    The steps run in this order: `parse_arguments`, `take_checkpoint_options`, `set_seed`,
    `instantiate_classes`. Nothing is run afterwards.
    """

    def descriptions(self) -> dict[str, str]:
        """Describe each subcommand. Their names are those of Lightning's `subcommands`."""
        return {name: name for name in self.subcommands()}

    def without_subcommand(self) -> str:
        """Say what happens if no subcommand is given, which `parse_arguments` has to add then."""
        return ""

    def parsed_subcommands(self) -> Collection[str]:
        """Name the subcommands whose options are declared: those that the command line may have.

        Declaring all options of one takes a tenth of a second.
        """
        return self.subcommands()

    def take_checkpoint_options(self) -> None:
        """Take options from the checkpoint that ``--ckpt_path`` names."""

    def set_seed(self) -> None:
        """Seed all random number generators."""

    @property
    def subcommand_parser(self) -> LightningArgumentParser:
        """The parser of the options after the subcommand."""
        return self._parser(self.config["subcommand"])

    @override
    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Add the subcommands under descriptions of their own, and do not call them required."""
        self._subcommand_parsers = {}
        subcommands = parser.add_subcommands(required=False, help=self.without_subcommand())
        for name, description in self.descriptions().items():
            if name in self.parsed_subcommands():
                added = self._prepare_subcommand_parser(Trainer, name, description=description)
            else:
                added = self.init_parser(description=description)
            self._subcommand_parsers[name] = added
            subcommands.add_subcommand(name, added, help=description)

    @override
    def _parse_ckpt_path(self) -> None:
        self.take_checkpoint_options()

    @override
    def _set_seed(self) -> None:
        self.set_seed()

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Leave running to the program."""
