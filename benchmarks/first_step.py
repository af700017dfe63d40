"""`FirstStep`: a callback that notes what a run has cost until its first step, and stops it.

`benchmarks.startup` gives it to ``train.py`` of any checkout, so it imports Lightning only.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

VARIABLE = "IRREPSCOPE_FIRST_STEP"
"""Environment variable that names the file to write."""


class FirstStep(Callback):
    """Write the CPU seconds of the process after its first step, then ask it to stop."""

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        path = Path(os.environ[VARIABLE])
        if path.exists():
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        path.write_text(json.dumps({"cpu": used.ru_utime + used.ru_stime}))
        os.kill(os.getpid(), signal.SIGTERM)
