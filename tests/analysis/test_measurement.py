"""The measurement of a whole network, against brute force, closed form and symmetry."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from analysis.measurement import TargetScale, measure_utilization
from networks.convnet import EquivariantConvNet
from networks.layered import measuring
from records.names import NETWORK
from records.utilization import Utilization
from tests.analysis.molecules import moved, random_molecules
from tests.analysis.networks import last_weight, paths, small_network

SCALE = TargetScale(mean=-76.0, std=10.0, factor=1000.0)
BATCH = random_molecules(12, dtype=torch.float64)
BATCH.y = SCALE.mean + SCALE.std * BATCH.y


def measure(network: EquivariantConvNet, *batches: Any, bootstrap: int = 20) -> Utilization:
    with measuring(network):
        return measure_utilization(network, batches or [BATCH], SCALE, num_bootstrap=bootstrap)


def assert_same(one: Utilization, other: Utilization, rtol: float = 1e-8) -> None:
    assert one.mae == pytest.approx(other.mae, rel=rtol)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert (a.layer, a.irrep, a.verdict) == (b.layer, b.irrep, b.verdict)
        for key, value in asdict(b).items():
            if isinstance(value, float):
                assert getattr(a, key) == pytest.approx(value, rel=rtol, abs=1e-8, nan_ok=True)


@pytest.fixture(scope="module")
def network() -> EquivariantConvNet:
    return small_network()


@pytest.fixture(scope="module")
def measured(network: EquivariantConvNet) -> Utilization:
    return measure(network)


def errors(network: EquivariantConvNet) -> Tensor:
    with torch.no_grad():
        return (network(BATCH) * SCALE.std + SCALE.mean - BATCH.y).abs() * SCALE.factor


def replaced_by_hooks(network: EquivariantConvNet, layers: list[int], name: str) -> Tensor:
    """Errors of whole forward passes in which each layer's block is overwritten as it appears."""
    with torch.no_grad():
        features, _ = network.run_recording(network.prepare(BATCH))
        geometry = network.prepare(BATCH)
        x = network.embedding(BATCH.z)
        for k, layer in enumerate(network.layers):
            out = layer(x, geometry)
            x = out if k == 0 else out + restrict(x, network, k)
            if k in layers:
                for (_, ir), block in zip(
                    network.layer_irreps[k], network.layer_irreps[k].slices()
                ):
                    if str(ir) == name:
                        mean = features[k][:, block].mean(0)
                        x[:, block] = mean if name == "0e" else 0.0
        molecules = torch.zeros(12, 1, dtype=x.dtype).index_add(0, BATCH.batch, network.readout(x))
        prediction = network.output(molecules).squeeze(-1)
        return (prediction * SCALE.std + SCALE.mean - BATCH.y).abs() * SCALE.factor


def restrict(x: Tensor, network: EquivariantConvNet, k: int) -> Tensor:
    """Blocks of layer k - 1 that layer k has too."""
    before, after = network.layer_irreps[k - 1], network.layer_irreps[k]
    slices = [block for (_, ir), block in zip(before, before.slices()) if ir in after]
    return torch.cat([x[:, block] for block in slices], dim=1)


def test_ablation_equals_a_full_run_with_the_block_replaced(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    intact = errors(network)
    assert measured.mae == pytest.approx(intact.mean().item())
    for row in measured.rows:
        if row.reachable:
            layers = [0, 1, 2] if row.layer == NETWORK else [int(row.layer[-1])]
            brute = (replaced_by_hooks(network, layers, row.irrep) - intact).mean().item()
            assert row.ablation == pytest.approx(brute, rel=1e-9), row
            assert row.ablation_low < row.ablation < row.ablation_high


def test_ablation_of_one_layer_equals_its_closed_form(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    """The network is affine in a layer's features, so y - sum (t - mean) dy/dt is exact."""
    features, prediction = network.run_recording(network.prepare(BATCH))
    gradients = torch.autograd.grad(prediction.sum(), features)
    for row in measured.rows:
        if row.layer == NETWORK or not row.reachable:
            continue
        k = int(row.layer[-1])
        irreps = network.layer_irreps[k]
        block = irreps.slices()[[str(ir) for _, ir in irreps].index(row.irrep)]
        t, gradient = features[k][:, block], gradients[k][:, block]
        away = t - t.mean(0) if row.irrep == "0e" else t
        change = torch.zeros(12, dtype=t.dtype).index_add(0, BATCH.batch, (away * gradient).sum(1))
        shifted = (prediction - change) * SCALE.std + SCALE.mean - BATCH.y
        expected = shifted.abs().mean() * SCALE.factor - measured.mae
        assert row.ablation == pytest.approx(expected.item(), rel=1e-9)


def test_attribution_equals_a_finite_difference(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    geometry = network.prepare(BATCH)
    target = (BATCH.y - SCALE.mean) / SCALE.std
    with torch.no_grad():
        features, _ = network.run_recording(geometry)
        for row in measured.rows:
            if row.layer == NETWORK or row.channels == 0:
                continue
            k, step = int(row.layer[-1]), 1e-6
            irreps = network.layer_irreps[k]
            block = irreps.slices()[[str(ir) for _, ir in irreps].index(row.irrep)]
            losses = []
            for factor in (1 + step, 1 - step):
                x = features[k].clone()
                x[:, block] *= factor
                losses.append((network.run(geometry, start=(k, x)) - target).square())
            slope = (losses[0] - losses[1]) / (2 * step)
            assert row.attribution == pytest.approx(slope.abs().mean().item(), rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_every_measure_is_invariant_under_motions(
    network: EquivariantConvNet, measured: Utilization, sign: int
) -> None:
    rotation = sign * o3.rand_matrix(dtype=torch.float64)
    assert_same(measure(network, moved(BATCH, rotation, shift=2.0)), measured)


def test_every_measure_is_invariant_under_orthogonal_mixing_of_channels(
    measured: Utilization,
) -> None:
    network = small_network()
    mixes = {
        str(ir): torch.linalg.qr(torch.randn(mul, mul, dtype=torch.float64))[0]
        for mul, ir in network.irreps
    }
    with torch.no_grad():
        for k in range(3):
            for name_in, name_out, columns in paths(network, k):
                weight = last_weight(network, k)
                mix_in = torch.eye(5, dtype=weight.dtype) if k == 0 else mixes[name_in]
                for path in columns.split(len(mix_in) * len(mixes[name_out])):
                    w = weight[:, path].reshape(-1, len(mix_in), len(mixes[name_out]))
                    w = torch.einsum("xu,huw,yw->hxy", mix_in, w, mixes[name_out])
                    weight[:, path] = w.flatten(1)
        network.readout.weight.copy_(mixes["0e"] @ network.readout.weight)
    assert_same(measure(network), measured)


def test_batching_changes_nothing(network: EquivariantConvNet, measured: Utilization) -> None:
    parts = [BATCH.index_select(range(a, b)) for a, b in ((0, 5), (5, 6), (6, 12))]
    batches = [type(BATCH).from_data_list(part) for part in parts]
    assert_same(measure(network, *batches), measured)


def test_both_convolutions_measure_alike(measured: Utilization) -> None:
    assert_same(measure(small_network(convolution="fast")), measured)


def test_trimming_blanks_the_unreachable_rows_and_nothing_else(measured: Utilization) -> None:
    whole = measure(small_network(trim=False))
    for trimmed, row in zip(measured.rows, whole.rows, strict=True):
        assert trimmed.verdict == row.verdict
        assert trimmed.ablation == pytest.approx(row.ablation, rel=1e-9)
        if row.layer == "layer2" and row.irrep != "0e":
            assert row.verdict == "unreachable"
            assert (row.channels, row.attribution, row.ablation) != (0, 0, 0)
            assert (trimmed.channels, trimmed.ablation, trimmed.power > 0) == (0, 0, False)


def test_blocks_without_a_path_are_not_run_and_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = small_network("3x0e+2x1o+2x1e", num_layers=4, trim=False)
    assert not network.filled[0]["1e"]
    runs: list[tuple[int, str]] = []
    import analysis.measurement as measurement

    original = measurement.predict_without_block

    def spy(network: Any, k: int, name: str, *rest: Any) -> Tensor:
        runs.append((k, name))
        return original(network, k, name, *rest)

    monkeypatch.setattr(measurement, "predict_without_block", spy)
    rows = {(row.layer, row.irrep): row for row in measure(network).rows}
    idle = [(0, "1e"), (2, "1e"), (3, "1o"), (3, "1e")]
    assert sorted(runs + idle) == [(k, name) for k in range(4) for name in ("0e", "1e", "1o")]
    intact = errors(network)
    for k, name in idle:
        assert rows[f"layer{k}", name].ablation == 0
        assert torch.equal(replaced_by_hooks(network, [k], name), intact)
    assert rows["layer0", "1e"].verdict == "unused"
    assert rows["layer3", "1o"].verdict == "unreachable"


def test_network_is_left_as_it_was() -> None:
    network = small_network().train()
    network.layers[1].eval()
    network.readout.weight.requires_grad_(False)
    flags = [p.requires_grad for p in network.parameters()]
    modes = [m.training for m in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = measure(network).rows
    assert rows[0].ablation == pytest.approx(measure(small_network()).rows[0].ablation, rel=1e-12)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_cannot_be_measured_is_an_error() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="no molecules"):
        measure_utilization(network, [], SCALE)
    with torch.no_grad():
        network.output.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        measure(network)
