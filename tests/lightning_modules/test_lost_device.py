"""Whatever fails while something is measured is a warning, unless the device is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from callbacks.irrep_utilization import IrrepUtilization
from lightning_modules.measured import device_is_lost
from lightning_modules.regressor import EquivariantRegressor
from tests.callbacks.synthetic import SyntheticMolecules
from tests.lightning_modules.made_up import SMALL, quiet_trainer


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (RuntimeError("expected m1 and m2 to have the same dtype"), False),
        (ValueError("bad"), False),
    ],
)
def test_which_errors_leave_the_device_unusable(error: Exception, lost: bool) -> None:
    assert device_is_lost(error) is lost


@pytest.mark.parametrize("text", ["CUDA error: device-side assert triggered", "no such irrep"])
def test_training_ends_with_a_lost_device_and_no_other_failure(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr("callbacks.irrep_utilization.measure_utilization", fail)
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[IrrepUtilization()])
    model = EquivariantRegressor(**SMALL)
    if text.startswith("CUDA error"):
        with pytest.raises(RuntimeError, match="device-side assert"):
            trainer.fit(model, datamodule=SyntheticMolecules())
        return
    with pytest.warns(UserWarning, match=f"could not be measured.*{text}"):
        trainer.fit(model, datamodule=SyntheticMolecules())
    assert trainer.current_epoch == 1
