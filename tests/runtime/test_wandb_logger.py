"""W&B gets one history row per epoch, after its checkpoint, without gap or repetition."""

from typing import Any

import pytest

from runtime.wandb_history import ReceivedHistory
from runtime.wandb_logger import EpochWandbLogger


class History:
    """Stands for a W&B run: keeps the rows that are logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def write_logs(self, text: str) -> None:
        self.lines.append(text)


def test_an_epochs_metrics_are_one_row_sent_with_its_checkpoint() -> None:
    history = History()
    logger = EpochWandbLogger(history)  # type: ignore[arg-type]
    logger.log_metrics({"epoch": -1, "utilization/layer0/1o/power": 1.0})
    logger.log_metrics({"epoch": 0, "val/mae": 3.0}, step=5)
    logger.log_metrics({"epoch": 0, "train/loss": 0.5}, step=5)
    assert history.rows == []
    logger.on_epoch_saved(0)
    assert [row["epoch"] for row in history.rows] == [-1, 0]
    assert history.rows[1]["val/mae"] == 3.0
    assert history.rows[1]["train/loss"] == 0.5
    assert logger.logged_through == 0
    assert history.lines == ["epoch 0  val/mae 3  train/loss 0.5"]


def test_late_measures_are_sent_at_once_under_their_own_epoch() -> None:
    history = History()
    logger = EpochWandbLogger(history)  # type: ignore[arg-type]
    logger.log_metrics({"epoch": 0, "val/mae": 3.0})
    logger.on_epoch_saved(0)
    logger.log_metrics({"epoch": 0, "latent/all/trustworthiness": 0.9})
    assert history.rows[-1] == {"epoch": 0, "latent/all/trustworthiness": 0.9}


def test_metrics_of_a_row_already_sent_are_not_sent_again() -> None:
    history = History()
    logger = EpochWandbLogger(history)  # type: ignore[arg-type]
    logger.log_metrics({"epoch": 0, "val/mae": 3.0, "train/loss": 0.5})
    logger.on_epoch_saved(0)
    logger.log_metrics({"epoch": 0, "train/loss": 0.5})
    assert len(history.rows) == 1


@pytest.mark.parametrize("sent", [None, -1, 0, 1, 2])
def test_a_continued_run_fills_the_gap_and_repeats_nothing(sent: int | None) -> None:
    history = History()
    rows = {epoch: {"epoch": float(epoch), "val/mae": 1.0} for epoch in (-1, 0, 1)}
    received = None if sent is None else ReceivedHistory(whole_through=sent)
    logger = EpochWandbLogger(history, received)  # type: ignore[arg-type]
    logger.fill(rows, through=1)
    for epoch in (2, 3):
        logger.log_metrics({"epoch": epoch, "val/mae": 1.0})
        logger.on_epoch_saved(epoch)
    first = -1 if sent is None else sent + 1
    assert [row["epoch"] for row in history.rows] == list(range(first, 4))


def test_a_continued_run_sends_single_numbers_that_wandb_lacks() -> None:
    """As of an epoch whose row was on disk when a kill took what had come late for it."""
    history = History()
    rows = {
        epoch: {"epoch": float(epoch), "step": 5.0, "a": 1.0, "latent/b": 2.0} for epoch in (0, 1)
    }
    sent = {"epoch", "epochs", "a", "trainer/global_step"}
    received = ReceivedHistory({0: {*sent, "latent/b"}, 1: sent})
    logger = EpochWandbLogger(history, received)  # type: ignore[arg-type]
    logger.fill(rows, through=1)
    assert history.rows == [{"epoch": 1, "latent/b": 2.0}]
    logger.log_metrics({"epoch": 0, "latent/b": 2.0})
    assert len(history.rows) == 1


def test_pictures_of_an_epoch_that_is_trained_again_do_not_stand_for_its_row() -> None:
    history = History()
    received = ReceivedHistory({0: {"epoch", "utilization/heatmap"}})
    logger = EpochWandbLogger(history, received)  # type: ignore[arg-type]
    logger.fill({0: {"epoch": 0.0, "a": 1.0}}, through=0)
    assert history.rows == [{"epoch": 0, "epochs": 1, "a": 1.0}]


def test_a_restarted_run_gets_what_was_logged_in_vain() -> None:
    dead, restarted = History(), History()
    logger = EpochWandbLogger(dead)  # type: ignore[arg-type]
    for epoch in range(3):
        logger.log_metrics({"epoch": epoch, "a": 1.0})
        logger.on_epoch_saved(epoch)
    logger.log_metrics({"epoch": 1, "latent/b": 2.0})
    received = ReceivedHistory({0: {"epoch", "epochs", "a"}, 1: {"epoch", "epochs", "a"}})
    logger.reconnect(restarted, received)  # type: ignore[arg-type]
    assert restarted.rows == [
        {"epoch": 2, "epochs": 3, "a": 1.0},
        {"epoch": 1, "latent/b": 2.0},
    ]
