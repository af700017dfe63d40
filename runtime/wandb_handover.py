"""Giving a trial back to W&B's sweep when the process is stopped before its W&B run has started.

An agent whose program ends without a word takes the next trial; the server then counts this one as
done. Imports the standard library only, as it is needed while other imports are interrupted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

SECONDS = 15.0
"""Longest wait for W&B's server. A preempted process must be gone within 30 s."""
PROGRAM = f"""
import sys, wandb
settings = wandb.Settings(
    console="off", silent=True, init_timeout={SECONDS}, finish_timeout={SECONDS}
)
run = wandb.init(id=sys.argv[1], dir=sys.argv[2], resume="allow", settings=settings)
run.mark_preempting()
run.finish(exit_code=int(sys.argv[3]))
"""


def hand_trial_back(exit_code: int) -> None:
    """Mark the trial that an agent has given to this process as preempted, so that it is requeued.

    Does nothing outside an agent, or where W&B is not online. If the server cannot be reached the
    trial is lost to the sweep, which nothing on this side can change.

    Parameters
    ----------
    exit_code : int
        Of this process.
    """
    run_id = os.environ.get("WANDB_RUN_ID")
    if not run_id or not os.environ.get("WANDB_SWEEP_ID") or _is_offline():
        return
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # another process of the same training does it
    # In a process of its own, as this one may have been stopped in the middle of an import.
    environment = {name: text for name, text in os.environ.items() if name != "WANDB_SERVICE"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, run_id, folder, str(exit_code)]
        try:
            subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, timeout=SECONDS, check=True
            )
        except subprocess.SubprocessError as error:
            print(f"warning: W&B cannot requeue the trial ({error})", file=sys.stderr, flush=True)


def _is_offline() -> bool:
    return os.environ.get("WANDB_MODE", "online") not in ("", "online", "shared")
