"""Compiled rotations into the frames of edges equal torch's, wherever rows lie in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from networks.convolution.edges_first_kernel import EdgeForm, cut_terms
from networks.convolution.frame_layout import FrameLayout, Side
from networks.convolution.frames import (
    CompiledFrames,
    Frames,
    Slots,
    TorchFrames,
    frames_for,
    rows_by_block,
)
from networks.convolution.products import Scratch

NUM_NODES, NUM_EDGES = 40, 150
DEGREES = (0, 1, 2, 4)
"""Of the Wigner matrices."""
SENDER = Side(((1, 3), (3, 17), (3, 8), (9, 2)), (0, 1, 1, 3))
RECEIVER = Side(((1, 1), (1, 5), (5, 33), (3, 4)), (0, 0, 2, 1))


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr("networks.convolution.frames.SMALLEST_FOR_THREADS", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random_slots(slots_per_edge: int, dtype: torch.dtype) -> Slots:
    torch.manual_seed(0)
    number = NUM_EDGES * slots_per_edge
    nodes = torch.randint(NUM_NODES, (number,))
    dims = [2 * degree + 1 for degree in DEGREES]
    return Slots(nodes, [torch.randn(number, d, d, dtype=dtype) for d in dims], NUM_EDGES)


def round_trip(frames: Frames, layout: FrameLayout, slots: Slots, values: Tensor) -> list[Tensor]:
    """Rotate into the frames, and the same rows back."""
    inside = frames.rotate_into("x", layout, slots, frames.load(layout.side, values))
    totals = frames.zeros(layout.side, NUM_NODES, values)
    frames.add_back(slots, inside, totals)
    return [*(part.clone() for part in inside.parts), frames.total(totals)]


def layouts() -> list[FrameLayout]:
    form = EdgeForm(SENDER, RECEIVER, cut_terms(SENDER, RECEIVER, 200))
    assert len(form.messages.pieces) > len(form.received.pieces)
    return [form.sent, form.received, form.messages]


@pytest.mark.parametrize("layout", layouts(), ids=["sent", "received", "messages"])
@pytest.mark.parametrize("slots_per_edge", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_compiled_rotations_equal_torchs(
    layout: FrameLayout, slots_per_edge: int, dtype: torch.dtype, threads: int
) -> None:
    slots = random_slots(slots_per_edge, dtype)
    dim = sum(d * mul for d, mul in layout.side.shapes)
    values = torch.randn(NUM_NODES, dim, dtype=dtype)
    expected = round_trip(TorchFrames(Scratch()), layout, slots, values)
    found = round_trip(CompiledFrames(Scratch()), layout, slots, values)
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two)


def test_results_are_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("networks.convolution.frames.SMALLEST_FOR_THREADS", 0)
    layout, slots = layouts()[2], random_slots(2, torch.float32)
    values = torch.randn(NUM_NODES, sum(d * mul for d, mul in layout.side.shapes))
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(round_trip(CompiledFrames(Scratch()), layout, slots, values))
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


def test_rows_by_block_are_the_rotated_values_of_each_slot() -> None:
    layout, slots = layouts()[0], random_slots(2, torch.float64)
    values = torch.randn(NUM_NODES, sum(d * mul for d, mul in SENDER.shapes), dtype=torch.float64)
    inside = CompiledFrames(Scratch()).rotate_into("x", layout, slots, values.numpy())
    column = 0
    for rows, (dim, mul), irrep in zip(
        rows_by_block(slots, inside), SENDER.shapes, SENDER.irreps, strict=True
    ):
        block = values[slots.nodes, column : column + dim * mul].view(-1, dim, mul)
        expected = (slots.wigner_d[irrep] @ block)[:, : layout.num_rows]
        torch.testing.assert_close(rows, expected)
        column += dim * mul


def test_loops_run_only_where_autograd_need_not_see_them() -> None:
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        assert isinstance(frames_for(Scratch(), single, single), CompiledFrames)
        assert isinstance(frames_for(Scratch(), double, double), CompiledFrames)
        for kind in (torch.bfloat16, torch.float16):
            low = torch.zeros(1, dtype=kind)
            assert isinstance(frames_for(Scratch(), low, low), TorchFrames)
        assert isinstance(frames_for(Scratch(), single, double), TorchFrames)
        meta = torch.zeros(1, device="meta")
        assert isinstance(frames_for(Scratch(), meta, meta), TorchFrames)
        assert isinstance(frames_for(Scratch(), single, single, differentiable=True), TorchFrames)
    assert isinstance(frames_for(Scratch(), single, single), TorchFrames)
