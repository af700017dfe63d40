"""Other people's kernels compute what e3nn computes; benchmarks/requirements.txt installs them."""

from __future__ import annotations

import pytest
import torch

from networks.channelwise.e3nn_product import E3nnProduct
from networks.channelwise.libraries import CuEquivarianceProduct
from networks.gated import GatedNetwork
from tests.networks.channelwise.test_products import GRAPHS, NETWORK, PATHS, inputs, prepared
from tests.networks.molecules import batch

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("graph", GRAPHS)
def test_cuequivariances_values_and_gradients_on_a_cpu_are_e3nns(graph: str) -> None:
    geometry = prepared(GRAPHS[graph])
    reference = E3nnProduct(PATHS, NETWORK.edge_irreps).double()
    product = CuEquivarianceProduct(PATHS, NETWORK.edge_irreps)
    (x, w), (x_ref, w_ref) = inputs(geometry, product), inputs(geometry, reference)
    found, expected = product(x, w, geometry), reference(x_ref, w_ref, geometry)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)
    torch.manual_seed(1)
    direction = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, (x, w), direction),
        torch.autograd.grad(expected, (x_ref, w_ref), direction),
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_a_whole_network_has_the_same_state_dict_and_predictions_and_gradients() -> None:
    molecules = batch([5, 1, 7])
    networks = [
        GatedNetwork("4x0e+3x1o+2x2e", num_layers=3, kernel=kernel).double()
        for kernel in ("e3nn", "cuequivariance")
    ]
    networks[1].load_state_dict(networks[0].state_dict())
    losses = [network(molecules).square().sum() for network in networks]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-10, atol=1e-10)
    gradients = [
        torch.autograd.grad(loss, list(network.parameters()))
        for loss, network in zip(losses, networks)
    ]
    for expected, found in zip(*gradients):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
