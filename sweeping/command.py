"""The command line of a trial, rendered as `wandb agent` renders it, and its environment.

Imports `records` and this package. The tests compare with the real agent.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from records.files import write_json
from records.launchers import RANK_VARIABLES
from sweeping.file import SweepFile
from sweeping.state import SweepState, Trial

_ENVIRONMENT_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
GPU_NODES = ("/dev/nvidiactl", "/dev/kfd")
"""Device nodes of NVIDIA's and AMD's drivers."""
# A W&B agent or an earlier run may have set these. They would make all trials one run.
_RUN_VARIABLES = (
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_RUN_ID",
    "WANDB_RUN_NAME",
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)


def render_command(
    command: Sequence[str],
    program: str,
    configuration: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    interpreter: str = "python",
    json_file: str = "",
) -> list[str]:
    """Render a sweep file's `command:` for one configuration.

    Parameters
    ----------
    command : sequence of str
        Items of the file. `${name}` alone becomes the arguments of that name, or nothing if the
        name is unknown. `${envvar:X}` is replaced anywhere, by `X` itself if it is not set.
    program : str
        Replaces `${program}`.
    configuration : mapping
        Values by parameter, rendered in sorted order as `--name=value`.
    environ : mapping
        Variables for `${envvar:X}`.
    interpreter : str
        Replaces `${interpreter}`. The agent uses `python`, `sweep.py` the Python that runs it.
    json_file : str
        Replaces `${args_json_file}`.

    Returns
    -------
    list of str
        For `subprocess`, without a shell.
    """
    macros = argument_macros(configuration)
    macros |= {
        "env": ["/usr/bin/env"],
        "interpreter": [interpreter],
        "program": [program],
        "args_json_file": [json_file],
    }
    rendered: list[str] = []
    for given in command:
        item = _ENVIRONMENT_VARIABLE.sub(lambda found: environ.get(found[1], found[1]), given)
        if item.startswith("${") and item.endswith("}"):
            rendered += macros.get(item[2:-1], [])
        else:
            rendered.append(item)
    return rendered


def argument_macros(configuration: Mapping[str, Any]) -> dict[str, list[str]]:
    """Render a configuration in each form that the agent knows: `args`, `args_json` and others."""
    pairs = sorted(configuration.items())
    plain = [f"{name}={value}" for name, value in pairs]
    flags = []
    for name, value in pairs:
        if value is True:
            flags.append(f"--{name}")
        elif value is not False:
            flags.append(f"--{name}={value}")
    return {
        "args": [f"--{item}" for item in plain],
        "args_no_hyphens": plain,
        "args_no_boolean_flags": flags,
        "args_no_equals": [part for name, value in pairs for part in (f"--{name}", str(value))],
        "args_append_hydra": [f"+{item}" for item in plain],
        "args_override_hydra": [f"++{item}" for item in plain],
        "args_json": [json.dumps(dict(pairs))],
    }


def trial_environment(
    environ: Mapping[str, str],
    *,
    group: str,
    result_file: Path,
    project: str | None = None,
    entity: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, str]:
    """Build the environment of a trial.

    What the user has set is kept, except for the variables that belong to one run, or to this
    process as one of several that a launcher has started.

    Parameters
    ----------
    environ : mapping
        Environment of this process.
    group : str
        Name under which W&B shows the runs of the sweep together.
    result_file : Path
        File into which the program writes the path of its run directory (`IRREPSCOPE_RESULT`).
    project, entity : str, optional
        Of W&B.
    device : str, optional
        Value of `CUDA_VISIBLE_DEVICES`.
    threads : int, optional
        Value of `OMP_NUM_THREADS`.
    """
    dropped = (*_RUN_VARIABLES, *RANK_VARIABLES)
    child = {name: value for name, value in environ.items() if name not in dropped}
    child.setdefault("WANDB_RUN_GROUP", group)
    tags = [tag for tag in child.get("WANDB_TAGS", "").split(",") if tag]
    child["WANDB_TAGS"] = ",".join(dict.fromkeys([*tags, f"sweep:{group}"]))
    for name, value in (("WANDB_PROJECT", project), ("WANDB_ENTITY", entity)):
        if value:
            child.setdefault(name, value)
    child["IRREPSCOPE_RESULT"] = str(result_file.resolve())
    if device is not None:
        child["CUDA_VISIBLE_DEVICES"] = device
    if threads is not None:
        child.setdefault("OMP_NUM_THREADS", str(threads))
    # A literal `python` in `command:` must be the Python that runs the sweep, even if its virtual
    # environment is not activated.
    child["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), child.get("PATH", "")])
    return child


def visible_devices(given: str, environ: Mapping[str, str]) -> list[str]:
    """Turn `--devices 0,1` into values of `CUDA_VISIBLE_DEVICES`, one per worker.

    Parameters
    ----------
    given : str
        Numbers or names, separated by commas. Numbers count the devices that this process may see.
    environ : mapping
        Environment of this process; Slurm sets `CUDA_VISIBLE_DEVICES` in it.

    Raises
    ------
    ValueError
        If a device is named twice or is not among the visible ones.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"--devices {given!r}: give different devices such as 0,1")
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    allowed = [name.strip() for name in visible.split(",") if name.strip()]
    chosen = []
    for name in names:
        if name.isdigit() and int(name) < len(allowed):
            chosen.append(allowed[int(name)])
        elif name in allowed and not name.isdigit():
            chosen.append(name)
        else:
            raise ValueError(
                f"--devices {given}: no device {name}; CUDA_VISIBLE_DEVICES={visible} shows "
                f"{len(allowed)}, counted from 0"
            )
    return chosen


def default_workers(devices: Sequence[str], cores: int, has_gpu: bool) -> int:
    """Choose how many trials run at the same time if `--workers` does not say it.

    A small network keeps one core busy and gains little from a second one. So without a GPU two
    trials share the cores, if there are two; more would multiply the memory.

    Parameters
    ----------
    devices : sequence of str
        As `--devices` names them; one trial runs on each.
    cores : int
        Cores that this process may use.
    has_gpu : bool
        Whether the machine has a GPU, which trials without `--devices` would share.
    """
    if devices:
        return len(devices)
    return 1 if has_gpu else min(2, cores)


def machine_has_gpu() -> bool:
    """Say whether a driver of NVIDIA or AMD, or Apple's GPU, is there, without importing torch."""
    return sys.platform == "darwin" or any(Path(node).exists() for node in GPU_NODES)


class CommandBuilder:
    """Builds the command line and the environment of each trial of a sweep.

    Parameters
    ----------
    sweep : SweepFile
        The sweep.
    state : SweepState
        Knows where the files of a trial are.
    devices : sequence of str
        Values of `CUDA_VISIBLE_DEVICES`, one per worker; empty on a CPU.
    workers : int
        Number of trials that run at the same time.
    """

    def __init__(
        self, sweep: SweepFile, state: SweepState, devices: Sequence[str], workers: int
    ) -> None:
        self.sweep = sweep
        self.state = state
        self.devices = devices
        # Each of several trials would otherwise start a thread on every core.
        self.threads = max(1, available_cores() // workers) if workers > 1 else None

    def __call__(self, trial: Trial, worker: int) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment of a trial on worker number `worker`."""
        if "${args_json_file}" in self.sweep.command:
            write_json(self.state.json_file(trial), trial.configuration)
        environment = trial_environment(
            os.environ,
            group=self.sweep.name,
            result_file=self.state.result_file(trial),
            project=self.sweep.project,
            entity=self.sweep.entity,
            device=self.devices[worker % len(self.devices)] if self.devices else None,
            threads=self.threads,
        )
        return self.command(trial), environment

    def command(self, trial: Trial) -> list[str]:
        """Return the agent's command line and, at its end, where the run's files go."""
        rendered = render_command(
            self.sweep.command,
            self.sweep.program,
            trial.configuration,
            environ=os.environ,
            interpreter=sys.executable,
            json_file=str(self.state.json_file(trial)),
        )
        return [*rendered, f"--runs_dir={self.state.folder}"]


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
