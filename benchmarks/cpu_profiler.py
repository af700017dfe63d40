"""`CpuProfiler`: a Lightning profiler that adds up CPU seconds by hook, and writes them to a file.

``--trainer.profiler benchmarks.cpu_profiler.CpuProfiler`` gives it to ``train.py``. CPU seconds
depend little on what else the machine does. Imports Lightning and `records` only.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import defaultdict
from pathlib import Path

from lightning.pytorch.profilers import Profiler
from typing_extensions import override

from records.files import write_json

VARIABLE = "IRREPSCOPE_CPU_PROFILES"
"""Environment variable that names the folder in which each process writes a file."""
TRAINING_BATCH = "run_training_batch"


class CpuProfiler(Profiler):
    """Add up the CPU seconds of the process, all its threads included, by action.

    The file, ``PID.json``, holds ``cpu``, all CPU seconds of the process so far; ``before``, those
    until its first training step; and ``actions``, those of each action. Actions may lie in others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._before: dict[str, float] | None = None
        atexit.register(self._write)

    @override
    def start(self, action_name: str) -> None:
        """Note when an action starts."""
        now = time.process_time()
        if action_name == TRAINING_BATCH and self._before is None:
            self._before = {"cpu": now, **self._seconds}
        self._started[action_name] = now

    @override
    def stop(self, action_name: str) -> None:
        """Add what an action has taken."""
        self._seconds[action_name] += time.process_time() - self._started.pop(action_name)

    @override
    def describe(self) -> None:
        """Write the file instead of a table."""
        self._write()

    @override
    def summary(self) -> str:
        """Return nothing to print."""
        return ""

    def _write(self) -> None:
        content = {
            "cpu": time.process_time(),
            "before": self._before or {},
            "actions": dict(self._seconds),
        }
        write_json(Path(os.environ[VARIABLE]) / f"{os.getpid()}.json", content)
