"""What a module and its data must offer before a network is measured."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.measured import (
    measurable_data,
    measurable_module,
    measurable_network,
    measured_batches,
)
from lightning_modules.regressor import EquivariantRegressor
from qm9.targets import get_target
from tests.callbacks.synthetic import SyntheticMolecules

SMALL: dict[str, Any] = {"irreps": "4x0e+4x1o", "num_layers": 2, "embedding_dim": 4}


def other_module(**changed: Any) -> Any:
    model = EquivariantRegressor(**SMALL)
    needed = {
        "network": model.network,
        "target": get_target("U0"),
        "target_std": torch.ones(()),
        "reference_of": lambda batch: torch.zeros(batch.num_graphs),
    }
    given = {name: value for name, value in (needed | changed).items() if value is not None}
    return SimpleNamespace(**given)


def test_anything_that_has_what_is_needed_is_taken() -> None:
    for module in (EquivariantRegressor(**SMALL), other_module()):
        assert measurable_module(module) is module


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": None}, "it must have `network`, a networks.layered.LayeredNetwork"),
        ({"network": nn.Linear(1, 1)}, "`network`, a networks.layered.LayeredNetwork"),
        ({"target": None}, "`target`, an object with name, unit, reporting_unit"),
        ({"target": SimpleNamespace(name="E", unit="eV")}, "`target`, an object with name, unit"),
        ({"target_std": None}, "`target_std`, a scalar tensor"),
        ({"reference_of": None}, "`reference_of`, a method from a batch to each molecule's"),
    ],
)
def test_a_module_without_units_or_network_is_refused(changed: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"SimpleNamespace cannot be measured: .*{message}"):
        measurable_module(other_module(**changed))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("splits", "`splits`, indices by part, among them 'val_measure'"),
        ("batch", "`batch`, a method from indices to a batch"),
        ("smiles", "`smiles`, a method from an index to a SMILES string"),
    ],
)
def test_data_without_molecules_to_measure_on_are_refused(missing: str, message: str) -> None:
    needed = {"splits": {"val_measure": torch.arange(3)}, "batch": list, "smiles": str}
    assert measurable_data(SimpleNamespace(**needed))
    del needed[missing]
    with pytest.raises(TypeError, match=f"cannot be measured on: it must have {message}"):
        measurable_data(SimpleNamespace(**needed))
    with pytest.raises(TypeError, match="'val_measure'"):
        measurable_data(SimpleNamespace(**(needed | {"splits": {"val": torch.arange(3)}})))


def test_half_precision_networks_are_measured_in_a_float32_copy() -> None:
    model = EquivariantRegressor(**SMALL).to(torch.bfloat16)
    assert {p.dtype for p in measurable_network(model).parameters()} == {torch.float32}
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    single = EquivariantRegressor(**SMALL)
    assert measurable_network(single) is single.network


@pytest.mark.parametrize("batch_size", [4, 10, 100])
def test_batches_are_the_first_molecules_of_the_measured_half(batch_size: int) -> None:
    data = SyntheticMolecules()
    network = EquivariantRegressor(**SMALL).network.double()
    batches = measured_batches(data, network, 10, batch_size)
    assert sum(batch.num_graphs for batch in batches) == 10
    assert {batch.pos.dtype for batch in batches} == {torch.float64}
    found = torch.cat([batch.y for batch in batches])
    assert torch.equal(found, data.batch(data.splits["val_measure"][:10]).y)
