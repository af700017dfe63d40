"""The command line of a trial, rendered as `wandb agent` renders it, and its environment.

Imports only the standard library. The tests compare with the real agent.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ENVIRONMENT_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
# What a W&B agent or an earlier run may have left: it would make all trials one run.
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
        Items of the file. An item that is `${name}` becomes the arguments of that name (an unknown
        name becomes nothing), `${envvar:X}` is filled in anywhere (by `X` itself if it is not set).
    configuration : mapping
        Parameter -> value; rendered in sorted order as `--name=str(value)`.
    interpreter : str
        `python` for the agent; `sweep.py` gives the Python that runs it.
    json_file : str
        Path for `${args_json_file}`.
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
    """Give the agent's forms of the arguments: `args`, `args_no_hyphens`, and the others."""
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
    """Give the environment of a trial.

    The group makes W&B show the runs of a sweep together; `IRREPSCOPE_RESULT` names the file in
    which the program leaves its run directory. What the user has set is kept, except for variables
    that belong to one run.
    """
    child = {name: value for name, value in environ.items() if name not in _RUN_VARIABLES}
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
    # A literal `python` in `command:` means the Python that runs the sweep, activated or not.
    child["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), child.get("PATH", "")])
    return child


def visible_devices(given: str, environ: Mapping[str, str]) -> list[str]:
    """Turn `--devices 0,1` into values for `CUDA_VISIBLE_DEVICES`, one a worker.

    Numbers count within the devices that this process may see (Slurm sets `CUDA_VISIBLE_DEVICES`).

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
