"""Start `train.py` quickly, by forking a process that has already imported everything.

Reads one JSON line per run from standard input (``arguments``, ``environment``, ``log``). Prints
the process id, and, when the process has ended, its exit code or minus the signal that killed it.
The UMAP worker is the one without umap-learn.
"""

import json
import os
import sys

# These imports are for the forked processes, each of which would need seconds for them.
import runtime.cli
import runtime.run  # noqa: F401
import train
from latents import client as umap_client
from tests.faults import pause
from tests.latents.latent_data import QUICK_WORKER


def become_train(job: dict) -> int:
    """Do what ``python train.py ARGUMENTS > log`` does; runs in a forked child."""
    os.setsid()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(job["environment"])
    pause.prepare()
    sys.argv = ["train.py", *job["arguments"]]
    return train.main(job["arguments"])


def serve() -> int:
    """Run one job after another. In a child, return the exit code of `train.py`."""
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return become_train(job)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return 0


if __name__ == "__main__":
    umap_client.WORKER = QUICK_WORKER
    sys.exit(serve())
