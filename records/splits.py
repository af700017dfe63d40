"""``splits.npz``: which molecules a run was trained, validated and tested on.

Imports NumPy and this package only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from records.arrays import open_arrays
from records.files import replacing


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, each as the data set's own numbers of its molecules.

    Attributes
    ----------
    train, val, test : array
        [molecules] int64, in the order in which the run reads them.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def first_difference(self, other: Splits) -> str | None:
        """Name the first part in which two splits differ.

        Parameters
        ----------
        other : Splits
            To compare with.

        Returns
        -------
        str or None
            ``train``, ``val`` or ``test``; None if all parts are equal.
        """
        mine, others = asdict(self), asdict(other)
        return next((part for part in mine if not np.array_equal(mine[part], others[part])), None)


def read_splits(path: Path) -> Splits:
    """Read ``splits.npz``.

    Parameters
    ----------
    path : Path
        As written by `write_splits`.

    Raises
    ------
    ValueError
        If the file cannot be read, or a part is not a list of whole numbers.
    """
    try:
        with open_arrays(path) as saved:
            parts = {part: saved[part] for part in ("train", "val", "test")}
        for part, numbers in parts.items():
            if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
                raise ValueError(f"{part} is {numbers.dtype} of shape {numbers.shape}")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a saved split ({error}): remove it to write it anew"
        ) from error
    return Splits(**parts)


def write_splits(path: Path, splits: Splits) -> None:
    """Write ``splits.npz`` atomically.

    Parameters
    ----------
    path : Path
        Destination.
    splits : Splits
        What to write.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **asdict(splits))
