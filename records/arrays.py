"""Reading archives of NumPy arrays that anybody may have damaged or made up.

Imports the standard library, NumPy and this package only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.bounded import DAMAGE, check_size

LARGEST_ARRAYS = 2**31
"""Bytes of all arrays in an archive."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an archive of NumPy arrays.

    Parameters
    ----------
    path : Path
        As `numpy.savez` writes it.

    Yields
    ------
    mapping of str to array
        Without pickled objects.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, or unpacks to more than `LARGEST_ARRAYS`. Errors of the block are told in
        the same way, as they are due to what was read.
    """
    try:
        # Opened here, because NumPy leaves its own handle open if the file is no archive.
        check_size(path, LARGEST_ARRAYS)
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                size = sum(part.file_size for part in archive.infolist())
            if size > LARGEST_ARRAYS:
                raise ValueError(f"it unpacks to {size:,} bytes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays
    except DAMAGE as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
