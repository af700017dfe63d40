"""Train one model: ``python train.py [fit|validate|test|predict] [--config FILE] [options]``.

Without a subcommand: fit, then test the best checkpoint. The same command finds its own run
again: it continues an interrupted one and does not train a finished one twice.
"""

from __future__ import annotations

import sys

from runtime.quiet import quiet_libraries
from runtime.signals import StopRequestedError, StopSignals
from runtime.threads import leave_a_core


def main(arguments: list[str]) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : list of str
        Command line without the program.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 unusable input, 143 after SIGTERM, 130 after Ctrl-C.
    """
    quiet_libraries()
    leave_a_core()
    signals = StopSignals()
    signals.install()
    try:
        # Imported late: half of the program's start-up is torch, Lightning and e3nn.
        from runtime.cli import IrrepscopeCLI, UsageError, fail
        from runtime.run import Run

        try:
            run = Run(IrrepscopeCLI(arguments, signals))
            run.open()
        except UsageError as error:
            fail(str(error))
        return run.execute()
    except StopRequestedError as stop:
        return stop.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
