"""Penalties: their values by hand, their gradients, what they leave alone, and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.regularizers import FLOOR, GroupLasso, PowerBalance
from networks.layered import LayeredNetwork
from tests.analysis.molecules import moved, random_molecules
from tests.lightning_modules.made_up import Molecules, quiet_trainer
from tests.networks.variants import small_network

NETWORKS = ["convnet, fast", "gated, auto"]
IRREPS = "3x0e+2x1o+2x2e"
ANY_NETWORK = pytest.mark.parametrize("variant", NETWORKS)


def weights_of_degree(network: LayeredNetwork, degree: int) -> list[Tensor]:
    """Weights that write an irrep, one tensor per layer, read off the contract."""
    found = []
    for k, irreps in enumerate(network.layer_irreps):
        for _, ir in irreps:
            if ir.l == degree:
                parts = [w.values() for w in network.block_parameters(k, str(ir)) if w.writes]
                found.append(torch.cat([part.flatten() for part in parts]).detach())
    return found


@ANY_NETWORK
def test_the_lasso_is_the_mean_size_of_the_weights_of_each_group(variant: str) -> None:
    network = small_network(variant, IRREPS, num_layers=3)
    # The last layer writes scalars alone, so each degree has a group in the first two.
    groups = weights_of_degree(network, 1) + weights_of_degree(network, 2)
    assert len(groups) == 4
    by_hand = sum(len(g) * math.sqrt(float(g.square().mean())) for g in groups)
    by_hand /= sum(len(g) for g in groups)
    lasso = GroupLasso(network)
    assert lasso(network).item() == pytest.approx(by_hand, rel=1e-12)
    assert lasso.state_dict() == {}, "a checkpoint must not depend on the penalty"


@ANY_NETWORK
def test_the_lasso_pulls_on_nothing_but_its_groups_and_not_on_those_at_zero(variant: str) -> None:
    network = small_network(variant, IRREPS, num_layers=3)
    with torch.no_grad():
        for weights in network.block_parameters(0, "1o"):
            if weights.writes:
                weights.parameter[..., weights.columns] = 0.0
    GroupLasso(network)(network).backward()
    total = sum(int((p.grad != 0).sum()) for p in network.parameters() if p.grad is not None)
    first, *rest = weights_of_degree(network, 1) + weights_of_degree(network, 2)
    assert not first.any()
    assert total == sum(len(group) for group in rest)
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@ANY_NETWORK
def test_the_balance_is_the_ratio_of_means_of_the_powers(variant: str) -> None:
    network, molecules = (
        small_network(variant, IRREPS, num_layers=3),
        random_molecules(3, dtype=torch.float64),
    )
    features, _ = network.run_recording(network.prepare(molecules))
    expected = []
    for x, irreps in zip(features[:2], network.layer_irreps[:2]):
        for g in range(3):
            atoms = x[molecules.batch == g].detach().numpy()
            powers = [(atoms[:, columns] ** 2).mean() for columns in irreps.slices()]
            mean = sum(powers) / 3
            relative = [power / mean + FLOOR for power in powers]
            expected.append(math.log(1 + FLOOR) - sum(map(math.log, relative)) / 3)
    balance = PowerBalance(network)
    found = balance(features, molecules.batch, 3)
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-10)
    assert balance([3 * x for x in features], molecules.batch, 3).item() == pytest.approx(
        found.item()
    )
    rotated = moved(molecules, o3.rand_matrix(dtype=torch.float64))
    turned, _ = network.run_recording(network.prepare(rotated))
    assert balance(turned, molecules.batch, 3).item() == pytest.approx(found.item(), rel=1e-9)


def test_equal_powers_cost_nothing_and_a_missing_irrep_a_finite_penalty() -> None:
    network = small_network("gated, auto", "2x0e+1x1o", num_layers=2)
    balance, molecule = PowerBalance(network), torch.zeros(4, dtype=torch.int64)
    equal = [torch.ones(4, 5, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)]
    assert balance(equal, molecule, 1).item() == pytest.approx(0.0, abs=1e-15)
    lost = equal[0].clone()
    lost[:, 2:] = 0.0
    lost.requires_grad_()
    penalty = balance([lost, equal[1]], molecule, 1)
    # Powers 1 and 0: the mean is 1/2, and the relative powers are 2 and FLOOR.
    assert penalty.item() == pytest.approx(-(math.log(2) + math.log(FLOOR)) / 2, rel=1e-5)
    penalty.backward()
    assert lost.grad is not None
    assert lost.grad.isfinite().all()


@pytest.mark.parametrize("penalty", ["group_lasso", "power_balance"])
@ANY_NETWORK
def test_gradients_are_the_derivatives(variant: str, penalty: str) -> None:
    network, molecules = (
        small_network(variant, "2x0e+2x1o", num_layers=2),
        random_molecules(2, dtype=torch.float64),
    )
    lasso, balance = GroupLasso(network), PowerBalance(network)

    def value() -> Tensor:
        if penalty == "group_lasso":
            return lasso(network)
        features, _ = network.run_recording(network.prepare(molecules))
        return balance(features, molecules.batch, 2)

    value().backward()
    weight = network.get_parameter("layers.0.radial.layer1.weight")
    if penalty == "group_lasso" and "gated" in variant:
        weight = network.get_parameter("layers.0.linear")
    assert weight.grad is not None
    place = tuple(int(i) for i in (weight.grad.abs() == weight.grad.abs().max()).nonzero()[0])
    slope, step, ends = float(weight.grad[place]), 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * step
            ends.append(value().item())
            weight[place] -= sign * step
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)


def trained(folder: Path, epochs: int = 2, resume: bool = False, **options: Any) -> Any:
    """Weights and logged metrics after training; `resume` goes on from the folder's checkpoint."""
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_elements": 20, "radial_hidden": 4, "lr": 0.01}
    model = EquivariantRegressor("4x0e+4x1o", **{**sizes, **options})
    trainer = quiet_trainer(folder, max_epochs=epochs)
    saved = folder / "a.ckpt"
    checkpoint = {"ckpt_path": str(saved), "weights_only": True} if resume else {}
    trainer.fit(model, datamodule=Molecules(), **checkpoint)
    trainer.save_checkpoint(saved)
    return model.network.state_dict(), dict(trainer.callback_metrics)


@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_a_resumed_run_with_penalties_ends_like_an_unbroken_one(
    network: str, tmp_path: Path
) -> None:
    options = {"network": network, "group_lasso": 0.1, "power_balance": 0.1}
    whole, metrics = trained(tmp_path / "whole", **options)
    trained(tmp_path / "broken", epochs=1, **options)
    resumed, _ = trained(tmp_path / "broken", resume=True, **options)
    plain, without = trained(tmp_path / "plain", network=network)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert plain.keys() == whole.keys()
    assert any(not torch.equal(plain[name], whole[name]) for name in plain)
    added = {"train/group_lasso", "train/power_balance"}
    assert metrics.keys() - without.keys() == added
    assert all(float(metrics[name]) > 0 for name in added)


@pytest.mark.parametrize(("name", "weight"), [("group_lasso", 3.0), ("power_balance", 1.0)])
@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_a_penalty_gets_smaller_by_training_with_it(
    network: str, name: str, weight: float, tmp_path: Path
) -> None:
    values = []
    for strength in (1e-12, weight):
        _, metrics = trained(tmp_path, epochs=4, network=network, **{name: strength})
        values.append(float(metrics[f"train/{name}"]))
    assert values[1] < 0.95 * values[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_lasso": -0.1}, "group_lasso is -0.1: it must be 0 or a positive number"),
        ({"power_balance": float("nan")}, "power_balance is nan"),
        ({"group_lasso": 0.1, "irreps": "4x0e"}, "penalizes irreps of degree above 0, and 4x0e"),
        ({"power_balance": 0.1, "irreps": "4x0e"}, "no layer of 4x0e has several"),
        ({"power_balance": 0.1, "irrep_dropout": "uniform"}, "choose one of the two"),
        ({"group_lasso": 0.1, "cuda_graph": True}, "leave model.cuda_graph at false"),
    ],
)
def test_unusable_penalties_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EquivariantRegressor(**{"irreps": "4x0e+4x1o", **options})
