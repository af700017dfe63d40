"""`WandbFiles`: give W&B the small files of a run, so that a report can be made from them there.

Imports Lightning and `records` only.
"""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from callbacks.media_loggers import media_loggers
from records.run_files import REPORTED_FILES


class WandbFiles(Callback):
    """Name the files of `records.run_files.REPORTED_FILES` to W&B, which uploads them at the end.

    W&B reads them when the run ends or is synchronized, so they may still change. A run directory
    and W&B then hold the same tables, and ``report.py`` computes the same from both.

    Examples
    --------
    .. code-block:: python

        Trainer(logger=WandbLogger(), callbacks=[WandbFiles()])
    """

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Name the files that the run has, when training or testing is done."""
        if not trainer.is_global_zero:
            return
        root = Path(trainer.default_root_dir)
        present = [name for name in REPORTED_FILES if (root / name).is_file()]
        for logger in media_loggers(trainer):
            logger.log_files(root, present)
