"""Small results that take seconds to compute, kept in the cache's folder for later runs.

Imports NumPy and `records` only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from records.bounded import parse_json, read_text
from records.files import write_json

LARGEST = 1 << 16
"""Size above which a file is none of ours, in bytes."""


def fingerprint(words: Iterable[str], arrays: Iterable[NDArray[np.generic]]) -> str:
    """Hash everything that a result depends on.

    Parameters
    ----------
    words : iterable of str
        Names and versions.
    arrays : iterable of array
        Data; their types and shapes count, too.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(list(words)).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def remembered(path: Path, compute: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Read results from a file, or compute and write them.

    Parameters
    ----------
    path : Path
        JSON file whose name holds the `fingerprint` of everything that the results depend on. A
        damaged one is written anew. Where it cannot be written, the results are computed each time.
    compute : callable
        Computes finite numbers by name.

    Returns
    -------
    dict of str to float
        The same numbers, to the last digit, whether they were read or computed.
    """
    with suppress(OSError, ValueError):
        found = parse_json(read_text(path, LARGEST))
        if isinstance(found, dict) and found and all(map(_is_number, found.values())):
            return found
    results = dict(compute())
    with suppress(OSError):  # a shared cache may be read-only
        write_json(path, results)
    return results


def _is_number(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)
