"""Which runs may be compared: groups of equal configuration, and in them sets of irreps.

Imports this package only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reporting.read.irreps import labels, parse, spell
from reporting.read.runs import ReportError, Run

VARIED = ("seed_everything", "model.irreps", *(f"model.channels_l{degree}" for degree in range(12)))
"""Options in which runs of one group may differ."""
LINKED = ("model.target", "data.cutoff")
"""Options that follow another one."""


@dataclass
class IrrepSet:
    """Finished runs of one group with the same irreps, one a seed.

    Attributes
    ----------
    irreps, label : str
        Canonical irreps, and the shortest label that tells the group's sets apart.
    runs : list of Run
        By seed.
    """

    irreps: str
    label: str
    runs: list[Run]

    @property
    def parameters(self) -> float | None:
        """Parameters of the network."""
        return self.runs[0].number("params/total")

    @property
    def degrees(self) -> list[int]:
        """Degrees l present."""
        return sorted({int(name[:-1]) for name in parse(self.irreps)})


@dataclass
class Group:
    """Runs that may be compared: all but irreps and seed agrees.

    Attributes
    ----------
    configuration : dict
        What they share.
    runs : list of Run
        All, finished or not.
    unit, target : str
        Of the errors.
    metric : str
        ``test/mae``, or ``val/mae`` if no run of the group was tested.
    sets : list of IrrepSet
        Finished runs with that metric, by number of parameters.
    left_out : list of tuple of Run and str
        Runs that are in no set, and why.
    name : str
        Tells the group from the others in words.
    """

    configuration: dict[str, Any]
    runs: list[Run]
    unit: str
    target: str
    metric: str = "test/mae"
    sets: list[IrrepSet] = field(default_factory=list)
    left_out: list[tuple[Run, str]] = field(default_factory=list)
    name: str = ""

    def values(self, irrep_set: IrrepSet) -> dict[int, float]:
        """Errors of a set.

        Parameters
        ----------
        irrep_set : IrrepSet

        Returns
        -------
        dict of int to float
            By seed, reporting units.
        """
        values = {}
        for run in irrep_set.runs:
            value = run.number(self.metric)
            if value is not None and run.seed is not None:
                values[run.seed] = value
        return values

    def find(self, irreps: str) -> IrrepSet | None:
        """Look a set up.

        Parameters
        ----------
        irreps : str
            Canonical irreps.

        Returns
        -------
        IrrepSet or None
        """
        return next((known for known in self.sets if known.irreps == irreps), None)


def make_groups(runs: Sequence[Run]) -> list[Group]:
    """Sort runs into groups and sets.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    list of Group
        Those with most finished runs first. Runs that failed before they had a configuration
        form a group without sets.
    """
    groups: dict[str, Group] = {}
    for run in runs:
        shared = {key: value for key, value in run.configuration.items() if key not in VARIED}
        key = json.dumps([run.target, run.unit, shared], sort_keys=True, default=str)
        group = groups.setdefault(key, Group(shared, [], run.unit, run.target))
        group.runs.append(run)
    for group in groups.values():
        _fill(group)
    ordered = sorted(groups.values(), key=lambda g: -sum(len(s.runs) for s in g.sets))
    for group, name in zip(ordered, _names(ordered), strict=True):
        group.name = name
    return ordered


def _fill(group: Group) -> None:
    finished = [run for run in group.runs if run.finished]
    tested = any(run.number("test/mae") is not None for run in finished)
    group.metric = "test/mae" if tested else "val/mae"
    by_irreps: dict[str, dict[int, Run]] = {}
    for run in group.runs:
        reason = _why_left_out(run, group.metric)
        if not reason and run.seed is not None:
            first = by_irreps.setdefault(run.irreps, {}).setdefault(run.seed, run)
            if first is run:
                continue
            reason = f"repeats {first.name} (same irreps and seed), counted once"
        group.left_out.append((run, reason))
    short = labels(by_irreps)
    group.sets = [
        IrrepSet(irreps, short[irreps], [by_seed[seed] for seed in sorted(by_seed)])
        for irreps, by_seed in by_irreps.items()
    ]
    group.sets.sort(key=lambda known: (known.parameters or 0, known.irreps))


def _why_left_out(run: Run, metric: str) -> str:
    if not run.finished:
        error = run.summary.get("error")
        return f"{run.status}: {error}" if error else f"not finished ({run.status})"
    if run.number(metric) is None:
        value = run.summary.get(metric)
        what = "test MAE" if metric == "test/mae" else "validation MAE"
        return f"finished without a {what}" if value is None else f"its {what} is {value}"
    return "" if run.seed is not None else "its seed is not known"


def _names(groups: Sequence[Group]) -> list[str]:
    """Name each group by its target and by what it does not share with the others."""
    keys = [key for key in differing(groups) if key != "data.target"]
    names = []
    for group in groups:
        parts = [f"{key.partition('.')[2]} {group.configuration.get(key)}" for key in keys]
        if not group.configuration:
            parts = ["no configuration recorded"]
        names.append(", ".join([group.target, *parts]))
    return names


def differing(groups: Sequence[Group]) -> list[str]:
    """Name the options in which groups differ.

    Parameters
    ----------
    groups : sequence of Group

    Returns
    -------
    list of str
        Configuration keys; empty for a single group.
    """
    keys = sorted({key for group in groups for key in group.configuration})
    return [
        key
        for key in keys
        if key not in LINKED
        and len({json.dumps(g.configuration.get(key), default=str) for g in groups}) > 1
    ]


def choose_reference(group: Group, irreps: str | None) -> IrrepSet | None:
    """Choose the set that the others are compared with.

    Parameters
    ----------
    group : Group
    irreps : str, optional
        As the user gave it.

    Returns
    -------
    IrrepSet or None
        The one given, if the group has it. Otherwise the smallest of those with l = 0 only, or
        the smallest. None without sets.
    """
    if irreps is not None:
        given = group.find(spell(parse(irreps)))
        if given is not None:
            return given
    scalars = [known for known in group.sets if known.degrees == [0]]
    return next(iter(scalars or group.sets), None)


def check_reference(groups: Sequence[Group], irreps: str) -> None:
    """Refuse a reference that no group has.

    Parameters
    ----------
    groups : sequence of Group
    irreps : str
        As the user gave it.

    Raises
    ------
    ReportError
        If it is no irreps string, or no finished run has these irreps.
    """
    try:
        wanted = spell(parse(irreps))
    except ValueError as error:
        raise ReportError(f"--reference: {error}") from error
    known = sorted({found.irreps for group in groups for found in group.sets})
    if wanted not in known:
        raise ReportError(
            f"--reference {irreps}: no finished run has these irreps; there are "
            f"{', '.join(known) or 'none'}"
        )
