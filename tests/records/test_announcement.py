"""A program says a word at its start, and only there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from records.announcement import announce

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [[], ["fit"], ["--run_name=help"], ["--runs_dir", "help"]])
def test_work_is_announced_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    announce("starting", arguments)
    assert capsys.readouterr() == ("", "starting\n")


@pytest.mark.parametrize("arguments", [["-h"], ["fit", "--help"], ["--trainer.logger.help=X"]])
def test_help_is_not_announced(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    announce("starting", arguments)
    assert capsys.readouterr() == ("", "")


def test_only_the_first_of_several_processes_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    announce("starting", [])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("program", ["report.py", "sweep.py", "upload.py"])
def test_the_help_of_a_program_is_nothing_but_help(program: str) -> None:
    done = subprocess.run(
        [sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"usage: {program}")
    assert done.stderr == ""
