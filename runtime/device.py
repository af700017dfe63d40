"""The device of a run in words, and a warning where it is not the one that was asked for.

Imports torch only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
HIDES_ALL = ("", "-1", "NoDevFiles")
"""Values of `VISIBLE` that are meant to hide every GPU."""


def describe_device(device: torch.device, num_devices: int) -> str:
    """Name a device.

    Parameters
    ----------
    device : torch.device
        Of this process.
    num_devices : int
        Devices of all processes.

    Returns
    -------
    str
        E.g. ``cpu, 1 thread`` or ``2 x NVIDIA H200``.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        name = f"{device.type}, {threads} thread{'s' * (threads != 1)}"
    return name if num_devices == 1 else f"{num_devices} x {name}"


def missing_gpu(device: torch.device, environ: Mapping[str, str] | None = None) -> str:
    """Say that no GPU is used although the environment names one.

    Parameters
    ----------
    device : torch.device
        That is used.
    environ : mapping, optional
        By default the environment of this process.

    Returns
    -------
    str
        One line; empty if nothing is missing.
    """
    visible = (os.environ if environ is None else environ).get(VISIBLE, "").strip()
    if device.type != "cpu" or visible in HIDES_ALL:
        return ""
    return (
        f"warning: {VISIBLE}={visible} names no GPU that PyTorch {torch.__version__} can use, so "
        "this run is on the CPU"
    )
