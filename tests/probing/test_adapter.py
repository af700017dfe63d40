"""The adapter of docs/probe.md, run by probe.py and compared with a hook made by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import probe
from analysis.removal import expanded, invariant_means, run_without
from networks.layered import measuring
from probing.hooked import HookedNetwork
from probing.own_module import load_own_module
from records.probing import PROBE, read_probing
from tests.analysis.molecules import random_molecules
from tests.programs import run_program

PAGE = Path(__file__).parent.parent.parent / "docs" / "probe.md"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (block,) = re.findall(r"```python\n# my_adapter\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("adapter") / "my_adapter.py"
    path.write_text(block)
    return path


def test_the_adapter_of_the_page_is_probed(
    prepared_qm9: Any, adapter: Path, tmp_path: Path
) -> None:
    arguments = [f"{adapter}:factory", "--molecules=40", "--fitting=20", f"--out={tmp_path}"]
    code, output = run_program(probe.main, [*arguments, "--device=cpu"])
    assert code == 0, output
    rows = {(r.layer, r.irrep): r for r in read_probing(tmp_path / PROBE).utilization.rows}
    assert rows["layer0", "1o"].effects["reliance"].verdict == "relied on"
    assert rows["layer1", "1o"].channels == 0
    assert "refitted" in rows["layer0", "2e"].effects  # the readout is linear


def test_hooks_remove_what_a_hook_made_by_hand_removes_and_are_gone_afterwards(
    adapter: Path,
) -> None:
    network = load_own_module(f"{adapter}:factory", torch.device("cpu")).network
    assert isinstance(network, HookedNetwork)
    batch = random_molecules(6)
    with measuring(network), torch.no_grad():
        prepared = network.prepare(batch)
        features, intact = network.run_recording(prepared)
        values = expanded(invariant_means([features], network), len(batch.z))
        removed = run_without(network, prepared, features, [(0, "1o")], values).prediction
        first: Any = network.model.get_submodule("mixings.0")
        assert not first._forward_hooks

        def zero(module: Any, args: Any, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x[:, :8], torch.zeros_like(x[:, 8:20]), x[:, 20:]], dim=1)

        handle = first.register_forward_hook(zero)
        by_hand = network(batch)
        handle.remove()
    torch.testing.assert_close(removed, by_hand)
    assert float((removed - intact).abs().min()) > 1e-4


def test_hooks_are_gone_after_an_error(adapter: Path) -> None:
    network = load_own_module(f"{adapter}:factory", torch.device("cpu")).network
    assert isinstance(network, HookedNetwork)

    def fail(k: int, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        network.run(network.prepare(random_molecules(2)), edit=fail)
    assert not any(module._forward_hooks for module in network.model.modules())
    assert "probed_my_adapter" in sys.modules
