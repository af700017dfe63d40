"""`LatentUMAP`: the latent space of every epoch, laid out, measured and drawn beside training.

Imports Lightning, `analysis` and this package; W&B only to log into it, umap-learn never.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from typing_extensions import override

from analysis.latent_embedding import default_layer
from latents.client import Job, UmapClient
from latents.molecule_table import log_molecules
from latents.snapshots import Snapshots
from records.latents import (
    ANIMATION,
    Settings,
    epoch_path,
    epochs_in,
    picture_path,
    read_epoch,
    remove_after,
    write_molecules,
    write_snapshot,
)
from records.names import UNTRAINED

ColorBy = Literal["target", "error", "spatial_score"]
DEV_RUN_MOLECULES = 50
_Hook = TypeVar("_Hook", bound=Callable[..., None])


def _beside_training(hook: _Hook) -> _Hook:
    """Make a hook that does nothing without a worker, and whose failure is a warning."""

    @functools.wraps(hook)
    def guarded(self: LatentUMAP, *args: Any, **kwargs: Any) -> None:
        if self._client is None:
            return
        try:
            hook(self, *args, **kwargs)
        # The last line of defence: no picture is worth a training run.
        except Exception as error:
            self._close(seconds=0.0)
            rank_zero_warn(
                f"LatentUMAP has stopped ({type(error).__name__}: {error}); training goes on"
            )

    return guarded  # type: ignore[return-value]


class LatentUMAP(Callback):
    """UMAP of molecules' latent features before training and after each epoch.

    Validation molecules, the same at every epoch, are embedded by sum-pooled, invariant features
    of one layer; UMAP lays them out for all irreps together and for each, starting from the
    epoch before. A worker process does that and draws it: training hands arrays over and waits
    only once it is done.

    Logged for each block (``all``, ``0e``, ``1o``, …) are ``latent/<block>/trustworthiness``,
    ``…/knn_r2_target``, ``…/knn_r2_complexity`` and ``…/intrinsic_dimension`` (see
    `analysis.latent_metrics`), in epoch -1 (untrained) also with the ending ``_untrained``;
    images ``latent/umap``, at the end ``latent/animation`` and the table ``latent/molecules``.
    Files are in ``<run>/latents``: ``epoch_XXX.png`` and ``.npz``, ``animation.gif``,
    ``molecules.csv``.

    Parameters
    ----------
    enabled : bool
        False: do nothing.
    num_molecules : int
        Molecules shown, at most.
    layer : int, optional
        Layer from 0; by default the last whose l > 0 irreps all reach the output.
    every_n_epochs : int
        The last epoch is always shown.
    color_by : {"target", "error", "spatial_score"}
        Absolute error, or RDKit's normalized spatial score.
    n_neighbors : int
        Of UMAP and trustworthiness.
    min_dist : float
        Of UMAP.
    seed : int
        Of the choice of molecules and of UMAP.
    table_size : int
        Molecules in ``latent/molecules``.
    animation : bool
        Write the animation at the end.
    wait_seconds : float
        Longest wait for outstanding pictures after the last epoch.
    batch_size : int
        Molecules that the network takes at a time.
    dpi : int
        Of the pictures.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    .. code-block:: yaml

        latent_umap:
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
        _check("num_molecules", num_molecules, 1)
        _check("every_n_epochs", every_n_epochs, 1)
        _check("n_neighbors", n_neighbors, 2)
        _check("min_dist", min_dist, 0)
        _check("seed", seed, 0)
        _check("table_size", table_size, 0)
        _check("wait_seconds", wait_seconds, 0)
        _check("batch_size", batch_size, 1)
        _check("dpi", dpi, 30)
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
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

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
        """Start the worker, which needs the time until the first epoch for its imports."""
        if stage != "fit" or not self.enabled:
            return
        self._layer = choose_layer(pl_module.network, self.layer)
        if not trainer.is_global_zero:
            return
        if trainer.current_epoch == 0:
            self._last_epoch = self._logged_through = None
        self._warned: set[str] = set()
        self._missing: set[str] = set()
        self._completed: tuple[int, int] | None = None
        self._snapshots: Snapshots | None = None
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
    @_beside_training
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fix the molecules; take up what an interrupted run has left."""
        assert self._client is not None
        remove_after(self.directory, self._last_epoch)
        number = DEV_RUN_MOLECULES if self._temporary else self.num_molecules
        self._snapshots = Snapshots(
            trainer.datamodule,  # type: ignore[attr-defined]
            min(number, self.num_molecules),
            self.seed,
            self.batch_size,
        )
        write_molecules(self.directory, self._snapshots.molecules(self._settings(pl_module)))
        for epoch in epochs_in(self.directory):
            if self._logged_through is None or epoch > self._logged_through:
                latent = read_epoch(epoch_path(self.directory, epoch))
                self._log_epoch(trainer, epoch, latent.step, latent.metrics)
        self._client.begin()
        for epoch in epochs_in(self.directory, "pending_"):
            self._client.submit({"do": "epoch", "epoch": epoch})

    def _settings(self, pl_module: LightningModule) -> Settings:
        module: Any = pl_module
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
        )

    @override
    @_beside_training
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the untrained network over, or the epoch that a checkpoint came too early for."""
        if trainer.global_step == 0:
            self._hand_over(pl_module, UNTRAINED, 0)
        elif self._is_due(trainer.current_epoch - 1):
            self._hand_over(pl_module, trainer.current_epoch - 1, trainer.global_step)

    @override
    @_beside_training
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log pictures that have come in; epochs can last long."""
        self._collect(trainer)

    @override
    @_beside_training
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the epoch over."""
        self._completed = (trainer.current_epoch, trainer.global_step)
        if self._is_due(trainer.current_epoch):
            self._hand_over(pl_module, *self._completed)
        self._collect(trainer)

    @override
    @_beside_training
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the last epoch over if `every_n_epochs` has left it out."""
        if self._completed is not None and self._completed[0] != self._last_epoch:
            self._hand_over(pl_module, *self._completed)

    @override
    @_beside_training
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the pictures; write and log the animation and the table."""
        assert self._client is not None
        wandb_loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        with tempfile.TemporaryDirectory() as structures:
            finish = {
                "do": "finish",
                "animation": self.animation,
                "table_size": self.table_size,
                "structures": structures if wandb_loggers and self.table_size else None,
            }
            self._client.submit(finish)
            if self._client.outstanding > 1 and self._client.failure is None:
                rank_zero_info(
                    f"UMAP pictures to wait for: {self._client.outstanding - 1} "
                    f"(at most {self.wait_seconds:.0f} s)"
                )
            for answer in self._client.wait(self.wait_seconds):
                self._take(trainer, answer)
                if answer["do"] == "finish" and answer.get("epoch") is not None:
                    latent = read_epoch(epoch_path(self.directory, answer["epoch"]))
                    animation = self.directory / ANIMATION if self.animation else None
                    for logger in wandb_loggers:
                        log_molecules(
                            logger.experiment,
                            latent,
                            self.table_size,
                            Path(structures),
                            animation,
                        )
        missing = epochs_in(self.directory, "pending_")
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
        """End the worker, if that is still to be done."""
        self._close(seconds=0.0)

    # ---- work -------------------------------------------------------------------------------

    def _is_due(self, epoch: int) -> bool:
        new = self._last_epoch is None or epoch > self._last_epoch
        return epoch >= 0 and new and (epoch + 1) % self.every_n_epochs == 0

    def _hand_over(self, pl_module: LightningModule, epoch: int, step: int) -> None:
        assert self._client is not None
        assert self._snapshots is not None
        write_snapshot(self.directory, self._snapshots.take(pl_module, self._layer, epoch, step))
        self._client.submit({"do": "epoch", "epoch": epoch})
        self._last_epoch = epoch

    def _collect(self, trainer: Trainer) -> None:
        assert self._client is not None
        for answer in self._client.answers():
            self._take(trainer, answer)

    def _take(self, trainer: Trainer, answer: Job) -> None:
        if "error" in answer:
            self._warn_once(f"UMAP worker, {answer['do']}: {answer['error']}")
        elif answer["do"] == "epoch":
            self._warn_of_problems(answer["epoch"], answer["problems"])
            self._log_epoch(trainer, answer["epoch"], answer["step"], answer["metrics"])

    def _warn_of_problems(self, epoch: int, problems: dict[str, str]) -> None:
        """Name blocks without a layout, each once a run: the cause may last for all epochs."""
        new = {block: why for block, why in problems.items() if block not in self._missing}
        self._missing |= set(new)
        if new:
            causes = "; ".join(f"{block}: {reason}" for block, reason in new.items())
            self._warn_once(f"no UMAP in epoch {epoch} of {causes}. Said once for each")

    def _log_epoch(
        self, trainer: Trainer, epoch: int, step: int, metrics: dict[str, dict[str, float]]
    ) -> None:
        """Log with the epoch's own number and step, which lie behind the trainer's."""
        values = {
            f"latent/{block}/{name}": value
            for block, measured in metrics.items()
            for name, value in measured.items()
            if math.isfinite(value)
        }
        if epoch == UNTRAINED:
            values |= {f"{key}_untrained": value for key, value in values.items()}
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": epoch}, step=step)
            if isinstance(logger, WandbLogger):
                import wandb

                image = wandb.Image(str(picture_path(self.directory, epoch)))
                logger.experiment.log({"latent/umap": image, "epoch": epoch})
        self._logged_through = epoch

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


def choose_layer(network: Any, layer: int | None) -> int:
    """Layer to look at.

    Parameters
    ----------
    network : EquivariantConvNet
    layer : int or None
        As asked for.

    Returns
    -------
    int
        `layer`, or by default see `default_layer`.

    Raises
    ------
    ValueError
        If the network has no such layer.
    """
    number = len(network.layer_irreps)
    if layer is None:
        return default_layer(network.layer_irreps, network.reachable)
    if not 0 <= layer < number:
        raise ValueError(
            f"layer is {layer}: the network has layers 0 to {number - 1}; choose one of them or "
            "leave it out"
        )
    return layer


def _check(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} is {value}: it must be at least {least}")
