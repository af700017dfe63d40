"""Profile of a training step of the fast convolution: where its time goes.

``python -m benchmarks.step_profile`` profiles the rows of `benchmarks.convolution` on one core,
with torch's own profiler, and shares the time among kinds of operations. "Products" are matrix
products. The GFLOP/s beside them count the time of the products alone, so that slow products can be
told from time spent on something else. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.convolution import ROWS
from benchmarks.training_step import CountOperations, Row, molecules, sgemm_rate, training_step
from records.standard_streams import make_standard_streams_safe

KINDS: Mapping[str, frozenset[str]] = {
    "products": frozenset({"mm", "bmm", "addmm", "addmm_", "addbmm", "baddbmm", "baddbmm_"}),
    "moving": frozenset(
        {
            *("cat", "copy_", "clone", "contiguous", "stack", "fill_", "zero_", "zeros", "empty"),
            *("index_select", "index_add_", "index_copy_", "scatter", "scatter_", "scatter_add_"),
            *("gather", "index", "index_put_", "_index_put_impl_"),
        }
    ),
    "views and calls": frozenset(
        {
            *("slice", "view", "as_strided", "t", "transpose", "alias", "select", "reshape"),
            *("narrow", "expand", "unbind", "split", "split_with_sizes", "detach", "unsqueeze"),
            *("flatten", "_unsafe_view", "empty_strided", "empty_like", "permute", "chunk"),
        }
    ),
}
"""Operations of torch by kind. The rest is arithmetic, or Python's part of a step."""
ARITHMETIC, PYTHON = "arithmetic", "Python, autograd and compiled loops"
STEPS = 5


def kind_of(name: str) -> str:
    """Assign an event of the profiler to a kind.

    Parameters
    ----------
    name : str
        For example ``aten::mm``.
    """
    namespace, _, operation = name.partition("::")
    if namespace != "aten":
        return PYTHON
    return next((kind for kind, names in KINDS.items() if operation in names), ARITHMETIC)


def shares(events: Iterable[Any]) -> dict[str, float]:
    """Sum the profiler's events by kind.

    Parameters
    ----------
    events : iterable of torch.autograd.profiler_util.FunctionEventAvg
        ``key`` and ``self_cpu_time_total`` of each are read.

    Returns
    -------
    dict
        Kind to its share of the time; the shares sum to 1.
    """
    times = dict.fromkeys((*KINDS, ARITHMETIC, PYTHON), 0.0)
    for event in events:
        times[kind_of(event.key)] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: time / total for kind, time in times.items()}


def profile_row(row: Row, batch_size: int) -> dict[str, Any]:
    """Profile a training step.

    Parameters
    ----------
    row : Row
        Network and graph.
    batch_size : int
        Molecules per batch.

    Returns
    -------
    dict
        ``ms`` per step under the profiler, ``shares``, and the GFLOP/s of the step, of its products
        alone, and of sgemm.
    """
    step = training_step(row, "fast", molecules(row.graph, batch_size))
    step()
    with CountOperations() as counted:
        step()
    sgemm = sgemm_rate()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    events = profiled.key_averages()
    seconds = sum(event.self_cpu_time_total for event in events) / STEPS / 1e6
    found = shares(events)
    return {
        "row": row.name,
        "ms": 1e3 * seconds,
        "shares": found,
        "gflops": counted.operations / seconds / 1e9,
        "products_gflops": counted.operations / (seconds * found["products"]) / 1e9,
        "sgemm_gflops": max(sgemm, sgemm_rate()),
    }


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Write the figures as a Markdown table.

    Parameters
    ----------
    results : iterable of dict
        From `profile_row`.
    """
    kinds = (*KINDS, ARITHMETIC, PYTHON)
    lines = [
        f"| graph, degrees | ms | {' | '.join(kinds)} | GFLOP/s | of products alone | of sgemm |",
        "|---" + "|---:" * (len(kinds) + 4) + "|",
    ]
    for r in results:
        cells = " | ".join(f"{r['shares'][kind]:.0%}" for kind in kinds)
        lines.append(
            f"| {r['row']} | {r['ms']:.0f} | {cells} | {r['gflops']:.0f} "
            f"| {r['products_gflops']:.0f} | {r['sgemm_gflops']:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Profile the rows and print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; by default, that of the program.
    """
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row for row in ROWS if row.name in options.rows]
    print(table([profile_row(row, options.batch_size) for row in rows]))


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
