"""`MetricsCSVLogger`: metrics.csv, one row per epoch, safe to interrupt and to resume.

Lightning's own CSVLogger writes one row per call and deletes the earlier rows on resume.
Imports Lightning and `records` only.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from records.metrics import Row, read_metrics, write_metrics


class MetricsCSVLogger(Logger):
    """Merge all metrics with the same ``epoch`` into one row of a CSV file.

    The file is rewritten atomically every time. The untrained baseline is epoch -1.

    Parameters
    ----------
    path : Path
        The CSV file. Rows that it already has are kept.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, Row] = read_metrics(path)

    @property
    @override
    def name(self) -> str:
        return "metrics"

    @property
    @override
    def version(self) -> str:
        return ""

    @override
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kw: Any) -> None:
        """Do nothing: the configuration is in config.yaml."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add metrics to the row of their epoch.

        Parameters
        ----------
        metrics : dict of str to float
            With the key ``epoch``.
        step : int, optional
            Optimizer step, written in the column ``step``.

        Raises
        ------
        ValueError
            If ``epoch`` is missing.
        """
        if "epoch" not in metrics:
            raise ValueError(f"metrics {sorted(metrics)} come without their epoch")
        epoch = int(metrics["epoch"])
        row = self.rows.setdefault(epoch, {"epoch": epoch})
        row.update({key: float(value) for key, value in metrics.items() if key != "epoch"})
        if step is not None:
            row.setdefault("step", step)
        self._write()

    @rank_zero_only
    def drop_after(self, epoch: int) -> None:
        """Remove the rows of epochs that a resumed run will train again.

        Parameters
        ----------
        epoch : int
            Last epoch to keep.
        """
        self.rows = {e: row for e, row in self.rows.items() if e <= epoch}
        self._write()

    def _write(self) -> None:
        write_metrics(self.path, self.rows)
