"""Which network a configuration asks for.

Imports this package only.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from networks.channelwise.choice import KernelName
from networks.convnet import ConvolutionName, EquivariantConvNet
from networks.gated import GatedNetwork
from networks.restrictable import RestrictableNetwork

NetworkName = Literal["convnet", "gated"]


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
    if network not in get_args(NetworkName):
        raise ValueError(
            f"network {network!r} is unknown: choose one of {', '.join(get_args(NetworkName))}"
        )
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
