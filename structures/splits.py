"""Training, validation and test parts of structures: by file, by what frames say, or drawn.

Imports NumPy and torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

PARTS = ("train", "val", "test")
SMALLEST = {"train": 1, "val": 2, "test": 1}
"""Fewest structures of each part; the validation part is cut into two halves."""
SHARE = 10
"""One structure in so many is drawn for validation, and one for the test."""


def draw_parts(
    files: Mapping[str, Tensor],
    split: Tensor,
    *,
    by_key: bool,
    seed: int,
    sizes: Mapping[str, int | None],
    name: Callable[[int], str],
) -> dict[str, Tensor]:
    """Divide structures into three parts.

    Files given for validation or test are these parts. The other parts come from the file ``path``:
    from what its frames say, if all of them do, and otherwise from an order of its structures that
    depends on the seed alone. The test part is the order's beginning, the validation part follows,
    and the rest is for training. So the test part stays as it is when the others change.

    Parameters
    ----------
    files : mapping of str to Tensor
        ``path``, and where given ``val`` and ``test``: int64 rows of the structures of each file.
    split : Tensor
        [g] int8 position in `PARTS` that each frame asks for; -1 where it does not.
    by_key : bool
        Whether to do what frames say.
    seed : int
        Seed of the order.
    sizes : mapping of str to int or None
        Wanted size of each part: of a part that is drawn, or of the beginning of another one.
    name : callable
        Names the structure of a row, for errors.

    Returns
    -------
    dict
        ``train``, ``val`` and ``test``: int64 rows.

    Raises
    ------
    ValueError
        If a part is empty or smaller than wanted, or only some frames say their part.
    """
    pool = files["path"]
    asked = split[pool] if by_key else torch.full_like(split[pool], -1)
    if (asked >= 0).any():
        parts = _by_frames(pool, asked, files, name)
    else:
        parts = _drawn(pool, files, seed, sizes)
    parts |= {part: rows for part, rows in files.items() if part != "path"}
    for part, rows in parts.items():
        wanted = sizes[part]
        least = SMALLEST[part]
        if wanted is not None and not least <= wanted <= len(rows):
            raise ValueError(
                f"{part}_size {wanted} is out of range: give {least} to {len(rows)}, or nothing "
                "for all"
            )
        if len(rows) < least:
            raise ValueError(
                f"the {part} part has {len(rows)} structures and needs {least}: give more"
            )
        parts[part] = rows[:wanted].clone()
    return parts


def _by_frames(
    pool: Tensor, asked: Tensor, files: Mapping[str, Tensor], name: Callable[[int], str]
) -> dict[str, Tensor]:
    if (asked < 0).any():
        row = int(pool[int((asked < 0).nonzero()[0])])
        raise ValueError(
            f"{name(row)} has no split, though other frames have: write it for all of them, or "
            "give --data.split=random"
        )
    parts = {part: pool[asked == number] for number, part in enumerate(PARTS)}
    missing = [part for part, rows in parts.items() if not len(rows) and part not in files]
    if missing:
        raise ValueError(
            f"no frame has split={missing[0]}: write it for some, give a file with "
            f"--data.{missing[0]}_path, or draw all parts with --data.split=random"
            if missing[0] != "train"
            else "no frame has split=train: write it for some, or give --data.split=random"
        )
    return parts


def _drawn(
    pool: Tensor, files: Mapping[str, Tensor], seed: int, sizes: Mapping[str, int | None]
) -> dict[str, Tensor]:
    count = len(pool)
    order = pool[torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).permutation(count))]
    parts: dict[str, Tensor] = {}
    start = 0
    for part in ("test", "val"):
        if part in files:
            continue
        wanted = sizes[part]
        size = max(SMALLEST[part], count // SHARE) if wanted is None else wanted
        if size < SMALLEST[part] or start + size >= count:
            raise ValueError(
                f"{count} structures are too few for {size} in the {part} part"
                f"{f' after {start} in the test part' if start else ''} and at least one to train "
                f"on: give more structures, or another --data.{part}_size"
                if size >= SMALLEST[part]
                else f"{part}_size {size} is out of range: give at least {SMALLEST[part]}"
            )
        parts[part] = order[start : start + size]
        start += size
    parts["train"] = order[start:]
    return {part: parts[part] for part in PARTS if part in parts}
