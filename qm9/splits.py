"""Training, validation and test parts of QM9.

May import NumPy and torch.
"""

import numpy as np
import torch
from torch import Tensor

SPLITS = ("standard", "published")
PARTS = ("train", "val", "test")


def part_sizes(split: str, num_molecules: int) -> tuple[int, int, int]:
    """Sizes of the training, validation and test parts.

    ``standard`` is 110,000 / 10,000 / the rest; ``published`` 80 / 10 / 10 per cent, rounded down
    for the first two.

    Raises
    ------
    ValueError
        If there is no such split, or the data are too few for it.
    """
    if split == "standard":
        train, val = 110_000, 10_000
    elif split == "published":
        train, val = num_molecules * 8 // 10, num_molecules // 10
    else:
        raise ValueError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}")
    if train + val >= num_molecules:
        raise ValueError(f"split {split!r} needs more than {train + val} molecules")
    return train, val, num_molecules - train - val


def check_size(name: str, size: int | None, largest: int) -> None:
    """Check the requested size of one part.

    Raises
    ------
    ValueError
        If it is not None and not in 1 ... `largest`.
    """
    if size is not None and not 1 <= size <= largest:
        raise ValueError(f"{name} {size} is out of range: give 1 to {largest}, or nothing for all")


def make_splits(
    split: str,
    seed: int,
    num_molecules: int,
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
) -> dict[str, Tensor]:
    """Draw the three parts.

    One permutation ``numpy.random.Generator(PCG64(seed)).permutation(num_molecules)`` is cut into
    training, validation and test part. A smaller size takes the beginning of its part, so that
    smaller sets nest in larger ones and the other parts stay as they are.

    Parameters
    ----------
    split
        ``standard`` or ``published``.
    seed
        Seed of the permutation, >= 0.
    num_molecules
        Size of the data set.
    train_size, val_size, test_size
        Take only so many molecules of the part; None for all.

    Returns
    -------
    dict
        ``train``, ``val``, ``test``: int64 rows of the data set, in the permutation's order.

    Raises
    ------
    ValueError
        If the split is unknown, the seed is negative or a size is out of range.
    """
    if seed < 0:
        raise ValueError(f"split_seed {seed} is negative: give 0 or more")
    sizes = part_sizes(split, num_molecules)
    wanted = (train_size, val_size, test_size)
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(num_molecules))
    parts: dict[str, Tensor] = {}
    for name, part, size in zip(PARTS, order.split(sizes), wanted):
        check_size(f"{name}_size", size, len(part))
        parts[name] = part[:size].clone()
    return parts
