"""`LatentUMAP`: the latent space of every epoch, laid out, measured and drawn beside training.

Imports Lightning, `analysis`, `latents`, `lightning_modules.measured` and `records`; umap-learn,
which takes seconds to load, only in the worker process.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from analysis.latent_embedding import choose_layer
from callbacks.media_loggers import media_loggers
from latents.client import Job, UmapClient
from latents.metric_keys import logged_metrics
from latents.snapshots import Snapshots, temporarily_loaded
from latents.wandb_media import picture_of, results_of
from lightning_modules.measured import (
    MEASURED_PART,
    MeasurableModule,
    device_is_lost,
    measurable_data,
    measurable_module,
    measurable_network,
    measured_batches,
)
from networks.layered import LayeredNetwork
from records.latent_paths import BEST, Frame, epoch_path, epochs_in, pending_frames, remove_after
from records.latents import LatentEpoch, Settings, read_epoch, write_molecules, write_snapshot
from records.names import UNTRAINED

ColorBy = Literal["target", "composition_free", "error", "spatial_score"]
DEV_RUN_MOLECULES = 50
"""Molecules shown in a `fast_dev_run`, at most."""
_Hook = TypeVar("_Hook", bound=Callable[..., None])


def _never_stops_training(hook: _Hook) -> _Hook:
    """Skip a hook when there is no worker; turn its failure into a warning and an end."""

    @functools.wraps(hook)
    def guarded(self: LatentUMAP, *args: Any, **kwargs: Any) -> None:
        if self._client is None:
            return
        try:
            hook(self, *args, **kwargs)
        # Whatever goes wrong here: no picture is worth a training run.
        except Exception as error:
            self._close(seconds=0.0)
            if device_is_lost(error):
                raise
            rank_zero_warn(
                f"LatentUMAP has stopped ({type(error).__name__}: {error}); training goes on"
            )

    return guarded  # type: ignore[return-value]


class LatentUMAP(Callback):
    """UMAP of molecules' latent features before training and after each epoch.

    The first molecules of the part that is kept for measuring, the same at every epoch, are
    embedded by sum-pooled, invariant features of one layer. UMAP lays them out for all irreps
    together and for each irrep, starting from the previous epoch's layout. A worker process does
    that and draws it: training hands arrays over, and waits only after the last epoch. Then the
    best checkpoint is laid out too; the table and W&B's summary describe it.

    Measured of each block (``all``, ``0e``, ``1o``, …), with 95 % bootstrap intervals over
    molecules (see `analysis.latent_metrics`):

    - ``knn_r2_target``: how well nearest neighbours predict the target. Counting atoms alone
      predicts an energy with R^2 above 0.9, so read it beside ``element_counts``;
    - ``knn_r2_composition_free``: the same of the target minus its least-squares fit on element
      counts;
    - ``knn_r2_complexity``: the same of RDKit's normalized spatial score;
    - ``trustworthiness`` of the layout;
    - ``intrinsic_dimension``. Compare it between blocks of equal width only: between epochs of a
      run or networks with equally many channels.

    kNN R^2 and dimension depend on the number of molecules: compare runs with the same
    ``latent/num_molecules`` only. The baselines are the same R^2 of element counts alone, and all
    measures in epoch -1: of the random network of the same width, before its first step.

    All numbers are in ``<run>/latents/metrics.csv``. Metrics (`latents.metric_keys`) are those of
    all irreps together, ``knn_r2_composition_free`` of each irrep and the baselines. Images are
    ``latent/umap`` and at the end ``latent/animation``, with the table ``latent/molecules``. Other
    files in ``<run>/latents``: ``epoch_XXX.png`` and ``.npz``, ``best.png`` and ``.npz``,
    ``animation.gif``, ``molecules.csv``.

    Parameters
    ----------
    enabled : bool
        False: do nothing.
    num_molecules : int
        Molecules shown and measured, at most.
    layer : int, optional
        Layer from 0; by default the last whose l > 0 irreps all reach the output.
    every_n_epochs : int
        Epochs from one picture to the next. The last epoch is always shown.
    color_by : {"target", "composition_free", "error", "spatial_score"}
        The target, the target minus its fit on element counts, the absolute error, or RDKit's
        normalized spatial score. Of a vector or tensor it is the norm, and the norm of the error.
    n_neighbors : int
        Size of the neighbourhoods of UMAP and trustworthiness.
    min_dist : float
        UMAP's smallest distance between points.
    seed : int
        UMAP's seed.
    table_size : int
        Molecules in ``latent/molecules``.
    animation : bool
        Whether to write the animation at the end.
    wait_seconds : float
        Longest wait for outstanding pictures after the last epoch.
    batch_size : int
        Molecules per forward pass.
    dpi : int
        Resolution of the pictures.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        When training starts, if the module or the data module lacks something; says what.

    Examples
    --------
    .. code-block:: yaml

        latent:
          num_molecules: 1000
          color_by: spatial_score
    """

    def __init__(
        self,
        enabled: bool = True,
        num_molecules: int = 2000,
        layer: int | None = None,
        every_n_epochs: int = 1,
        color_by: ColorBy = "target",
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        seed: int = 0,
        table_size: int = 200,
        animation: bool = True,
        wait_seconds: float = 600.0,
        batch_size: int = 256,
        dpi: int = 150,
    ) -> None:
        _check_least("num_molecules", num_molecules, 1)
        _check_least("every_n_epochs", every_n_epochs, 1)
        _check_least("n_neighbors", n_neighbors, 2)
        _check_least("min_dist", min_dist, 0)
        _check_least("seed", seed, 0)
        _check_least("table_size", table_size, 0)
        _check_least("wait_seconds", wait_seconds, 0)
        _check_least("batch_size", batch_size, 1)
        _check_least("dpi", dpi, 30)
        if color_by not in get_args(ColorBy):
            raise ValueError(
                f"color_by {color_by!r} is unknown: choose one of {', '.join(get_args(ColorBy))}"
            )
        self.enabled = enabled
        self.num_molecules = num_molecules
        self.layer = layer
        self.every_n_epochs = every_n_epochs
        self.color_by = color_by
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.seed = seed
        self.table_size = table_size
        self.animation = animation
        self.wait_seconds = wait_seconds
        self.batch_size = batch_size
        self.dpi = dpi
        self._last_epoch: int | None = None
        self._logged_through: int | None = None
        self._client: UmapClient | None = None
        self._snapshots: Snapshots | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def check_network(self, network: LayeredNetwork) -> None:
        """Refuse a layer that a network does not have, before any data is read.

        Parameters
        ----------
        network : LayeredNetwork
            To be trained.

        Raises
        ------
        ValueError
            If there is no such layer. The message names those that there are.
        """
        if self.enabled:
            choose_layer(network, self.layer)

    # ---- what a checkpoint keeps ------------------------------------------------------------

    @override
    def state_dict(self) -> dict[str, Any]:
        """Last epoch handed over and last epoch logged."""
        return {"last_epoch": self._last_epoch, "logged_through": self._logged_through}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the checkpoint's epoch."""
        self._last_epoch = state_dict["last_epoch"]
        self._logged_through = state_dict["logged_through"]

    # ---- hooks ------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what is there to measure; start the worker, whose imports take some seconds."""
        if stage != "fit" or not self.enabled:
            return
        self._layer = choose_layer(measurable_module(pl_module).network, self.layer)
        measurable_data(trainer.datamodule)  # type: ignore[attr-defined]
        if not trainer.is_global_zero:
            return
        if trainer.current_epoch == 0:
            self._last_epoch = self._logged_through = None
        self._warned: set[str] = set()
        self._blocks_warned_of: set[str] = set()
        self._completed: tuple[int, int] | None = None
        self._best_handed_over = False
        self._snapshots = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._temporary = tempfile.TemporaryDirectory(prefix="latents")
        root = self._temporary.name if self._temporary else trainer.default_root_dir
        self.directory = Path(root) / "latents"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._client = UmapClient(self.directory, self._warn_once)
        except OSError as error:
            rank_zero_warn(f"LatentUMAP cannot start its worker ({error}); training goes on")

    @override
    @_never_stops_training
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fix the molecules; take up what an interrupted run has left."""
        module = measurable_module(pl_module)
        remove_after(self.directory, self._last_epoch)
        self._snapshots = self._choose_molecules(trainer, module)
        write_molecules(self.directory, self._snapshots.molecules(self._settings(module)))
        for epoch in epochs_in(self.directory):
            if self._logged_through is None or epoch > self._logged_through:
                self._log(trainer, read_epoch(epoch_path(self.directory, epoch)))
        client, _ = self._running()
        client.begin()
        for frame in pending_frames(self.directory):
            client.submit({"do": "frame", "frame": frame})

    @override
    @_never_stops_training
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand over the untrained network, or the epoch whose checkpoint was written before it."""
        if trainer.global_step == 0:
            self._hand_over(pl_module, UNTRAINED, 0)
        elif self._is_due(trainer.current_epoch - 1):
            self._hand_over(pl_module, trainer.current_epoch - 1, trainer.global_step)

    @override
    @_never_stops_training
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log pictures that are finished; the next end of an epoch may be far away."""
        self._collect(trainer)

    @override
    @_never_stops_training
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the epoch over."""
        self._completed = (trainer.current_epoch, trainer.global_step)
        if self._is_due(trainer.current_epoch):
            self._hand_over(pl_module, *self._completed)
        self._collect(trainer)

    @override
    @_never_stops_training
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand over the best checkpoint, and the last epoch if `every_n_epochs` left it out."""
        if self._completed is not None and self._completed[0] != self._last_epoch:
            self._hand_over(pl_module, *self._completed)
        self._hand_over_best(trainer, pl_module)

    @override
    @_never_stops_training
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the pictures; write and log the animation and the table."""
        self._hand_over_best(trainer, pl_module)  # if there was nothing left to train
        client, _ = self._running()
        loggers = media_loggers(trainer)
        with tempfile.TemporaryDirectory() as structures:
            finish = {
                "do": "finish",
                "animation": self.animation,
                "table_size": self.table_size,
                "structures": structures if loggers and self.table_size else None,
            }
            client.submit(finish)
            if client.outstanding > 1 and client.failure is None:
                rank_zero_info(
                    f"Waiting for {client.outstanding - 1} UMAP pictures "
                    f"(at most {self.wait_seconds:.0f} s)"
                )
            for answer in client.wait(self.wait_seconds):
                self._take(trainer, answer)
                if answer.get("final") is not None:
                    latent = read_epoch(epoch_path(self.directory, answer["final"]))
                    folder = Path(structures)
                    results = results_of(latent, self.table_size, folder, self.directory)
                    for logger in loggers:
                        logger.log_media(results, latent.epoch)
        missing = pending_frames(self.directory)
        if missing:
            self._warn_once(
                f"{len(missing)} UMAP pictures are not finished; "
                f"`python -m latents.worker --finish {self.directory}` draws them"
            )
        self._close()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the worker; what it has not done is on disk for a resumed run."""
        self._close(seconds=0.0)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the worker if it still runs."""
        self._close(seconds=0.0)

    # ---- the training process's part ----------------------------------------------------------

    def _running(self) -> tuple[UmapClient, Snapshots]:
        if self._client is None or self._snapshots is None:
            raise RuntimeError("LatentUMAP works within a fit only")
        return self._client, self._snapshots

    def _choose_molecules(self, trainer: Trainer, module: MeasurableModule) -> Snapshots:
        data = measurable_data(trainer.datamodule)  # type: ignore[attr-defined]
        asked = (
            min(self.num_molecules, DEV_RUN_MOLECULES) if self._temporary else self.num_molecules
        )
        idx = data.splits[MEASURED_PART][:asked]
        if len(idx) < asked and not self._temporary:
            rank_zero_info(
                f"LatentUMAP: {len(idx):,} molecules are there to measure on instead of {asked:,}. "
                "kNN R² and intrinsic dimension depend on that number: compare equal numbers only."
            )
        batches = measured_batches(data, measurable_network(module), asked, self.batch_size)
        smiles = [str(data.smiles(int(i))) for i in idx]
        if not any(smiles):
            rank_zero_info(
                "LatentUMAP: these structures have no SMILES, so there are no drawings of them and "
                "no spatial scores"
            )
        return Snapshots(idx, smiles, batches)

    def _settings(self, module: MeasurableModule) -> Settings:
        return Settings(
            target=module.target.name,
            unit=module.target.unit,
            reporting_unit=module.target.reporting_unit,
            reporting_factor=float(module.target.reporting_factor),
            irreps=str(module.network.irreps),
            layer=self._layer,
            color_by=self.color_by,
            n_neighbors=self.n_neighbors,
            min_dist=self.min_dist,
            seed=self.seed,
            dpi=self.dpi,
            rank=int(getattr(module.target, "rank", 0)),
        )

    def _is_due(self, epoch: int) -> bool:
        new = self._last_epoch is None or epoch > self._last_epoch
        return epoch >= 0 and new and (epoch + 1) % self.every_n_epochs == 0

    def _hand_over(self, pl_module: LightningModule, epoch: int, step: int) -> None:
        self._submit(pl_module, epoch, step)
        self._last_epoch = epoch

    def _hand_over_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the best checkpoint over, once, if the trainer keeps one."""
        path = best_checkpoint(trainer)
        if path is None or self._best_handed_over:
            return
        checkpoint = torch.load(path, map_location=pl_module.device, weights_only=True)
        with temporarily_loaded(pl_module, checkpoint["state_dict"]):
            self._submit(pl_module, checkpoint["epoch"], checkpoint["global_step"], is_best=True)
        self._best_handed_over = True

    def _submit(
        self, pl_module: LightningModule, epoch: int, step: int, is_best: bool = False
    ) -> None:
        client, snapshots = self._running()
        module = measurable_module(pl_module)

        def rescale(standardized: Tensor, batch: Batch) -> Tensor:
            whole = standardized.double() * module.target_std + module.reference_of(batch)
            return whole * module.target.reporting_factor

        network = measurable_network(module)
        factor = float(module.target.reporting_factor)
        snapshot = snapshots.take(network, rescale, self._layer, epoch, step, is_best, factor)
        write_snapshot(self.directory, snapshot)
        client.submit({"do": "frame", "frame": snapshot.frame})

    # ---- the worker's answers -----------------------------------------------------------------

    def _collect(self, trainer: Trainer) -> None:
        client, _ = self._running()
        for answer in client.answers():
            self._take(trainer, answer)

    def _take(self, trainer: Trainer, answer: Job) -> None:
        if "error" in answer:
            self._warn_once(f"UMAP worker, {answer['do']}: {answer['error']}")
        elif answer["do"] == "frame":
            self._warn_of_problems(answer["frame"], answer["problems"])
            self._log(trainer, read_epoch(epoch_path(self.directory, answer["frame"])))

    def _warn_of_problems(self, frame: Frame, problems: dict[str, str]) -> None:
        """Name blocks without a layout, each once per run: the cause may last for all epochs."""
        new = {name: why for name, why in problems.items() if name not in self._blocks_warned_of}
        self._blocks_warned_of |= set(new)
        if new:
            causes = "; ".join(f"{block}: {reason}" for block, reason in new.items())
            moment = "of the best checkpoint" if frame == BEST else f"in epoch {frame}"
            self._warn_once(f"no UMAP {moment} of {causes}. This is said once per block")

    def _log(self, trainer: Trainer, latent: LatentEpoch) -> None:
        """Log with the frame's own epoch and step, which may lie behind the trainer's."""
        metrics = logged_metrics(latent)
        if not latent.is_best:
            for logger in trainer.loggers:
                logger.log_metrics({**metrics, "epoch": latent.epoch}, step=latent.step)
            self._logged_through = latent.epoch
        for media_logger in media_loggers(trainer):
            media_logger.log_media(picture_of(latent, self.directory), latent.epoch)
            if latent.is_best:
                media_logger.log_summary(metrics)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            rank_zero_warn(f"LatentUMAP: {text}")

    def _close(self, seconds: float | None = None) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close() if seconds is None else client.close(seconds)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


def best_checkpoint(trainer: Trainer) -> Path | None:
    """Find the best checkpoint that a trainer has written by a monitored metric, if any.

    Parameters
    ----------
    trainer : Trainer
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            path = Path(callback.best_model_path)
            if callback.best_model_path and path.is_file():
                return path
    return None


def _check_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} is {value}: it must be at least {least}")
