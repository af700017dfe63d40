"""The devices that a command line gets if it names none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from runtime.cli import IrrepscopeCLI
from runtime.errors import UsageError
from runtime.quiet import quiet_libraries
from runtime.signals import StopSignals
from runtime.trainer import TrainerFactory

OPTIONS: dict[str, Any] = {"accelerator": "auto", "devices": 1, "enable_progress_bar": False}


def factory(**options: Any) -> TrainerFactory:
    deferred = StopSignals().deferred
    return TrainerFactory(OPTIONS | options, [], Path("unused"), False, deferred)


def test_a_machine_with_several_gpus_trains_on_one() -> None:
    cli = IrrepscopeCLI(["fit"], StopSignals())
    assert cli.build_trainer.options["devices"] == 1
    cli = IrrepscopeCLI(["fit", "--trainer.devices=auto"], StopSignals())
    assert cli.build_trainer.options["devices"] == "auto"


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_apples_gpu_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: False))
    assert factory()([]).strategy.root_device.type == "cpu"
    for given in ("mps", "gpu"):
        with pytest.raises(UsageError, match=f"accelerator {given}.*no float64"):
            factory(accelerator=given)


def test_a_recorded_step_cannot_be_watched_for_anomalies() -> None:
    arguments = ["fit", "--model.cuda_graph=true", "--trainer.detect_anomaly=true"]
    with pytest.raises(UsageError, match="detect_anomaly looks at every gradient"):
        IrrepscopeCLI(arguments, StopSignals())


def test_advice_on_tensor_cores_is_not_repeated_at_every_start() -> None:
    quiet_libraries()
    logger = logging.getLogger("lightning.fabric.utilities.rank_zero")
    text = "You are using a CUDA device ('NVIDIA H200') that has Tensor Cores. To properly utilize"
    record = logging.LogRecord(logger.name, logging.INFO, "", 0, text, (), None)
    assert not logger.filter(record)
