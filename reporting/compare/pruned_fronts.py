"""What pruning has found for the runs of a group.

Imports `records` and this package only.
"""

from __future__ import annotations

from records.pruning import PrunedFront
from reporting.compare.groups import Group


def pruned_fronts(group: Group) -> list[PrunedFront]:
    """Collect the fronts of a group's runs, those of several runs first and each once.

    Parameters
    ----------
    group : Group
    """
    found = {(front.of, front.by): front for run in group.runs for front in run.pruned}
    return sorted(found.values(), key=lambda front: (-len(front.of), front.of, front.by))
