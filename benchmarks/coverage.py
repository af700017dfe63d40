"""How often intervals cover the true effect: ``python -m benchmarks.coverage [--samples N]``.

Effects of removals are drawn from known distributions: near zero, with heavy tails, on few
molecules. Counted is how often one block's interval holds its mean, and how often the simultaneous
intervals of several blocks hold all of their means. Nominal are 95 %.
"""

from __future__ import annotations

import argparse
import sys

import torch

from analysis.bootstrap import bootstrap_interval
from records.standard_streams import make_standard_streams_safe
from tests.analysis.effects import NAMES, effects, true_mean

MOLECULES = (30, 60, 200, 500)
BLOCKS = (12, 60)
"""Effects judged together: of three irreps at every epoch, and of five layers at the end."""


def single_coverage(name: str, molecules: int, samples: int, seed: int = 0) -> float:
    """Find how often an interval holds the true mean.

    Parameters
    ----------
    name : str
        Distribution, one of `tests.analysis.effects.NAMES`.
    molecules : int
        Molecules per sample.
    samples : int
        Independent samples. They share the resampled indices, which halves the cost.
    seed : int
        Seed of the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    values = effects(name, (samples, molecules, 1), generator)[..., 0].T
    low, high = bootstrap_interval(values)
    truth = true_mean(name)
    return float(((low <= truth) & (truth <= high)).double().mean())


def joint_coverage(name: str, molecules: int, blocks: int, samples: int, seed: int = 0) -> float:
    """Find how often all of a sample's simultaneous intervals hold their true means.

    Parameters
    ----------
    name, molecules, samples, seed
        As for `single_coverage`.
    blocks : int
        Effects judged together.
    """
    generator = torch.Generator().manual_seed(seed)
    truth, covered = true_mean(name), 0
    for sample in range(samples):
        (values,) = effects(name, (1, molecules, blocks), generator)
        low, high = bootstrap_interval(values, seed=sample, simultaneous=True)
        covered += bool(((low <= truth) & (truth <= high)).all())
    return covered / samples


def main(arguments: list[str]) -> int:
    """Print a table in Markdown, a row per distribution and number of molecules."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="samples of each kind")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    heads = ["effects", "molecules", "one block", *(f"{blocks} blocks" for blocks in BLOCKS)]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for name in NAMES:
        for molecules in MOLECULES:
            rates = [single_coverage(name, molecules, 4 * options.samples)]
            rates += [joint_coverage(name, molecules, b, options.samples) for b in BLOCKS]
            cells = [name, str(molecules), *(f"{100 * rate:.1f}" for rate in rates)]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    make_standard_streams_safe()
    sys.exit(main(sys.argv[1:]))
