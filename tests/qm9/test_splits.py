import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qm9.source import NUM_MOLECULES
from qm9.splits import PARTS, SPLITS, make_splits, part_sizes

# SHA-256 over names, sizes and rows of train, val and test: published results depend on these.
FINGERPRINTS = {
    ("standard", 0): "bb32a4a801f21468",
    ("published", 0): "ba737e94a119f440",
    ("standard", 7): "5c07a56a417c2b55",
}


def fingerprint(splits: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(f"{part} {len(splits[part])}".encode())
        digest.update(splits[part].numpy().astype("<i8").tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(("split", "seed"), FINGERPRINTS)
def test_splits_never_change(split, seed):
    splits = make_splits(split, seed, NUM_MOLECULES)
    assert fingerprint(splits) == FINGERPRINTS[split, seed]


@pytest.mark.parametrize(
    ("split", "sizes"),
    [("standard", (110_000, 10_000, 10_831)), ("published", (104_664, 13_083, 13_084))],
)
def test_parts_have_their_sizes_and_cover_everything_once(split, sizes):
    splits = make_splits(split, 3, NUM_MOLECULES)
    assert tuple(len(splits[part]) for part in PARTS) == sizes
    everything = torch.cat([splits[part] for part in PARTS])
    assert torch.equal(everything.sort().values, torch.arange(NUM_MOLECULES))


@given(
    seed=st.integers(0, 2**32),
    small=st.integers(1, 799),
    large=st.integers(1, 800),
    val_size=st.none() | st.integers(1, 100),
)
def test_smaller_sets_nest_and_leave_the_other_parts_alone(seed, small, large, val_size):
    full = make_splits("published", seed, 1000)
    part = make_splits("published", seed, 1000, train_size=large, val_size=val_size)
    assert torch.equal(part["train"], full["train"][:large])
    assert torch.equal(part["val"], full["val"][:val_size])
    assert torch.equal(part["test"], full["test"])
    smaller = make_splits("published", seed, 1000, train_size=min(small, large))
    assert torch.equal(smaller["train"], part["train"][: min(small, large)])


def test_seeds_differ():
    assert not torch.equal(*(make_splits("standard", s, NUM_MOLECULES)["test"] for s in (0, 1)))


@pytest.mark.parametrize("size", [0, -1, 110_001])
def test_a_size_out_of_range_says_what_is_allowed(size):
    with pytest.raises(ValueError, match=rf"train_size {size} is out of range: give 1 to 110000"):
        make_splits("standard", 0, NUM_MOLECULES, train_size=size)


def test_an_unknown_split_or_seed_says_what_is_allowed():
    with pytest.raises(ValueError, match=f"'random' is unknown: choose one of {', '.join(SPLITS)}"):
        part_sizes("random", NUM_MOLECULES)
    with pytest.raises(ValueError, match="split_seed -1 is negative"):
        make_splits("standard", -1, NUM_MOLECULES)
    with pytest.raises(ValueError, match="needs more than 120000 molecules"):
        part_sizes("standard", 500)
