"""The benchmarks of the convolution compare equal functions and reduce their measurements."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import convolution, step_profile
from benchmarks.training_step import Row, molecules, training_step
from qm9.cache import PreparedData

SMALL = Row("bonds", (0, 1), 4, speedup=2, speedup_compiled=2, memory=1 / 2)


def test_e3nn_and_fast_take_turns_on_the_same_function(prepared_qm9: PreparedData) -> None:
    found = convolution.time_row(SMALL, "e3nn", repeats=2, batch_size=4)
    losses = found["first_losses"]
    assert losses["e3nn"] == pytest.approx(losses["fast"], rel=1e-4)
    assert [len(found["times_ms"][variant]) for variant in ("e3nn", "fast")] == [
        2,
        2 * convolution.FAST_STEPS_PER_TURN,
    ]
    assert found["fast_operations"] > 0


def test_compiled_e3nn_has_no_paths_that_cannot_reach_the_readout(
    prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    monkeypatch.setattr(
        "networks.convnet.EquivariantConvNet.compile_tensor_products",
        lambda network: built.append(network),
    )
    batch = molecules("bonds", 4)
    losses = [
        float(training_step(SMALL, variant, batch)()) for variant in ("e3nn compiled", "fast")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    (network,) = built
    assert network.convolution == "e3nn"
    assert str(network.layers[-1].irreps_out) == "4x0e"


def test_each_speed_up_is_of_one_process() -> None:
    def timed(rival: str, slow: float, fast: float) -> dict[str, Any]:
        times = {rival: [slow, slow], "fast": [fast, fast, fast]}
        return {"times_ms": times, "sgemm_gflops": [90.0, 100.0], "fast_operations": 4 * 10**9}

    parts = {
        "time": timed("e3nn", 1200.0, 100.0),
        "time_kept": timed("e3nn compiled", 240.0, 80.0),
        "memory e3nn": {"baseline": 100.0, "peak": 500.0},
        "memory e3nn compiled": {"baseline": 100.0, "peak": 400.0},
        "memory fast": {"baseline": 100.0, "peak": 140.0},
    }
    row = convolution.summarize(SMALL, 32, parts)
    assert (row["ratio"], row["ratio_compiled"]) == (12.0, 3.0)
    assert row["memory_ratio"] == pytest.approx(0.1)
    assert row["fast_gflops"] == pytest.approx(40.0)
    line = convolution.table([row]).splitlines()[2]
    assert "**12.0** (≥ 2) | 240 | 80 | **3.0** (≥ 2) | 320 | 400, 300, 40 = 1/10" in line


def test_a_profile_shares_all_time_among_kinds(prepared_qm9: PreparedData) -> None:
    found = step_profile.profile_row(SMALL, batch_size=4)
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    assert 0 < found["shares"]["products"] < 1
    assert found["products_gflops"] * found["shares"]["products"] == pytest.approx(found["gflops"])
    assert step_profile.table([found]).splitlines()[2].startswith("| bonds-0,1x4 |")


def test_kinds_are_read_from_the_names_of_operations() -> None:
    events = [
        SimpleNamespace(key=key, self_cpu_time_total=time)
        for key, time in (("aten::mm", 5), ("aten::cat", 2), ("aten::mul", 2), ("_Send", 1))
    ]
    assert step_profile.shares(events) == {
        "products": 0.5,
        "moving": 0.2,
        "views and calls": 0.0,
        "arithmetic": 0.2,
        "Python, autograd and compiled loops": 0.1,
    }
