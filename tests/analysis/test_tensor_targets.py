"""Measures of networks that predict vectors: against brute force, closed form and symmetry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3
from sklearn.linear_model import Ridge
from torch import Tensor

from analysis.equivariance import rotation_error
from analysis.measurement import Scope, TargetScale, lengths, measure_utilization
from analysis.missed import candidates
from analysis.pruning import irrep_removals, taylor_importance
from analysis.refit import fit_equivariant, refitted_error
from networks.layered import measuring
from networks.restrictable import RestrictableNetwork
from records.names import NETWORK
from records.utilization import Utilization
from tests.analysis.molecules import moved, random_molecules
from tests.networks.variants import small_network

SCALE = TargetScale(std=1.5, factor=2.0)
IRREPS = "3x0e+2x1o+2x2e"


def with_vectors(count: int, seed: int = 0) -> Any:
    batch = random_molecules(count, seed, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    batch.y = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return batch


BATCH, TRAINING = with_vectors(12), with_vectors(40, seed=5)


@pytest.fixture(scope="module", params=["convnet, fast", "gated, auto"])
def network(request: Any) -> RestrictableNetwork:
    return small_network(request.param, IRREPS, num_layers=3, irreps_readout="1o")


def measured(network: RestrictableNetwork, batch: Any = BATCH) -> Utilization:
    with measuring(network):
        scope = Scope(resampled=False)
        return measure_utilization(network, [batch], SCALE, [TRAINING], scope, num_bootstrap=20)


def error(network: RestrictableNetwork, edit: Any = None) -> Tensor:
    with torch.no_grad():
        prediction = network.run(network.prepare(BATCH), edit=edit)
    return (prediction * SCALE.std - BATCH.y).norm(dim=1) * SCALE.factor


def test_the_error_is_the_norm_of_the_deviation() -> None:
    y = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    assert lengths(y).tolist() == [5.0, 0.0]
    assert lengths(y[:, 0]).tolist() == [3.0, 0.0]
    assert SCALE.error(torch.zeros(2, 3), y).tolist() == [10.0, 0.0]


def test_reliance_is_the_growth_of_the_vectors_error(network: RestrictableNetwork) -> None:
    found = measured(network)
    assert found.mae == pytest.approx(float(error(network).mean()))
    for row in found.rows:
        if row.layer != NETWORK and row.irrep in ("1o", "2e") and row.reachable:
            layer = int(row.layer.removeprefix("layer"))
            irreps = network.layer_irreps[layer]
            (block,) = (
                s for (_, ir), s in zip(irreps, irreps.slices()) if ir == o3.Irrep(row.irrep)
            )

            def edit(k: int, x: Tensor, layer: int = layer, block: slice = block) -> Tensor:
                x = x.clone()
                x[:, block] *= float(k != layer)
                return x

            growth = float((error(network, edit) - error(network)).mean())
            assert row.effects["reliance"].value == pytest.approx(growth, rel=1e-9, abs=1e-9)


def test_measures_do_not_depend_on_the_orientation(network: RestrictableNetwork) -> None:
    matrix = -o3.rand_matrix(dtype=torch.float64)
    turned = moved(BATCH, matrix, 1.0)
    turned.y = BATCH.y @ matrix.T
    before, after = measured(network), measured(network, turned)
    for one, other in zip(before.rows, after.rows):
        assert one.contribution == pytest.approx(other.contribution, rel=1e-7, nan_ok=True)
        for name, effect in one.effects.items():
            assert effect.value == pytest.approx(other.effects[name].value, rel=1e-6, abs=1e-8)


def test_a_vector_has_no_probe_and_every_other_measure(network: RestrictableNetwork) -> None:
    names = {name for row in measured(network).rows for name in row.effects}
    assert names == {"reliance", "refitted", "interaction"}


def test_contributions_of_the_last_layer_sum_to_the_predictions_length() -> None:
    network = small_network("convnet, fast", IRREPS, num_layers=3, irreps_readout="1o")
    with torch.no_grad():
        length = network(BATCH).norm(dim=1).mean() * SCALE.unit
    last = [row for row in measured(network).rows if row.layer == "layer2"]
    assert sum(row.contribution for row in last if row.irrep == "1o") == pytest.approx(
        float(length)
    )


def test_the_refit_is_ridge_regression_of_all_components_together() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(50, 4, 3, generator=generator, dtype=torch.float64)
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    target = torch.einsum("gcm,c->gm", features, weights)
    torch.testing.assert_close(fit_equivariant(features, target), weights, rtol=1e-4, atol=1e-5)
    noisy = target + torch.randn(50, 3, generator=generator, dtype=torch.float64)
    x, y = features.transpose(1, 2).reshape(150, 4).numpy(), noisy.flatten().numpy()
    theirs = Ridge(alpha=1e-9, fit_intercept=False).fit(x, y).coef_
    np.testing.assert_allclose(fit_equivariant(features, noisy, ridge=1e-12), theirs, rtol=1e-6)
    assert refitted_error(features, target, features, target).max() < 1e-4


def test_constant_and_absent_channels_get_no_weight() -> None:
    features = torch.zeros(5, 2, 3, dtype=torch.float64)
    features[:, 0] = torch.randn(5, 3, dtype=torch.float64)
    assert fit_equivariant(features, features[:, 0])[1] == 0


def test_the_readouts_degree_is_never_taken_out(network: RestrictableNetwork) -> None:
    assert candidates(network) == [(2,)]
    for removal in irrep_removals(network):
        assert removal.kept[-1].channels.get("1o"), removal.label


def test_equivariance_of_the_prediction_is_checked(network: RestrictableNetwork) -> None:
    assert rotation_error(network, BATCH) < 1e-10
    twisted = torch.eye(3, dtype=torch.float64)
    twisted[0, 0] = 1.001
    run = type(network).run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(network), "run", lambda *a, **k: run(*a, **k) @ twisted)
        assert rotation_error(network, BATCH) > 1e-5


def test_removals_are_priced_by_the_vectors_loss(network: RestrictableNetwork) -> None:
    importance = taylor_importance(network.requires_grad_(True), [BATCH], SCALE)
    removals = irrep_removals(network)
    assert all(importance(removal.kept) > 0 for removal in removals[:3])
