"""Each callback's share of an epoch: ``python -m benchmarks.callbacks [--config FILE]``.

The time of a callback's hooks in the training process is divided by that of training and
validation in a whole epoch, extrapolated from the same shortened run, on bonds and on the radius
graph. So is that of finding what is missed, as a share of the whole training. To measure another
callback, add it to `CALLBACKS`. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything

from analysis.measurement import TargetScale
from analysis.missed import FineTuning, candidates, missed_errors
from callbacks.irrep_utilization import IrrepUtilization
from callbacks.latent_umap import LatentUMAP
from lightning_modules.measured import measured_batches
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from records.standard_streams import make_standard_streams_safe
from runtime.metrics_logger import MetricsCSVLogger
from runtime.quiet import quiet_libraries

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "reading.yaml"
CALLBACKS: dict[str, tuple[Callable[[], Callback], float]] = {
    "IrrepUtilization": (partial(IrrepUtilization, missed_share=0.0, heatmap=False), 3.0),
    "LatentUMAP": (LatentUMAP, 2.0),
}
"""Name to constructor, and the largest share of an epoch that is allowed, in percent."""
MISSED_STEPS = 20
"""Steps that training on after a removal is timed with."""
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


def missed_seconds(config: dict[str, Any], share: float, now: Callable[[], float]) -> float:
    """Time the search for what is missed after a whole training, extrapolated from a few steps.

    Parameters
    ----------
    config : dict
        Options ``model``, ``data`` and ``trainer``, as in the configuration files.
    share : float
        Share of the training's steps, `IrrepUtilization`'s ``missed_share``.
    now : callable
        Clock, in seconds.

    Returns
    -------
    float
        Seconds: building the networks and measuring them, plus all of their steps.
    """
    seed_everything(0, verbose=False)
    data = QM9DataModule(**config["data"])
    model = EquivariantRegressor(**config["model"], target=data.target.name)
    data.prepare_data()
    data.setup("fit")
    network, gone = model.network, candidates(model.network)
    batches = measured_batches(data, network, IrrepUtilization().num_molecules, 64)
    size = config["data"]["batch_size"]

    def timed(steps: int) -> float:
        parts = data.splits["train"].split(size)
        tuning = FineTuning(lambda: (data.batch(part) for part in parts), steps, lr=1e-3)
        before = now()
        missed_errors(network, network.kept, batches, TargetScale(), tuning, gone)
        return now() - before

    timed(1)  # warm-up
    fixed, some = timed(0), timed(MISSED_STEPS)
    epochs = config["trainer"]["max_epochs"]
    steps = int(share * epochs * len(data.splits["train"]) / size / (len(gone) + 1))
    return fixed + (some - fixed) / MISSED_STEPS * steps


def main(arguments: list[str]) -> int:
    """Print one row per callback, and one for what is missed, for each graph.

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
    parser.add_argument(
        "--graphs", nargs="+", default=["bonds", "radius"], help="graphs to measure on"
    )
    options = parser.parse_args(arguments)
    quiet_libraries()
    if options.cpu_time:
        torch.set_num_threads(1)
    now = time.process_time if options.cpu_time else time.perf_counter
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    failed = False
    for graph in options.graphs:
        config["data"]["graph"] = graph
        print(f"\n{options.config.name}, {config['model']['irreps']}, {graph}:")
        print(f"{'':20} {'s':>10} {'of, s':>10} {'share, %':>9} {'allowed':>9}", flush=True)
        for name, (build, allowed) in CALLBACKS.items():
            with redirect_stdout(io.StringIO()):
                epoch, hooks = measure(config, build(), options.count, options.epochs, now)
            failed |= _print_row(name, hooks, epoch, allowed)
        share = IrrepUtilization().missed_share
        training = epoch * config["trainer"]["max_epochs"]
        failed |= _print_row(
            "missed", missed_seconds(config, share, now), training, allowed=100 * share
        )
    return int(failed)


def _print_row(name: str, seconds: float, whole: float, allowed: float) -> bool:
    """Print a share; return whether it is larger than allowed."""
    share = 100 * seconds / whole
    verdict = "ok" if share <= allowed else "TOO MUCH"
    numbers = f"{seconds:10.2f} {whole:10.1f} {share:9.2f} {allowed:9.1f}"
    print(f"{name:20} {numbers}  {verdict}", flush=True)
    return share > allowed


if __name__ == "__main__":
    make_standard_streams_safe()
    sys.exit(main(sys.argv[1:]))
