"""`WandbFiles`: give W&B the small files of a run, so that a report can be made from them there.

Imports Lightning, wandb's logger and `records` only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from records.run_files import REPORTED_FILES
from records.wandb_internals import SERVICE_GONE


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
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                with suppress(*SERVICE_GONE):
                    for name in present:
                        _save(logger.experiment, root, name)


def _save(run: Any, root: Path, name: str) -> None:
    """Name one file to W&B.

    The link is made here because W&B's own is absolute, so that it would break when the run's
    directory is moved before it is synchronized, and because W&B warns of every link it makes.
    """
    link = Path(run.dir) / name
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # a file system without links: W&B copies the file
            link.symlink_to(os.path.relpath(root / name, link.parent))
    run.save(str(root / name), base_path=str(root), policy="end", glob=False)
