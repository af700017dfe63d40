"""Which implementation of the channelwise product runs.

Imports torch, e3nn and this package; other libraries only when chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, get_args

from e3nn import o3

from networks.channelwise.e3nn_product import E3nnProduct
from networks.channelwise.fused import FusedProduct
from networks.channelwise.paths import ChannelwisePaths
from networks.channelwise.plain import ChannelwiseProduct

KernelName = Literal["auto", "e3nn", "cuequivariance", "openequivariance"]

PACKAGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "cuequivariance": (
        ("cuequivariance", "cuequivariance_torch"),
        "pip install cuequivariance-torch cuequivariance-ops-torch-cu12",
    ),
    "openequivariance": (("openequivariance",), "pip install openequivariance"),
}
"""Modules that a kernel needs, and the command that installs them."""


def check_kernel(kernel: str) -> None:
    """Refuse a kernel that is unknown, not installed or without a device that it runs on.

    Parameters
    ----------
    kernel : str
        As given.

    Raises
    ------
    ValueError
        Says what was given, what is allowed and what to install.
    """
    allowed = get_args(KernelName)
    if kernel not in allowed:
        raise ValueError(f"kernel {kernel!r} is unknown: choose one of {', '.join(allowed)}")
    if kernel not in PACKAGES:
        return
    modules, command = PACKAGES[kernel]
    if missing := [module for module in modules if find_spec(module) is None]:
        raise ValueError(
            f"kernel {kernel} needs {' and '.join(missing)}, not installed here: run `{command}`, "
            "or choose kernel auto"
        )


def make_product(
    kernel: KernelName, paths: ChannelwisePaths, edge_irreps: o3.Irreps
) -> ChannelwiseProduct:
    """Build the product of one layer.

    Parameters
    ----------
    kernel : {"auto", "e3nn", "cuequivariance", "openequivariance"}
        See `networks.gated.GatedNetwork`; accepted by `check_kernel`.
    paths : ChannelwisePaths
        What is computed.
    edge_irreps : o3.Irreps
        Irreps of the geometry's harmonics.
    """
    if kernel == "auto":
        return FusedProduct(paths, edge_irreps)
    if kernel == "e3nn":
        return E3nnProduct(paths, edge_irreps)
    from networks.channelwise.libraries import CuEquivarianceProduct, OpenEquivarianceProduct

    products: Mapping[str, type[ChannelwiseProduct]] = {
        "cuequivariance": CuEquivarianceProduct,
        "openequivariance": OpenEquivarianceProduct,
    }
    return products[kernel](paths, edge_irreps)
