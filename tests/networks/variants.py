"""The project's networks in all their implementations, small and in float64."""

from __future__ import annotations

from typing import Any

import torch

from networks.convnet import EquivariantConvNet
from networks.gated import GatedNetwork
from networks.restrictable import RestrictableNetwork

VARIANTS: dict[str, tuple[type[RestrictableNetwork], dict[str, Any]]] = {
    "convnet, fast": (EquivariantConvNet, {"convolution": "fast"}),
    "convnet, e3nn": (EquivariantConvNet, {"convolution": "e3nn"}),
    "gated, auto": (GatedNetwork, {"kernel": "auto"}),
    "gated, e3nn": (GatedNetwork, {"kernel": "e3nn"}),
}
SMALL = {"embedding_dim": 4, "num_elements": 10, "num_radial": 5, "radial_hidden": 4}


def small_network(variant: str, irreps: str, **options: Any) -> RestrictableNetwork:
    """Build a network in float32, then cast it to float64."""
    kind, own = VARIANTS[variant]
    torch.manual_seed(0)
    return kind(irreps, **{**SMALL, **own, **options}).double()
