"""Without a terminal, progress is one line per epoch."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks.epoch_lines import EpochLines
from qm9.targets import get_target


def trainer(**changed: Any) -> Any:
    metrics = {"val/mae": torch.tensor(1234.56), "train/loss": torch.tensor(0.0123456)}
    values = {
        "callback_metrics": metrics,
        "current_epoch": 2,
        "max_epochs": 8,
        "is_global_zero": True,
        "progress_bar_callback": None,
    }
    return SimpleNamespace(**(values | changed))


def printed(capsys: pytest.CaptureFixture[str], **changed: Any) -> str:
    lines, module = EpochLines(), SimpleNamespace(target=get_target("U0"))
    lines.on_train_epoch_start(trainer(**changed), module)  # type: ignore[arg-type]
    lines.on_train_epoch_end(trainer(**changed), module)  # type: ignore[arg-type]
    return re.sub(r"\b\d+ s", "T s", capsys.readouterr().out.rstrip("\n"))


def test_a_line_says_epoch_error_loss_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys)
    assert found == "epoch 2 (3 of 8)  val/mae 1,235 meV  train/loss 0.01235  T s  about T s left"


def test_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, callback_metrics={}, max_epochs=-1) == "epoch 2  T s"


def test_only_the_first_process_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, is_global_zero=False) == ""
