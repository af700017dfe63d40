"""Which irreps can go, and what it costs: ``python prune.py RUN [RUN …]``.

Takes irreps, then channels, out of a trained network step by step, beside the intact network that
is trained on alike. The same command continues after a kill. Runs that differ in their seed are
pruned together, with intervals over them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from records.announcement import announce
from records.standard_streams import make_standard_streams_safe
from runtime.examination import OneLineParser, run_examination

WAYS = ("missed", "nested", "taylor", "magnitude", "random")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a `ValueError` says which option is wrong."""
    parser = OneLineParser(
        prog="prune.py",
        description="Find out which irreps a trained network can do without, and what that costs.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, help="a finished run, or several that differ in their seed")
    add("--by", default="missed", choices=WAYS, help="how removals are chosen (default: missed)")
    add("--tolerance", type=float, default=0.02, help="largest increase of the MAE (default: 0.02)")
    add("--fine-tune", type=float, default=0.5, metavar="EPOCHS", help="per round (default: 0.5)")
    add("--max-increase", type=float, default=0.25, help="largest on the way (default: 0.25)")
    add("--irreps", help="keep these and remove the rest at once, e.g. 8x0e+4x1o")
    add("--num-molecules", type=int, default=5000, help="test molecules (default: 5000)")
    add("--seed", type=int, default=0, help="of the order of training molecules (default: 0)")
    add("--output", type=Path, help="folder (default: pruned/BY in the run, or beside the runs)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--fresh", action="store_true", help="start over: remove what an earlier pruning has left")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; see `runtime.examination.run_examination` for the exit codes."""
    return run_examination(
        parse_arguments, _prune, arguments, "prune.py: stopped; the same command continues"
    )


def _prune(given: argparse.Namespace) -> None:
    # Late: these imports take seconds, and the number of threads must be set before.
    from pruning.program import prune

    prune(given)


if __name__ == "__main__":
    make_standard_streams_safe()
    announce("prune.py: starting; PyTorch takes a few seconds to load", sys.argv[1:])
    sys.exit(main())
