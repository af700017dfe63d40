"""``summary.json``: what a run is, how far it came, and its results.

Imports the standard library and this package only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from records.files import write_json
from records.names import FINISHED


@dataclass(frozen=True)
class Summary:
    """One run's summary. Fields that a run has not reached yet are None or empty.

    Attributes
    ----------
    run_name : str or None
        The run's name.
    status : str or None
        ``running``, ``finished``, ``failed``, ``preempted`` or ``stopped``.
    error : str or None
        Why it failed, in one line.
    seed : int or None
        ``seed_everything``.
    irreps, target, unit, graph : str or None
        Canonical feature irreps, the target's name, the unit of all errors, ``bonds`` or ``radius``.
    l_values, channels : list of int
        Degrees and multiplicities of `irreps`.
    irreps_dim : int or None
        Columns of the features.
    layer_irreps : list of str
        Irreps of each layer's output.
    configuration : dict
        What decides the run's result, with dotted keys; see `records.configuration.identity`.
    configuration_hash : str or None
        Its hash.
    git_commit : str or None
        Commit of the code.
    versions : dict of str to str
        Of the packages that decide a result.
    epochs : int or None
        Epochs trained.
    molecules : dict of str to int
        Sizes of ``train``, ``val`` and ``test``.
    resumed : int
        How often the run was continued.
    wandb_run_id : str or None
        W&B's name for the run.
    wandb_epoch : int or None
        Last epoch that W&B's own file has.
    results : dict of str to float
        Every key with a slash: ``test/mae``, ``params/total``, …
    other : dict
        Keys of other versions of this program, kept as they are.
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
        """Look a result up.

        Parameters
        ----------
        key : str
            e.g. ``test/mae``.

        Returns
        -------
        float or None
            None if it is missing or not finite.
        """
        value = self.results.get(key)
        return value if value is not None and math.isfinite(value) else None

    def updated(self, **values: Any) -> Summary:
        """Copy with other values.

        Parameters
        ----------
        **values : Any
            Fields by name; keys with a slash, given as ``**{"val/mae": …}``, are merged into
            `results`.

        Returns
        -------
        Summary

        Raises
        ------
        ValueError
            If a value has another type than its field.
        """
        return from_json({**to_json(self), **values})


_HINTS = get_type_hints(Summary)
_NAMED = [f.name for f in fields(Summary) if f.name not in ("results", "other")]


def from_json(values: dict[str, Any]) -> Summary:
    """Make a summary of the flat JSON object that ``summary.json`` holds.

    Parameters
    ----------
    values : dict
        JSON values by key.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If a value has another type than its field; names the key.
    """
    named = {key: values[key] for key in _NAMED if values.get(key) is not None}
    for key, value in named.items():
        _check_type(key, value)
    results: dict[str, float] = {}
    for key, value in values.items():
        if "/" in key and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{key} is {value!r}, which is no number")
            results[key] = value
    known = {*_NAMED, *results}
    other = {key: value for key, value in values.items() if key not in known and "/" not in key}
    return replace(Summary(results=results, other=other), **named)


def to_json(summary: Summary) -> dict[str, Any]:
    """Flatten a summary to the JSON object of ``summary.json``; what is not known is left out."""
    empty = Summary()
    named = {
        key: getattr(summary, key) for key in _NAMED if getattr(summary, key) != getattr(empty, key)
    }
    return {**named, **summary.results, **summary.other}


def _check_type(key: str, value: Any) -> None:
    allowed = get_args(_HINTS[key]) or (_HINTS[key],)
    origin = getattr(_HINTS[key], "__origin__", None)
    types = (
        (origin,) if origin in (list, dict) else tuple(t for t in allowed if isinstance(t, type))
    )
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        expected = " or ".join(t.__name__ for t in types if t is not type(None))
        raise ValueError(f"{key} is {str(value)[:80]!r}, which is no {expected}")


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
        If the file is damaged; names it and says what to do.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
        return from_json(values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, or start the run over with --fresh"
        ) from error


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary.json``, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    summary : Summary
        What to write.
    """
    write_json(path, to_json(summary))
