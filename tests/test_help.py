"""Every option of every program says what it does and what it may be."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from typing import Any

import pytest

import probe
import report
import sweep
import train
import upload
from lightning_modules.molecule_datamodule import GRAPHS
from qm9.splits import SPLITS
from qm9.targets import TARGETS
from runtime.cli import IrrepscopeCLI
from runtime.signals import StopSignals
from runtime.subcommands import SUBCOMMANDS
from runtime.trainer import PRECISIONS

CHOICES = {
    "data.target": TARGETS,
    "data.graph": GRAPHS,
    "data.split": SPLITS,
    "model.reference": ("none", "mean", "composition"),
    "model.convolution": ("fast", "e3nn"),
    "model.loss": ("mse", "l1", "huber"),
    "model.lr_schedule": ("constant", "cosine", "plateau"),
    "model.irrep_dropout": ("none", "uniform", "sizes", "sandwich"),
    "latent.color_by": ("target", "composition_free", "error", "spatial_score"),
    "trainer.precision": PRECISIONS,
}


def help_of(main: Callable[[list[str]], Any], arguments: list[str]) -> str:
    """Let a program print its help; return it with single spaces."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as end,
    ):
        main(arguments)
    assert end.value.code == 0
    assert errors.getvalue() == ""
    return " ".join(output.getvalue().split())


def run_cli(arguments: list[str]) -> IrrepscopeCLI:
    return IrrepscopeCLI(arguments, StopSignals())


def assert_described(parser: argparse.ArgumentParser) -> None:
    assert parser.description
    options = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    bare = [action.dest for action in options if len((action.help or "").split()) < 2]
    assert bare == []


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_every_option_of_train_says_what_it_does(subcommand: str) -> None:
    parser = run_cli([subcommand]).subcommand_parser
    assert len(parser._actions) > 100
    assert_described(parser)


def test_options_of_train_name_their_choices() -> None:
    text = help_of(run_cli, ["fit", "--help"])
    for option, choices in CHOICES.items():
        entry = text.rpartition(f" --{option} ")[2].partition(" --")[0]
        missing = [choice for choice in choices if choice not in entry]
        assert missing == [], f"{option}: {entry}"


def test_train_says_that_the_subcommand_may_be_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for option in ("-h", "--help"):
        assert train.main([option]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "default: fit, then test the best checkpoint" in text
        for description in SUBCOMMANDS.values():
            assert description in text


@pytest.mark.parametrize(
    "main",
    [sweep.main, report.main, upload.main, probe.main],
    ids=["sweep.py", "report.py", "upload.py", "probe.py"],
)
def test_every_option_of_sweep_and_report_says_what_it_does(
    main: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsers = []
    format_help = argparse.ArgumentParser.format_help

    def keep(parser: argparse.ArgumentParser) -> str:
        parsers.append(parser)
        return format_help(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "format_help", keep)
    help_of(main, ["--help"])
    (parser,) = parsers
    assert_described(parser)
