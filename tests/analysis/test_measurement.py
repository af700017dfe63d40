"""The measurement of a whole network, against brute force, closed form and symmetry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from analysis.measurement import Scope, TargetScale, measure_utilization
from analysis.removal import choose_donors, expanded, invariant_means, run_without
from networks.convnet import EquivariantConvNet
from networks.layered import measuring
from records.names import NETWORK
from records.utilization import NUMBERS, PAIR, BlockUtilization, Effect, Utilization
from tests.analysis.molecules import moved, random_molecules
from tests.analysis.networks import last_weight, paths, small_network

SCALE = TargetScale(mean=-76.0, std=10.0, factor=1000.0)
BATCH = random_molecules(12, dtype=torch.float64)
BATCH.y = SCALE.mean + SCALE.std * BATCH.y


TRAINING = random_molecules(40, seed=5, dtype=torch.float64)
TRAINING.y = SCALE.mean + SCALE.std * TRAINING.y
FIXED = Scope(resampled=False)
"""Everything but what draws orientations, which differ when the molecules are moved."""


def measure(
    network: EquivariantConvNet, *batches: Any, scope: Scope = FIXED, bootstrap: int = 20
) -> Utilization:
    with measuring(network):
        return measure_utilization(
            network, batches or [BATCH], SCALE, [TRAINING], scope, num_bootstrap=bootstrap
        )


def assert_same(one: Utilization, other: Utilization, rtol: float = 1e-7) -> None:
    assert one.mae == pytest.approx(other.mae, rel=rtol)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert (a.layer, a.irrep, a.channels) == (b.layer, b.irrep, b.channels)
        assert a.effects.keys() == b.effects.keys()
        for name, value in numbers(b).items():
            scale = one.mae if name in b.effects else 0.0
            expected = pytest.approx(value, rel=rtol, abs=rtol * scale + 1e-8, nan_ok=True)
            assert numbers(a)[name] == expected, (a.layer, a.irrep, name)


def numbers(row: BlockUtilization) -> dict[str, float]:
    content = {name: getattr(row, name) for name in NUMBERS}
    return {**content, **{name: effect.value for name, effect in row.effects.items()}}


def reliance(row: BlockUtilization) -> Effect:
    return row.effects["reliance"]


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


def test_reliance_equals_a_full_run_with_the_block_replaced(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    intact = errors(network)
    assert measured.mae == pytest.approx(intact.mean().item())
    for row in measured.rows:
        if row.reachable and PAIR not in row.irrep:
            layers = [0, 1, 2] if row.layer == NETWORK else [int(row.layer[-1])]
            brute = (replaced_by_hooks(network, layers, row.irrep) - intact).mean().item()
            assert reliance(row).value == pytest.approx(brute, rel=1e-9), row
            assert reliance(row).low < reliance(row).value < reliance(row).high


def test_without_scalars_no_layer_is_run_again(
    network: EquivariantConvNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readout takes the last layer's scalars only, and they are replaced."""
    prepared = network.prepare(BATCH)
    features, _ = network.run_recording(prepared)
    means = expanded(invariant_means([features], network), len(BATCH.z))
    monkeypatch.setattr(network.layers[1], "forward", None)
    monkeypatch.setattr(network.layers[2], "forward", None)
    with torch.no_grad():
        found = run_without(network, prepared, features, [(k, "0e") for k in range(3)], means)
    assert torch.equal(found.last[:, :4], means[2]["0e"])


def test_reliance_on_one_layer_equals_its_closed_form(
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
        assert reliance(row).value == pytest.approx(expected.item(), rel=1e-9)


def test_contribution_is_what_the_prediction_loses_without_the_block(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    """Exactly so, as the network is linear in its features."""
    with torch.no_grad():
        prepared = network.prepare(BATCH)
        features, prediction = network.run_recording(prepared)
        for row in measured.rows:
            if row.layer == NETWORK or row.channels == 0:
                continue
            k = int(row.layer[-1])
            irreps = network.layer_irreps[k]
            x = features[k].clone()
            x[:, irreps.slices()[[str(ir) for _, ir in irreps].index(row.irrep)]] = 0.0
            lost = (prediction - network.run(prepared, start=(k, x))) * SCALE.unit
            assert row.contribution == pytest.approx(lost.mean().item(), rel=1e-6, abs=1e-8)
            assert row.contribution_sd == pytest.approx(
                lost.std(correction=0).item(), rel=1e-6, abs=1e-8
            )


def test_a_pair_interacts_by_what_both_cost_beyond_each(measured: Utilization) -> None:
    found = {row.irrep: row for row in measured.rows if row.layer == NETWORK}
    both = found["1o&2e"]
    expected = reliance(both).value - reliance(found["1o"]).value - reliance(found["2e"]).value
    assert both.effects["interaction"].value == pytest.approx(expected)
    assert both.channels == found["1o"].channels + found["2e"].channels


def test_refit_equals_scikit_learns_regression_on_the_readouts_inputs(
    network: EquivariantConvNet, measured: Utilization
) -> None:
    from sklearn.linear_model import LinearRegression

    def scalars(batch: Any, zeroed: str | None) -> Any:
        def edit(k: int, x: Tensor) -> Tensor:
            x = x.clone()
            for (_, ir), block in zip(network.layer_irreps[k], network.layer_irreps[k].slices()):
                if str(ir) == zeroed:
                    x[:, block] = 0.0
            kept[:] = [x]
            return x

        kept: list[Tensor] = []
        with torch.no_grad():
            network.run(network.prepare(batch), edit=edit)
        pooled = torch.zeros(batch.num_graphs, 4, dtype=torch.float64)
        return pooled.index_add(0, batch.batch, kept[0][:, :4]).numpy()

    errors = {}
    for zeroed in (None, "1o", "2e"):
        model = LinearRegression().fit(scalars(TRAINING, zeroed), TRAINING.y.numpy())
        errors[zeroed] = abs(model.predict(scalars(BATCH, zeroed)) - BATCH.y.numpy()) * SCALE.factor
    found = {row.irrep: row for row in measured.rows if row.layer == NETWORK}
    for name in ("1o", "2e"):
        expected = (errors[name] - errors[None]).mean()
        assert found[name].effects["refitted"].value == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("sign", [1, -1])
def test_every_measure_is_invariant_under_motions(
    network: EquivariantConvNet, measured: Utilization, sign: int
) -> None:
    rotation = sign * o3.rand_matrix(dtype=torch.float64)
    assert_same(measure(network, moved(BATCH, rotation, shift=2.0)), measured)


def test_all_but_probes_are_invariant_under_orthogonal_mixing_of_channels() -> None:
    scope = Scope(resampled=False, probes=False)
    unmixed = measure(small_network(), scope=scope)
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
    assert_same(measure(network, scope=scope), unmixed)


def test_batching_changes_nothing(network: EquivariantConvNet, measured: Utilization) -> None:
    parts = [BATCH.index_select(range(a, b)) for a, b in ((0, 5), (5, 6), (6, 12))]
    batches = [type(BATCH).from_data_list(part) for part in parts]
    assert_same(measure(network, *batches), measured)


def test_both_convolutions_measure_alike(measured: Utilization) -> None:
    assert_same(measure(small_network(convolution="fast")), measured)


def test_trimming_blanks_the_unreachable_rows_and_nothing_else(measured: Utilization) -> None:
    whole = measure(small_network(trim=False))
    for trimmed, row in zip(measured.rows, whole.rows, strict=True):
        assert reliance(trimmed).verdict == reliance(row).verdict
        assert reliance(trimmed).value == pytest.approx(reliance(row).value, rel=1e-9)
        if row.layer == "layer2" and row.irrep != "0e":
            assert reliance(row).verdict == "unreachable"
            assert (row.channels, row.contribution, reliance(row).value) != (0, 0, 0)
            assert (trimmed.channels, reliance(trimmed).value, trimmed.power > 0) == (0, 0, False)


def test_blocks_without_a_path_are_not_run_and_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = small_network("3x0e+2x1o+2x1e", num_layers=4, trim=False)
    assert not network.filled[0]["1e"]
    runs: list[tuple[int, str]] = []
    import analysis.measurement as measurement

    original = measurement.run_without

    def spy(network: Any, prepared: Any, features: Any, blocks: Any, values: Any) -> Any:
        if len(blocks) == 1:
            runs.extend(blocks)
        return original(network, prepared, features, blocks, values)

    monkeypatch.setattr(measurement, "run_without", spy)
    scope = Scope(pairs=False, resampled=False, probes=False)
    rows = {(row.layer, row.irrep): row for row in measure(network, scope=scope).rows}
    idle = [(0, "1e"), (2, "1e"), (3, "1o"), (3, "1e")]
    everything = {(k, name) for k in range(4) for name in ("0e", "1e", "1o")}
    assert set(runs) == everything - set(idle)
    intact = errors(network)
    for k, name in idle:
        assert reliance(rows[f"layer{k}", name]).value == 0
        assert torch.equal(replaced_by_hooks(network, [k], name), intact)
    assert reliance(rows["layer0", "1e"]).verdict == "negligible"
    assert reliance(rows["layer3", "1o"]).verdict == "unreachable"


def test_resampling_keeps_what_elements_determine_and_breaks_the_rest() -> None:
    """The first layer's scalars of lone atoms depend on the element alone; vectors do not."""
    network = small_network("3x0e+2x1o", num_layers=2)
    lone = random_molecules(40, dtype=torch.float64)
    lone.edge_index = lone.edge_index[:, :0]
    lone.y = torch.randn(40, dtype=torch.float64)
    for row in measure(network, lone, scope=Scope(probes=False)).rows:
        if row.reachable:
            assert row.effects["resampled"].value == pytest.approx(0, abs=1e-6)
    rows = measure(network, scope=Scope(probes=False)).rows
    found = {(row.layer, row.irrep): row for row in rows}
    assert abs(found["layer0", "1o"].effects["resampled"].value) > 1.0


def test_donors_are_atoms_of_the_element_in_another_molecule() -> None:
    generator = torch.Generator().manual_seed(0)
    donors = choose_donors(BATCH.z, BATCH.batch, generator)
    assert torch.equal(BATCH.z[donors], BATCH.z)
    shared = [int(z) for z in BATCH.z.unique() if BATCH.batch[BATCH.z == z].unique().numel() > 1]
    several = torch.isin(BATCH.z, torch.tensor(shared))
    assert (BATCH.batch[donors] != BATCH.batch)[several].all()


def test_network_is_left_as_it_was() -> None:
    network = small_network().train()
    network.layers[1].eval()
    network.readout.weight.requires_grad_(False)
    flags = [p.requires_grad for p in network.parameters()]
    modes = [m.training for m in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = measure(network).rows
    expected = reliance(measure(small_network()).rows[0]).value
    assert reliance(rows[0]).value == pytest.approx(expected, rel=1e-12)
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


def test_refits_with_elements_absorb_constants_per_element(network: EquivariantConvNet) -> None:
    """As for energies that two levels of theory count from other zeros."""
    found = []
    for constant in (0.0, 50.0):
        batches = []
        for batch in (BATCH, TRAINING):
            shifted = batch.clone()
            per_atom = constant * (batch.z == 6).double()
            shifted.y = batch.y + torch.zeros_like(batch.y).index_add(0, batch.batch, per_atom)
            batches.append(shifted)
        with measuring(network):
            scope = Scope(layers=False, pairs=False, resampled=False)
            options = {"num_bootstrap": 10, "refit_elements": True}
            found.append(
                measure_utilization(network, batches[:1], SCALE, batches[1:], scope, **options)
            )
    plain, shifted_by_carbon = found
    assert shifted_by_carbon.mae > 5 * plain.mae
    for one, other in zip(plain.rows, shifted_by_carbon.rows):
        if "refitted" in one.effects:
            values = one.effects["refitted"].value, other.effects["refitted"].value
            assert values[1] == pytest.approx(values[0], abs=0.05 * plain.mae)
