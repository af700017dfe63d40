"""Selection rules, compared with autograd and with the features themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.utilization import split_blocks
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import small_network

MOLECULES = random_molecules(6, seed=11, dtype=torch.float64)
OTHERS = ("1x0o", "2x1o", "1x1e", "2x2e", "1x2o", "1x3o", "1x4e")


@given(st.sets(st.sampled_from(OTHERS), max_size=4), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_reachable_and_filled_agree_with_gradients_and_features(
    others: set[str], num_layers: int, seed: int
) -> None:
    irreps = "+".join(["2x0e", *sorted(others)])
    try:
        network = small_network(irreps, num_layers=num_layers, seed=seed, trim=False)
    except ValueError:  # refused, because some block could never be used
        assume(False)
    features, prediction = network.run_recording(network.prepare(MOLECULES))
    gradients = torch.autograd.grad(prediction.sum(), features)
    for k, (x, gradient) in enumerate(zip(features, gradients)):
        size = x.abs().max().item()
        for name, t in split_blocks(x, network.layer_irreps[k]).items():
            is_filled = t.abs().max().item() > 1e-12 * size
            assert is_filled == network.filled[k][name], (irreps, k, name)
        size = gradient.abs().max().item()
        for name, t in split_blocks(gradient, network.layer_irreps[k]).items():
            matters = t.abs().max().item() > 1e-12 * size
            assert matters == network.reachable[k][name], (irreps, k, name)


@pytest.mark.parametrize("trim", [True, False])
def test_last_layers_degrees_are_unreachable(trim: bool) -> None:
    network = small_network("2x0e+2x1o+2x2e", num_layers=2, trim=trim)
    assert network.reachable[0] == {"0e": True, "1o": True, "2e": True}
    assert network.reachable[1] == {"0e": True, "1o": False, "2e": False}
