"""In a terminal there is a bar with units and the run's time, and a line per epoch that stays."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.regressor import EquivariantRegressor
from runtime.signals import StopSignals
from runtime.trainer import TrainerFactory
from tests.lightning_modules.test_regressor import SMALL, Molecules

OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 2,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def trained(
    screen: io.StringIO, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> str:
    """Train for two epochs; return what is on the screen, one redrawing of the bar a line."""
    monkeypatch.setattr(sys, "stdout", screen)
    torch.manual_seed(0)
    factory = TrainerFactory(
        OPTIONS | options, [], folder, training=False, deferring_stop=StopSignals().deferred
    )
    factory([]).fit(EquivariantRegressor(**SMALL), datamodule=Molecules())
    return screen.getvalue().replace("\r", "\n")


def test_a_terminal_has_a_bar_with_units_and_the_lines_of_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = trained(Terminal(), tmp_path, monkeypatch)
    bars = re.findall(r"^epoch 1 \(2 of 2\):.*\]", text, re.MULTILINE)
    assert bars
    assert re.search(r"val/mae [\d,.e+]+ meV  train/loss [\d.e+-]+  run \d+ s left\]", bars[-1])
    assert len(re.findall(r"^epoch 0 \(1 of 2\)  val/mae .* left *$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^epoch 1 \(2 of 2\)  val/mae .* s *$", text, re.MULTILINE)) == 1
    assert "v_num" not in text


@pytest.mark.parametrize(("given", "lines"), [(None, 2), (False, 0)])
def test_a_file_gets_lines_only_and_nothing_if_the_bar_is_turned_off(
    given: bool | None, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = trained(io.StringIO(), tmp_path, monkeypatch, enable_progress_bar=given)
    assert "it/s" not in text
    assert text.count("val/mae") == lines
