"""Embeddings of molecules: the right columns, brute-force sums, invariance."""

import pytest
import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch

from analysis.latent_embedding import (
    default_layer,
    invariant_channels,
    join_blocks,
    molecule_embedding,
)
from networks.convnet import EquivariantConvNet
from networks.irreps import parse_irreps
from tests.analysis.molecules import moved, random_molecules
from tests.analysis.networks import small_network

UNEVEN = o3.Irreps("3x0e+2x0o+4x1o+1x2e")


def test_each_block_depends_on_its_own_columns_only() -> None:
    # Slicing by multiplicity instead of dimension is a known mistake of published code.
    pooled = torch.randn(5, UNEVEN.dim)
    before = invariant_channels(pooled, UNEVEN)
    for columns, (mul, ir) in zip(UNEVEN.slices(), UNEVEN):
        changed = pooled.clone()
        changed[:, columns] += 1.0
        after = invariant_channels(changed, UNEVEN)
        assert after[str(ir)].shape == (5, mul)
        for name in before:
            assert torch.equal(before[name], after[name]) == (name != str(ir))


def test_channels_are_values_magnitudes_and_norms() -> None:
    pooled = torch.tensor([[-2.0, -3.0, 3.0, 0.0, -4.0]])
    blocks = invariant_channels(pooled, o3.Irreps("1x0e+1x0o+1x1o"))
    assert {name: block.tolist() for name, block in blocks.items()} == {
        "0e": [[-2.0]],
        "0o": [[3.0]],
        "1o": [[5.0]],
    }


def test_blocks_of_one_irrep_are_joined_in_order() -> None:
    irreps = o3.Irreps("1x1o+2x0e+2x1o")
    blocks = invariant_channels(torch.randn(4, irreps.dim), irreps)
    assert {name: block.shape[1] for name, block in blocks.items()} == {"1o": 3, "0e": 2}


@pytest.mark.parametrize("matrix", [o3.rand_matrix(), -torch.eye(3), -o3.rand_matrix()])
def test_rotated_and_inverted_features_embed_alike(matrix: Tensor) -> None:
    matrix = matrix.double()
    pooled = torch.randn(6, UNEVEN.dim, dtype=torch.float64)
    turned = pooled @ UNEVEN.D_from_matrix(matrix).T
    for one, two in zip(
        invariant_channels(pooled, UNEVEN).values(), invariant_channels(turned, UNEVEN).values()
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_sum_over_atoms_matches_a_loop() -> None:
    features = torch.randn(9, UNEVEN.dim, dtype=torch.float64)
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])
    blocks = molecule_embedding(features, UNEVEN, batch, 3)
    for molecule in range(3):
        pooled = sum(features[i] for i in range(9) if batch[i] == molecule)
        vectors = pooled[5:17].reshape(4, 3)  # 3x0e and 2x0o come first
        expected = torch.stack([vector.square().sum().sqrt() for vector in vectors])
        torch.testing.assert_close(blocks["1o"][molecule], expected)


def embedding(network: EquivariantConvNet, batch: object, layer: int) -> dict[str, Tensor]:
    prepared = network.prepare(batch)  # type: ignore[arg-type]
    with torch.no_grad():
        features = network.run_recording(prepared)[0][layer]
    return molecule_embedding(
        features, network.layer_irreps[layer], prepared.batch, prepared.num_graphs
    )


def test_moved_molecules_embed_alike() -> None:
    network = small_network("4x0e+3x1o+2x2e")
    molecules = random_molecules(12, dtype=torch.float64)
    matrix = -o3.rand_matrix(dtype=torch.float64)
    before = embedding(network, molecules, 1)
    after = embedding(network, moved(molecules, matrix, shift=2.5), 1)
    assert list(before) == ["0e", "1o", "2e"]
    for name in before:
        assert before[name].std() > 0
        torch.testing.assert_close(before[name], after[name], rtol=1e-8, atol=1e-10)


def test_batches_join_to_the_whole() -> None:
    network = small_network()
    molecules = random_molecules(10, dtype=torch.float64)
    halves = [Batch.from_data_list(molecules[i : i + 5]) for i in (0, 5)]
    parts = [embedding(network, half, 1) for half in halves]
    whole = embedding(network, molecules, 1)
    for name, block in join_blocks(parts).items():
        torch.testing.assert_close(block, whole[name])


def test_features_of_another_layer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not fit .* 9 columns"):
        invariant_channels(torch.zeros(2, 4), o3.Irreps("3x0e+2x1o"))


@pytest.mark.parametrize(
    ("irreps", "trim", "layer"),
    [
        ("4x0e+4x1o+4x2e", True, 3),
        ("4x0e+4x1o+4x2e", False, 3),
        ("4x0e", True, 4),
        # 1e reaches 0e only through another irrep, so one layer earlier than 1o and 2e do.
        ("4x0e+4x1o+4x1e+4x2e", True, 2),
    ],
)
def test_default_layer_is_the_last_with_all_degrees_in_use(
    irreps: str, trim: bool, layer: int
) -> None:
    network = EquivariantConvNet(
        str(parse_irreps(irreps)), embedding_dim=4, trim_unreachable=trim, convolution="e3nn"
    )
    assert default_layer(network.layer_irreps, network.reachable) == layer
