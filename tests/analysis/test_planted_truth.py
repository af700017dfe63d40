"""Verdicts on networks of which it is known what they use, and intervals of a known effect."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from analysis.bootstrap import bootstrap_interval
from analysis.measurement import Scope, TargetScale, measure_utilization
from networks.convnet import EquivariantConvNet
from networks.layered import measuring
from records.names import NETWORK
from records.utilization import PAIR, BlockUtilization, Utilization
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import last_weight, paths, small_network
from tests.analysis.planted import FLUORINE, Planted, direction, fluorinated, size, strength

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
        scope = Scope(resampled=False)
        return measure_utilization(network, [batch], TargetScale(), scope=scope, num_bootstrap=200)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("irreps", IRREPS)
def test_verdict_is_right_for_every_block(irreps: str, seed: int) -> None:
    """What matters is relied on, or undecided where few of the 40 molecules show it."""
    network, matters = plant(irreps, seed)
    names = {name for _, name in matters}
    relied_on = []
    for row in measure_with_small_error(network).rows:
        verdict = row.effects["reliance"].verdict
        if row.layer == NETWORK:
            is_used = bool(names & set(row.irrep.split(PAIR)))
        else:
            k = int(row.layer[-1])
            is_used = (k, row.irrep) in matters
            if not network.reachable[k][row.irrep]:
                assert verdict == "unreachable", row
                continue
        assert verdict in ({"relied on", "undecided"} if is_used else {"negligible"}), row
        relied_on += [verdict == "relied on"] * is_used
    assert any(relied_on)


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
    vectors_effect = found["layer0", "1o"].effects["reliance"]
    assert vectors_effect.value == pytest.approx(expected, rel=1e-9)
    assert vectors_effect.verdict == "relied on"
    scalars_effect = found["layer0", "0e"].effects["reliance"]
    assert scalars_effect.value == pytest.approx(0, abs=1e-9 * expected)


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


# ---- networks written by hand ---------------------------------------------------------------


def measured_by_hand(network: Planted, noise: float = 1e-2, count: int = 200) -> dict[str, Any]:
    """Measure against targets that the network predicts up to a small error; rows by irrep."""
    batch, training = (
        fluorinated(random_molecules(count, seed=seed, dtype=torch.float64)) for seed in (1, 2)
    )
    generator = torch.Generator().manual_seed(0)
    for each in (batch, training):
        with torch.no_grad():
            clean = network(each)
        draw = torch.randn(count, generator=generator, dtype=torch.float64)
        each.y = clean + noise * clean.std() * draw
    with measuring(network):
        found = measure_utilization(network, [batch], TargetScale(), [training], seed=3)
    return {row.irrep: row for row in found.rows if row.layer == NETWORK}


def vectors(data: Any) -> Tensor:
    return strength(data)[:, None, None] * direction(data, 1)[:, None]


def tensors(data: Any) -> Tensor:
    return strength(data)[:, None, None] * direction(data, 2)[:, None]


def scalars(data: Any) -> Tensor:
    return strength(data)[:, None, None]


def verdict(row: BlockUtilization, measure: str = "reliance") -> str:
    return row.effects[measure].verdict


def test_power_without_effect_is_negligible() -> None:
    def write(data: Any) -> dict[str, Tensor]:
        return {"0e": scalars(data), "1o": 1e6 * direction(data, 1)[:, None]}

    rows = measured_by_hand(Planted("1x0e+1x1o", write, lambda blocks: blocks["0e"][:, 0, 0]))
    assert verdict(rows["1o"]) == verdict(rows["1o"], "resampled") == "negligible"
    assert verdict(rows["0e"]) == "relied on"


def test_a_block_that_only_fluorine_needs_is_relied_on() -> None:
    def write(data: Any) -> dict[str, Tensor]:
        is_fluorine = (data.z == FLUORINE).to(data.pos)[:, None, None]
        return {"0e": scalars(data), "1o": is_fluorine * vectors(data)}

    network = Planted("1x0e+1x1o", write, lambda b: b["0e"][:, 0, 0] + size(b["1o"]))
    rows = measured_by_hand(network)
    assert verdict(rows["1o"]) == "relied on"
    assert verdict(rows["1o"], "probe") == "informative"


def test_a_duplicate_is_relied_on_but_holds_no_information_of_its_own() -> None:
    """l = 1 carries nothing that l = 0 does not."""

    def write(data: Any) -> dict[str, Tensor]:
        return {"0e": scalars(data), "1o": vectors(data)}

    network = Planted("1x0e+1x1o", write, lambda b: b["0e"][:, 0, 0] + size(b["1o"]))
    rows = measured_by_hand(network)
    assert verdict(rows["1o"]) == "relied on"
    assert verdict(rows["1o"], "probe") == "negligible"


def test_of_two_blocks_either_is_enough_but_not_neither() -> None:
    def write(data: Any) -> dict[str, Tensor]:
        return {"0e": torch.zeros_like(scalars(data)), "1o": vectors(data), "2e": tensors(data)}

    def either(blocks: dict[str, Tensor]) -> Tensor:
        return torch.maximum(size(blocks["1o"]), size(blocks["2e"])) + blocks["0e"][:, 0, 0]

    rows = measured_by_hand(Planted("1x0e+1x1o+1x2e", write, either))
    assert verdict(rows["1o"]) == verdict(rows["2e"]) == "negligible"
    assert verdict(rows["1o&2e"]) == "relied on"
    assert verdict(rows["1o&2e"], "interaction") == "more than the sum"


def test_of_two_blocks_both_are_needed() -> None:
    def write(data: Any) -> dict[str, Tensor]:
        return {"0e": torch.zeros_like(scalars(data)), "1o": vectors(data), "2e": tensors(data)}

    def both(blocks: dict[str, Tensor]) -> Tensor:
        return size(blocks["1o"]) * size(blocks["2e"]) + blocks["0e"][:, 0, 0]

    rows = measured_by_hand(Planted("1x0e+1x1o+1x2e", write, both))
    assert verdict(rows["1o"]) == verdict(rows["2e"]) == verdict(rows["1o&2e"]) == "relied on"
    assert verdict(rows["1o&2e"], "interaction") == "less than the sum"


def test_a_harmful_block_is_called_harmful() -> None:
    def write(data: Any) -> dict[str, Tensor]:
        return {"0e": scalars(data), "1o": direction(data, 1)[:, None]}

    def noisy(blocks: dict[str, Tensor]) -> Tensor:
        return blocks["0e"][:, 0, 0] + (5.0 * blocks["1o"][:, 0, 0]).sin()

    network = Planted("1x0e+1x1o", write, noisy)
    batch = random_molecules(200, seed=1, dtype=torch.float64)
    with torch.no_grad():
        batch.y = torch.zeros(200, dtype=torch.float64).index_add(0, batch.batch, strength(batch))
    batch.y = batch.y + 0.1 * torch.randn(200, dtype=torch.float64)
    with measuring(network):
        rows = measure_utilization(network, [batch], TargetScale()).rows
    (row,) = [row for row in rows if row.layer == NETWORK and row.irrep == "1o"]
    assert verdict(row) == "harmful"
    assert row.effects["reliance"].value < 0


def test_a_block_that_only_the_edges_harmonics_feed_is_relied_on() -> None:
    """In the published network l = 1 of the first layer comes from the edges alone."""
    network = small_network("3x0e+3x1o", num_layers=2, trim=False)
    with torch.no_grad():
        for name_in, _, columns in paths(network, 1):
            if name_in == "0e":
                last_weight(network, 1)[:, columns] = 0.0
    rows = {(row.layer, row.irrep): row for row in measure_with_small_error(network).rows}
    assert network.irreps_embedding.lmax == 0
    assert verdict(rows["layer0", "1o"]) == "relied on"


@pytest.mark.parametrize(("count", "fewest"), [(200, 19), (20, 20)])
def test_an_untrained_network_is_not_said_to_use_anything(count: int, fewest: int) -> None:
    """Targets have nothing to do with the network; 20 seeds, of which one may err."""
    allowed = {"undecided", "negligible", "unreachable"}
    right = 0
    for seed in range(20):
        network = small_network("3x0e+2x1o+2x2e", num_layers=2, seed=seed)
        batch, training = (
            random_molecules(count, seed=2 * seed + i, dtype=torch.float64) for i in (0, 1)
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            scale = 0.1 * network(batch).std()  # predictions are small beside the targets
        for each in (batch, training):
            draw = torch.randn(count, generator=generator, dtype=torch.float64)
            each.y = draw * 100 * scale
        with measuring(network):
            rows = measure_utilization(
                network, [batch], TargetScale(), [training], num_bootstrap=300, seed=seed
            ).rows
        found = {e.verdict for row in rows if row.irrep != "0e" for e in row.effects.values()}
        right += found <= allowed
        if count < 30:
            exact = {e.verdict for row in rows for e in row.effects.values() if e.high != e.low}
            assert exact <= {"undecided"}
    assert right >= fewest
