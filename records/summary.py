"""``summary.json``: what a run is, how far it has come, and its results.

Imports the standard library and this package only.
"""

from __future__ import annotations

import math
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from records.bounded import parse_json, read_text
from records.files import write_json
from records.names import FINISHED


@dataclass(frozen=True)
class Summary:
    """The summary of one run. Fields that the run has not reached yet are None or empty.

    Attributes
    ----------
    run_name : str or None
        The run's name.
    status : str or None
        ``running``, ``finished``, ``failed``, ``preempted`` or ``stopped``; see `records.names`.
    error : str or None
        Why the run failed, in one line.
    seed : int or None
        ``seed_everything``. JSON's ``false``, for a run without a seed, becomes None.
    irreps, target, unit, graph : str or None
        Canonical feature irreps, name of the target, unit of all errors, ``bonds`` or ``radius``.
    rank : int or None
        Rank of the target: 0 for a scalar, 1 for a vector, 2 for a traceless symmetric tensor.
    method : str or None
        Level of theory of the target, e.g. ``GFN2-xTB``; empty for data of one's own.
    reference : str or None
        What was subtracted from the target before the network learned it: ``none``, ``mean`` or
        ``composition``. The option may be unset, as its default depends on the target.
    l_values, channels : list of int
        Degrees in `irreps`, and the multiplicity of each of its irreps.
    irreps_dim : int or None
        Dimension of `irreps`.
    layer_irreps : list of str
        Irreps of each layer's output.
    configuration : dict
        The options that determine the result, see `records.configuration.identity`.
    configuration_hash : str or None
        Hash of `configuration`.
    git_commit : str or None
        Commit of the code.
    versions : dict of str to str
        Versions of the packages that affect a result.
    epochs : int or None
        Number of epochs trained.
    molecules : dict of str to int
        Sizes of the parts ``train``, ``val`` and ``test``.
    resumed : int
        How often the run was continued.
    wandb_run_id : str or None
        W&B's id of the run.
    wandb_epoch : int or None
        Last epoch that W&B's own file holds.
    results : dict of str to float
        Every key that contains a slash: ``test/mae``, ``params/total``, …
    other : dict
        Keys written by other versions of this program, kept unchanged.
    """

    run_name: str | None = None
    status: str | None = None
    error: str | None = None
    seed: int | None = None
    irreps: str | None = None
    l_values: list[int] = field(default_factory=list)
    channels: list[int] = field(default_factory=list)
    irreps_dim: int | None = None
    layer_irreps: list[str] = field(default_factory=list)
    target: str | None = None
    unit: str | None = None
    rank: int | None = None
    method: str | None = None
    reference: str | None = None
    graph: str | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    configuration_hash: str | None = None
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    epochs: int | None = None
    molecules: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    wandb_run_id: str | None = None
    wandb_epoch: int | None = None
    results: dict[str, float] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.status == FINISHED

    def number(self, key: str) -> float | None:
        """Look up a result.

        Parameters
        ----------
        key : str
            For example ``test/mae``.

        Returns
        -------
        float or None
            None if the result is missing or not finite.
        """
        value = self.results.get(key)
        return value if value is not None and math.isfinite(value) else None

    def updated(self, **values: Any) -> Summary:
        """Return a copy with some values replaced.

        Parameters
        ----------
        **values : Any
            JSON values by the keys of ``summary.json``: fields by name, and results as
            ``**{"val/mae": …}``. None removes a value.

        Raises
        ------
        ValueError
            If a value has another type than its field. The message names the field.
        """
        return from_json({**to_json(self), **values})


_HINTS = typing.get_type_hints(Summary)
_NAMED = {f.name: str(f.type) for f in fields(Summary) if f.name not in ("results", "other")}
"""Fields that are keys of ``summary.json``, and their types in words."""


def from_json(values: dict[str, Any]) -> Summary:
    """Build a summary from the flat JSON object in ``summary.json``.

    Parameters
    ----------
    values : dict
        JSON values by key. A key whose value is null counts as missing.

    Raises
    ------
    ValueError
        If a value has another type than its field. The message names the key.
    """
    known: dict[str, Any] = {}
    results: dict[str, float] = {}
    other: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or (key == "seed" and value is False):
            continue
        if key in _NAMED:
            if not _has_type(value, _HINTS[key]):
                raise ValueError(f"{key} is {_shown(value)}, not of type {_NAMED[key]}")
            known[key] = value
        elif "/" in key:
            if not _has_type(value, float):
                raise ValueError(f"{key!r} is {_shown(value)}, not a number")
            results[key] = value
        else:
            other[key] = value
    return Summary(**known, results=results, other=other)


def to_json(summary: Summary) -> dict[str, Any]:
    """Flatten a summary to the JSON object in ``summary.json``, without fields that are unset."""
    unset = Summary()
    named = {
        key: getattr(summary, key) for key in _NAMED if getattr(summary, key) != getattr(unset, key)
    }
    return {**named, **summary.results, **summary.other}


def _has_type(value: Any, hint: Any) -> bool:
    """Check a JSON value against a type, elements included; a bool is not a number."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin is types.UnionType:
        return any(_has_type(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(_has_type(v, arguments[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_has_type(v, arguments[1]) for v in value.values())
    if isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    return isinstance(value, hint)


def _shown(value: Any) -> str:
    return repr(value)[:80]


def read_summary(path: Path) -> Summary | None:
    """Read ``summary.json``.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    Summary or None
        None if there is no such file.

    Raises
    ------
    ValueError
        If the file is damaged. The message names it and says what to do.
    """
    try:
        values = parse_json(read_text(path))
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        return from_json(values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, or start the run over with --fresh"
        ) from error


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary.json`` atomically.

    Parameters
    ----------
    path : Path
        Destination.
    summary : Summary
        What to write.
    """
    write_json(path, to_json(summary))
