"""Runs of a W&B project as `Run` records, and the keys that they have logged.

Imports wandb where it asks the server, and this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reporting.read.irreps import parse, spell
from records.names import NETWORK
from reporting.read.runs import Block, ReportError, Run
from records.configuration import identity

TIMEOUT = 30
PAGE = 200
_UTILIZATION = re.compile(r"utilization/(layer\d+|network)/(\d+[eo])/(\w+)")


@dataclass
class Project:
    """A W&B project as far as its dashboards need to know it.

    Attributes
    ----------
    entity, name : str
        ``ENTITY/PROJECT``.
    sweep : str or None
        Only this sweep's runs, if given.
    runs : list of Run
    keys : set of str
        Logged by any run: metrics, media and tables.
    config : set of str
        Configuration keys of any run.
    """

    entity: str
    name: str
    sweep: str | None
    runs: list[Run] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    config: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        """``ENTITY/PROJECT``."""
        return f"{self.entity}/{self.name}"


def split_path(path: str) -> tuple[str, str]:
    """Split ``ENTITY/PROJECT``.

    Parameters
    ----------
    path : str
        As the user gave it.

    Returns
    -------
    entity, project : str

    Raises
    ------
    ReportError
        If it is of another form.
    """
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ReportError(f"--wandb {path}: give one project as ENTITY/PROJECT")
    return entity, project


@contextmanager
def server_errors(path: str) -> Iterator[None]:
    """Turn the client's errors into one line.

    Parameters
    ----------
    path : str
        Project that is asked for.

    Raises
    ------
    ReportError
        If the key is refused or the project does not exist.
    OSError
        If the server cannot be reached or answers nonsense.
    """
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except (wandb.Error, WandbApiFailedError, ValueError, TimeoutError) as error:
        if isinstance(error, ReportError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        text = reason.lower()
        if any(word in text for word in ("401", "403", "permission", "api key", "unauthorized")):
            raise ReportError(
                f"W&B refuses this API key for {path} ({reason}): check WANDB_API_KEY or `wandb "
                "login --relogin`"
            ) from error
        if any(word in text for word in ("not found", "could not find", "404", "does not exist")):
            raise ReportError(f"W&B does not know {path} ({reason})") from error
        raise OSError(f"W&B failed for {path}: {reason}") from error


def check_key() -> None:
    """Refuse to go on without an API key, before the client asks for one at the terminal.

    Raises
    ------
    ReportError
        If there is none.
    """
    import wandb
    from wandb.sdk.lib import wbauth

    settings = wandb.setup().settings
    if not settings.api_key and not wbauth.read_netrc_auth(host=settings.base_url):
        raise ReportError(
            f"--wandb needs an API key for {settings.base_url}: `wandb login`, or set WANDB_API_KEY"
        )


def read_project(path: str, sweep: str | None) -> Project:
    """Read the runs of a project.

    Parameters
    ----------
    path : str
        ``ENTITY/PROJECT``.
    sweep : str, optional
        Only this sweep's runs.

    Returns
    -------
    Project

    Raises
    ------
    ReportError
        If there is no key, no such project or no run.
    OSError
        If the server fails.
    """
    entity, name = split_path(path)
    if sweep is not None and not re.fullmatch(r"[\w-]+", sweep):
        raise ReportError(f"--sweep {sweep}: give the sweep's ID alone, e.g. 3f9c1a2b")
    check_key()
    project = Project(entity, name, sweep)
    with server_errors(path):
        import wandb

        filters = {"sweep": sweep} if sweep else {}
        api = wandb.Api(timeout=TIMEOUT)
        found = list(api.runs(path, filters=filters, per_page=PAGE, lazy=False))
        for entry in found:
            _take(project, entry)
    if not project.runs:
        what = f"sweep {sweep} of {path}" if sweep else path
        raise ReportError(f"{what} has no runs: train with W&B online, or `wandb sync` them first")
    return project


def _take(project: Project, entry: Any) -> None:
    config = {key: value for key, value in dict(entry.config).items() if key != "_wandb"}
    summary = {key: value for key, value in dict(entry.summary).items() if key[0] != "_"}
    project.config.update(config)
    project.keys.update(summary)
    project.runs.append(to_run(str(entry.name), str(entry.state), config, summary))


def to_run(name: str, state: str, config: dict[str, Any], summary: dict[str, Any]) -> Run:
    """Make the record of a run from what W&B keeps of it.

    Parameters
    ----------
    name, state : str
        W&B's.
    config : dict
        Flat, dotted keys, as `train.py` sends it.
    summary : dict
        Last value of every key.

    Returns
    -------
    Run
        Without metrics by epoch; utilization as it was measured last.
    """
    known = {**config, **{key: _last(value) for key, value in summary.items()}}
    if isinstance(known.get("epoch"), (int, float)):
        known["epochs"] = int(known["epoch"]) + 1
    seed = config.get("seed_everything")
    irreps = str(config.get("irreps") or "")
    run = Run(
        name=name,
        status=state,
        path=None,
        irreps=spell(parse(irreps)) if irreps else "",
        seed=seed if isinstance(seed, int) else None,
        configuration=identity(config),
        summary=known,
    )
    blocks = _blocks(known)
    if blocks:
        run.utilization = {max(0, run.epochs - 1): blocks}
    return run


def _last(value: Any) -> Any:
    """Value of a key whose summary W&B keeps as its minimum."""
    minimum = value.get("min") if hasattr(value, "get") else None
    return value if minimum is None else minimum


def _blocks(summary: dict[str, Any]) -> list[Block]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in summary.items():
        match = _UTILIZATION.fullmatch(key)
        if match:
            found.setdefault((match[1], match[2]), {})[match[3]] = value
    mae = summary.get("val/mae")
    return [
        Block(
            layer=layer,
            irrep=irrep,
            channels=1 if layer == NETWORK else int(measured.get("power") is not None),
            verdict=str(measured["verdict"]),
            mae=float(mae) if isinstance(mae, (int, float)) else float("nan"),
            values=_Measures(
                {k: float(v) for k, v in measured.items() if isinstance(v, (int, float))}
            ),
        )
        for (layer, irrep), measured in found.items()
        if "verdict" in measured
    ]


class _Measures(dict[str, float]):
    """Measures by name; NaN for those that were not logged."""

    def __missing__(self, key: str) -> float:
        return float("nan")
