"""Upload what W&B lacks of runs: ``python upload.py runs/NAME``, or a folder of runs.

For runs that were offline, or whose uploads did not end. Repeating it uploads nothing twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from records.announcement import announce
from records.standard_streams import make_standard_streams_safe
from records.user_folders import prepare_user_folders

UNUSABLE = 2
FAILED = 1


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{' '.join(message.split())}; see python upload.py --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns 0 if W&B has everything, 1 if it has not, 2 for unusable input."""
    make_standard_streams_safe()
    parser = _OneLineParser(
        prog="upload.py",
        description="Upload to W&B what it lacks of runs; repeating it uploads nothing twice.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="runs, or directories that hold them")
    try:
        given = parser.parse_args(arguments)
        if note := prepare_user_folders():
            print(note, file=sys.stderr)
        # W&B's client takes seconds to import, and uses these folders.
        from runtime.wandb_upload import UploadError, check_server, upload, wandb_folders

        folders = [folder for run in given.runs for folder in wandb_folders(run)]
        try:
            check_server()
            for line in upload(list(dict.fromkeys(folders))):
                print(line, flush=True)
        except (UploadError, OSError) as error:
            return _complain(error, FAILED)
    except (ValueError, OSError) as error:
        return _complain(error, UNUSABLE)
    return 0


def _complain(error: Exception, code: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    make_standard_streams_safe()
    announce("upload.py: asking W&B what it has", sys.argv[1:])
    sys.exit(main())
