"""Measuring a model: its blocks, and what its features tell.

Imports NumPy, torch, `analysis`, `networks.layered`, `records` and this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.degree_probes import (
    Property,
    degree_invariants,
    degree_vectors,
    element_centers,
    probe_degrees,
    probe_vector,
)
from analysis.measurement import Scope, TargetScale, measure_utilization
from analysis.probes import element_counts
from analysis.verdicts import rejudged
from probing.model import ProbedModel
from probing.molecules import Molecules, element_list
from records.probing import LinearProbe, Probing, Quantity

FEWEST_TO_FIT = 10
"""With fewer molecules to fit to, nothing is refitted."""


@dataclass
class Intact:
    """The intact model's predictions and features, molecule by molecule.

    Attributes
    ----------
    prediction : Tensor
        [g] float64, the network's own unit.
    counts : Tensor
        [g, elements] float64.
    invariants : dict of int to Tensor
        Degree to [g, c] float64.
    vectors, centers : Tensor
        [g, 3, c] and [g, 3, elements] float64.
    """

    prediction: Tensor
    counts: Tensor
    invariants: dict[int, Tensor]
    vectors: Tensor
    centers: Tensor


@torch.no_grad()
def run_intact(model: ProbedModel, batches: Sequence[Batch]) -> Intact:
    """Run the intact model.

    Parameters
    ----------
    model : ProbedModel
        Within `networks.layered.measuring`.
    batches : sequence of Batch
        Measured molecules, then those for fits.
    """
    network, elements = model.network, element_list(batches)
    parts = []
    for batch in batches:
        features, prediction = network.run_recording(network.prepare(batch))
        place = batch.batch, len(prediction)
        found = degree_invariants(features, network.layer_irreps, *place)
        parts.append(
            Intact(
                prediction=prediction.double().cpu(),
                counts=element_counts(batch.z, *place, elements).cpu(),
                invariants={degree: values.cpu() for degree, values in found.items()},
                vectors=degree_vectors(features, network.layer_irreps, *place).cpu(),
                centers=element_centers(batch.z, batch.pos, *place, elements).cpu(),
            )
        )
    return Intact(
        prediction=torch.cat([part.prediction for part in parts]),
        counts=torch.cat([part.counts for part in parts]),
        invariants={
            degree: torch.cat([part.invariants[degree] for part in parts])
            for degree in parts[0].invariants
        },
        vectors=torch.cat([part.vectors for part in parts]),
        centers=torch.cat([part.centers for part in parts]),
    )


def measure_blocks(
    model: ProbedModel,
    molecules: Molecules,
    intact: Intact,
    has_linear_readout: bool,
    seed: int,
) -> Probing:
    """Measure what every block carries and is worth.

    With labels the effects are increases of the error. Energies of a model that was not trained on
    these labels are first brought to their scale by a least-squares fit of the difference on
    element counts. Without labels the effects are shifts of the prediction.

    Parameters
    ----------
    model : ProbedModel
        Within `networks.layered.measuring`.
    molecules : Molecules
        Their ``y`` is replaced.
    intact : Intact
        Of the measured molecules, then of those for fits.
    has_linear_readout : bool
        Whether the readout is refitted after removals.
    seed : int
        Seed of resamples, donors and orientations.

    Returns
    -------
    Probing
    """
    batches = [*molecules.measured, *molecules.fitting]
    count = sum(int(batch.num_graphs) for batch in molecules.measured)
    if molecules.label is None:
        target = intact.prediction * model.std
    else:
        target = _labels(model, batches, intact, count)
    first = 0
    for batch in batches:
        last = first + int(batch.num_graphs)
        batch.y = target[first:last].to(batch.pos.device)
        first = last
    scale = TargetScale(std=model.std, factor=float(model.target.reporting_factor))
    utilization = measure_utilization(
        model.network,
        molecules.measured,
        scale,
        training=molecules.fitting if len(intact.counts) - count >= FEWEST_TO_FIT else [],
        scope=Scope(refits=has_linear_readout),
        seed=seed,
        refit_elements=True,
    )
    quantity: Quantity = "shift" if molecules.label is None else "error"
    unit_of = spread(intact) * scale.unit if molecules.label is None else utilization.mae
    return Probing(
        model=model.name,
        data=molecules.name,
        quantity=quantity,
        target=model.target.name if molecules.label is None else molecules.label.name,
        unit=model.target.reporting_unit,
        scale=unit_of,
        utilization=rejudged(utilization, unit_of),
    )


def spread(intact: Intact) -> float:
    """Mean absolute deviation of the predictions from a least-squares fit on element counts.

    Of vectors and tensors, for which counts say nothing, it is their mean length.
    """
    if intact.prediction.dim() > 1:
        return float(intact.prediction.norm(dim=-1).mean())
    design = torch.cat([intact.counts, torch.ones(len(intact.counts), 1).double()], dim=1)
    rest = _without_fit(design, design, intact.prediction, intact.prediction)
    return float(rest.abs().mean())


def measure_degrees(intact: Intact, properties: Sequence[Property], seed: int) -> list[LinearProbe]:
    """Fit linear probes of every degree to every property.

    Parameters
    ----------
    intact : Intact
        All molecules.
    properties : sequence of Property
        Of the same molecules.
    seed : int
        Seed of folds and resamples.
    """
    found: list[LinearProbe] = []
    if len(intact.counts) < FEWEST_TO_FIT:
        return found
    for wanted in properties:
        if wanted.values.dim() == 1:
            found += probe_degrees(intact.invariants, intact.counts, wanted, seed)
        elif wanted.values.shape[1] == 3:
            found += probe_vector(intact.vectors, intact.centers, wanted, seed)
    return found


def _labels(model: ProbedModel, batches: Sequence[Batch], intact: Intact, count: int) -> Tensor:
    """Labels on the scale of the model's prediction, in the target's unit."""
    label = torch.cat([batch.y for batch in batches]).double().cpu()
    if label.dim() > 1:
        return label
    if model.reference is not None:
        return label - torch.cat([model.reference(batch) for batch in batches]).cpu()
    difference = label - intact.prediction * model.std
    # Fitted where there is something to fit to, else on the measured molecules themselves.
    fitted = slice(count, None) if len(label) > count else slice(None)
    rest = _without_fit(intact.counts[fitted], intact.counts, difference[fitted], difference)
    return intact.prediction * model.std + rest


def _without_fit(design: Tensor, every: Tensor, fitted: Tensor, values: Tensor) -> Tensor:
    """Subtract from values a least-squares fit, made on other rows."""
    solution = torch.linalg.lstsq(design, fitted[:, None], driver="gelsd").solution
    rest: Tensor = values - (every @ solution)[:, 0]
    return rest
