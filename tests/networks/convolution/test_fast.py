import copy
import math
from functools import partial

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS, Graph, Order
from networks.convolution.edges_first_kernel import cut_terms
from networks.convolution.frame_layout import Side
from networks.convolution.products import CHUNK_ELEMENTS
from networks.convolution.slot_geometry import is_symmetric
from tests.networks.molecules import batch, directed_batch
from tests.networks.nets import (
    MIXED,
    assert_same,
    irreps_of,
    only_order,
    outputs_and_gradients,
    reference_and_fast,
    relative_difference,
    swept_degree_sets,
)


@pytest.mark.parametrize("degrees", swept_degree_sets(), ids=str)
def test_features_and_all_gradients_match_e3nn(degrees: tuple[int, ...]) -> None:
    reference, fast = reference_and_fast(irreps_of(degrees, 1 + (len(degrees) < 5)), num_layers=3)
    assert_same(reference, fast, batch([4, 1, 6], "bonds"), batch([4, 1, 6], "radius"))


def test_the_sweep_files_contain_the_published_sets() -> None:
    published = {(0,), (0, 1, 2), (0, 1, 2, 10), (0, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6, 7, 8)}
    assert published <= set(swept_degree_sets())


@pytest.mark.parametrize("hidden", ["1x0e+1x4e+1x8e", "1x0e+1x10e"])
def test_high_degrees_match_e3nn(hidden: str) -> None:
    irreps = o3.Irreps(hidden)
    reference, fast = reference_and_fast(irreps, num_layers=2, trim_unreachable=False)
    assert_same(reference, fast, batch([3, 2]))


@pytest.mark.parametrize("trim", [True, False])
def test_both_parities_and_unequal_multiplicities_match_e3nn(trim: bool) -> None:
    reference, fast = reference_and_fast(MIXED, num_layers=4, trim_unreachable=trim)
    directed = directed_batch()
    assert not is_symmetric(fast.prepare(directed))
    assert_same(reference, fast, batch([4, 5]), directed)


@pytest.mark.parametrize("sizes", [[1], [1, 1], [2], [1, 7]], ids=str)
def test_lone_atoms_and_single_molecules_match_e3nn(sizes: list[int]) -> None:
    assert_same(*reference_and_fast("2x0e+1x1o+2x2e", num_layers=3), batch(sizes))


def test_doubled_edges_and_pairs_beyond_the_cutoff_match_e3nn() -> None:
    doubled = batch([4, 3])
    doubled.edge_index = torch.cat([doubled.edge_index, doubled.edge_index], dim=1)
    assert_same(*reference_and_fast("2x0e+1x1o", num_layers=3, cutoff=2.0), doubled, batch([6, 6]))


def test_float32_agrees_with_float64_to_1e_5() -> None:
    reference, fast = reference_and_fast(irreps_of([0, 1, 2, 3], 4), num_layers=3)
    data = batch([6, 8])
    exact = outputs_and_gradients(reference, data)
    data.pos = data.pos.float()
    fast.float()
    for order in ORDERS:
        with only_order(order, fast):
            single = {k: v.double() for k, v in outputs_and_gradients(fast, data).items()}
        assert relative_difference(exact, single) < 1e-5


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    multiplicities=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    scalars=st.integers(1, 4),
    graph=st.sampled_from(["bonds", "radius"]),
    seed=st.integers(0, 100),
)
def test_random_irreps_match_e3nn(
    multiplicities: list[int], scalars: int, graph: str, seed: int
) -> None:
    blocks = [f"{scalars}x0e"]
    blocks += [f"{mul}x{i}{'eo'[i % 2]}" for i, mul in enumerate(multiplicities, 1) if mul]
    assert_same(*reference_and_fast("+".join(blocks), num_layers=2), batch([3, 5], graph, seed))


@pytest.mark.parametrize("order", ORDERS)
def test_gradcheck_and_second_derivatives(order: Order) -> None:
    _, fast = reference_and_fast(
        "2x0e+1x1o", num_layers=2, embedding_dim=2, num_radial=3, radial_hidden=2
    )
    data = batch([3, 2])
    names = [name for name, _ in fast.named_parameters() if "output" not in name]
    weights = [fast.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def predict(pos: Tensor, *values: Tensor) -> Tensor:
        data.pos = pos
        return torch.func.functional_call(fast, dict(zip(names, values)), (data,))

    inputs = (data.pos.clone().requires_grad_(), *weights)
    with only_order(order, fast):
        assert torch.autograd.gradcheck(predict, inputs)
        assert torch.autograd.gradgradcheck(predict, inputs, atol=1e-4, fast_mode=True)
        # Without derivatives by positions, a backward pass may run loops that autograd cannot see.
        fixed = partial(predict, data.pos.detach().clone())
        assert torch.autograd.gradgradcheck(fixed, tuple(weights), atol=1e-4, fast_mode=True)


def test_no_gradient_is_computed_for_positions_unless_asked() -> None:
    _, fast = reference_and_fast(irreps_of([0, 1]), num_layers=2)
    geometry = fast.prepare(batch([4]))
    assert not geometry.harmonics.requires_grad
    assert not geometry.radial.requires_grad


@pytest.mark.parametrize("order", ORDERS)
def test_results_do_not_depend_on_the_batch(order: Order) -> None:
    _, fast = reference_and_fast(irreps_of([0, 1, 2]), num_layers=3)
    molecules = batch([4, 1, 7, 2, 5]).to_data_list()
    with only_order(order, fast):
        alone = torch.cat([fast(molecule) for molecule in molecules])
        together = fast(batch([4, 1, 7, 2, 5]))
    assert torch.allclose(together, alone, rtol=1e-11, atol=1e-13)


def test_both_convolutions_have_one_state_dict() -> None:
    reference, fast = reference_and_fast(MIXED)
    assert reference.state_dict().keys() == fast.state_dict().keys()
    reference.load_state_dict(fast.state_dict())
    assert all(torch.equal(v, fast.state_dict()[k]) for k, v in reference.state_dict().items())


def test_both_convolutions_start_from_the_same_weights() -> None:
    nets = []
    for kind in ("e3nn", "fast"):
        torch.manual_seed(3)
        nets.append(EquivariantConvNet(irreps_of([0, 1, 2]), convolution=kind))
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))


@pytest.mark.parametrize("build_in", [torch.float32, torch.float64])
def test_float64_is_exact_however_the_network_was_built(build_in: torch.dtype) -> None:
    # e3nn's 3j symbols are rounded to the default dtype when a layer is built: a reference cast
    # to float64 afterwards used to be off by up to 5e-9, one built in float64 was not.
    with torch.random.fork_rng():
        torch.set_default_dtype(build_in)
        try:
            reference, fast = reference_and_fast(irreps_of([0, 1, 2]), num_layers=3)
        finally:
            torch.set_default_dtype(torch.float32)
    data = batch([5, 6])
    assert torch.allclose(fast(data), reference(data), rtol=1e-13, atol=1e-14)


def test_inference_mode_first_does_not_spoil_later_gradients() -> None:
    _, fast = reference_and_fast("2x0e+2x1o+1x5o", num_layers=3)
    data = batch([4, 4], seed=7)
    with torch.inference_mode():
        expected = fast(data)
    found = outputs_and_gradients(fast, data)
    assert torch.allclose(found["prediction"], expected, rtol=1e-13)
    assert "d/d pos" in found


def test_copies_and_predicting_from_a_layer() -> None:
    _, fast = reference_and_fast(irreps_of([0, 1]), num_layers=3)
    data = batch([4, 4])
    expected = fast(data)
    geometry = fast.prepare(data)
    features, _ = fast.run_recording(geometry)
    assert torch.equal(copy.deepcopy(fast)(data), expected)
    for k, x in enumerate(features):
        found = fast.run(geometry, start=(k, x))
        # From the last features only the readout is left, which was folded into that layer.
        assert (
            torch.allclose(found, expected, rtol=1e-13) if k == 2 else torch.equal(found, expected)
        )


def test_the_shortcuts_of_the_first_and_the_last_layer_are_exact() -> None:
    _, fast = reference_and_fast(MIXED, num_layers=4)
    data = batch([5, 1, 6])
    geometry = fast.prepare(data)
    features, prediction = fast.run_recording(geometry)
    whole = fast.layers[0](fast.embedding(data.z), geometry)
    assert torch.allclose(whole, features[0], rtol=1e-12)
    # Recording makes the last layer compute all of its output, which is then read out.
    assert torch.allclose(fast(data), prediction, rtol=1e-12)


@pytest.mark.parametrize("largest", [1.0, 20.0, math.inf])
def test_the_cut_into_terms_does_not_change_results(
    largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An accelerator computes all receiving blocks of an order at once, a CPU one or a few.
    monkeypatch.setattr("networks.convolution.edges_first.MAX_TERM_ELEMENTS", largest)
    reference, fast = reference_and_fast(MIXED, num_layers=4)
    data = batch([6, 9, 1, 4], "bonds")
    with only_order("edges", fast):
        found = outputs_and_gradients(fast, data)
    assert relative_difference(outputs_and_gradients(reference, data), found) < 1e-11


def test_terms_partition_the_receiving_blocks() -> None:
    side = Side(shapes=((1, 3), (3, 2), (5, 2)), irreps=(0, 1, 2))
    whole = [(term.m, term.blocks, term.columns) for term in cut_terms(side, side, math.inf)]
    assert whole == [
        (0, (0, 1, 2), slice(0, 7)),
        (1, (1, 2), slice(0, 4)),
        (2, (2,), slice(0, 2)),
    ]
    single = [(term.m, term.blocks, term.columns) for term in cut_terms(side, side, 1)]
    assert single[:3] == [(0, (0,), slice(0, 3)), (0, (1,), slice(3, 5)), (0, (2,), slice(5, 7))]
    assert len(single) == 6


@pytest.mark.parametrize("order", ORDERS)
def test_chunks_do_not_change_results(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = reference_and_fast(irreps_of([0, 1, 2]), num_layers=3)
    data = batch([6, 9, 1, 4])
    with only_order(order, fast):
        whole = outputs_and_gradients(fast, data)
        monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 100)
        assert relative_difference(whole, outputs_and_gradients(fast, data)) < 1e-12


def test_description_names_the_order_and_its_parts() -> None:
    layer = EquivariantConvNet("8x0e+8x1o+8x2e").layers[1].contraction
    lines = layer.describe(Graph(2.0, symmetric=True)).splitlines()
    assert lines[0].startswith("8x0e+8x1o+8x2e -> 8x0e+8x1o+8x2e: edges first (ns/node: nodes ")
    assert lines[1:] == [
        "  m = 0: 24 -> 24 channels",
        "  m = 1: 16 -> 16 channels",
        "  m = 2: 8 -> 8 channels",
    ]
    layer = EquivariantConvNet("32x0e+32x1o+32x2e").layers[1].contraction
    lines = layer.describe(Graph(16.0, symmetric=True)).splitlines()
    assert ": nodes first" in lines[0]
    assert lines[1] == "  32x0e -> 32x0e (edge degrees 0): to_centers"
    assert len(lines) == 1 + 9


@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_autocast_leaves_the_network_in_its_weights_precision(graph: str) -> None:
    _, fast = reference_and_fast(irreps_of([0, 1, 2], 4), num_layers=3)
    fast.float()
    data = batch([5, 6], graph)
    data.pos = data.pos.float()
    usual = outputs_and_gradients(fast, data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = outputs_and_gradients(fast, data)
    exact = [name for name in usual if not name.startswith("d/d")]
    assert all(mixed[name].dtype == torch.float32 for name in usual)
    assert relative_difference({k: usual[k] for k in exact}, {k: mixed[k] for k in exact}) < 1e-5
    # This backward pass is under autocast as well, which a training's is not.
    assert relative_difference(usual, mixed) < 3e-2


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_results_do_not_depend_on_the_number_of_threads(
    graph: str, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fast = reference_and_fast(irreps_of([0, 1, 2]), num_layers=3)
    data = batch([6, 9, 1, 4, 7], graph)
    with only_order(order, fast):
        whole = outputs_and_gradients(fast, data)
        monkeypatch.setattr("networks.convolution.products.MIN_ROWS", 1)
        for threads in (2, 3, 7):
            monkeypatch.setattr("torch.get_num_threads", lambda: threads)  # noqa: B023
            assert relative_difference(whole, outputs_and_gradients(fast, data)) < 1e-12
            monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 1000)
