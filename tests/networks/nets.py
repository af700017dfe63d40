"""Networks to compare, and their outputs and gradients."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS, Order
from networks.convolution.fast import FastConvolution


def swept_degree_sets() -> list[tuple[int, ...]]:
    """All sets of degrees that occur in the sweep files."""
    names = {
        name
        for path in (Path(__file__).parents[2] / "sweeps").glob("*.yaml")
        for name in re.findall(r"\d+x\d+[eo](?:\+\d+x\d+[eo])*", path.read_text())
    }
    return sorted({tuple(ir.l for _, ir in o3.Irreps(name)) for name in names})


MIXED = "3x0e+1x1e+2x1o+2x2e"
"""Both parities and unequal multiplicities."""


def irreps_of(degrees: Sequence[int], channels: int = 2) -> str:
    return "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in degrees)


def reference_and_fast(
    irreps: str | o3.Irreps, **options: Any
) -> tuple[EquivariantConvNet, EquivariantConvNet]:
    """Build the same float64 network with e3nn's convolution and with the fast one."""
    settings: dict[str, Any] = {"embedding_dim": 3, "num_radial": 5, "radial_hidden": 3, **options}
    torch.manual_seed(0)
    reference = EquivariantConvNet(irreps, convolution="e3nn", **settings).double()
    fast = EquivariantConvNet(irreps, convolution="fast", **settings).double()
    fast.load_state_dict(reference.state_dict())
    return reference, fast


def outputs_and_gradients(
    net: EquivariantConvNet, data: Data, positions: bool = True
) -> dict[str, Tensor]:
    """Compute features of all layers, predictions, and gradients by parameters and positions."""
    data = data.clone()
    data.pos = data.pos.clone().requires_grad_(positions)
    features, prediction = net.run_recording(net.prepare(data))
    net.zero_grad()
    (prediction.pow(2).sum() + sum(x.pow(2).sum() for x in features)).backward()
    found = {f"features {k}": x for k, x in enumerate(features)} | {"prediction": prediction}
    found |= {f"d/d {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return found | ({"d/d pos": data.pos.grad} if data.pos.grad is not None else {})


def relative_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Find the largest |a - b| / |a| over all tensors, in Frobenius norm."""
    assert a.keys() == b.keys()
    return max(
        float((a[name] - b[name]).detach().norm() / a[name].detach().norm().clamp_min(1e-12))
        for name in a
    )


@contextmanager
def only_order(order: Order, net: EquivariantConvNet) -> Iterator[None]:
    """Let the cost model choose from one order of contraction only."""
    plans = [
        contraction._plans
        for layer in net.layers
        if isinstance(layer, FastConvolution)
        for contraction in (layer.contraction, layer.to_scalar)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("networks.convolution.cost_model.ORDERS", (order,))
        for plan in plans:
            plan.clear()
        yield
    for plan in plans:
        plan.clear()


def assert_same(reference: EquivariantConvNet, fast: EquivariantConvNet, *batches: Data) -> None:
    """Assert that features, predictions and all gradients agree in both orders of contraction."""
    for data in batches:
        expected = outputs_and_gradients(reference, data)
        for order in ORDERS:
            with only_order(order, fast):
                assert relative_difference(expected, outputs_and_gradients(fast, data)) < 1e-12
                # In training no gradient by positions is wanted, and compiled loops may run.
                without = outputs_and_gradients(fast, data, positions=False)
                assert relative_difference({k: expected[k] for k in without}, without) < 1e-12
                assert expected.keys() - without.keys() <= {"d/d pos"}
