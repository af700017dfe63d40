"""Reading records stays light: no torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = "configuration, files, latents, metrics, names, splits, summary, utilization"


def test_reading_records_imports_neither_torch_nor_lightning_nor_wandb() -> None:
    program = f"import sys; from records import {MODULES}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "lightning", "wandb", "pandas"} & set(done.stdout.split())
