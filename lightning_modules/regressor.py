"""`EquivariantRegressor`: training, validation and test of an `EquivariantConvNet`.

Imports Lightning, torchmetrics, `networks` and `qm9`.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch_geometric.data import Batch
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MetricCollection
from typing_extensions import override

from networks.convnet import NEIGHBOR_NORM, ConvolutionName, EquivariantConvNet
from networks.cuda_graph import PaddedNetwork, likely_shape
from networks.irreps import natural_parity, parse_irreps
from qm9.targets import get_target

ScheduleName = Literal["constant", "cosine", "plateau"]
LARGEST_ELEMENT = 9
MAX_LAYERS = 100
MAX_WEIGHTS = 10**10
"""Far beyond what trains on one device; an upper bound is compared with it."""


class EquivariantRegressor(LightningModule):
    """Regression of one molecular property with an `EquivariantConvNet`.

    The loss is the mean squared error of the standardized target; metrics are in the target's
    reporting unit (meV for energies). Keys: ``train/loss``, ``lr`` and per split (``val``,
    ``test``) ``mae``, ``rmse`` in reporting units and ``mse_standardized``, the published
    "loss".

    Parameters
    ----------
    irreps : str
        Feature irreps, e.g. ``32x0e+32x1o+32x2e``; the degrees are also the edges'.
    target : str
        Name of the target; `train.py` links it to the data module's.
    num_layers, embedding_dim, num_elements, num_radial, radial_hidden, cutoff, neighbor_norm, \
convolution, trim_unreachable
        See `EquivariantConvNet`.
    lr : float
        Learning rate of AdamW.
    weight_decay : float
        Of AdamW.
    lr_schedule : {"constant", "cosine", "plateau"}
        Cosine ends at zero after the last epoch; plateau halves after `patience` epochs without
        a better ``val/mae``.
    patience : int
        Of the plateau schedule.
    compile : bool
        Compile the tensor products with `torch.compile`; for ``convolution: e3nn`` only.
    cuda_graph : bool
        Record a training step on the GPU and replay it, batches padded to one shape
        (`networks.cuda_graph`); one GPU, full precision.
    channels_l0, channels_l1, channels_l2, channels_l3, channels_l4 : int, optional
        For searches over multiplicities: if any is given they replace `irreps`, natural parity;
        0 leaves a degree out.
    compute_weight : float
        If positive, ``val/objective`` = ``val/mae`` x (tensor product operations relative to
        32x0e+32x1o+32x2e) ** compute_weight is logged.

    Raises
    ------
    ValueError
        If the irreps or another option is unusable; says what is allowed.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        irreps: str = "32x0e+32x1o+32x2e",
        target: str = "U0",
        num_layers: int = 5,
        embedding_dim: int = 64,
        num_elements: int = 100,
        num_radial: int = 20,
        radial_hidden: int | None = None,
        cutoff: float = 6.0,
        neighbor_norm: float = NEIGHBOR_NORM,
        convolution: ConvolutionName = "fast",
        trim_unreachable: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        lr_schedule: ScheduleName = "constant",
        patience: int = 10,
        compile: bool = False,
        cuda_graph: bool = False,
        channels_l0: int | None = None,
        channels_l1: int | None = None,
        channels_l2: int | None = None,
        channels_l3: int | None = None,
        channels_l4: int | None = None,
        compute_weight: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(lr, weight_decay, lr_schedule, patience, compute_weight)
        channels = (channels_l0, channels_l1, channels_l2, channels_l3, channels_l4)
        if any(c is not None for c in channels):
            irreps = irreps_of_channels(channels)
        _check_size(irreps, num_layers, embedding_dim, num_elements, num_radial, radial_hidden)
        self.network = EquivariantConvNet(
            irreps=irreps,
            num_layers=num_layers,
            embedding_dim=embedding_dim,
            num_elements=num_elements,
            num_radial=num_radial,
            radial_hidden=radial_hidden,
            cutoff=cutoff,
            neighbor_norm=neighbor_norm,
            convolution=convolution,
            trim_unreachable=trim_unreachable,
        )
        self.target = get_target(target)
        self.save_hyperparameters()
        # Replaced by the training part's statistics before training; kept in the checkpoint.
        self.register_buffer("target_mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("target_std", torch.ones((), dtype=torch.float64))
        self.loss = nn.MSELoss()
        self.train_loss = MeanMetric()
        self.metrics = nn.ModuleDict({f"{split}_metrics": _metrics() for split in ("val", "test")})
        if compile:
            self.network.compile_tensor_products()
        self._padded_network: PaddedNetwork | None = None

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse a trainer that cannot do what the options ask for.

        Parameters
        ----------
        trainer : Trainer
            Before it does anything.

        Raises
        ------
        ValueError
            If a CUDA graph is asked for that could not be recorded or would train wrongly.
        """
        if not self.hparams["cuda_graph"]:
            return
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        steps = trainer.accumulate_grad_batches
        for met, given, allowed in (
            (device.type == "cuda", f"the device is {device}", "a CUDA device"),
            (trainer.world_size == 1, f"{trainer.world_size} devices are asked for", "one device"),
            (precision.endswith("-true"), f"precision is {precision}", "precision 32-true"),
            # A replayed backward pass writes where the last one's gradients still are.
            (steps == 1, f"accumulate_grad_batches is {steps}", "a step for every batch"),
        ):
            if not met:
                raise ValueError(
                    f"cuda_graph needs {allowed}, but {given}: leave model.cuda_graph at false"
                )

    @override
    def setup(self, stage: str) -> None:
        """Take mean and standard deviation of the target from the training part."""
        if stage == "fit":
            datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
            self.target_mean.fill_(datamodule.target_mean)
            self.target_std.fill_(datamodule.target_std)
            self.check_trainer(self.trainer)
            if self.hparams["cuda_graph"]:
                if not hasattr(datamodule, "training_sizes"):
                    raise ValueError(
                        f"cuda_graph needs the training_sizes of QM9DataModule, which "
                        f"{type(datamodule).__name__} does not have: leave it at false"
                    )
                shape = likely_shape(*datamodule.training_sizes(), datamodule.hparams["batch_size"])
                self._padded_network = PaddedNetwork(self.network, shape)

    def reference_of(self, batch: Batch) -> Tensor:
        """Compute what is added to the network's prediction for every molecule.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g] float64, target's unit (eV for energies).
        """
        return self.target_mean.to(batch.z.device).repeat(batch.num_graphs)

    def standardize(self, y: Tensor) -> Tensor:
        """Standardize a target.

        Parameters
        ----------
        y : Tensor
            [g] in the target's unit (eV for energies), float64 where the data have it.

        Returns
        -------
        Tensor
            [g] float32 (y - mean) / std, computed in the buffers' precision.
        """
        standardized = (y.to(self.target_mean.dtype) - self.target_mean) / self.target_std
        return standardized.to(torch.get_default_dtype())

    def reporting_scale(self) -> Tensor:
        """Size of one standard deviation of the target in reporting units (meV for energies).

        Returns
        -------
        Tensor
            [] scalar.
        """
        return (self.target_std * self.target.reporting_factor).to(torch.get_default_dtype())

    def forward(self, batch: Batch) -> Tensor:
        """Standardized predictions.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g].
        """
        prediction: Tensor = self.network(batch)
        return prediction

    def predict_target(self, batch: Batch) -> Tensor:
        """Predictions in reporting units.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g] float64, e.g. meV.
        """
        prediction = self(batch).to(self.target_mean.dtype) * self.target_std + self.target_mean
        return prediction * self.target.reporting_factor

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean squared error of the standardized target."""
        predict = self._padded_network or self
        loss: Tensor = self.loss(predict(batch), self.standardize(batch.y))
        self.train_loss.update(loss.detach(), batch.num_graphs)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        # Processes may hold unequal shares of a batch; gradients are averaged over processes.
        return loss * batch.loss_weight if "loss_weight" in batch else loss

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the validation metrics."""
        self._evaluate("val", batch)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the test metrics."""
        self._evaluate("test", batch)

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Predict a batch.

        Returns
        -------
        tuple of Tensor
            [g] molecules' positions in the data set, predictions and targets in reporting units.
        """
        target = batch.y.to(torch.float64) * self.target.reporting_factor
        return batch.idx, self.predict_target(batch), target

    def _evaluate(self, split: str, batch: Batch) -> None:
        # Both sides stay standardized: a mean of -76 eV would cost float32 its last digits.
        metrics = cast(MetricCollection, self.metrics[f"{split}_metrics"])
        metrics.update(self(batch), self.standardize(batch.y))

    def _report(self, split: str) -> dict[str, Tensor]:
        metrics = cast(MetricCollection, self.metrics[f"{split}_metrics"])
        values = metrics.compute()
        metrics.reset()
        return {
            f"{split}/mae": values["mae"] * self.reporting_scale(),
            f"{split}/rmse": values["mse"].sqrt() * self.reporting_scale(),
            f"{split}/mse_standardized": values["mse"],
        }

    @override
    def on_validation_epoch_end(self) -> None:
        """Log ``val/mae`` and the other validation metrics."""
        report = self._report("val")
        weight = self.hparams["compute_weight"]
        if weight > 0:
            report["val/objective"] = report["val/mae"] * relative_compute(self.network) ** weight
        # The module's metrics are already reduced over processes.
        for key, value in report.items():
            self.log(key, value, prog_bar=key == "val/mae")

    @override
    def on_test_epoch_end(self) -> None:
        """Log ``test/mae`` and the other test metrics; `train.py` writes them to the run."""
        self.log_dict(self._report("test"), logger=False)

    @override
    def on_train_epoch_end(self) -> None:
        """Log the learning rate of the epoch, then let the plateau schedule change it.

        Lightning would change it only after the checkpoint, which then lacks this epoch's step:
        a resumed run would train at another rate than an unbroken one.
        """
        optimizer = self.optimizers()
        self.log("lr", optimizer.param_groups[0]["lr"])  # type: ignore[union-attr]
        schedule = self.lr_schedulers()
        error = self.trainer.callback_metrics.get("val/mae")
        if isinstance(schedule, ReduceLROnPlateau) and error is not None:
            schedule.step(error)

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Leave the plateau schedule, which has had its step; all others go on as usual."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    @override
    def configure_optimizers(self) -> Any:
        """AdamW and the schedule."""
        hp = self.hparams
        # Fused: one kernel for all weights, and it honours FiniteGuard's `found_inf`.
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=hp["lr"], weight_decay=hp["weight_decay"], fused=True
        )
        if hp["lr_schedule"] == "constant":
            return optimizer
        if hp["lr_schedule"] == "cosine":
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=hp["patience"])
        return [optimizer], [{"scheduler": plateau, "monitor": "val/mae"}]


def irreps_of_channels(channels: tuple[int | None, ...]) -> str:
    """Irreps string of channels per degree, natural parity.

    Parameters
    ----------
    channels : tuple of int or None
        For l = 0, 1, …; None and 0 leave a degree out.

    Returns
    -------
    str
        e.g. ``32x0e+8x2e`` for ``(32, 0, 8)``.

    Raises
    ------
    ValueError
        If a number is negative.
    """
    if any(c is not None and c < 0 for c in channels):
        raise ValueError(
            f"channels_l0 … are {channels}: each must be 0 (degree left out) or positive"
        )
    return "+".join(
        f"{c}x{degree}{'e' if natural_parity(degree) == 1 else 'o'}"
        for degree, c in enumerate(channels)
        if c
    )


def relative_compute(network: EquivariantConvNet) -> float:
    """Tensor product operations relative to a network with 32x0e+32x1o+32x2e.

    Operations are counted as the sum over layers and paths of mul_in mul_out (2 l_out + 1).

    Parameters
    ----------
    network : EquivariantConvNet

    Returns
    -------
    float
    """
    return _operations(network) / _PUBLISHED_OPERATIONS


_PUBLISHED_OPERATIONS = 64 * 32 * 9 + 3 * 32 * 32 * 35 + 32 * 32 * 3
"""`_operations` of the trimmed published network with l = [0, 1, 2]."""


def _operations(network: EquivariantConvNet) -> int:
    total = 0
    irreps_in = network.irreps_embedding
    for irreps_out in network.layer_irreps:
        total += sum(
            mul_in * mul_out * ir_out.dim
            for mul_in, ir_in in irreps_in
            for _, ir_edge in network.edge_irreps
            for mul_out, ir_out in irreps_out
            if ir_out in ir_in * ir_edge
        )
        irreps_in = irreps_out
    return total


def _metrics() -> MetricCollection:
    return MetricCollection({"mae": MeanAbsoluteError(), "mse": MeanSquaredError()})


def _check_size(
    irreps: str,
    num_layers: int,
    embedding_dim: int,
    num_elements: int,
    num_radial: int,
    radial_hidden: int | None,
) -> None:
    """Refuse what would fill the memory before it could fail, by a bound on the weights."""
    if num_elements <= LARGEST_ELEMENT:
        raise ValueError(
            f"num_elements is {num_elements}: give more than {LARGEST_ELEMENT}, as QM9's "
            "elements end with fluorine"
        )
    if num_layers > MAX_LAYERS:
        raise ValueError(f"num_layers is {num_layers}: give at most {MAX_LAYERS}")
    parsed = parse_irreps(irreps)
    widest = max(sum(mul for mul, _ in parsed), embedding_dim)
    hidden = radial_hidden or max(mul for mul, _ in parsed)
    layer = hidden * (num_radial + len(parsed) * widest**2)
    weights = num_elements * embedding_dim + num_layers * layer
    if weights > MAX_WEIGHTS:
        raise ValueError(
            f"a network with irreps {str(parsed)[:80]!r}, {num_layers} layers, embedding_dim "
            f"{embedding_dim}, num_elements {num_elements}, num_radial {num_radial} and "
            f"radial_hidden {hidden} has up to {weights:.1e} weights: make it smaller, to stay "
            f"below {MAX_WEIGHTS:.0e}"
        )


def _check_options(
    lr: float, weight_decay: float, lr_schedule: str, patience: int, compute_weight: float
) -> None:
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr is {lr}: it must be a positive number, e.g. 0.001")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay is {weight_decay}: it must be 0 or a positive number")
    if not 0 <= compute_weight < float("inf"):
        raise ValueError(f"compute_weight is {compute_weight}: it must be 0 or a positive number")
    if patience < 1:
        raise ValueError(f"patience is {patience}: it must be at least 1 epoch")
    if lr_schedule not in get_args(ScheduleName):
        raise ValueError(
            f"lr_schedule {lr_schedule!r} is unknown: choose one of "
            f"{', '.join(get_args(ScheduleName))}"
        )
