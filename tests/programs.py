"""Running the project's programs in this process, which saves 10 s of imports each time."""

import contextlib
import io
import os
import signal
from collections.abc import Callable
from unittest import mock

import wandb

import train


def run_train(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run ``train.py``; return its exit code and everything that it has printed."""
    return run_program(train.main, arguments, **environment)


def run_program(
    main: Callable[[list[str]], int], arguments: list[str], **environment: str
) -> tuple[int, str]:
    """Run a program; return its exit code and everything that it has printed."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    output = io.StringIO()
    variables = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", **environment}
    try:
        with (
            mock.patch.dict(os.environ, variables),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            try:
                code = main(arguments)
            except SystemExit as stop:
                code = int(stop.code or 0)
    finally:
        wandb.finish()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    return code, output.getvalue()
