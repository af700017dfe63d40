"""What a vector or tensor as a target asks of the other options, and the metrics of such targets.

Imports torchmetrics, `qm9.targets` and `networks` only.
"""

from __future__ import annotations

from e3nn import o3
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from networks.irreps import natural_parity, parse_irreps
from networks.layered import LayeredNetwork
from qm9.targets import Target


def check_target_rank(
    target: Target, irreps: str, reference: str | None, irrep_dropout: str, force_weight: float
) -> None:
    """Refuse options that a vector or tensor excludes.

    Parameters
    ----------
    target : Target
        What is to be predicted; a scalar passes.
    irreps, reference, irrep_dropout, force_weight
        As given to `EquivariantRegressor`.

    Raises
    ------
    ValueError
        Says what was given, why it cannot work, and what to use.
    """
    if not target.rank:
        return
    described = f"target {target.name} is a {target.kind}"
    _check_irreps(target, irreps)
    if reference not in (None, "none"):
        raise ValueError(
            f"reference {reference}: {described}, whose mean over all orientations is zero, and "
            "element counts have no direction: choose reference none"
        )
    if irrep_dropout != "none":
        raise ValueError(
            f"irrep_dropout {irrep_dropout} leaves every degree above 0 out at times, but "
            f"{described}, which needs l={target.rank} always: choose irrep_dropout none"
        )
    if force_weight:
        raise ValueError(
            f"force_weight is {force_weight:g}, but {described} and has no forces, which are "
            "derivatives of an energy: leave force_weight at 0"
        )


def _check_irreps(target: Target, irreps: str) -> None:
    parsed, needed = parse_irreps(irreps), o3.Irrep(target.irrep)
    if any(ir == needed for _, ir in parsed):
        return
    other = o3.Irrep(needed.l, -natural_parity(needed.l))
    wrong = ""
    if any(ir == other for _, ir in parsed):
        sign = "keeps its sign" if other.p == 1 else "changes its sign"
        wrong = f" ({other} {sign} under inversion, which a {target.kind} does not)"
    raise ValueError(
        f"irreps {parsed} has no {needed}: target {target.name} is a {target.kind}, which the "
        f"readout takes from features of l={needed.l}{wrong}: add it, e.g. "
        f"{parsed}+{max(mul for mul, _ in parsed)}x{needed}"
    )


def check_readout(target: Target, network: LayeredNetwork) -> None:
    """Refuse a network that predicts another rank, which only one of the user's own may do.

    Parameters
    ----------
    target : Target
        What is to be predicted.
    network : LayeredNetwork
        Built.

    Raises
    ------
    ValueError
        If a vector or tensor is to be predicted, and the readout takes another irrep.
    """
    if target.rank and [ir for _, ir in network.irreps_readout] != [o3.Irrep(target.irrep)]:
        raise ValueError(
            f"{type(network).__name__} has irreps_readout {network.irreps_readout}, but target "
            f"{target.name} is a {target.kind}: let it predict {target.irrep}, and say so to "
            "LayeredNetwork"
        )


class VectorError(MeanMetric):
    """Mean Euclidean norm of the deviation; for a tensor in `Target.components`, Frobenius norm."""

    def update(self, prediction: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Take predictions and targets, [g, m]."""
        super().update((prediction - target).norm(dim=-1))


class NormError(MeanMetric):
    """Mean absolute error of the norm, | |p| - |t| |."""

    def update(self, prediction: Tensor, target: Tensor) -> None:  # type: ignore[override]
        """Take predictions and targets, [g, m]."""
        super().update((prediction.norm(dim=-1) - target.norm(dim=-1)).abs())


def tensor_metrics() -> dict[str, Metric]:
    """Make the metrics that a vector or tensor has beside those of its components."""
    return {"vector_error": VectorError(), "norm_mae": NormError()}
