"""Start processes that load QM9 from a cold cache; they are forked so that they start together.

``python -m tests.faults.cold_start CACHE SOURCE MOLECULES PROCESSES`` prints their process ids.
Each writes its messages to ``CACHE.<number>.log``, and ends with 0 when it has the data.
"""

import os
import sys
from pathlib import Path

from qm9.cache import load_or_build
from qm9.source import Source


def load(cache: str, source: Source, log: Path) -> None:
    """Load the data as a training process does first; runs in a child process."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 2)
    data = load_or_build(cache, source=source)
    print(f"molecules {len(data)}, sum {data.targets.sum():.9f}", file=sys.stderr)


def main(cache: str, directory: str, molecules: str, processes: str) -> int:
    source = Source(Path(directory), "test", num_molecules=int(molecules))
    children = []
    for number in range(int(processes)):
        pid = os.fork()
        if pid == 0:
            load(cache, source, Path(f"{cache}.{number}.log"))
            return 0
        children.append(pid)
    print(*children, flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(*codes, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
