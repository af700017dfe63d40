"""Train one model: ``python train.py [fit|validate|test|predict] [--config FILE] [options]``.

Without a subcommand, the model is trained and its best checkpoint tested. The same command finds
its own run again: it continues an interrupted run, and does not train a finished one twice.
"""

from __future__ import annotations

import sys

from records.announcement import announce
from records.standard_streams import make_standard_streams_safe
from records.user_folders import prepare_user_folders
from runtime.errors import UsageError, fail, one_line
from runtime.quiet import quiet_libraries
from runtime.signals import StopRequestedError, StopSignals
from runtime.subcommands import asks_for_overview, overview
from runtime.threads import leave_a_core
from runtime.wandb_handover import hand_trial_back


def main(arguments: list[str]) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : list of str
        Command line without the program.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for a failure, 2 for unusable input, 143 after SIGTERM and 130
        after Ctrl-C.
    """
    make_standard_streams_safe()
    if asks_for_overview(arguments):
        print(overview(), end="")
        return 0
    quiet_libraries()
    leave_a_core()
    signals = StopSignals()
    signals.install()
    try:
        _prepare_folders()
        # Imported late: these imports take seconds, in which a signal must be handled, and the
        # number of threads must be set before torch is imported.
        from runtime.cli import IrrepscopeCLI

        try:
            cli = IrrepscopeCLI(arguments, signals)
            # Later still, as neither help nor a refused option needs W&B's client.
            from runtime.run import Run

            run = Run(cli.configuration, cli.model, cli.datamodule, cli.build_trainer, signals)
            run.open()
        # The file system refuses names that are too long, among other things.
        except (UsageError, OSError) as error:
            fail(one_line(error))
        return run.execute()
    except StopRequestedError as stop:
        hand_trial_back(stop.exit_code)
        return stop.exit_code


def _prepare_folders() -> None:
    """Find folders for the caches of libraries, before these are imported."""
    try:
        note = prepare_user_folders()
    except ValueError as error:
        fail(str(error))
    if note:
        print(note, file=sys.stderr)


if __name__ == "__main__":
    make_standard_streams_safe()
    announce("train.py: starting; PyTorch and Lightning take a few seconds to load", sys.argv[1:])
    sys.exit(main(sys.argv[1:]))
