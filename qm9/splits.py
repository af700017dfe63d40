"""Training, validation and test parts of QM9.

Imports NumPy and torch only.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SPLITS = ("standard", "published")
PARTS = ("train", "val", "test")


def part_sizes(split: str, num_molecules: int) -> tuple[int, int, int]:
    """Sizes of the training, validation and test parts.

    ``standard`` is 110,000 / 10,000 / the rest; ``published`` is 80 / 10 / 10 per cent, where the
    first two are rounded down.

    Parameters
    ----------
    split : str
        ``standard`` or ``published``.
    num_molecules : int
        Size of the data set.

    Raises
    ------
    ValueError
        If there is no such split, or the data set is too small for it.
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


def check_size(name: str, size: int | None, largest: int, smallest: int = 1) -> None:
    """Check the requested size of one part.

    Parameters
    ----------
    name : str
        Name of the option, for the message.
    size : int or None
        As requested; None stands for the whole part.
    largest, smallest : int
        Bounds, both allowed.

    Raises
    ------
    ValueError
        If the size is out of bounds.
    """
    if size is not None and not smallest <= size <= largest:
        raise ValueError(
            f"{name} {size} is out of range: give {smallest} to {largest}, or nothing for all"
        )


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

    The permutation ``numpy.random.Generator(PCG64(seed)).permutation(num_molecules)`` is cut into
    a training, a validation and a test part. A smaller size takes the beginning of its part, so
    that smaller sets nest in larger ones and the other parts stay as they are.

    Parameters
    ----------
    split : str
        ``standard`` or ``published``.
    seed : int
        Seed of the permutation, 0 or more.
    num_molecules : int
        Size of the data set.
    train_size, val_size, test_size : int, optional
        Use only this many molecules of the part; None for all.

    Returns
    -------
    dict
        ``train``, ``val`` and ``test``: int64 rows of the data set, in the permutation's order.

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
    first = 0
    for name, largest, size in zip(PARTS, sizes, wanted):
        check_size(f"{name}_size", size, largest)
        parts[name] = order[first : first + (largest if size is None else size)].clone()
        first += largest
    return parts


def validation_halves(validation: Tensor) -> dict[str, Tensor]:
    """Cut the validation part into two disjoint halves.

    Molecules at even positions go to ``val_select``, the others to ``val_measure``. So the halves
    of a smaller validation part nest in those of a larger one.

    Parameters
    ----------
    validation : Tensor
        int64 [molecules], rows of the data set.

    Returns
    -------
    dict
        ``val_select`` and ``val_measure``: int64 rows of the data set.
    """
    return {"val_select": validation[0::2].clone(), "val_measure": validation[1::2].clone()}
