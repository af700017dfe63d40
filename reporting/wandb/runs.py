"""Runs of a W&B project as `Run` objects, and the keys that they have logged.

Imports `records` and `reporting.read`; wandb only when it asks the server, as the import is slow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from records.configuration import identity
from records.names import NETWORK
from records.run_files import REPORTED_FILES, SUMMARY
from records.summary import Summary, from_json
from records.utilization import BlockUtilization, Utilization
from reporting.read.irreps import canonical_irreps, parse_irreps
from reporting.read.latents import read_latent_metrics
from reporting.read.runs import ReportError, Run, read_run
from reporting.read.utilization import block_from_logged

TIMEOUT = 30
"""Seconds to wait for an answer of the server."""
RUNS_PER_REQUEST = 200
SUMMARY_KEYS = ("target", "unit", "graph", "configuration_hash", "git_commit", "versions", "error")
"""Parts of a run's summary that W&B keeps among its configuration."""
_UTILIZATION = re.compile(rf"utilization/{NETWORK}/(\d+[eo])/(\w+)")


@dataclass
class Project:
    """What the dashboards need to know of a W&B project.

    Attributes
    ----------
    entity, name : str
        The two parts of ``ENTITY/PROJECT``.
    sweep : str or None
        Sweep that the runs are limited to, if any.
    runs : list of Run
    keys : set of str
        Keys that any run has logged: metrics, media and tables.
    config : set of str
        Keys in the configuration of any run.
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
        As given by the user.

    Returns
    -------
    entity, project : str

    Raises
    ------
    ReportError
        If the path has another form.
    """
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ReportError(f"--wandb {path}: give one project as ENTITY/PROJECT")
    return entity, project


@contextmanager
def server_errors(path: str) -> Iterator[None]:
    """Turn errors of the W&B client into errors with a one-line message.

    Parameters
    ----------
    path : str
        The project that the server is asked about.

    Raises
    ------
    ReportError
        If the API key is refused or the project does not exist.
    OSError
        If the server cannot be reached, or its answer makes no sense.
    """
    import wandb

    from records.wandb_internals import API_ERRORS

    try:
        yield
    except (wandb.Error, *API_ERRORS, ValueError, TimeoutError) as error:
        if isinstance(error, ReportError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        text = reason.lower()
        if any(word in text for word in ("401", "403", "permission", "api key", "unauthorized")):
            raise ReportError(
                f"W&B refuses this API key for {path} ({reason}): check WANDB_API_KEY, or run "
                "`wandb login --relogin`"
            ) from error
        if any(word in text for word in ("not found", "could not find", "404", "does not exist")):
            raise ReportError(
                f"W&B does not know {path} ({reason}): check the names of entity and project"
            ) from error
        raise OSError(f"W&B failed for {path}: {reason}") from error


def check_key() -> None:
    """Check that there is an API key, because the client would ask for one at the terminal.

    Raises
    ------
    ReportError
        If there is no key.
    """
    import wandb

    from records.wandb_internals import forget_inherited_service, stored_api_key

    forget_inherited_service()
    settings = wandb.setup().settings
    if not settings.api_key and not stored_api_key(settings.base_url):
        raise ReportError(
            f"--wandb needs an API key for {settings.base_url}: run `wandb login` or set "
            "WANDB_API_KEY"
        )


def read_project(path: str, sweep: str | None) -> Project:
    """Read the runs of a project.

    Parameters
    ----------
    path : str
        ``ENTITY/PROJECT``.
    sweep : str, optional
        Sweep to limit the runs to.

    Raises
    ------
    ReportError
        If there is no API key, no such project or no run.
    OSError
        If the server fails.
    """
    entity, name = split_path(path)
    if sweep is not None and not re.fullmatch(r"[\w-]+", sweep):
        raise ReportError(f"--sweep {sweep}: give only the sweep's ID, e.g. 3f9c1a2b")
    check_key()
    project = Project(entity, name, sweep)
    with server_errors(path):
        import wandb

        filters = {"sweep": sweep} if sweep else {}
        api = wandb.Api(timeout=TIMEOUT)
        found = list(api.runs(path, filters=filters, per_page=RUNS_PER_REQUEST, lazy=False))
        with TemporaryDirectory(prefix="irrepscope-report-") as folder:
            for entry in found:
                _add_run(project, entry, Path(folder))
    if not project.runs:
        what = f"sweep {sweep} of {path}" if sweep else path
        raise ReportError(
            f"{what} has no runs: train with W&B online, or upload runs with upload.py"
        )
    return project


def _add_run(project: Project, entry: Any, folder: Path) -> None:
    config = {key: value for key, value in dict(entry.config).items() if key != "_wandb"}
    summary = {key: value for key, value in dict(entry.summary).items() if key[0] != "_"}
    project.config.update(config)
    project.keys.update(summary)
    run = _from_files(entry, folder)
    project.runs.append(run or to_run(str(entry.name), str(entry.state), config, summary))


def _from_files(entry: Any, folder: Path) -> Run | None:
    """Read a run from the same files that its directory has.

    Returns
    -------
    Run or None
        None if W&B does not have the run's summary, because the run has not ended or an earlier
        version of this program trained it.
    """
    directory = folder / str(entry.id)
    directory.mkdir()
    for file in entry.files(names=list(REPORTED_FILES)):
        if file.size > 0:
            file.download(root=str(directory)).close()
    if not (directory / SUMMARY).is_file():
        return None
    run = read_run(directory)
    run.latent_metrics = read_latent_metrics(run)
    run.path = None
    return run


def to_run(name: str, state: str, config: dict[str, Any], logged: dict[str, Any]) -> Run:
    """Build a run from what W&B keeps of it.

    Parameters
    ----------
    name, state : str
        W&B's name and state of the run.
    config : dict
        Flat, with dotted keys, as sent by ``train.py``.
    logged : dict
        Last logged value of every key.

    Returns
    -------
    Run
        Without metrics by epoch, and with the last measured utilization only, which is all that is
        known of a run whose files W&B does not have.

    Raises
    ------
    ReportError
        If a value has another type than ``train.py`` gives it.
    """
    latest = {key: _latest(value) for key, value in logged.items()}
    try:
        irreps = canonical_irreps(config["irreps"]) if config.get("irreps") else ""
        summary = _summary(name, state, irreps, config, latest)
        run = Run(name=name, path=None, summary=summary, irreps=irreps)
        blocks = _blocks(irreps, latest)
    except (TypeError, ValueError) as error:
        raise ReportError(
            f"run {name} in W&B was not logged by train.py ({error}): remove it from the project, "
            "or choose a sweep with --sweep"
        ) from error
    if blocks:
        mae = summary.number("val/mae")
        # W&B does not keep how many molecules were measured.
        utilization = Utilization(blocks, math.nan if mae is None else mae, num_molecules=0)
        run.utilization = {max(0, run.epochs - 1): utilization}
    return run


def _latest(value: Any) -> Any:
    """Return a logged value; of a key that W&B summarizes by its minimum, the minimum."""
    minimum = value.get("min") if hasattr(value, "get") else None
    return value if minimum is None else minimum


def _summary(
    name: str, state: str, irreps: str, config: dict[str, Any], latest: dict[str, Any]
) -> Summary:
    values: dict[str, Any] = {key: config.get(key, latest.get(key)) for key in SUMMARY_KEYS}
    values |= {"run_name": name, "status": state, "irreps": irreps or None}
    values |= {"seed": config.get("seed_everything"), "configuration": identity(config)}
    if isinstance(latest.get("epoch"), int | float):
        values["epochs"] = int(latest["epoch"]) + 1
    values |= {k: v for k, v in (config | latest).items() if "/" in k and _is_number(v)}
    return from_json(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _blocks(irreps: str, latest: dict[str, Any]) -> list[BlockUtilization]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in latest.items():
        match = _UTILIZATION.fullmatch(key)
        if match:
            found.setdefault(match[1], {})[match[2]] = value
    multiplicities = parse_irreps(irreps) if irreps else {}
    return [
        block_from_logged(irrep, multiplicities.get(irrep, 0), logged)
        for irrep, logged in found.items()
    ]
