"""Planted truths and the verdicts on them: ``python -m benchmarks.planted [--seeds N]``.

Prints the table of docs/measures.md. The tests ask for the same verdicts.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import torch

from records.standard_streams import make_standard_streams_safe
from tests.analysis.planted import (
    CUT_IRREPS,
    CUT_SEEDS,
    TRUTHS,
    judged_blocks,
    measured_effects,
    untrained_verdicts,
)

NOTHING = {"undecided", "negligible", "unreachable"}


def truth_rows() -> list[list[str]]:
    """Measure the hand-written networks: a row per verdict that is known."""
    rows = []
    for truth in TRUTHS:
        effects, mae = measured_effects(truth)
        for (irrep, measure), expected in truth.expected.items():
            effect = effects[irrep, measure]
            numbers = [f"{number / mae:.2f}" for number in (effect.value, effect.low, effect.high)]
            numbers = [number.replace("-0.00", "0.00") for number in numbers]
            value, low, high = numbers
            verdict = effect.verdict if effect.verdict == expected else f"**{effect.verdict}**"
            known = [truth.name, irrep, measure, expected]
            rows.append([*known, verdict, f"{value} [{low}, {high}]"])
    return rows


def cut_row() -> list[str]:
    """Judge all blocks of random networks with paths cut."""
    judged = [b for irreps in CUT_IRREPS for seed in CUT_SEEDS for b in judged_blocks(irreps, seed)]
    counts = Counter(block.expected for block in judged)
    right = sum(block.verdict == block.expected for block in judged)
    known = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
    name = f"{len(CUT_IRREPS) * len(CUT_SEEDS)} random networks with paths cut"
    return [name, "all", "reliance", known, f"{right} of {len(judged)} right", ""]


def untrained_row(count: int, seeds: int) -> list[str]:
    """Judge untrained networks by targets that have nothing to do with them."""
    allowed = NOTHING if count >= 30 else {"undecided"}
    right = sum(untrained_verdicts(count, seed) <= allowed for seed in range(seeds))
    name = f"untrained network, {count} molecules"
    expected = ", ".join(sorted(allowed - {"unreachable"}))
    return [name, "all", "all", expected, f"{right} of {seeds} networks without another", ""]


def main(arguments: list[str]) -> int:
    """Print the table in Markdown; what is judged wrong is bold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=400, help="untrained networks")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    heads = ["planted", "block", "measure", "true verdict", "verdict", "effect / MAE"]
    rows = [*truth_rows(), cut_row()]
    rows += [untrained_row(200, options.seeds), untrained_row(20, options.seeds)]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    make_standard_streams_safe()
    sys.exit(main(sys.argv[1:]))
