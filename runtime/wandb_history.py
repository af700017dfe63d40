"""What W&B already has of a run that an earlier process began, so that it gets every row once.

Imports wandb, `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import wandb

from records.names import UNTRAINED
from records.wandb_files import (
    cells_in_offline_files,
    cells_on_server,
    set_aside_offline_files,
)

NO_EPOCH = UNTRAINED - 1
COUNT = "epochs"
"""Logged with every epoch's row, and only there: the number of finished epochs."""


@dataclass(frozen=True)
class ReceivedHistory:
    """Rows that need not be sent again.

    Attributes
    ----------
    cells : mapping of int to set of str
        Keys that W&B has, by epoch.
    whole_through : int
        Last epoch of which W&B has everything, whether or not `cells` lists it.
    """

    cells: Mapping[int, set[str]] = field(default_factory=dict)
    whole_through: int = NO_EPOCH

    def has_row(self, epoch: int) -> bool:
        """Whether W&B has an epoch's row, though perhaps not what came late for that epoch."""
        return epoch <= self.whole_through or COUNT in self.cells.get(epoch, ())

    def has_cell(self, epoch: int, key: str) -> bool:
        """Whether W&B has one number."""
        if epoch in self.cells:
            return key in self.cells[epoch]
        return epoch <= self.whole_through

    @property
    def last_row(self) -> int:
        """Last epoch whose row W&B has, or `NO_EPOCH`."""
        listed = (epoch for epoch in self.cells if self.has_row(epoch))
        return max(listed, default=self.whole_through)


def received_history(
    run: wandb.Run, mode: str, folder: Path, recorded: int | None
) -> ReceivedHistory:
    """Find out what W&B has of a run that is being continued.

    Parameters
    ----------
    run : wandb.Run
        Just started.
    mode : {"online", "offline", "disabled"}
        In which `run` was started.
    folder : Path
        The run's ``wandb`` folder, with its offline files repaired.
    recorded : int or None
        Last epoch in the files that were closed in order. Such files may have been uploaded and
        removed since.
    """
    if mode == "offline":
        # Nobody can ask the server how much of the online files it has received: almost all.
        cells = cells_in_offline_files(folder, run.id)
        for epoch, keys in (cells_on_server(folder, run.id, None) or {}).items():
            cells.setdefault(epoch, set()).update(keys)
        return ReceivedHistory(cells, NO_EPOCH if recorded is None else recorded)
    if mode != "online":
        return ReceivedHistory()
    # From now on the server has the rows that offline files hold: they must not be uploaded too.
    set_aside_offline_files(folder, run.id)
    on_server = cells_on_server(folder, run.id, run.starting_step)
    if on_server is not None:
        return ReceivedHistory(on_server)
    epochs = run.summary.get(COUNT)  # type: ignore[no-untyped-call]
    return ReceivedHistory({}, NO_EPOCH if epochs is None else int(epochs) - 1)
