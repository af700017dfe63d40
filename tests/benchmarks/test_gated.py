"""The benchmark of the gated network builds what it says, takes turns and compares correctly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

from benchmarks import gated
from benchmarks.gated_peers import Architecture, NequipNetwork
from qm9.cache import PreparedData
from tests.networks.molecules import batch

SMALL = Architecture("4x0e+3x1o", num_layers=3)


class Clockwork:
    """A contestant whose times are known."""

    def __init__(self, name: str, seconds: float, log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log

    def train(self) -> float:
        self.log.append(self.name)
        return self.seconds

    def infer(self) -> float:
        return self.seconds / 4

    def memory(self) -> float:
        return 10.0

    def parameters(self) -> float:
        return 1234.0


def test_networks_take_turns_and_are_compared_with_ours() -> None:
    log: list[str] = []
    found = gated.time_all({n: Clockwork(n, s, log) for n, s in (("gated", 0.1), ("b", 0.3))}, 2)
    assert log == ["gated", "b"] * 3
    assert found["b"]["train_s"] == [0.3, 0.3]
    lines = gated.table({name: {**f, "memory_mb": 10.0} for name, f in found.items()}).splitlines()
    assert lines[2] == "| gated | 1,234 | 0.1 | 100 | 1.00 | 25 | 1.00 | 10 |"
    assert lines[3] == "| b | 1,234 | 0.3 | 300 | 3.00 | 75 | 3.00 | 10 |"


def test_both_kernels_train_and_predict(prepared_qm9: PreparedData, tmp_path: Path) -> None:
    arena = gated.Arena(SMALL, 2, "cpu", None, tmp_path)
    found = gated.time_all({name: arena.build(name) for name in gated.IN_THIS_PROCESS[:2]}, 1)
    ours, reference = found.values()
    assert ours["parameters"] == reference["parameters"] > 0
    assert all(f[key][0] > 0 for f in found.values() for key in ("train_s", "infer_s"))


def test_mace_without_its_environment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gated.parse(["--variants", "mace, correlation 1"])
    assert "pip install -r benchmarks/requirements-mace.txt" in capsys.readouterr().err


def test_a_missing_peer_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gated_peers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install -r benchmarks/requirements.txt"):
        NequipNetwork(SMALL)


def _single_molecules(molecules: Batch) -> list[Batch]:
    return [Batch.from_data_list([molecules[i]]) for i in range(molecules.num_graphs)]


@pytest.mark.peers
def test_nequips_model_is_given_the_same_graph_and_leaves_the_process_as_it_was() -> None:
    molecules = batch([5, 4, 6])
    molecules.pos = molecules.pos.float()
    state = torch.get_rng_state()
    network = NequipNetwork(SMALL)
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    together = network(molecules)
    rotated = molecules.clone()
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotated.pos = molecules.pos @ turn.T
    torch.testing.assert_close(network(rotated), together, rtol=1e-4, atol=1e-5)
    cut = molecules.clone()
    cut.edge_index = molecules.edge_index[:, :0]
    assert not torch.allclose(network(cut), together)


@pytest.mark.peers
def test_nequips_model_has_the_same_irreps_in_every_layer() -> None:
    model = NequipNetwork(SMALL).model.model.func
    for layer in ("layer0_convnet", "layer1_convnet"):
        assert str(getattr(model, layer).irreps_out["node_features"]) == "4x0e+3x1o"
    assert str(model.layer2_convnet.irreps_out["node_features"]) == "4x0e"
