"""Checks of a model before it is probed, so that an adapter shows what the model computes.

Imports torch, `analysis`, `networks.layered` and this package.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.equivariance import rotation_error
from lightning_modules.calculator import EV
from networks.layered import LayeredNetwork, Prepared
from probing.model import ProbedModel
from probing.molecules import as_atoms

STRUCTURES = 6
"""Structures whose predictions are compared with the model's own calculator."""
ROUNDING = 1e-5
"""Largest deviation of two float32 predictions, relative to the largest prediction."""
EQUIVARIANT = 1e-3
"""Largest relative deviation from equivariance that may be rounding."""


@dataclass(frozen=True)
class Checked:
    """What the checks have found.

    Attributes
    ----------
    deviation : float or None
        Largest deviation from the model's own calculator, in the target's unit; None if it has
        none.
    rotation, inversion : float
        Largest relative deviation of features and predictions from equivariance under a rotation,
        and under a rotation with the inversion.
    mirror : float
        Largest difference between the predictions for a molecule and for its mirror image, in the
        target's unit.
    has_linear_readout : bool
        Whether the prediction is linear in the last layer's features.
    """

    deviation: float | None
    rotation: float
    inversion: float
    mirror: float
    has_linear_readout: bool


@torch.no_grad()
def check_model(model: ProbedModel, batch: Batch) -> Checked:
    """Check an adapter.

    Parameters
    ----------
    model : ProbedModel
        Within `networks.layered.measuring`.
    batch : Batch
        A few structures.

    Raises
    ------
    ValueError
        If features are not what the irreps declare, an edit that changes nothing changes the
        prediction, a restart does not continue it, or the model's own calculator disagrees.
    """
    network = model.network
    prepared = network.prepare(batch)
    features, prediction = network.run_recording(prepared)
    _check_shapes(network, features, prediction, batch)
    scale = float(prediction.abs().max().clamp_min(1e-6))
    unedited = network.run(prepared)
    if float((unedited - prediction).abs().max()) > ROUNDING * scale:
        raise ValueError(f"{model.name}: its prediction changes when its features are only read")
    for k, x in enumerate(features):
        again = network.run(prepared, start=(k, x))
        if not float((again - prediction).abs().max()) <= ROUNDING * scale:
            raise ValueError(
                f"{model.name}: run(start=({k}, features)) does not continue to the prediction of "
                "the whole network: see networks.layered.LayeredNetwork.run"
            )
    rotation = rotation_error(network, batch, inversion=False)
    if not rotation < EQUIVARIANT:
        raise ValueError(
            f"{model.name}: its features do not turn as its irreps declare (relative error "
            f"{rotation:.1g}): their irreps, order or layout are others"
        )
    mirrored = batch.clone()
    mirrored.pos = -batch.pos
    if "cell" in batch:
        mirrored.cell = -batch.cell
    # A vector's mirror image is another vector.
    mirror = network(mirrored) - prediction if prediction.dim() == 1 else torch.zeros(1)
    return Checked(
        deviation=_deviation(model, batch, prediction),
        rotation=rotation,
        inversion=rotation_error(network, batch),
        mirror=float(mirror.abs().max()) * model.std,
        has_linear_readout=_has_linear_readout(network, prepared, features[-1]),
    )


def _check_shapes(
    network: LayeredNetwork, features: list[Tensor], prediction: Tensor, batch: Batch
) -> None:
    name = type(network).__name__
    expected = [(len(batch.z), irreps.dim) for irreps in network.layer_irreps]
    found = [tuple(x.shape) for x in features]
    if found != expected:
        raise ValueError(
            f"{name}: its layers put out {found}, but its irreps declare {expected} (atoms, "
            "components)"
        )
    if len(prediction) != batch.num_graphs:
        raise ValueError(
            f"{name} predicts {tuple(prediction.shape)} for {batch.num_graphs} molecules: one "
            "prediction for each is needed"
        )


def _deviation(model: ProbedModel, batch: Batch, prediction: Tensor) -> float | None:
    if model.own_energies is None:
        return None
    structures = as_atoms(batch, STRUCTURES)
    energies = prediction.double() * model.std
    if model.reference is not None:
        energies = energies + model.reference(batch)
    mine = energies[: len(structures)].cpu() * EV[model.target.unit]
    with torch.enable_grad():  # calculators differentiate for the forces
        own = torch.tensor(model.own_energies(structures), dtype=torch.float64)
    deviation = float((mine - own).abs().max())
    if not deviation <= ROUNDING * float(own.abs().max().clamp_min(1.0)):
        raise ValueError(
            f"{model.name}: its own calculator gives other energies, by up to {deviation:.3g} eV: "
            "the adapter does not compute what the model computes, so nothing was measured"
        )
    return deviation / EV[model.target.unit]


def _has_linear_readout(network: LayeredNetwork, prepared: Prepared, x: Tensor) -> bool:
    """Test whether y is affine along a line: y(10 x) - y(0) = 10 (y(x) - y(0))."""
    last = len(network.layer_irreps) - 1
    zero, once, far = (
        network.run(prepared, start=(last, factor * x)).double() for factor in (0.0, 1.0, 10.0)
    )
    size = float((far - zero).abs().max())
    return float((far - zero - 10 * (once - zero)).abs().max()) <= 1e-3 * size
