"""Which irreps any e3nn-based model uses: ``python probe.py MODEL``.

MODEL is a run of ``train.py``, a pretrained SevenNet (``sevenn:7net-0``), or a network of one's own
by an adapter (``FILE.py:factory``). Without labels, the shift of the prediction is measured when a
block of features is taken away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from records.announcement import announce
from records.standard_streams import make_standard_streams_safe
from runtime.examination import OneLineParser, run_examination


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a `ValueError` says which option is wrong."""
    parser = OneLineParser(
        prog="probe.py",
        description="Find out which irreps a trained model of any origin really uses.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", help="runs/NAME, sevenn:7net-0, mace:FILE or FILE.py:factory; see docs/probe.md")
    add("--data", help="qm9 or a file of extended XYZ (default: the run's own data, or qm9)")
    add("--molecules", type=int, default=300, help="structures to measure on (default: 300)")
    add("--fitting", type=int, help="others, for refits and linear probes (default: twice as many)")
    add(
        "--target",
        help="labels: a target of QM9, a key of the file, or none (default: a run's own)",
    )
    add("--out", type=Path, help="folder of the results (default: probes/MODEL)")
    add("--batch-size", type=int, default=16, help="structures at a time (default: 16)")
    add("--seed", type=int, default=0, help="of resamples, donors and folds (default: 0)")
    add("--mace-python", type=Path, help="interpreter that has mace-torch, for mace:FILE")
    add(
        "--trust-pickle",
        action="store_true",
        help="open the file of mace:FILE, which may hold any code",
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; see `runtime.examination.run_examination` for the exit codes."""
    return run_examination(
        parse_arguments, _probe, arguments, "probe.py: stopped; nothing was written"
    )


def _probe(given: argparse.Namespace) -> None:
    # Late: these imports take seconds, and the number of threads must be set before.
    from probing.program import probe

    probe(given)


if __name__ == "__main__":
    make_standard_streams_safe()
    announce("probe.py: starting; PyTorch takes a few seconds to load", sys.argv[1:])
    sys.exit(main())
