"""Which runs are comparable: groups of runs with equal options, and sets of irreps within them.

Imports `records` and `reporting.read`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from records.configuration import LATER_KEYS, PRETRAINING_KEYS
from records.names import EXTENDED_TO
from reporting.read.irreps import (
    canonical_irreps,
    degree_of,
    parse_irreps,
    shortest_labels,
)
from reporting.read.runs import ReportError, Run

VARIED_OPTIONS = (
    "seed_everything",
    "model.irreps",
    *(f"model.channels_l{degree}" for degree in range(12)),
)
"""Options in which the runs of one group may differ."""
SPLIT_SEED = "data.split_seed"
"""Draws the split. A group's runs may differ in it if every seed has a split of its own."""
LINKED_OPTIONS = ("model.target", "data.cutoff")
"""Options that follow from another option, and so do not help to tell groups apart."""
TEST_MAE = "test/mae"
VALIDATION_MAE = "val/mae"


@dataclass
class IrrepSet:
    """Finished runs of one group with the same irreps, one run per seed.

    Attributes
    ----------
    irreps : str
        Canonical irreps.
    label : str
        The shortest label that tells the sets of the group apart.
    runs : list of Run
        In order of the seed.
    """

    irreps: str
    label: str
    runs: list[Run]

    @property
    def parameters(self) -> float | None:
        """Number of parameters of the network."""
        return self.runs[0].number("params/total")

    @property
    def degrees(self) -> list[int]:
        """Degrees l that are present."""
        return sorted({degree_of(irrep) for irrep in parse_irreps(self.irreps)})


@dataclass
class Group:
    """Comparable runs: they agree in every option except irreps, seed and perhaps split.

    Attributes
    ----------
    configuration : dict
        The options that all of them share.
    runs : list of Run
        All runs, finished or not.
    unit, target : str
        Unit of the errors, and name of the target.
    metric : str
        `TEST_MAE`, or `VALIDATION_MAE` if no run of the group was tested.
    sets : list of IrrepSet
        Finished runs that have the metric, sets with fewer parameters first.
    left_out : list of tuple of Run and str
        Runs that belong to no set, and the reason for each.
    name : str
        Tells the group apart from the others in words.
    seeds_draw_splits : bool
        Whether each seed has a split of its own. Runs of the same seed then still share a split,
        so that they can be paired.
    """

    configuration: dict[str, Any]
    runs: list[Run]
    unit: str
    target: str
    metric: str = TEST_MAE
    sets: list[IrrepSet] = field(default_factory=list)
    left_out: list[tuple[Run, str]] = field(default_factory=list)
    name: str = ""
    seeds_draw_splits: bool = False

    @property
    def counted_runs(self) -> list[Run]:
        """Runs that belong to a set."""
        return [run for irrep_set in self.sets for run in irrep_set.runs]

    def errors_by_seed(self, irrep_set: IrrepSet) -> dict[int, float]:
        """Return the errors of a set's runs.

        Parameters
        ----------
        irrep_set : IrrepSet

        Returns
        -------
        dict of int to float
            `metric` by seed, reporting units.
        """
        errors = {}
        for run in irrep_set.runs:
            error = run.number(self.metric)
            if error is not None and run.seed is not None:
                errors[run.seed] = error
        return errors

    def find(self, irreps: str) -> IrrepSet | None:
        """Find the set with these canonical irreps."""
        return next((one for one in self.sets if one.irreps == irreps), None)


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Sort runs into groups and sets.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    list of Group
        Groups with more finished runs first. Runs that failed before they had a configuration
        form a group without sets.
    """
    by_all_but_split: dict[str, list[Run]] = {}
    for run in runs:
        by_all_but_split.setdefault(_common_key(run, (*VARIED_OPTIONS, SPLIT_SEED)), []).append(run)
    groups = []
    for alike in by_all_but_split.values():
        draw_splits = _seeds_draw_splits(alike)
        varied = (*VARIED_OPTIONS, SPLIT_SEED) if draw_splits else VARIED_OPTIONS
        by_configuration: dict[str, list[Run]] = {}
        for run in alike:
            by_configuration.setdefault(_common_key(run, varied), []).append(run)
        for members in by_configuration.values():
            first = members[0]
            shared = _without(first.configuration, varied)
            group = Group(shared, members, first.unit, first.target, seeds_draw_splits=draw_splits)
            _form_sets(group)
            groups.append(group)
    ordered = sorted(groups, key=lambda group: -len(group.counted_runs))
    for group, name in zip(ordered, _group_names(ordered), strict=True):
        group.name = name
    return ordered


def _without(options: dict[str, Any], varied: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in varied}


def _common_key(run: Run, varied: Sequence[str]) -> str:
    shared = _without(run.configuration, varied)
    return f"{run.target} {run.unit} {_as_text(shared)}"


def _as_text(value: Any) -> str:
    """Write options so that equal ones are equal: W&B returns 6.0 as 6."""
    if isinstance(value, dict):
        return json.dumps({key: _as_text(one) for key, one in sorted(value.items())})
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, default=str)


def _seeds_draw_splits(runs: Sequence[Run]) -> bool:
    """Judge whether there are several splits, and each belongs to one seed and the reverse."""
    pairs = {(run.seed, run.configuration.get(SPLIT_SEED)) for run in runs if run.configuration}
    seeds, splits = {seed for seed, _ in pairs}, {split for _, split in pairs}
    return len(splits) > 1 and len(pairs) == len(seeds) == len(splits)


def _form_sets(group: Group) -> None:
    tested = any(run.finished and run.number(TEST_MAE) is not None for run in group.runs)
    group.metric = TEST_MAE if tested else VALIDATION_MAE
    by_irreps: dict[str, dict[int, Run]] = {}
    for run in group.runs:
        reason = _why_left_out(run, group.metric)
        if not reason and run.seed is not None:
            first = by_irreps.setdefault(run.irreps, {}).setdefault(run.seed, run)
            if first is run:
                continue
            reason = f"repeats {first.name} (same irreps and seed), which is counted"
        group.left_out.append((run, reason))
    labels = shortest_labels(by_irreps)
    group.sets = [
        IrrepSet(irreps, labels[irreps], [by_seed[seed] for seed in sorted(by_seed)])
        for irreps, by_seed in by_irreps.items()
    ]
    group.sets.sort(key=lambda irrep_set: (irrep_set.parameters or 0, irrep_set.irreps))


def _why_left_out(run: Run, metric: str) -> str:
    if not run.finished:
        error = run.summary.error
        return f"{run.status}: {error}" if error else f"not finished ({run.status})"
    if run.number(metric) is None:
        value = run.summary.results.get(metric)
        name = "test MAE" if metric == TEST_MAE else "validation MAE"
        return f"finished without a {name}" if value is None else f"its {name} is {value}"
    return "" if run.seed is not None else "its seed is not known"


def _group_names(groups: Sequence[Group]) -> list[str]:
    """Name each group by its target and by the options in which the groups differ."""
    keys = [key for key in differing_options(groups) if key != "data.target"]
    names = []
    for group in groups:
        options = {key: group.configuration.get(key, LATER_KEYS.get(key)) for key in keys}
        parts = [
            f"{_short(key)} {value}"
            for key, value in options.items()
            if value is not None or not key.endswith((EXTENDED_TO, *PRETRAINING_KEYS))
        ]
        if not group.configuration:
            parts = ["no configuration recorded"]
        names.append(", ".join([group.target, *parts]))
    return names


def _short(key: str) -> str:
    """Leave out where an option belongs, unless it is about pretraining rather than training."""
    return key if key in PRETRAINING_KEYS else key.partition(".")[2]


def differing_options(groups: Sequence[Group]) -> list[str]:
    """List the options in which groups differ.

    Parameters
    ----------
    groups : sequence of Group

    Returns
    -------
    list of str
        Keys of the configuration; empty for a single group.
    """
    keys = sorted({key for group in groups for key in group.configuration})
    return [
        key
        for key in keys
        if key not in LINKED_OPTIONS
        and len({_as_text(group.configuration.get(key)) for group in groups}) > 1
    ]


def choose_reference(group: Group, irreps: str | None) -> IrrepSet | None:
    """Choose the set that the others are compared with.

    Parameters
    ----------
    group : Group
    irreps : str, optional
        Irreps that the user asked for.

    Returns
    -------
    IrrepSet or None
        The set with these irreps if the group has it, otherwise the smallest set with l = 0 only,
        otherwise the smallest set. None for a group without sets.
    """
    if irreps is not None:
        chosen = group.find(canonical_irreps(irreps))
        if chosen is not None:
            return chosen
    scalars = [irrep_set for irrep_set in group.sets if irrep_set.degrees == [0]]
    return next(iter(scalars or group.sets), None)


def check_reference(groups: Sequence[Group], irreps: str) -> None:
    """Check that some group has the reference that the user asked for.

    Parameters
    ----------
    groups : sequence of Group
    irreps : str
        As given by the user.

    Raises
    ------
    ReportError
        If it is not an irreps string, or no finished run has these irreps.
    """
    try:
        wanted = canonical_irreps(irreps)
    except ValueError as error:
        raise ReportError(f"--reference: {error}") from error
    known = sorted({irrep_set.irreps for group in groups for irrep_set in group.sets})
    if wanted not in known:
        raise ReportError(
            f"--reference {irreps}: no finished run has these irreps; choose one of "
            f"{', '.join(known) or 'none'}"
        )
