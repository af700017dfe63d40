"""Every epoch leaves checkpoints with all that a resumed run needs, wherever its directory is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers.logger import Logger
from typing_extensions import override

from callbacks.epoch_checkpoint import EpochCheckpoint, EpochListener
from runtime.checkpoints import WholeCheckpointIO, read_checkpoint
from tests.latents.latent_data import NamedMolecules, small_model, trainer

STILL = 1e-30
"""A learning rate so small that no epoch is better than the first."""


class Order(Logger):
    """Remembers what had been logged at each checkpoint, and which epochs it was told of."""

    name = version = "order"

    def __init__(self) -> None:
        super().__init__()
        self.logged: set[str] = set()
        self.at_checkpoints: list[set[str]] = []
        self.saved: list[tuple[int, int]] = []

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    @override
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged |= {f"{key} {int(metrics['epoch'])}" for key in metrics}

    @override
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.at_checkpoints.append(set(self.logged))

    def on_epoch_saved(self, epoch: int) -> None:
        self.saved.append((epoch, len(self.at_checkpoints)))


def fit(
    root: Path,
    epochs: int,
    resume: bool = False,
    deferring_stop: Callable[[], AbstractContextManager[None]] = nullcontext,
    **options: Any,
) -> Order:
    """Train for `epochs` epochs, with the learning rate `STILL` by default."""
    logger = Order()
    checkpoint = EpochCheckpoint(root / "checkpoints", deferring_stop)
    settings = {"enable_checkpointing": True, "logger": logger, "plugins": [WholeCheckpointIO()]}
    fitting = trainer(root, [checkpoint], epochs, **settings)
    fitting.fit(
        small_model(**{"lr": STILL, **options}),
        datamodule=NamedMolecules(),
        ckpt_path=root / "checkpoints" / "last.ckpt" if resume else None,
        weights_only=True,
    )
    return logger


def epoch_of(root: Path, name: str) -> int:
    return int(read_checkpoint(root / "checkpoints" / f"{name}.ckpt")["epoch"])


def test_last_is_the_last_epoch_even_if_an_earlier_one_was_the_best(tmp_path: Path) -> None:
    fit(tmp_path, 3)
    assert (epoch_of(tmp_path, "best"), epoch_of(tmp_path, "last")) == (0, 2)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_an_epochs_row_is_complete_before_its_checkpoint(tmp_path: Path) -> None:
    """A kill right after a checkpoint leaves no gap that no later process would fill."""
    logger = fit(tmp_path, 2)
    assert len(logger.at_checkpoints) == 3  # best and last of epoch 0, last of epoch 1
    for epoch, logged in zip((0, 0, 1), logger.at_checkpoints, strict=True):
        assert {f"train/loss {epoch}", f"val/mae {epoch}", f"lr {epoch}"} <= logged
    assert logger.at_checkpoints[-1] == logger.logged, "something was logged after it"


def test_loggers_are_told_of_an_epoch_after_its_last_checkpoint(tmp_path: Path) -> None:
    logger = fit(tmp_path, 2)
    assert isinstance(logger, EpochListener)
    assert logger.saved == [(0, 2), (1, 3)]


def test_a_stop_waits_until_the_loggers_have_been_told(tmp_path: Path) -> None:
    events: list[str] = []

    @contextmanager
    def deferring_stop() -> Iterator[None]:
        events.append("deferred")
        yield
        events.append(f"{epoch_of(tmp_path, 'last')} on disk")

    fit(tmp_path, 2, deferring_stop=deferring_stop)
    assert events == ["deferred", "0 on disk", "deferred", "1 on disk"]


def test_the_plateau_schedule_has_had_its_step(tmp_path: Path) -> None:
    fit(tmp_path, 3, lr=1e-6, lr_schedule="plateau", patience=1)
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    (schedule,) = last["lr_schedulers"]
    assert schedule["last_epoch"] == 3
    assert schedule["best"] < float("inf")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_that_was_moved_keeps_its_best_epoch(tmp_path: Path) -> None:
    fit(tmp_path / "here", 2)
    (tmp_path / "here").rename(tmp_path / "there")
    fit(tmp_path / "there", 3, resume=True)
    assert (epoch_of(tmp_path / "there", "best"), epoch_of(tmp_path / "there", "last")) == (0, 2)
    assert not (tmp_path / "here").exists()
