"""`EquivariantRegressor`: training, validation and test of an equivariant network.

Imports Lightning, torchmetrics, `networks`, `qm9` and this package.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import GradClipAlgorithmType, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch_geometric.data import Batch
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MetricCollection
from typing_extensions import override

from lightning_modules.compute_cost import counted_data, relative_compute
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.forces import energy_and_forces
from lightning_modules.irrep_dropout import (
    IrrepDropoutName,
    SubsetSchedule,
    check_irrep_dropout,
)
from lightning_modules.options import (
    LossName,
    ScheduleName,
    check_force_weight,
    check_inner_irreps,
    check_network_size,
    check_training_options,
    irreps_of_channels,
)
from lightning_modules.own_network import build_own_network, is_own, refuse_for_own, sizes_of
from lightning_modules.own_target import find_target, is_energy
from lightning_modules.regularizers import GroupLasso, PowerBalance, check_regularizers
from lightning_modules.schedules import learning_rate_factor
from lightning_modules.target_reference import ReferenceName, TargetReference, reference_data
from lightning_modules.tensor_targets import check_readout, check_target_rank, tensor_metrics
from lightning_modules.weight_averaging import WeightAverage
from networks.channelwise.choice import KernelName
from networks.channelwise.libraries import check_device
from networks.choice import DEFAULT_IRREPS, known_network, make_network
from networks.convnet import ConvolutionName
from networks.cuda_graph import PaddedNetwork, likely_shape
from networks.layered import LayeredNetwork
from networks.nested import NestedNetworks
from networks.restrictable import RestrictableNetwork
from qm9.targets import EXTENSIVE_ENERGIES, INTENSIVE, XTB_ENERGY

LOSSES: Mapping[LossName, type[nn.Module]] = {
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "huber": nn.HuberLoss,
}
PARTS: Mapping[TrainerFn | None, tuple[str, ...]] = {
    TrainerFn.FITTING: ("val", "test"),
    TrainerFn.VALIDATING: ("val",),
    TrainerFn.TESTING: ("test",),
    TrainerFn.PREDICTING: ("test",),
}
"""Parts whose molecules are predicted, beside those of training."""


class EquivariantRegressor(LightningModule):
    """Regression of one molecular property with an `EquivariantConvNet` or a `GatedNetwork`.

    The property is a scalar, a vector or a traceless symmetric tensor of rank 2 (`qm9.targets`).

    The network learns the standardized target: what is left of the target without each molecule's
    reference (`TargetReference`), divided by its standard deviation. Predictions and errors are
    always of the whole target, and metrics are in its reporting unit (meV for energies).

    Logged are ``train/loss``, ``lr`` and, for validation (``val``, on the data module's
    ``val_select``) and ``test``, ``mae`` and ``rmse`` in the reporting unit and
    ``mse_standardized``, the published "loss". Errors of a vector or tensor are of its components;
    ``vector_error`` is the mean norm of the deviation, and ``norm_mae`` the mean absolute error of
    the norm. If forces are trained on, ``force_mae`` is the mean
    absolute error of their components, in the reporting unit per angstrom.

    Parameters
    ----------
    irreps : str
        Feature irreps, e.g. ``32x0e+32x1o+32x2e``; the edges have the same degrees.
    target : str
        Name of the target; `train.py` takes it from the data module.
    unit : str, optional
        Unit of a target of one's own, e.g. ``eV``; `train.py` takes it from the data module. By
        default the target is one of QM9's.
    reference : {"none", "mean", "composition"}, optional
        What is subtracted from the target before the network learns it: nothing, the mean over the
        training part, or a least-squares fit on element counts. By default ``composition`` for the
        energies ``U0 U H G xtb_energy`` and energies of one's own structures, ``none`` for vectors
        and tensors, and ``mean`` for other targets.
    network : str
        ``convnet``, the published network (`networks.convnet`); ``gated``, one like NequIP: tensor
        products channel by channel, self-connections, gates (`networks.gated`); or the import path
        of a network of your own, e.g. ``my_package.MyNetwork`` (see docs/own_network.md). Defaults
        of other options depend on it; on the command line, the default of ``data.graph`` is
        ``radius`` for ``gated``.
    network_args : dict, optional
        Further arguments of a network of your own, e.g. ``{channels: 8}``.
    num_layers : int, optional
        Number of layers; by default 5, or 4 for network ``gated``.
    embedding_dim : int, optional
        Channels of the atom embedding; by default 64, or those of ``0e`` in `irreps` for network
        ``gated``.
    num_elements : int, optional
        Rows of the atom embedding; atomic numbers must be smaller. By default 100, or 10 for
        network ``gated``, which has weights of its own for every element.
    num_radial : int, optional
        Number of Bessel functions of an edge's length; by default 20, or 8 for network ``gated``.
    radial_hidden : int, optional
        Hidden width of the radial MLPs; by default the largest multiplicity in `irreps`, or 64 for
        network ``gated``.
    cutoff : float, optional
        Length over which the Bessel functions are defined, angstrom; also the radius of
        ``graph: radius``. By default 6, or 5 for network ``gated``.
    neighbor_norm : float, optional
        Sums over neighbours are divided by this. By default the published 6.0828, or for network
        ``gated`` 4, the square root of the mean number of neighbours in QM9 within 5 angstrom.
    convolution : {"fast", "e3nn"}
        The same function computed in two ways; parameters and state dict are the same. For network
        ``convnet``.
    kernel : {"auto", "e3nn", "cuequivariance", "openequivariance"}
        The same for network ``gated``: loops without a message per edge and path on a CPU and torch
        operations elsewhere, e3nn's tensor product, or another library's.
    trim_unreachable : bool
        Leave out of each layer the blocks that no path connects with the readout. Predictions and
        the remaining weights' gradients are the same.
    edge_irreps : str, optional
        Irreps of the edges' spherical harmonics, e.g. ``0e+1o+2e``; by default the degrees present
        in `irreps`.
    kept : list of dict, optional
        What stays of every layer, as a run with fewer paths or channels has it in its
        configuration; by default everything.
    inner_irreps : str, optional
        Feature irreps of all layers but the last, and with their degrees the edges that these
        layers see; a part of `irreps`, which is the default. So a vector can be predicted by a
        network that has l = 1 in its last layer only.
    loss : {"mse", "l1", "huber"}
        Loss of the standardized target; ``huber`` is linear beyond one standard deviation.
    force_weight : float
        Weight of the same loss of the forces, added to that of the energies; 0 for none. Both are
        of standardized energies, so the forces' unit is one standard deviation per angstrom. For
        data with forces (``data.path``). Metrics are then of forces, too (``force_mae``).
    lr : float
        Learning rate of AdamW.
    weight_decay : float
        Weight decay of AdamW.
    lr_schedule : {"constant", "cosine", "plateau"}
        ``cosine`` reaches zero after the last step; ``plateau`` halves the rate after `patience`
        epochs without a better ``val/mae``.
    warmup_steps : int
        Steps in which the rate grows linearly to `lr`; for ``constant`` and ``cosine``.
    patience : int
        Epochs of the plateau schedule.
    ema_decay : float, optional
        Average the weights exponentially with this decay, e.g. 0.999, and validate, keep and test
        the average (`lightning_modules.weight_averaging.WeightAverage`). By default no average.
    irrep_dropout : {"none", "uniform", "sizes", "sandwich"}
        Nested training: at each step some of the degrees above 0 are left out of all layers, of
        features and edges, so that every subset of the degrees becomes a network with these
        weights. ``uniform`` and ``sizes`` keep one subset per step, all subsets or all sizes
        equally likely; ``sandwich`` keeps the full set and a random proper subset.
        ``train/loss`` is of the subsets that are kept, all other metrics are the full set's.
    group_lasso : float
        Weight of a penalty on the weights that write each irrep of degree above 0, which pushes all
        weights of an irrep to zero together (`lightning_modules.regularizers.GroupLasso`).
    power_balance : float
        Weight of a penalty on irreps that carry more power than others of the same layer
        (`lightning_modules.regularizers.PowerBalance`). Both penalties are added to the loss,
        logged under ``train/`` and no part of ``train/loss``; 0 leaves them out.
    compile : bool
        Compile the tensor products with `torch.compile`; for ``convolution: e3nn`` only.
    cuda_graph : bool
        Record a training step on the GPU and replay it, with batches padded to one shape
        (`networks.cuda_graph`); for one GPU and full precision.
    channels_l0 : int, optional
        Multiplicity of degree 0, for searches over multiplicities. If any of ``channels_l0`` to
        ``channels_l4`` is given, they replace `irreps`, with natural parity; 0 leaves a degree out.
    channels_l1 : int, optional
        Multiplicity of degree 1; see ``channels_l0``.
    channels_l2 : int, optional
        Multiplicity of degree 2; see ``channels_l0``.
    channels_l3 : int, optional
        Multiplicity of degree 3; see ``channels_l0``.
    channels_l4 : int, optional
        Multiplicity of degree 4; see ``channels_l0``.
    compute_weight : float
        If positive, ``val/objective`` is logged: ``val/mae`` times (multiply-adds per molecule
        relative to the default network of the same kind, which has 32x0e+32x1o+32x2e) **
        compute_weight.

    Raises
    ------
    ValueError
        If the irreps or another option is unusable; says what is allowed.
    """

    def __init__(
        self,
        irreps: str = DEFAULT_IRREPS,
        target: str = "U0",
        unit: str | None = None,
        reference: ReferenceName | None = None,
        network: str = "convnet",
        network_args: dict[str, Any] | None = None,
        num_layers: int | None = None,
        embedding_dim: int | None = None,
        num_elements: int | None = None,
        num_radial: int | None = None,
        radial_hidden: int | None = None,
        cutoff: float | None = None,
        neighbor_norm: float | None = None,
        convolution: ConvolutionName = "fast",
        kernel: KernelName = "auto",
        trim_unreachable: bool = True,
        edge_irreps: str | None = None,
        kept: list[dict[str, Any]] | None = None,
        inner_irreps: str | None = None,
        loss: LossName = "mse",
        force_weight: float = 0.0,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        lr_schedule: ScheduleName = "constant",
        warmup_steps: int = 0,
        patience: int = 10,
        ema_decay: float | None = None,
        irrep_dropout: IrrepDropoutName = "none",
        group_lasso: float = 0.0,
        power_balance: float = 0.0,
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
        check_training_options(
            lr, weight_decay, lr_schedule, warmup_steps, patience, loss, compute_weight
        )
        check_force_weight(force_weight, kernel, compile, cuda_graph)
        if ema_decay is not None:
            WeightAverage(ema_decay)  # refuses a decay that it cannot use
        channels = (channels_l0, channels_l1, channels_l2, channels_l3, channels_l4)
        if any(c is not None for c in channels):
            irreps = irreps_of_channels(channels)
        self.target = find_target(target, unit)
        check_target_rank(self.target, irreps, reference, irrep_dropout, force_weight)
        sizes = sizes_of(
            network,
            num_layers=num_layers,
            embedding_dim=embedding_dim,
            num_elements=num_elements,
            num_radial=num_radial,
            cutoff=cutoff,
            neighbor_norm=neighbor_norm,
        )
        # `save_hyperparameters` takes the values that these names have then.
        num_layers, embedding_dim = sizes["num_layers"], sizes["embedding_dim"]
        num_elements, num_radial = sizes["num_elements"], sizes["num_radial"]
        cutoff, neighbor_norm = sizes["cutoff"], sizes["neighbor_norm"]
        refuse_for_own(
            network,
            {
                "convolution": convolution != "fast",
                "kernel": kernel != "auto",
                "trim_unreachable": not trim_unreachable,
                "kept": kept is not None,
                "inner_irreps": inner_irreps is not None,
                "irrep_dropout": irrep_dropout != "none",
                "compile": compile,
                "cuda_graph": cuda_graph,
                "compute_weight": compute_weight > 0,
            },
        )
        shared = {"irreps": irreps, "radial_hidden": radial_hidden, "edge_irreps": edge_irreps}
        self.network: LayeredNetwork
        self.nested_networks: NestedNetworks | None = None
        if is_own(network):
            self.network = build_own_network(
                network, network_args, DEFAULT_IRREPS, **shared, **sizes
            )
        else:
            if network_args:
                raise ValueError(
                    f"network_args is for a network of your own, not for {network}: leave it out"
                )
            check_network_size(
                irreps, num_layers, embedding_dim, num_elements, num_radial, radial_hidden, network
            )
            known = make_network(
                known_network(network),
                convolution,
                kernel,
                **shared,
                **sizes,
                trim_unreachable=trim_unreachable,
                kept=check_inner_irreps(irreps, inner_irreps, edge_irreps, num_layers, kept),
                irreps_readout=self.target.irrep,
            )
            nested = NestedNetworks(known)
            check_irrep_dropout(irrep_dropout, nested.degrees, compile, cuda_graph)
            self.nested_networks = nested if irrep_dropout != "none" else None
            if compile:
                known.compile_tensor_products()
            self.network = known
        check_readout(self.target, self.network)
        check_regularizers(group_lasso, power_balance, irrep_dropout, cuda_graph)
        self.group_lasso: GroupLasso | None = GroupLasso(self.network) if group_lasso else None
        self.power_balance: PowerBalance | None = (
            PowerBalance(self.network) if power_balance else None
        )
        self._subset_schedule: SubsetSchedule | None = None
        if reference is None:
            is_extensive = is_energy(self.target) if unit else target in EXTENSIVE_ENERGIES
            reference = "composition" if is_extensive else "mean"
            reference = "none" if self.target.rank else reference
        self.reference = TargetReference(reference, sizes["num_elements"], self.target.rank)
        self.save_hyperparameters()
        self.loss = LOSSES[loss]()
        # torchmetrics would look for NaN, and so wait for a GPU at every step. `FiniteGuard` looks.
        self.train_loss = MeanMetric(nan_strategy="disable")
        weights = {"group_lasso": group_lasso, "power_balance": power_balance}
        self.penalties = nn.ModuleDict(
            {name: MeanMetric(nan_strategy="disable") for name, w in weights.items() if w}
        )
        self.metrics = nn.ModuleDict(
            {f"{split}_metrics": _metrics(self.target.rank) for split in ("val", "test")}
        )
        if force_weight:
            for split in ("val", "test"):
                self.metrics[f"{split}_force_mae"] = MeanAbsoluteError()
        self._padded_network: PaddedNetwork | None = None
        self._relative_compute: float | None = None

    # ---- before training --------------------------------------------------------------------

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse a trainer that cannot do what the options ask for.

        Parameters
        ----------
        trainer : Trainer
            Before it does anything.

        Raises
        ------
        ValueError
            If the kernel does not run on the device, the cosine schedule has no end, or a CUDA
            graph is asked for that could not be recorded or would train wrongly.
        """
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        check_device(self.hparams["kernel"], device)
        if (
            self.hparams["lr_schedule"] == "cosine"
            and -1 == trainer.max_steps == trainer.max_epochs
        ):
            raise ValueError(
                "lr_schedule cosine needs an end of training: give trainer.max_epochs or max_steps"
            )
        if not self.hparams["cuda_graph"]:
            return
        steps = trainer.accumulate_grad_batches
        for met, given, allowed in (
            (device.type == "cuda", f"the device is {device}", "a CUDA device"),
            (trainer.world_size == 1, f"{trainer.world_size} devices are asked for", "one device"),
            (precision.endswith("-true"), f"precision is {precision}", "precision 32-true"),
            # A replayed backward pass overwrites the gradients of the batch before it.
            (steps == 1, f"accumulate_grad_batches is {steps}", "a step for every batch"),
        ):
            if not met:
                raise ValueError(
                    f"cuda_graph needs {allowed}, but {given}: leave model.cuda_graph at false"
                )

    @override
    def setup(self, stage: str) -> None:
        """Fit the target's reference, and refuse molecules with elements that it does not know."""
        data = reference_data(self.trainer.datamodule)  # type: ignore[attr-defined]
        self.check_data(data)
        if stage == "fit":
            self.check_trainer(self.trainer)
            if self.reference.kind == "composition" and self.target.name in INTENSIVE:
                rank_zero_warn(
                    f"reference composition: {self.target.name} does not grow with the molecule; "
                    "element counts say little about it, and mean is the usual choice"
                )
            self.reference.fit(data)
            if self.nested_networks is not None:
                seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
                kind, degrees = self.hparams["irrep_dropout"], self.nested_networks.degrees
                self._subset_schedule = SubsetSchedule(kind, degrees, seed)
            if self.hparams["cuda_graph"]:
                self._padded_network = self._pad(self.trainer.datamodule)  # type: ignore[attr-defined]
        if self.hparams["compute_weight"] > 0:
            kind = known_network(self.hparams["network"])
            self._relative_compute = relative_compute(self.network, kind, counted_data(data))
        for part in PARTS.get(self.trainer.state.fn, ()):
            if part in data.splits:
                self.reference.check_elements(data, part)

    def check_data(self, datamodule: object) -> None:
        """Refuse data that the options do not suit.

        Parameters
        ----------
        datamodule : LightningDataModule
            With its data loaded.

        Raises
        ------
        ValueError
            If there are no forces to train on, or elements for which the network has no weights.
        """
        if isinstance(datamodule, ExtXYZDataModule):
            datamodule.check_size_of_embedding(int(self.hparams["num_elements"]))
            if self.hparams["force_weight"] and not datamodule.hparams["evaluate_only"]:
                datamodule.check_forces()
        elif self.hparams["force_weight"] and not getattr(datamodule, "has_forces", False):
            raise ValueError(
                f"force_weight is {self.hparams['force_weight']:g}, but {type(datamodule).__name__}"
                " has no forces: give structures of your own with --data.path, or "
                f"--data.target={XTB_ENERGY.name}"
            )

    def _pad(self, datamodule: Any) -> PaddedNetwork:
        if not hasattr(datamodule, "training_sizes"):
            raise ValueError(
                f"cuda_graph needs the training_sizes of QM9DataModule, which "
                f"{type(datamodule).__name__} does not have: leave it at false"
            )
        num_atoms, neighbor_counts = datamodule.training_sizes()
        shape = likely_shape(num_atoms, neighbor_counts, datamodule.hparams["batch_size"])
        # An own network is refused together with the option.
        return PaddedNetwork(cast(RestrictableNetwork, self.network), shape)

    @override
    def configure_callbacks(self) -> Sequence[Callback]:
        """Average the weights in training, if `ema_decay` is set."""
        decay = self.hparams["ema_decay"]
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        return [WeightAverage(decay)] if decay is not None and fitting else []

    @override
    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take older checkpoints as well."""
        self.reference.convert_older(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    # ---- predictions ------------------------------------------------------------------------

    @property
    def target_std(self) -> Tensor:
        """[] float64, one standardized unit in the target's unit."""
        return self.reference.std

    def reference_of(self, batch: Batch) -> Tensor:
        """Compute what is added to the network's prediction for every molecule.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g] float64, target's unit (eV for energies); [g, 1] zeros for a vector or tensor.
        """
        return self.reference.of(batch)

    def reporting_scale(self) -> Tensor:
        """Express one standardized unit in the reporting unit (meV for energies).

        Returns
        -------
        Tensor
            [] scalar.
        """
        return (self.target_std * self.target.reporting_factor).to(torch.get_default_dtype())

    def forward(self, batch: Batch) -> Tensor:
        """Predict the standardized target.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g], or [g, m] for a vector or tensor.
        """
        prediction: Tensor = self.network(batch)
        return prediction

    def predict_target(self, batch: Batch) -> Tensor:
        """Predict the whole target in the reporting unit.

        Parameters
        ----------
        batch : Batch
            Molecules.

        Returns
        -------
        Tensor
            [g] or [g, m] float64, e.g. meV.
        """
        return self.reference.restore(batch, self(batch)) * self.target.reporting_factor

    # ---- steps ------------------------------------------------------------------------------

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of the standardized target."""
        features: list[Tensor] = []
        loss = self._loss(batch, features)
        self.train_loss.update(loss.detach(), batch.num_graphs)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        if self.power_balance is not None:
            imbalance = self.power_balance(features, batch.batch, batch.num_graphs)
            self._log_penalty("power_balance", imbalance, batch)
            loss = loss + self.hparams["power_balance"] * imbalance
        # Processes may hold unequal shares of a batch; gradients are averaged over processes.
        loss = loss * batch.loss_weight if "loss_weight" in batch else loss
        if self.group_lasso is not None:
            lasso = self.group_lasso(self.network)
            self._log_penalty("group_lasso", lasso, batch)
            loss = loss + self.hparams["group_lasso"] * lasso
        return loss

    def _log_penalty(self, name: str, value: Tensor, batch: Batch) -> None:
        """Log the mean over an epoch's molecules."""
        metric = cast(MeanMetric, self.penalties[name])
        metric.update(value.detach(), batch.num_graphs)
        self.log(f"train/{name}", metric, on_step=False, on_epoch=True)

    def _recording(self, features: list[Tensor]) -> Callable[[Batch], Tensor]:
        """Make a prediction that also puts the features of every layer into a list."""

        def predict(batch: Batch) -> Tensor:
            features[:], prediction = self.network.run_recording(self.network.prepare(batch))
            return prediction

        return predict

    def _loss(self, batch: Batch, features: list[Tensor]) -> Tensor:
        """Loss of the network, or in nested training of the subsets that this step keeps.

        If powers are balanced, `features` gets the features of every layer.
        """
        target = self.reference.standardize(batch)
        if self.power_balance is not None:
            return self._loss_of(self._recording(features), batch, target)
        if self.nested_networks is None or self._subset_schedule is None:
            return self._loss_of(self._padded_network or self, batch, target)
        kept = self._subset_schedule.kept(self.trainer.global_step)
        losses = [
            self._loss_of(partial(self.nested_networks, degrees), batch, target) for degrees in kept
        ]
        return torch.stack(losses).mean()

    def _loss_of(self, predict: Callable[[Batch], Tensor], batch: Batch, target: Tensor) -> Tensor:
        """Loss of the standardized target, and of its derivatives if forces are trained on."""
        weight = self.hparams["force_weight"]
        if not weight:
            loss: Tensor = self.loss(predict(batch), target)
            return loss
        energy, forces = energy_and_forces(predict, batch, training=True)
        wanted = (batch.forces / self.target_std).to(forces.dtype)
        both: Tensor = self.loss(energy, target) + weight * self.loss(forces, wanted)
        return both

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the validation metrics."""
        self._evaluate("val", batch)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the test metrics."""
        self._evaluate("test", batch)

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Predict a batch.

        Returns
        -------
        tuple of Tensor
            [g] rows of the data set; [g] or [g, m] predictions and targets in the reporting unit.
        """
        target = batch.y.to(torch.float64) * self.target.reporting_factor
        return batch.idx, self.predict_target(batch), target

    def _evaluate(self, split: str, batch: Batch) -> None:
        # The reference cancels in an error. Standardized numbers keep all digits of float32.
        metrics = cast(MetricCollection, self.metrics[f"{split}_metrics"])
        if not self._measures_forces(batch):
            metrics.update(self(batch), self.reference.standardize(batch))
            return
        energy, forces = energy_and_forces(self, batch, training=False)
        metrics.update(energy, self.reference.standardize(batch))
        force_mae = cast(MeanAbsoluteError, self.metrics[f"{split}_force_mae"])
        force_mae.update(forces, (batch.forces / self.target_std).to(forces.dtype))

    def _measures_forces(self, batch: Batch) -> bool:
        return bool(self.hparams["force_weight"]) and "forces" in batch

    def _report(self, split: str) -> dict[str, Tensor]:
        metrics = cast(MetricCollection, self.metrics[f"{split}_metrics"])
        values = metrics.compute()
        metrics.reset()
        report = {
            f"{split}/mae": values["mae"] * self.reporting_scale(),
            f"{split}/rmse": values["mse"].sqrt() * self.reporting_scale(),
            f"{split}/mse_standardized": values["mse"],
        }
        for name in ("vector_error", "norm_mae"):
            if name in values:
                report[f"{split}/{name}"] = values[name] * self.reporting_scale()
        if f"{split}_force_mae" in self.metrics:
            force_mae = cast(MeanAbsoluteError, self.metrics[f"{split}_force_mae"])
            if force_mae.update_count:
                report[f"{split}/force_mae"] = force_mae.compute() * self.reporting_scale()
            force_mae.reset()
        return report

    @override
    def on_validation_epoch_end(self) -> None:
        """Log ``val/mae`` and the other validation metrics."""
        report = self._report("val")
        weight = self.hparams["compute_weight"]
        if weight > 0 and self._relative_compute is not None:
            report["val/objective"] = report["val/mae"] * self._relative_compute**weight
        # torchmetrics has already reduced the values over all processes.
        for key, value in report.items():
            self.log(key, value, prog_bar=key == "val/mae")

    @override
    def on_test_epoch_end(self) -> None:
        """Log ``test/mae`` and the other test metrics; `train.py` writes them to the run."""
        self.log_dict(self._report("test"), logger=False)

    @override
    def on_train_epoch_end(self) -> None:
        """Log the epoch's learning rate, then let the plateau schedule change it.

        Lightning would change it after the checkpoint is written. The checkpoint would lack this
        change, and a resumed run would train at another rate than an unbroken one.
        """
        optimizer = self.optimizers()
        self.log("lr", optimizer.param_groups[0]["lr"])  # type: ignore[union-attr]
        schedule = self.lr_schedulers()
        error = self.trainer.callback_metrics.get("val/mae")
        if isinstance(schedule, ReduceLROnPlateau) and error is not None:
            schedule.step(error)

    # ---- optimizer --------------------------------------------------------------------------

    @override
    def configure_optimizers(self) -> Any:
        """Make AdamW and its schedule."""
        hp = self.hparams
        # Fused: one kernel for all weights, and it honours the `found_inf` of `FiniteGuard`.
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=hp["lr"], weight_decay=hp["weight_decay"], fused=True
        )
        if hp["lr_schedule"] == "plateau":
            plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=hp["patience"])
            return [optimizer], [{"scheduler": plateau, "monitor": "val/mae"}]
        warmup, total = hp["warmup_steps"], None
        if hp["lr_schedule"] == "constant" and warmup == 0:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if warmup >= steps:
            raise ValueError(
                f"warmup_steps is {warmup}, but training has {steps:g} steps: give fewer"
            )
        if hp["lr_schedule"] == "cosine":
            total = max(1, math.ceil(steps))
        factor = partial(learning_rate_factor, warmup_steps=warmup, total_steps=total)
        return [optimizer], [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step every schedule but plateau, which `on_train_epoch_end` has stepped."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        """Clip gradients as ``trainer.gradient_clip_val`` says, also in bfloat16.

        Lightning refuses to clip the gradients of a fused optimizer in every mixed precision. The
        reason, gradients that are still scaled, exists with float16 alone, which is refused.
        """
        if gradient_clip_val:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            plugin = self.trainer.precision_plugin
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)


def _metrics(rank: int) -> MetricCollection:
    more = tensor_metrics() if rank else {}
    return MetricCollection({"mae": MeanAbsoluteError(), "mse": MeanSquaredError(), **more})
