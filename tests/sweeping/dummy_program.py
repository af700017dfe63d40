"""A program for test sweeps that behaves like train.py but starts at once and trains nothing.

It finds its own run by its arguments, continues after its last epoch, and exits with 143 after
SIGTERM. With `--fail=True` it fails, with `--hang=True` it ignores SIGTERM.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
    name = "-".join(f"{key}_{value}" for key, value in options.items() if key != "runs_dir")
    folder = Path(options["runs_dir"]) / name.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    if "IRREPSCOPE_RESULT" in os.environ:
        Path(os.environ["IRREPSCOPE_RESULT"]).write_text(f"{folder.resolve()}\n")
    with (folder / "starts").open("a") as starts:
        starts.write(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:]}) + "\n")
    stopped: list[int] = []
    if options.get("hang") == "True":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda signum, _: stopped.append(signum))
    if options.get("fail") == "True" and not (folder.parent / "repaired").exists():
        print("first words\nlast words", flush=True)
        raise RuntimeError("this configuration cannot be trained")
    epochs = folder / "epochs"
    done = len(epochs.read_text().splitlines()) if epochs.exists() else 0
    for epoch in range(done, int(options.get("epochs", "1"))):
        for _ in range(int(10 * float(options.get("seconds", "0")))):
            time.sleep(0.1)
            if stopped:
                return 128 + stopped[0]
        with epochs.open("a") as file:
            file.write(f"{epoch}\n")
    summary = {
        "status": "finished",
        "irreps": options.get("model.irreps", ""),
        "val/mae": float(options.get("lr", "1")),
        "test/mae": 2 * float(options.get("lr", "1")),
        "unit": "meV",
        "params/total": 1234,
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "group": os.environ.get("WANDB_RUN_GROUP"),
    }
    temporary = folder / "summary.json.tmp"
    temporary.write_text(json.dumps(summary))
    temporary.replace(folder / "summary.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
