"""What a trained network loses for good when an irrep is taken out of it: removal, then training.

Imports torch, `networks.layered`, `networks.restriction` and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.measurement import TargetScale
from networks.layered import LayeredNetwork
from networks.restriction import Kept, keep_degrees

Degrees = tuple[int, ...]


@dataclass(frozen=True)
class FineTuning:
    """How every candidate, the intact network included, is trained on.

    Attributes
    ----------
    batches : callable
        Gives a fresh iterator over the same endless sequence of training batches, with ``y`` [g]
        in target units (without the reference), on the network's device.
    steps : int
        Optimizer steps.
    lr : float
        Learning rate at the start; it falls to zero along a half cosine.
    clip : float
        Largest norm of the gradient.
    """

    batches: Callable[[], Iterator[Batch]]
    steps: int
    lr: float
    clip: float = 1.0


def candidates(network: LayeredNetwork) -> list[Degrees]:
    """Degrees to take out: each one above 0, and each pair of them.

    The degree that the readout of a vector or tensor takes stays: nothing would be left without it.

    Parameters
    ----------
    network : LayeredNetwork
        Network.

    Returns
    -------
    list of tuple of int
        Single degrees first.
    """
    degrees = sorted({ir.l for _, ir in network.irreps} - {0, *network.irreps_readout.ls})
    return [*((degree,) for degree in degrees), *combinations(degrees, 2)]


def fine_tune(network: LayeredNetwork, scale: TargetScale, tuning: FineTuning) -> None:
    """Train a network on, in place, by AdamW on the squared error of the standardized target.

    Parameters
    ----------
    network : LayeredNetwork
        With gradients.
    scale : TargetScale
        Standardizes targets.
    tuning : FineTuning
        Steps, rate and data.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=tuning.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(tuning.steps, 1))
    network.train()
    for _, batch in zip(range(tuning.steps), tuning.batches()):
        optimizer.zero_grad(set_to_none=True)
        loss = (network(batch) - scale.standardize(batch.y).to(batch.pos.dtype)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, tuning.clip)
        optimizer.step()
        schedule.step()
    network.eval()


def missed_errors(
    network: LayeredNetwork,
    kept: Kept,
    batches: Sequence[Batch],
    scale: TargetScale,
    tuning: FineTuning,
    left_out: Iterable[Degrees],
) -> dict[Degrees, Tensor]:
    """Errors of the network without some degrees, and intact, all trained on alike.

    A degree is taken out of the features of all layers and of the edges' harmonics. All networks
    see the same batches in the same order.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `restricted`; left as it is.
    kept : Kept
        All that the network has.
    batches : sequence of Batch
        Molecules to measure on, with ``y`` [g] in target units.
    scale : TargetScale
        From standardized to reporting units.
    tuning : FineTuning
        How networks are trained on.
    left_out : iterable of tuple of int
        Degrees that each network lacks; the intact network is added.

    Returns
    -------
    dict
        Degrees left out, () for the intact network, to [g] absolute errors, float64 on the CPU.
    """
    degrees = {ir.l for _, ir in network.irreps}
    found: dict[Degrees, Tensor] = {}
    for gone in ((), *left_out):
        smaller = network.restricted(keep_degrees(kept, degrees - set(gone)))
        with torch.enable_grad():
            fine_tune(smaller.requires_grad_(True), scale, tuning)
        with torch.no_grad():
            errors = [scale.error(smaller(batch), batch.y) for batch in batches]
        found[gone] = torch.cat(errors).cpu()
    return found
