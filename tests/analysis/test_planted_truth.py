"""Verdicts on networks of which it is known what they use, and intervals of a known effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.bootstrap import bootstrap_interval
from analysis.measurement import TargetScale, measure_utilization
from networks.layered import measuring
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import last_weight, paths, small_network
from tests.analysis.planted import (
    CUT_IRREPS,
    CUT_LAYERS,
    CUT_SEEDS,
    TRUTHS,
    Truth,
    fluorinated,
    judged_blocks,
    measured_effects,
    needed_for_fluorine,
    other_strength,
    plant,
    planted_batches,
    pooled,
    strength,
    untrained_verdicts,
)

MOLECULES = random_molecules(40, dtype=torch.float64)


@pytest.mark.parametrize("seed", CUT_SEEDS)
@pytest.mark.parametrize("irreps", CUT_IRREPS)
def test_verdict_is_right_for_every_block(irreps: str, seed: int) -> None:
    for block in judged_blocks(irreps, seed):
        assert block.verdict == block.expected, block


def test_planted_networks_have_blocks_of_every_kind() -> None:
    """Otherwise the test above would say little."""
    planted = [plant(CUT_IRREPS[0], seed)[1] for seed in CUT_SEEDS]
    for block in [(k, name) for k in range(CUT_LAYERS - 1) for name in ("1o", "2e")]:
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


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
def test_planted_truth_is_found(truth: Truth) -> None:
    effects, _ = measured_effects(truth)
    assert {key: effects[key].verdict for key in truth.expected} == truth.expected


def least_squares_mae(columns: list[Tensor], batches: list[Batch]) -> float:
    """MAE on the first batch of a linear fit, with an intercept, to the second one's targets.

    `columns` holds each feature of the first batch, then each of the second one.
    """
    half = len(columns) // 2
    test, train = (
        np.column_stack([np.ones(batch.num_graphs), *(column.numpy() for column in part)])
        for part, batch in zip((columns[:half], columns[half:]), batches)
    )
    weights = np.linalg.lstsq(train, batches[1].y.numpy(), rcond=None)[0]
    return float(np.abs(test @ weights - batches[0].y.numpy()).mean())


def truth_named(name: str) -> Truth:
    (truth,) = [truth for truth in TRUTHS if truth.name == name]
    return truth


def test_a_refit_repairs_the_loss_of_a_duplicate_exactly() -> None:
    """The sum over scalars and copies is twice that over the scalars: weight 2 replaces 1 and 1."""
    effects, mae = measured_effects(truth_named("l = 1 is a duplicate of l = 0"))
    assert effects["1o", "reliance"].value > 5 * mae
    for measure in ("refitted", "probe", "missed"):
        assert effects["1o", measure].value == pytest.approx(0, abs=1e-3 * mae)


def test_a_refit_cannot_bring_back_what_the_scalars_do_not_hold() -> None:
    truth = truth_named("l = 1 holds what l = 0 does not")
    batches = planted_batches(truth, truth.build())
    one = [pooled(strength(batch), batch) for batch in batches]
    other = [pooled(other_strength(batch), batch) for batch in batches]
    intact = least_squares_mae([one[0], other[0], one[1], other[1]], batches)
    effects, _ = measured_effects(truth)
    expected = least_squares_mae(one, batches) - intact
    assert effects["1o", "refitted"].value == pytest.approx(expected, rel=1e-4)
    # Training on ends close to the same least-squares solution; by squares, as the fit does.
    assert effects["1o", "missed"].value == pytest.approx(expected, rel=0.05)


def test_a_probe_finds_what_the_readout_does_not_read() -> None:
    truth = truth_named("l = 1 holds what the readout does not read")
    batches = planted_batches(truth, truth.build())
    counts = [
        pooled((batch.z == element).double(), batch)
        for batch in batches
        for element in (1, 6, 7, 8, 9)
    ]
    one = [pooled(strength(batch), batch) for batch in batches]
    other = [pooled(other_strength(batch), batch) for batch in batches]
    without = [*counts[:5], one[0], *counts[5:], one[1]]
    everything = [*counts[:5], one[0], other[0], *counts[5:], one[1], other[1]]
    expected = least_squares_mae(without, batches) - least_squares_mae(everything, batches)
    effects, _ = measured_effects(truth)
    assert effects["1o", "probe"].value == pytest.approx(expected, rel=0.01)


def test_interval_of_an_effect_on_few_molecules_covers_it() -> None:
    """Fluorine in one molecule of 20: 2,000 samples of 200 molecules out of 4,000."""
    network = needed_for_fluorine()
    population = fluorinated(random_molecules(4000, seed=4, dtype=torch.float64))
    with torch.no_grad():
        effect = network(population) - pooled(strength(population), population)
    assert (effect > 0).sum() == 200
    drawn = torch.randint(4000, (200, 2000), generator=torch.Generator().manual_seed(1))
    low, high = bootstrap_interval(effect[drawn], num_resamples=500)
    inside = (low <= effect.mean()) & (effect.mean() <= high)
    assert inside.double().mean() > 0.93
    assert (low > 0).double().mean() > 0.95


# ---- networks that have learned nothing -----------------------------------------------------


@pytest.mark.parametrize(("count", "seeds"), [(200, 40), (20, 4)])
def test_an_untrained_network_is_not_said_to_use_anything(count: int, seeds: int) -> None:
    """For more seeds see ``python -m benchmarks.planted``."""
    found = [untrained_verdicts(count, seed) for seed in range(seeds)]
    allowed = {"undecided", "negligible", "unreachable"} if count >= 30 else {"undecided"}
    assert sum(verdicts <= allowed for verdicts in found) >= 0.95 * seeds
