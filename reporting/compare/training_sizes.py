"""Errors by number of training molecules: groups that differ in nothing else.

Imports this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group, differing_options
from reporting.compare.statistics import Estimate, mean_interval

TRAIN_SIZE = "data.train_size"


@dataclass(frozen=True)
class SizeFamily:
    """Groups that differ in the number of training molecules only.

    Attributes
    ----------
    name : str
        What the groups have in common that tells them apart from other families.
    groups : list of Group
        Fewest training molecules first.
    curves : dict of str to list
        By the irreps of a set: numbers of training molecules, and the mean error over seeds.
    """

    name: str
    groups: list[Group]
    curves: dict[str, list[tuple[int, Estimate]]]


def training_sizes(groups: Sequence[Group]) -> list[SizeFamily]:
    """Find groups that differ in the number of training molecules only.

    Parameters
    ----------
    groups : sequence of Group

    Returns
    -------
    list of SizeFamily
        Those with two sizes or more.
    """
    families: list[list[Group]] = []
    for group in (one for one in groups if one.sets):
        for family in families:
            alike = (family[0].unit, family[0].metric) == (group.unit, group.metric)
            if alike and differing_options([family[0], group]) == [TRAIN_SIZE]:
                family.append(group)
                break
        else:
            families.append([group])
    return [_family(found) for found in families if len(found) > 1]


def _family(groups: list[Group]) -> SizeFamily:
    ordered = sorted(groups, key=_size)
    curves: dict[str, list[tuple[int, Estimate]]] = {}
    for group in ordered:
        for one in group.sets:
            errors = list(group.errors_by_seed(one).values())
            curves.setdefault(one.irreps, []).append((_size(group), mean_interval(errors)))
    name = ", ".join(part for part in groups[0].name.split(", ") if "train_size" not in part)
    return SizeFamily(name, ordered, curves)


def _size(group: Group) -> int:
    given = group.configuration.get(TRAIN_SIZE)
    return int(given or group.counted_runs[0].summary.molecules.get("train", 0))
