"""The private steps of LightningCLI that are replaced here are still its steps, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from runtime.lightning_internals import CustomizableCLI

STEPS = ("parse_arguments", "take_checkpoint_options", "set_seed", "instantiate_classes")


class Recorder(CustomizableCLI):
    """Remembers which of its steps were taken."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            args=["test"],
            auto_configure_optimizers=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.steps.append("parse_arguments")
        self.config = parser.parse_args(args)

    def take_checkpoint_options(self) -> None:
        self.steps.append("take_checkpoint_options")

    def set_seed(self) -> None:
        self.steps.append("set_seed")

    def instantiate_classes(self) -> None:
        self.steps.append("instantiate_classes")


def test_each_step_is_taken_once_and_nothing_is_run_afterwards() -> None:
    recorder = Recorder()
    assert tuple(recorder.steps) == STEPS
    assert not hasattr(recorder, "trainer")


def test_the_subcommands_parser_knows_the_subcommands_options() -> None:
    parser = Recorder().subcommand_parser
    assert parser.parse_args(["--trainer.max_epochs=3"])["trainer"]["max_epochs"] == 3
    assert "ckpt_path" in parser.get_defaults()


@pytest.mark.parametrize(
    "name",
    [
        "_add_subcommands",
        "_parse_ckpt_path",
        "_parser",
        "_prepare_subcommand_parser",
        "_run_subcommand",
        "_set_seed",
    ],
)
def test_lightning_still_has_the_private_method(name: str) -> None:
    assert callable(getattr(LightningCLI, name)), f"runtime.lightning_internals relies on {name}"
