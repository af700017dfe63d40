"""The subcommands of ``train.py`` in words, and the help that lists them without loading torch.

Imports the standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

SUBCOMMANDS = {
    "fit": "Train. An interrupted run continues after its last finished epoch.",
    "validate": "Measure the errors of a checkpoint on the validation part.",
    "test": "Measure the errors of a checkpoint on the test part.",
    "predict": "Write the predictions of a checkpoint for the test part, or for a file of "
    "structures (--data.path), to a CSV file.",
}
WITHOUT_SUBCOMMAND = "default: fit, then test the best checkpoint"
DESCRIPTION = (
    "Train and examine an equivariant molecular network. Without a subcommand, the options are "
    "those of fit, and the best checkpoint is tested after training. The data are QM9, or with "
    "--data.path=FILE structures of your own in extended XYZ (their options: `train.py fit "
    "--data.path=FILE --help`)."
)
HELP_OPTIONS = ("-h", "--help")


def asks_for_overview(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the help of no subcommand in particular.

    Parameters
    ----------
    arguments : sequence of str
        Without the program.
    """
    return bool(arguments) and arguments[0] in HELP_OPTIONS


def overview() -> str:
    """Write the help of ``python train.py --help``.

    The options themselves are declared by the classes that they configure. Listing them takes
    seconds, because these classes need PyTorch and Lightning.
    """
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="train.py [fit|validate|test|predict] [options]",
        description=DESCRIPTION,
    )
    subcommands = parser.add_argument_group(f"subcommands ({WITHOUT_SUBCOMMAND})")
    for name, description in SUBCOMMANDS.items():
        subcommands.add_argument(name, help=description, nargs="?")
    options = parser.add_argument_group("options of every subcommand")
    options.add_argument("fit --help", nargs="?", help="list all options of fit, with defaults")
    options.add_argument("--config", metavar="FILE", help="YAML file, e.g. configs/paper.yaml")
    options.add_argument(
        "--print_config", action="store_true", help="print the options as YAML, and do nothing else"
    )
    return parser.format_help()
