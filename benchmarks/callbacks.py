"""Each callback's share of an epoch: ``python -m benchmarks.callbacks [--config FILE]``.

The time of a callback's hooks in the training process is divided by that of training and
validation in a whole epoch, extrapolated from the same shortened run. To measure another callback,
add it to `CALLBACKS`. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything

from callbacks.irrep_utilization import IrrepUtilization
from callbacks.latent_umap import LatentUMAP
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from runtime.metrics_logger import MetricsCSVLogger
from runtime.quiet import quiet_libraries

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "paper.yaml"
CALLBACKS: dict[str, tuple[Callable[[], Callback], float]] = {
    "IrrepUtilization": (IrrepUtilization, 3.0),
    "LatentUMAP": (LatentUMAP, 2.0),
}
"""Name to constructor, and the largest share of an epoch that is allowed, in percent."""
HOOKS = [name for name in dir(Callback) if name.startswith("on_")]


class Clock(Callback):
    """Runs the hooks of another callback and separates their time from that of everything else.

    Parameters
    ----------
    timed : Callback
        Callback to measure.
    now : callable
        Clock, in seconds.
    """

    def __init__(self, timed: Callback, now: Callable[[], float]) -> None:
        self.setup = timed.setup  # type: ignore[method-assign]
        self.now = now
        self.train_s: list[float] = []
        self.validation_s: list[float] = []
        self.hooks_s: list[float] = []
        self._inside = self._outside = 0.0
        self._last_exit = now()
        for name in HOOKS:
            setattr(self, name, self._timed(name, getattr(timed, name)))

    def _timed(self, name: str, hook: Callable[..., None]) -> Callable[..., None]:
        def run(trainer: Trainer, *rest: Any) -> None:
            entered = self._now_synchronized()
            self._outside += entered - self._last_exit
            hook(trainer, *rest)
            self._last_exit = self._now_synchronized()
            self._inside += self._last_exit - entered
            self._record(trainer, name)

        return run

    def _record(self, trainer: Trainer, name: str) -> None:
        """Record the time of a finished batch or epoch; the first epoch is a warm-up."""
        is_warm = trainer.current_epoch > 0
        if name in ("on_train_batch_end", "on_validation_batch_end"):
            batches = self.train_s if name == "on_train_batch_end" else self.validation_s
            batches += [self._outside] if is_warm else []
            self._outside = 0.0
        if name == "on_train_epoch_end":
            self.hooks_s += [self._inside] if is_warm else []
            self._inside = 0.0

    def _now_synchronized(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self.now()


def measure(
    config: dict[str, Any], callback: Callback, count: int, epochs: int, now: Callable[[], float]
) -> tuple[float, float]:
    """Measure a callback in a few shortened epochs.

    Parameters
    ----------
    config : dict
        Options ``model`` and ``data``, as in the configuration files.
    callback : Callback
        Callback to measure.
    count : int
        Training batches per epoch.
    epochs : int
        Epochs after the warm-up.
    now : callable
        Clock, in seconds.

    Returns
    -------
    epoch_s, hooks_s : float
        Seconds that an epoch takes without the callback, and that the callback takes per epoch.
    """
    seed_everything(0, verbose=False)
    clock = Clock(callback, now)
    data = QM9DataModule(**config["data"])
    model = EquivariantRegressor(**config["model"], target=data.target.name)
    with tempfile.TemporaryDirectory() as root:
        trainer = Trainer(
            max_epochs=epochs + 1,
            limit_train_batches=count,
            limit_val_batches=max(1, count // 10),
            callbacks=[clock],
            logger=MetricsCSVLogger(Path(root) / "metrics.csv"),
            default_root_dir=root,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(model, datamodule=data)
    step, validation = median(clock.train_s), median(clock.validation_s)
    epoch = step * len(data.train_dataloader()) + validation * len(data.val_dataloader())
    return epoch, median(clock.hooks_s)


def main(arguments: list[str]) -> int:
    """Print one row per callback.

    Returns
    -------
    int
        1 if a callback takes more than it is allowed, otherwise 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.callbacks", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--count", type=int, default=50, help="training batches per epoch")
    parser.add_argument("--epochs", type=int, default=3, help="epochs after the warm-up")
    parser.add_argument(
        "--cpu_time",
        action="store_true",
        help="measure CPU time of one thread instead of wall time: for a busy machine",
    )
    options = parser.parse_args(arguments)
    quiet_libraries()
    if options.cpu_time:
        torch.set_num_threads(1)
    now = time.process_time if options.cpu_time else time.perf_counter
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    rows = []
    for name, (build, allowed) in CALLBACKS.items():
        epoch, hooks = measure(config, build(), options.count, options.epochs, now)
        share = 100 * hooks / epoch
        verdict = "ok" if share <= allowed else "TOO MUCH"
        rows.append(f"{name:20} {hooks:10.2f} {epoch:10.1f} {share:9.2f} {allowed:9.1f}  {verdict}")
    print(f"\n{options.config.name}, {config['model']['irreps']}:")
    print(f"{'callback':20} {'s/epoch':>10} {'epoch, s':>10} {'share, %':>9} {'allowed':>9}")
    print("\n".join(rows))
    return int(any(row.endswith("TOO MUCH") for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
