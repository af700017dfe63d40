"""Which network a configuration asks for.

Imports this package only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from networks.channelwise.choice import KernelName
from networks.convnet import NEIGHBOR_NORM as PUBLISHED_NORM
from networks.convnet import ConvolutionName, EquivariantConvNet
from networks.gated import NEIGHBOR_NORM as RADIUS_GRAPH_NORM
from networks.gated import GatedNetwork
from networks.restrictable import RestrictableNetwork

NetworkName = Literal["convnet", "gated"]

DEFAULT_IRREPS = "32x0e+32x1o+32x2e"
NETWORK_DEFAULTS: Mapping[NetworkName, Mapping[str, Any]] = {
    "convnet": {
        "num_layers": 5,
        "embedding_dim": 64,
        "num_elements": 100,
        "num_radial": 20,
        "cutoff": 6.0,
        "neighbor_norm": PUBLISHED_NORM,
    },
    "gated": {
        "num_layers": 4,
        "embedding_dim": None,
        "num_elements": 10,
        "num_radial": 8,
        "cutoff": 5.0,
        "neighbor_norm": RADIUS_GRAPH_NORM,
    },
}
"""Values of the options that are not given: the published ones, and those for QM9's radius graph.

For ``gated``, an ``embedding_dim`` of None means as many channels as `irreps` has of ``0e``.
"""


def with_defaults(network: NetworkName, **options: Any) -> dict[str, Any]:
    """Replace every option that is None or not given by the network's default.

    Parameters
    ----------
    network : {"convnet", "gated"}
        Which network.
    **options
        Any of those in `NETWORK_DEFAULTS`.

    Raises
    ------
    ValueError
        If the network is unknown.
    """
    known_network(network)
    defaults = NETWORK_DEFAULTS[network]
    given = {name: value for name, value in options.items() if value is not None}
    return {**defaults, **given}


def known_network(network: str) -> NetworkName:
    """Check that a network is one of this project's.

    Parameters
    ----------
    network : str
        As given by the user.

    Raises
    ------
    ValueError
        Lists those that there are.
    """
    names = get_args(NetworkName)
    if network not in names:
        raise ValueError(
            f"network {network!r} is unknown: choose one of {', '.join(names)}, or give "
            "package.module.Class of your own"
        )
    name: NetworkName = names[names.index(network)]
    return name


def make_network(
    network: NetworkName, convolution: ConvolutionName, kernel: KernelName, **options: Any
) -> RestrictableNetwork:
    """Build a network.

    Parameters
    ----------
    network : {"convnet", "gated"}
        `EquivariantConvNet` or `GatedNetwork`.
    convolution : {"fast", "e3nn"}
        Implementation of the convnet's convolutions.
    kernel : {"auto", "e3nn", "cuequivariance", "openequivariance"}
        Implementation of the gated network's tensor products.
    **options
        Arguments that both have.

    Raises
    ------
    ValueError
        If the network is unknown, the implementation is one of the other network's, or the network
        refuses its options.
    """
    known_network(network)
    if network == "convnet":
        if kernel != "auto":
            raise ValueError(
                f"kernel {kernel!r} is for network gated: leave it at auto, or choose network gated"
            )
        return EquivariantConvNet(convolution=convolution, **options)
    if convolution != "fast":
        raise ValueError(
            f"convolution {convolution!r} is for network convnet: leave it at fast and choose a "
            "kernel, e.g. kernel e3nn"
        )
    return GatedNetwork(kernel=kernel, **options)


def default_network(network: NetworkName) -> RestrictableNetwork:
    """Build the network that results if no option is given.

    Parameters
    ----------
    network : {"convnet", "gated"}
        Which network.
    """
    return make_network(network, "fast", "auto", irreps=DEFAULT_IRREPS, **with_defaults(network))
