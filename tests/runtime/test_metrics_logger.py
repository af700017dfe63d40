"""The logger of metrics.csv: one row per epoch, safe to resume."""

from pathlib import Path

import pandas
import pytest

from records.metrics import read_metrics
from runtime.metrics_logger import MetricsCSVLogger


def test_calls_of_one_epoch_share_a_row(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"epoch": -1, "utilization/layer0/1o/power": 0.5})
    logger.log_metrics({"epoch": 0, "val/mae": 3.0}, step=10)
    logger.log_metrics({"epoch": 0, "train/loss": 0.25}, step=10)
    logger.log_metrics({"epoch": 1, "val/mae": 2.0}, step=20)
    table = pandas.read_csv(tmp_path / "metrics.csv")
    assert table["epoch"].tolist() == [-1, 0, 1]
    assert table["val/mae"].tolist()[1:] == [3.0, 2.0]
    assert table["train/loss"][1] == 0.25
    assert table["step"].tolist()[1:] == [10, 20]


def test_late_metrics_join_their_epoch(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"epoch": 0, "val/mae": 3.0})
    logger.log_metrics({"epoch": 1, "val/mae": 2.0})
    logger.log_metrics({"epoch": 0, "latent/all/trustworthiness": 0.9})
    assert read_metrics(logger.path)[0]["latent/all/trustworthiness"] == 0.9


def test_resume_keeps_rows_up_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = MetricsCSVLogger(path)
    for epoch in range(4):
        first.log_metrics({"epoch": epoch, "val/mae": 1.0 / (epoch + 1)})
    second = MetricsCSVLogger(path)
    second.drop_after(1)
    second.log_metrics({"epoch": 2, "val/mae": 7.0})
    assert [row["val/mae"] for row in read_metrics(path).values()] == [1.0, 0.5, 7.0]


def test_metrics_without_epoch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without their epoch"):
        MetricsCSVLogger(tmp_path / "metrics.csv").log_metrics({"val/mae": 1.0})


def test_a_resumed_run_writes_its_file_as_an_unbroken_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    MetricsCSVLogger(path).log_metrics({"epoch": 0, "val/mae": 1.0}, step=38)
    before = path.read_bytes()
    MetricsCSVLogger(path).drop_after(0)
    assert path.read_bytes() == before
    assert before == b"epoch,val/mae,step\n0,1.0,38\n"
