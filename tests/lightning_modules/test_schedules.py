"""The learning rate factor, against torch's own schedulers."""

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from lightning_modules.schedules import learning_rate_factor


def torchs_factors(warmup: int, total: int, cosine: bool) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    schedules: list = [
        LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup),
        CosineAnnealingLR(optimizer, total - warmup)
        if cosine
        else LinearLR(optimizer, 1.0, 1.0, 1),
    ]
    schedule = SequentialLR(optimizer, schedules, [warmup]) if warmup else schedules[1]
    if not warmup:
        optimizer.param_groups[0]["lr"] = 1.0
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own remarks on the order of its calls
        for _ in range(total):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return found


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize("cosine", [True, False])
def test_factors_are_torchs(warmup: int, cosine: bool) -> None:
    total = 20 if cosine else None
    ours = [learning_rate_factor(step, warmup, total) for step in range(20)]
    assert ours == pytest.approx(torchs_factors(warmup, 20, cosine), rel=1e-9, abs=1e-12)


def test_the_cosine_ends_at_zero_and_stays_there() -> None:
    assert [learning_rate_factor(step, 2, 10) for step in (10, 15)] == [0.0, 0.0]
