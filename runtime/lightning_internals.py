"""The only place that touches private parts of Lightning: three steps of its command line.

`tests/runtime/test_lightning_internals.py` fails when a release of Lightning changes them.
Imports Lightning only.
"""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from typing_extensions import override


class CustomizableCLI(LightningCLI):
    """A `LightningCLI` whose private steps a subclass can replace under public names.

    The steps run in this order: `parse_arguments`, `take_checkpoint_options`, `set_seed`,
    `instantiate_classes`. Nothing is run afterwards.
    """

    def take_checkpoint_options(self) -> None:
        """Take options from the checkpoint that ``--ckpt_path`` names."""

    def set_seed(self) -> None:
        """Seed all random number generators."""

    @property
    def subcommand_parser(self) -> LightningArgumentParser:
        """The parser of the options after the subcommand."""
        return self._parser(self.config["subcommand"])

    @override
    def _parse_ckpt_path(self) -> None:
        self.take_checkpoint_options()

    @override
    def _set_seed(self) -> None:
        self.set_seed()

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Leave running to the program."""
