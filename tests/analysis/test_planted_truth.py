"""Verdicts on networks of which it is known what they use, and intervals of a known effect."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from analysis.bootstrap import bootstrap_interval
from analysis.measurement import TargetScale, measure_utilization
from networks.convnet import EquivariantConvNet
from networks.layered import measuring
from records.names import NETWORK
from records.utilization import Utilization
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import last_weight, paths, small_network

LAYERS = 4
SEEDS = range(8)
IRREPS = ("3x0e+2x1o+2x2e", "2x0e+2x1o+2x3o", "2x0e+2x1o+2x1e+2x2e")
MOLECULES = random_molecules(40, dtype=torch.float64)
Block = tuple[int, str]


@cache
def plant(irreps: str, seed: int) -> tuple[EquivariantConvNet, set[Block]]:
    """A network with random paths cut between blocks, and the blocks that still matter.

    A block matters if live paths, or residuals, lead from the embedding to it and from it to the
    readout. Worked out here by walking over the blocks, without the network.
    """
    network = small_network(irreps, num_layers=LAYERS, seed=seed, trim=False)
    generator = torch.Generator().manual_seed(seed)
    edges: set[tuple[Block, Block]] = set()
    with torch.no_grad():
        for k in range(LAYERS):
            for name_in, name_out, columns in paths(network, k):
                if k > 0 and torch.rand((), generator=generator) < 0.6:
                    last_weight(network, k)[:, columns] = 0.0
                else:
                    edges.add(((k - 1, name_in), (k, name_out)))
    names = [str(ir) for _, ir in network.irreps]
    edges |= {((k - 1, name), (k, name)) for k in range(1, LAYERS) for name in names}
    filled, used = {(-1, "0e")}, {(LAYERS - 1, "0e")}
    for _ in range(LAYERS):
        filled |= {end for start, end in edges if start in filled}
        used |= {start for start, end in edges if end in used}
    return network, filled & used


def measure_with_small_error(network: EquivariantConvNet) -> Utilization:
    """Measure against targets that the network predicts almost exactly."""
    batch = MOLECULES.clone()
    with torch.no_grad():
        batch.y = network(batch)
    noise = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch.y = batch.y + 1e-6 * batch.y.std() * noise
    with measuring(network):
        return measure_utilization(network, [batch], TargetScale(), num_bootstrap=200)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("irreps", IRREPS)
def test_verdict_is_right_for_every_block(irreps: str, seed: int) -> None:
    network, matters = plant(irreps, seed)
    names = {name for _, name in matters}
    for row in measure_with_small_error(network).rows:
        if row.layer == NETWORK:
            expected = "used" if row.irrep in names else "unused"
        else:
            k = int(row.layer[-1])
            expected = "used" if (k, row.irrep) in matters else "unused"
            if not network.reachable[k][row.irrep]:
                expected = "unreachable"
        assert row.verdict == expected, row


def test_planted_networks_have_blocks_of_every_kind() -> None:
    """Otherwise the test above would say little."""
    planted = [plant(IRREPS[0], seed)[1] for seed in SEEDS]
    for block in [(k, name) for k in range(LAYERS - 1) for name in ("1o", "2e")]:
        assert {block in matters for matters in planted} == {True, False}, block


def test_block_that_carries_everything_is_worth_the_whole_prediction() -> None:
    """Cut all of layer 1's inputs but 1o: without 1o the molecules cannot be told apart."""
    network = small_network("3x0e+3x1o", num_layers=2, trim=False)
    with torch.no_grad():
        for name_in, _, columns in paths(network, 1):
            if name_in == "0e":
                last_weight(network, 1)[:, columns] = 0.0
        # The residual would carry layer 0's own 0e past layer 1.
        for _, name_out, columns in paths(network, 0):
            if name_out == "0e":
                last_weight(network, 0)[:, columns] = 0.0
        network.output.weight.fill_(1e3)
    batch = MOLECULES.clone()
    with torch.no_grad():
        batch.y = network(batch)
    with measuring(network):
        rows = measure_utilization(network, [batch], TargetScale(), num_bootstrap=50).rows
    found = {(row.layer, row.irrep): row for row in rows}
    bias = network.output.bias.item()
    expected = (batch.y - bias).abs().mean().item()
    assert found["layer0", "1o"].ablation == pytest.approx(expected, rel=1e-9)
    assert found["layer0", "1o"].verdict == "used"
    assert found["layer0", "0e"].ablation == pytest.approx(0, abs=1e-9 * expected)


def test_interval_covers_the_effect_on_all_data() -> None:
    """From 1,500 samples of 250 out of 3,000; 3 standard errors of the rate are 0.017."""
    network = small_network("3x0e+2x1o", num_layers=2, dtype=torch.float32)
    population = random_molecules(3000, seed=9)
    with measuring(network), torch.no_grad():
        geometry = network.prepare(population)
        x = network.run_recording(geometry)[0][0]
        intact = (network.run(geometry, start=(0, x)) - population.y).abs()
        without = x.clone()
        without[:, 3:] = 0.0
        effect = (network.run(geometry, start=(0, without)) - population.y).abs() - intact
    drawn = torch.randint(3000, (250, 1500), generator=torch.Generator().manual_seed(1))
    low, high = bootstrap_interval(effect[drawn], num_resamples=2000)
    inside = (low <= effect.mean()) & (effect.mean() <= high)
    assert inside.double().mean() == pytest.approx(0.95, abs=0.017)
