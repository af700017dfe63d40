"""Threads for compiled loops, as many as torch uses.

Imports torch only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


def threads_for(size: int, smallest: int) -> int:
    """Into how many parts to cut some work.

    Parameters
    ----------
    size : int
        Of the work.
    smallest : int
        Below that size, threads cost more than they save.
    """
    return torch.get_num_threads() if size >= smallest else 1


def in_threads(part: Callable[[int, int], None], cuts: list[int]) -> None:
    """Do the parts of some work at the same time, and wait for all of them.

    This thread does the first part, as torch's own threads keep their cores busy for a while after
    an operation: one more thread would wait for a core.

    Parameters
    ----------
    part : callable
        Does what lies between two cuts. It should not hold Python's lock.
    cuts : list of int
        Ascending, one more than there are parts.
    """
    first, *others = pairwise(cuts)
    waiting = [_pool(len(others)).submit(part, *ends) for ends in others]
    part(*first)
    for done in waiting:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="loops")
