"""Paths and their normalization, compared with e3nn's fully connected tensor product."""

import math

import pytest
from e3nn import o3

from networks.convolution.paths import LayerPaths
from networks.irreps import default_edge_irreps

LAYERS = [("4x0e", "3x0e+2x1o"), ("3x0e+1x1e+2x1o+2x2e",) * 2, ("2x0e+1x3o", "1x0e+2x3o+1x4e")]


@pytest.mark.parametrize(("irreps_in", "irreps_out"), LAYERS)
def test_paths_weights_and_coefficients_are_e3nns(irreps_in: str, irreps_out: str) -> None:
    irreps = o3.Irreps(irreps_in), default_edge_irreps(o3.Irreps(irreps_out)), o3.Irreps(irreps_out)
    paths = LayerPaths(*irreps).paths
    expected = o3.FullyConnectedTensorProduct(*irreps, shared_weights=False).instructions
    assert [(p.block_in, p.block_edge, p.block_out) for p in paths] == [
        (each.i_in1, each.i_in2, each.i_out) for each in expected
    ]
    assert [p.num_weights for p in paths] == [math.prod(each.path_shape) for each in expected]
    assert all(math.isclose(p.coefficient, each.path_weight) for p, each in zip(paths, expected))


@pytest.mark.parametrize(("irreps_in", "irreps_out"), LAYERS)
def test_pairs_partition_the_paths(irreps_in: str, irreps_out: str) -> None:
    edges = default_edge_irreps(o3.Irreps(irreps_out))
    layer = LayerPaths(o3.Irreps(irreps_in), edges, o3.Irreps(irreps_out))
    in_pairs = [path for pair in layer.pairs for path in pair.paths]
    assert len(in_pairs) == len(layer.paths)
    assert set(in_pairs) == set(layer.paths)
    for pair in layer.pairs:
        assert {(path.block_in, path.block_out) for path in pair.paths} == {
            (pair.block_in, pair.block_out)
        }
        assert list(pair.edge_degrees) == [edges[path.block_edge].ir.l for path in pair.paths]
        assert pair.shape.num_paths == len(pair.paths)
