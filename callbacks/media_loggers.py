"""The loggers of a trainer that take pictures, tables and files: those of W&B.

Imports Lightning and `records`, and wandb where something is logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger

from records.wandb_media import Media, save_file, to_wandb


@runtime_checkable
class MediaLogger(Protocol):
    """Takes what is no number. It never fails because W&B's service process is gone."""

    def log_media(self, media: Mapping[str, Media], epoch: int) -> None:
        """Log pictures and tables of an epoch."""

    def log_summary(self, values: Mapping[str, float]) -> None:
        """Set values of the run's summary."""

    def log_files(self, root: Path, names: Sequence[str]) -> None:
        """Name files below a directory that are uploaded at the end."""


def media_loggers(trainer: Trainer) -> list[MediaLogger]:
    """List the loggers that take pictures, tables and files.

    Parameters
    ----------
    trainer : Trainer
        With Lightning's own `WandbLogger`, or with a `MediaLogger` in its place.
    """
    found: list[MediaLogger] = []
    for logger in trainer.loggers:
        if isinstance(logger, MediaLogger):
            found.append(logger)
        elif isinstance(logger, WandbLogger):
            found.append(_PlainWandbLogger(logger))
    return found


class _PlainWandbLogger:
    """Lightning's own logger of W&B."""

    def __init__(self, logger: WandbLogger) -> None:
        self._logger = logger

    def log_media(self, media: Mapping[str, Media], epoch: int) -> None:
        with _service_may_be_gone():
            self._logger.experiment.log({**to_wandb(media, artifacts=True), "epoch": epoch})

    def log_summary(self, values: Mapping[str, float]) -> None:
        with _service_may_be_gone():
            self._logger.experiment.summary.update(values)

    def log_files(self, root: Path, names: Sequence[str]) -> None:
        with _service_may_be_gone():
            for name in names:
                save_file(self._logger.experiment, root, name)


@contextmanager
def _service_may_be_gone() -> Iterator[None]:
    """Go on without W&B if its service process has ended."""
    # Late, as wandb takes half a second to import, and parsing a command line does not need it.
    from records.wandb_internals import SERVICE_GONE

    with suppress(*SERVICE_GONE):
        yield
