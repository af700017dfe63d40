"""Folders in which libraries keep caches and settings, where the user's home cannot be written.

Containers and clusters run programs under users without a home or without a name. Numba, W&B,
Matplotlib and PyTorch then fail, each at another moment. Imports the standard library only, because
it must act before these libraries are imported.
"""

from __future__ import annotations

import getpass
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

CACHE_VARIABLE = "IRREPSCOPE_CACHE_DIR"
"""Names the folder of the prepared data set; `qm9.cache` reads it."""


def prepare_user_folders() -> str | None:
    """Give libraries folders that can be written, by the environment variables that they read.

    What can be used stays as it is: a home that can only be read still holds the keys and settings
    that libraries look for there.

    Returns
    -------
    str or None
        One line that names what cannot be written and what is used instead; None if all is well.

    Raises
    ------
    ValueError
        If there is no folder for temporary files either.
    """
    folders = _Folders()
    folders.check_temporary()
    folders.check_home()
    folders.check_caches()
    _check_user_name()
    return folders.note


@dataclass
class _Folders:
    """Checks folders one after another, and collects what was replaced."""

    replaced: list[str] = field(default_factory=list)
    _writable: dict[Path, bool] = field(default_factory=dict)

    @property
    def note(self) -> str | None:
        if not self.replaced:
            return None
        names = ", ".join(dict.fromkeys(self.replaced))
        return f"note: {names} cannot be written: using folders in {tempfile.gettempdir()}"

    def check_temporary(self) -> None:
        """Let libraries that are not written in Python find the folder that Python's would."""
        try:
            found = tempfile.gettempdir()
        except FileNotFoundError as error:
            raise ValueError(
                "no folder for temporary files can be written: set TMPDIR to one"
            ) from error
        given = os.environ.get("TMPDIR")
        if given and not self._is_writable(Path(given)):
            self.replaced.append(f"TMPDIR {given}")
            os.environ["TMPDIR"] = found

    def check_home(self) -> None:
        """Set HOME if it is not set, or names no folder that can be entered."""
        home = os.environ.get("HOME") or _home_of_account()
        if home is None or not (_can_enter(Path(home)) or self._is_writable(Path(home))):
            self.replaced.append(home or "a home folder")
            home = str(self.substitute)
        os.environ["HOME"] = home

    def check_caches(self) -> None:
        """Set the variables whose folders cannot be written."""
        home = Path(os.environ["HOME"])
        for variable, name, defaults in _places(home):
            given = os.environ.get(variable)
            places = [Path(os.path.expanduser(given))] if given else defaults
            refused = [place for place in places if not self._is_writable(place)]
            if not refused or (not given and _is_enough(variable, refused[0])):
                continue
            shown = home if home in refused[0].parents else refused[0].parent
            self.replaced.append(f"{variable} {given}" if given else str(shown))
            os.environ[variable] = str(self.substitute / name)

    def _is_writable(self, folder: Path) -> bool:
        """Try to write into a folder, or where it would be created. Leaves nothing behind."""
        folder = folder.absolute()
        existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if existing not in self._writable:
            try:
                # Permissions alone do not tell: a file system may be read-only or full.
                with tempfile.TemporaryFile(dir=existing, buffering=0) as file:
                    file.write(b"\0")
                self._writable[existing] = True
            except OSError:
                self._writable[existing] = False
        return self._writable[existing]

    @cached_property
    def substitute(self) -> Path:
        """The folder that is used instead of those that cannot be written."""
        return _private_folder()


def _places(home: Path) -> Iterator[tuple[str, str, list[Path]]]:
    """Yield variables, a name for their folders, and which folders are used if they are not set."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield CACHE_VARIABLE, "irrepscope", [cache / "irrepscope"]
    yield "NUMBA_CACHE_DIR", "numba", [cache / "numba"]
    yield "MPLCONFIGDIR", "matplotlib", [config / "matplotlib", cache / "matplotlib"]
    yield "WANDB_CONFIG_DIR", "wandb/config", [home / ".config" / "wandb"]
    yield "WANDB_CACHE_DIR", "wandb/cache", [cache / "wandb"]
    yield "WANDB_DATA_DIR", "wandb/data", [data / "wandb"]
    yield "TRITON_CACHE_DIR", "triton", [home / ".triton" / "cache"]
    # PyTorch's own choice is a folder for temporary files.
    yield "TORCHINDUCTOR_CACHE_DIR", "torchinductor", []


def _is_enough(variable: str, folder: Path) -> bool:
    """Whether a folder that cannot be written serves all the same, for what it already holds."""
    if variable == CACHE_VARIABLE:
        return any(os.access(path, os.R_OK) for path in folder.glob("qm9-*.cache"))
    return variable == "WANDB_CONFIG_DIR" and _can_enter(folder)


def _can_enter(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


def _home_of_account() -> str | None:
    """Look up the home of a user for whom HOME is not set; None if the user is unknown."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _private_folder() -> Path:
    """Make a folder for temporary files that only this user can write, and that later runs find."""
    folder = Path(tempfile.gettempdir()) / f"irrepscope-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    private = status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISDIR(status.st_mode) and private:
        return folder
    # Somebody else has taken the name, and could put files of their own into it.
    return Path(tempfile.mkdtemp(prefix="irrepscope-"))


def _check_user_name() -> None:
    """Name a user whom the system does not know: libraries ask for the name."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
