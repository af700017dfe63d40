"""Print the tables of RESULTS.md, or write them into it: ``python -m benchmarks.study [TABLE …]``.

Everything is computed from ``results/``. Trials that are still to be run:
``python sweep.py sweeps/study/*.yaml --results results``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.study.arms import ROOT, read_arms
from benchmarks.study.document import updated
from benchmarks.study.pictures import save_pictures
from benchmarks.study.tables import TABLES
from records.files import write_text
from records.standard_streams import make_standard_streams_safe

DOCUMENT = ROOT / "RESULTS.md"


def main() -> None:
    """Print or write tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="default: all")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="kept results")
    parser.add_argument("--write", action="store_true", help="write the tables into RESULTS.md")
    parser.add_argument("--pictures", type=Path, help="draw the pictures into this folder")
    arguments = parser.parse_args()
    arms = read_arms(arguments.results)
    if arguments.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        write_text(DOCUMENT, updated(text, {name: make(arms) for name, make in TABLES.items()}))
        return
    if arguments.pictures:
        save_pictures(arms, arguments.pictures)
        return
    for name in arguments.tables or TABLES:
        print(f"\n{name}\n\n{TABLES[name](arms)}", flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
