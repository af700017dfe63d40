import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from qm9.cache import PreparedData
from qm9.graphs import COVALENT_RADII, bond_edges, radius_edges, ranges, spread
from qm9.validate import KNOWN_EXCEPTIONS, bond_exceptions, check_facts


def random_molecules(sizes: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions [n, 3] and node offsets [mol + 1]."""
    pos = np.random.default_rng(seed).uniform(-4, 4, size=(sum(sizes), 3))
    return torch.from_numpy(pos), torch.tensor([0, *np.cumsum(sizes)])


def brute_force(pos: np.ndarray, connected: np.ndarray) -> list[tuple[int, int]]:
    """(target, source) of all connected pairs, in order."""
    n = len(pos)
    return [(i, j) for i in range(n) for j in range(n) if i != j and connected[i, j]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    cutoff=st.floats(0.1, 12),
    seed=st.integers(0, 1000),
)
def test_radius_graph_is_all_ordered_pairs_within_the_cutoff(sizes, cutoff, seed):
    pos, node_offsets = random_molecules(sizes, seed)
    edges, offsets = radius_edges(pos, node_offsets, cutoff)
    assert edges.dtype == torch.int8
    for k, block in enumerate(np.split(pos.numpy(), node_offsets[1:-1])):
        found = edges[:, offsets[k] : offsets[k + 1]]
        assert list(zip(*found.flip(0).tolist())) == brute_force(
            block, cdist(block, block) <= cutoff
        )


def test_bonds_are_pairs_within_the_scaled_covalent_radii(prepared_qm9: PreparedData):
    data = prepared_qm9
    for row in (0, 22, 58247, 130830):
        nodes = slice(*data.node_offsets[row : row + 2].tolist())
        pos = data.pos[nodes].numpy()
        radii = np.array([COVALENT_RADII[z] for z in data.z[nodes].tolist()])
        connected = cdist(pos, pos) < 1.15 * (radii[:, None] + radii)
        start, stop = data.bond_offsets[row : row + 2].tolist()
        found = data.bonds[:, start:stop].flip(0).tolist()
        assert list(zip(*found)) == brute_force(pos, connected)


def test_bonds_do_not_depend_on_the_blocks(prepared_qm9: PreparedData, monkeypatch):
    data, count = prepared_qm9, 500
    nodes = int(data.node_offsets[count])
    monkeypatch.setattr("qm9.graphs._PAIRS_AT_ONCE", 100)
    edges, offsets = bond_edges(data.pos[:nodes], data.z[:nodes], data.node_offsets[: count + 1])
    assert torch.equal(offsets, data.bond_offsets[: count + 1])
    assert torch.equal(edges, data.bonds[:, : offsets[-1]])


def test_every_bond_is_there_in_both_directions(prepared_qm9: PreparedData):
    molecule = spread(torch.arange(len(prepared_qm9)), prepared_qm9.bond_offsets.diff())
    source, target = prepared_qm9.bonds.long()
    key, reverse = molecule * 900 + target * 30 + source, molecule * 900 + source * 30 + target
    # Sorted by molecule, then target, then source: keys increase strictly.
    assert (key.diff() > 0).all()
    assert torch.equal(reverse.sort().values, key)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_concatenates_aranges(pairs):
    starts, lengths = (torch.tensor([pair[k] for pair in pairs], dtype=torch.int64) for k in (0, 1))
    expected = [start + i for start, length in pairs for i in range(length)]
    assert ranges(starts, lengths).tolist() == expected
    assert spread(starts, lengths).tolist() == [s for s, length in pairs for _ in range(length)]


def test_whole_data_set_has_the_published_facts(prepared_qm9: PreparedData):
    failed = [check for check in check_facts(prepared_qm9) if not check.passed]
    assert not failed


def test_bonds_are_those_of_the_smiles(prepared_qm9: PreparedData):
    # `python -m qm9.validate` does this for all 130,831 molecules.
    rows = range(0, len(prepared_qm9), 101)
    assert bond_exceptions(prepared_qm9, rows) == []


EXCEPTIONS = {
    20786: "stretched N-O",
    37145: "stretched cage",
    58247: "shared hydrogen",
    130801: "close contact",
    130807: "rearranged",
    130811: "stretched cage",
}


@pytest.mark.parametrize("row", EXCEPTIONS)
def test_known_exceptions_are_explained(prepared_qm9: PreparedData, row: int):
    (exception,) = bond_exceptions(prepared_qm9, [row])
    assert exception.reason == EXCEPTIONS[row]
    assert exception.smiles == prepared_qm9.smiles(row)
    assert exception.pairs


def test_exceptions_are_few():
    assert KNOWN_EXCEPTIONS / 130_831 < 1 / 2_500
