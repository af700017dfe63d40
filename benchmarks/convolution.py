"""Training steps of the fast convolution and of e3nn's layers, compared on this machine's CPU.

``python -m benchmarks.convolution [--json FILE] [--rows NAME ...] [--repeats N]`` prints a
table. The fast convolution takes turns, on the same batch of real molecules, with e3nn's layers as
published and, in a process whose malloc never returns memory to the system, with e3nn's layers
compiled. Peak memory is measured in a separate process for each variant. May import everything;
only other benchmarks import it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
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
    Row("bonds", (0, 1, 2), 32, speedup=12, speedup_compiled=5, memory=1 / 3),
    Row("bonds", (0, 3, 4, 5, 6), 16, speedup=40, speedup_compiled=20, memory=1 / 3),
    Row("bonds", (0, 1, 2, 3, 4, 5, 6), 16, speedup=80, speedup_compiled=40, memory=1 / 3),
    Row("radius", (0, 1, 2), 32, speedup=60, speedup_compiled=10, memory=1 / 20),
    Row("radius", (0, 1, 2, 3, 4), 16, speedup=90, speedup_compiled=10, memory=1 / 20),
)
RIVALS: Mapping[str, Variant] = {"time": "e3nn", "time_kept": "e3nn compiled"}
"""What the fast convolution takes turns with, by part of the measurement."""
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""Keeps glibc from returning large blocks to the kernel, which would have to clear them again."""
FAST_STEPS_PER_TURN = 5


def time_row(row: Row, rival: Variant, repeats: int, batch_size: int) -> dict[str, Any]:
    """Time the fast convolution and another variant alternately.

    Parameters
    ----------
    row : Row
        Network and graph.
    rival : {"e3nn", "e3nn compiled"}
        The other variant.
    repeats : int
        Number of turns. A turn is one step of the other variant and several of the fast one.
    batch_size : int
        Molecules per batch.

    Returns
    -------
    dict
        Milliseconds of every step by variant, sgemm's GFLOP/s before and after each turn,
        operations of a fast step, and the first loss of each variant. The first step of each, in
        which code is compiled, is not timed.
    """
    batch = molecules(row.graph, batch_size)
    variants: tuple[Variant, ...] = (rival, "fast")
    steps = {variant: training_step(row, variant, batch) for variant in variants}
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
    variant : {"e3nn", "e3nn compiled", "fast"}
        Layers.
    batch_size : int
        Molecules per batch.

    Returns
    -------
    dict
        ``baseline`` (network, data and libraries, compilers among them) and ``peak`` resident
        memory, MB.
    """
    # The step of a tiny network loads what compiles loops or tensor products.
    training_step(Row(row.graph, (0, 1), 1), variant, molecules(row.graph, 2))()
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
        Results of the row's processes: ``time``, ``time_kept`` and ``memory VARIANT``.
    """
    ms: dict[str, dict[str, float]] = {
        part: {variant: median(times) for variant, times in parts[part]["times_ms"].items()}
        for part in RIVALS
    }
    memory = {
        variant: parts[f"memory {variant}"]["peak"] - parts[f"memory {variant}"]["baseline"]
        for variant in get_args(Variant)
    }
    timed = parts["time"]
    fast = ms["time"]["fast"]
    return {
        "row": row.name,
        "e3nn_ms": ms["time"]["e3nn"],
        "compiled_ms": ms["time_kept"]["e3nn compiled"],
        "fast_ms": fast,
        "fast_kept_ms": ms["time_kept"]["fast"],
        "ratio": ms["time"]["e3nn"] / fast,
        "ratio_compiled": ms["time_kept"]["e3nn compiled"] / ms["time_kept"]["fast"],
        "target_ratio": row.speedup,
        "target_ratio_compiled": row.speedup_compiled,
        "fast_molecules_per_s": 1e3 * batch_size / fast,
        "memory_mb": memory,
        "memory_ratio": memory["fast"] / memory["e3nn"],
        "target_memory": row.memory,
        "fast_gflops": timed["fast_operations"] / fast / 1e6,
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
        "| graph, degrees | e3nn, ms | fast, ms | speed-up (target) | e3nn compiled, memory kept, "
        "ms | fast, memory kept, ms | speed-up (target) | molecules/s "
        "| peak memory, MB: e3nn, compiled, fast (target) | GFLOP/s, of sgemm's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        memory = ", ".join(f"{r['memory_mb'][variant]:,.0f}" for variant in get_args(Variant))
        lines.append(
            f"| {r['row']} | {r['e3nn_ms']:,.0f} | {r['fast_ms']:.0f} "
            f"| **{r['ratio']:.1f}** (≥ {r['target_ratio']:.0f}) "
            f"| {r['compiled_ms']:,.0f} | {r['fast_kept_ms']:.0f} "
            f"| **{r['ratio_compiled']:.1f}** (≥ {r['target_ratio_compiled']:.0f}) "
            f"| {r['fast_molecules_per_s']:.0f} "
            f"| {memory} = 1/{1 / r['memory_ratio']:.0f} (≤ 1/{1 / r['target_memory']:.0f}) "
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
    environments = {"time": {}, "time_kept": KEEP_MEMORY}
    parts = {
        part: _in_own_process([*options, "--part", part], environments[part]) for part in RIVALS
    }
    for variant in get_args(Variant):
        part = f"memory {variant}"
        parts[part] = _in_own_process([*options, "--part", part], {})
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
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if row.name in options.rows]
    if options.part in RIVALS:
        timed = time_row(rows[0], RIVALS[options.part], options.repeats, options.batch_size)
        print(json.dumps(timed))
        return
    if options.part:
        variant = options.part.removeprefix("memory ")
        print(json.dumps(measure_memory(rows[0], variant, options.batch_size)))
        return
    results = []
    for row in rows:
        results.append(_measure(row, options.repeats, options.batch_size))
        ratios = [results[-1][name] for name in ("ratio", "ratio_compiled")]
        print(
            f"{row.name}: {ratios[0]:.1f} times as fast as e3nn, {ratios[1]:.1f} compiled",
            file=sys.stderr,
            flush=True,
        )
    print(f"{torch.get_num_threads()} threads, batches of {options.batch_size} molecules\n")
    print(table(results))
    if options.json is not None:
        temporary = options.json.with_name(f".{options.json.name}.tmp")
        temporary.write_text(json.dumps(results, indent=1))
        os.replace(temporary, options.json)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
