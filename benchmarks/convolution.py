"""Training steps of the fast convolution and of e3nn's layers, compared on this machine's CPU.

``python -m benchmarks.convolution [--json FILE] [--rows NAME ...] [--repeats N]`` prints a
table. Both variants take turns in one process, on the same batch of real molecules. Peak memory
is measured in a separate process for each variant. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch

from benchmarks.training_step import (
    CountOperations,
    Row,
    Variant,
    molecules,
    peak_memory,
    sgemm_rate,
    training_step,
)
from records.standard_streams import make_standard_streams_safe

ROWS = (
    Row("bonds", (0, 1, 2), 32, speedup=12, memory=1 / 3),
    Row("bonds", (0, 3, 4, 5, 6), 16, speedup=40, memory=1 / 3),
    Row("bonds", (0, 1, 2, 3, 4, 5, 6), 16, speedup=80, memory=1 / 3),
    Row("radius", (0, 1, 2), 32, speedup=60, memory=1 / 20),
    Row("radius", (0, 1, 2, 3, 4), 16, speedup=90, memory=1 / 20),
)
NO_MMAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Keeps glibc from returning large blocks to the kernel, which would have to clear them again."""
FAST_STEPS_PER_TURN = 5


def time_row(row: Row, repeats: int, batch_size: int) -> dict[str, Any]:
    """Time both variants alternately.

    Parameters
    ----------
    row : Row
        Network and graph.
    repeats : int
        Number of turns. A turn is one step of e3nn's variant and several of the fast one.
    batch_size : int
        Molecules per batch.

    Returns
    -------
    dict
        Milliseconds of every step by variant, sgemm's GFLOP/s before and after each turn,
        operations of a fast step, and the first loss of each variant.
    """
    batch = molecules(row.graph, batch_size)
    steps = {variant: training_step(row, variant, batch) for variant in get_args(Variant)}
    losses = {variant: float(step()) for variant, step in steps.items()}
    with CountOperations() as counted:
        steps["fast"]()
    rates = [sgemm_rate()]
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(repeats):
        for variant, step in steps.items():
            for _ in range(FAST_STEPS_PER_TURN if variant == "fast" else 1):
                start = time.perf_counter()
                step()
                times[variant].append(1e3 * (time.perf_counter() - start))
        rates.append(sgemm_rate())
    return {
        "times_ms": times,
        "sgemm_gflops": rates,
        "fast_operations": counted.operations,
        "first_losses": losses,
    }


def measure_memory(row: Row, variant: Variant, batch_size: int) -> dict[str, float]:
    """Measure the peak memory of three training steps in this process.

    Parameters
    ----------
    row : Row
        Network and graph.
    variant : {"e3nn", "fast"}
        Convolution.
    batch_size : int
        Molecules per batch.

    Returns
    -------
    dict
        ``baseline`` (network, data and libraries) and ``peak`` resident memory, MB.
    """
    return peak_memory(training_step(row, variant, molecules(row.graph, batch_size)))


def summarize(row: Row, batch_size: int, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Reduce the measurements of a row to the figures of the table.

    Parameters
    ----------
    row : Row
        Network and graph.
    batch_size : int
        Molecules per batch.
    parts : dict
        Results of the row's processes: ``time``, ``time_no_mmap``, ``memory_e3nn`` and
        ``memory_fast``.
    """
    timed = parts["time"]
    ms = {variant: median(times) for variant, times in timed["times_ms"].items()}
    ms_no_mmap = {
        variant: median(times) for variant, times in parts["time_no_mmap"]["times_ms"].items()
    }
    memory = {
        variant: parts[f"memory_{variant}"]["peak"] - parts[f"memory_{variant}"]["baseline"]
        for variant in get_args(Variant)
    }
    return {
        "row": row.name,
        "e3nn_ms": ms["e3nn"],
        "fast_ms": ms["fast"],
        "ratio": ms["e3nn"] / ms["fast"],
        "ratio_no_mmap": ms_no_mmap["e3nn"] / ms_no_mmap["fast"],
        "target_ratio": row.speedup,
        "e3nn_molecules_per_s": 1e3 * batch_size / ms["e3nn"],
        "fast_molecules_per_s": 1e3 * batch_size / ms["fast"],
        "e3nn_memory_mb": memory["e3nn"],
        "fast_memory_mb": memory["fast"],
        "target_memory": row.memory,
        "fast_gflops": timed["fast_operations"] / ms["fast"] / 1e6,
        "sgemm_gflops": max(timed["sgemm_gflops"]),
        "parts": parts,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Write the figures as a Markdown table.

    Parameters
    ----------
    results : list of dict
        From `summarize`.
    """
    lines = [
        "| graph, degrees | e3nn ms | fast ms | speed-up (target) | if malloc keeps memory "
        "| molecules/s e3nn, fast | peak memory e3nn, fast MB (target) | GFLOP/s, sgemm's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        lines.append(
            f"| {r['row']} | {r['e3nn_ms']:,.0f} | {r['fast_ms']:.0f} "
            f"| **{r['ratio']:.1f}** (≥ {r['target_ratio']:.0f}) | {r['ratio_no_mmap']:.1f} "
            f"| {r['e3nn_molecules_per_s']:.1f}, {r['fast_molecules_per_s']:.0f} "
            f"| {r['e3nn_memory_mb']:,.0f}, {r['fast_memory_mb']:.0f} "
            f"= 1/{r['e3nn_memory_mb'] / r['fast_memory_mb']:.0f} "
            f"(≤ 1/{1 / r['target_memory']:.0f}) "
            f"| {r['fast_gflops']:.0f} of {r['sgemm_gflops']:.0f} |"
        )
    return "\n".join(lines)


def _in_own_process(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.convolution", *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measure(row: Row, repeats: int, batch_size: int) -> dict[str, Any]:
    """Run all processes of one row, one after the other."""
    options = ["--rows", row.name, "--repeats", str(repeats), "--batch-size", str(batch_size)]
    parts = {
        "time": _in_own_process([*options, "--part", "time"], {}),
        "time_no_mmap": _in_own_process([*options, "--part", "time"], NO_MMAP),
    }
    for variant in get_args(Variant):
        name = f"memory_{variant}"
        parts[name] = _in_own_process([*options, "--part", name], {})
    return summarize(row, batch_size, parts)


def main(arguments: list[str] | None = None) -> None:
    """Measure the rows and print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; by default, that of the program.
    """
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--part", choices=["time", "memory_e3nn", "memory_fast"], help=argparse.SUPPRESS
    )
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if row.name in options.rows]
    if options.part == "time":
        print(json.dumps(time_row(rows[0], options.repeats, options.batch_size)))
        return
    if options.part:
        variant = options.part.removeprefix("memory_")
        print(json.dumps(measure_memory(rows[0], variant, options.batch_size)))
        return
    results = []
    for row in rows:
        results.append(_measure(row, options.repeats, options.batch_size))
        print(f"{row.name}: {results[-1]['ratio']:.1f} times as fast", file=sys.stderr, flush=True)
    print(f"{torch.get_num_threads()} threads, batches of {options.batch_size} molecules\n")
    print(table(results))
    if options.json is not None:
        temporary = options.json.with_name(f".{options.json.name}.tmp")
        temporary.write_text(json.dumps(results, indent=1))
        os.replace(temporary, options.json)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
