"""A test program that talks to W&B like train.py: it resumes, and marks itself preempting."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import wandb


def main() -> int:
    options = dict(item[2:].split("=", 1) for item in sys.argv[1:] if "=" in item)
    run_id = os.environ["WANDB_RUN_ID"]
    with Path("starts").open("a") as file:
        start = {"id": run_id, "argv": sys.argv[1:], "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
        file.write(json.dumps(start) + "\n")
    stopped: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: stopped.append(number))
    settings = wandb.Settings(console="off", x_disable_stats=True)
    run = wandb.init(id=run_id, resume="allow", settings=settings)
    if options.get("lr") == "0.3":
        raise RuntimeError("this configuration cannot be trained")
    state = Path(f"{run_id}.epoch")
    first = int(state.read_text()) if state.exists() else 0
    for epoch in range(first, int(options.get("epochs", "2"))):
        run.log({"epoch": epoch, "val/mae": float(options.get("lr", "1")) / (1 + epoch)})
        state.write_text(str(epoch + 1))
        # Only a bad configuration is slow: Hyperband's test waits for the good ones.
        seconds = float(options.get("seconds", "0")) if float(options.get("lr", "1")) >= 1 else 0
        for _ in range(int(10 * seconds)):
            time.sleep(0.1)
            if stopped:
                run.mark_preempting()
                run.finish(exit_code=143)
                return 143
    run.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
