"""Readouts of vectors and tensors: equivariant, trimmed, restrictable, in both networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from analysis.equivariance import representation
from analysis.utilization import block_columns
from networks.irreps import parse_readout
from networks.restrictable import RestrictableNetwork
from networks.restriction import KeptLayer, keep_degrees
from tests.networks.molecules import batch
from tests.networks.variants import VARIANTS, small_network

IRREPS = "3x0e+2x1o+2x2e"
DATA = batch([6, 1, 5], graph="bonds")


def vector_network(variant: str, readout: str = "1o", **options: Any) -> RestrictableNetwork:
    return small_network(variant, IRREPS, num_layers=3, irreps_readout=readout, **options)


@pytest.mark.parametrize("readout", ["1o", "2e"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_prediction_turns_with_the_molecule(variant: str, readout: str) -> None:
    network = vector_network(variant, readout)
    torch.manual_seed(0)
    for sign in (1, -1):
        matrix = sign * o3.rand_matrix(dtype=torch.float64)
        moved = DATA.clone()
        moved.pos = DATA.pos @ matrix.T + 3.0
        with torch.no_grad():
            prediction = network(DATA)
            expected = prediction @ representation(o3.Irrep(readout), matrix).T
            error = (network(moved) - expected).norm() / prediction.norm()
        assert float(error) < 1e-10


@pytest.mark.parametrize("readout", ["1o", "2e"])
@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_lone_atom_has_no_direction(variant: str, readout: str) -> None:
    with torch.no_grad():
        assert vector_network(variant, readout)(DATA)[1].abs().max() == 0


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_trimming_leaves_the_readouts_irrep_in_the_last_layer(variant: str) -> None:
    trimmed, whole = (vector_network(variant, trim_unreachable=trim) for trim in (True, False))
    assert str(trimmed.layer_irreps[-1]) == "2x1o"
    assert [blocks["2e"] for blocks in whole.reachable] == [True, True, False]
    with torch.no_grad():
        torch.testing.assert_close(trimmed(DATA), whole(DATA), rtol=1e-12, atol=1e-12)
    whole(DATA).square().sum().backward()
    live = sum(int((p.grad != 0).sum()) for p in whole.layers.parameters() if p.grad is not None)
    total = sum(p.numel() for p in whole.layers.parameters())
    unreachable = whole.num_parameters() - whole.num_reachable_parameters()
    assert 0 < unreachable <= total - live
    assert trimmed.num_parameters() == whole.num_reachable_parameters()


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_restricted_network_computes_what_the_whole_does_without_the_rest(variant: str) -> None:
    network = vector_network(variant)
    smaller = network.restricted(keep_degrees(network.kept, (0, 1)))
    blind = network.restricted(
        tuple(KeptLayer(layer.channels, layer.edge_degrees - {2}) for layer in network.kept)
    )

    def without_2e(k: int, x: Tensor) -> Tensor:
        columns = block_columns(blind.layer_irreps[k]).get(
            "2e", torch.tensor([], dtype=torch.int64)
        )
        return x.index_fill(1, columns, 0.0)

    with torch.no_grad():
        expected = blind.run(blind.prepare(DATA), edit=without_2e)
        torch.testing.assert_close(smaller(DATA), expected, rtol=1e-10, atol=1e-12)
        assert not torch.allclose(network(DATA), expected)


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_the_weights_that_read_the_last_vectors_are_the_readouts(variant: str) -> None:
    network = vector_network(variant)
    readers = [w for w in network.block_parameters(2, "1o") if not w.writes]
    assert [tuple(w.values().shape) for w in readers] == [(2,)]
    with torch.no_grad():
        readers[0].parameter.zero_()
        assert network(DATA).abs().max() == 0


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_irreps_without_the_readouts_are_refused(variant: str) -> None:
    for irreps in ("3x0e", "3x0e+2x1e", "3x0e+2x2e"):
        with pytest.raises(ValueError, match="has no 1o, which the readout needs"):
            small_network(variant, irreps, irreps_readout="1o")
    with pytest.raises(
        ValueError, match="cannot reach the readout|no tensor product path fills 1o"
    ):
        small_network(variant, "3x0e+2x1o", irreps_readout="1o", edge_irreps="0e")


def test_a_readout_is_one_irrep() -> None:
    assert str(parse_readout("1o")) == "1x1o"
    for wrong in ("0e+1o", "2x1o"):
        with pytest.raises(ValueError, match="give one irrep"):
            parse_readout(wrong)
