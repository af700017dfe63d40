"""Predictions as sums over the degrees that their paths visit, means over the seeds of a set.

Imports `records` and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, mean_interval

REFERENCE = "reference"
"""Name of the term that the network does not compute, see `records.decomposition.Term`."""


@dataclass(frozen=True)
class TermMean:
    """One term of the sum.

    Attributes
    ----------
    irrep_set : IrrepSet
    name : str
        `REFERENCE`, or the degrees that a path visits, for example ``0,1``.
    sd : Estimate
        Standard deviation over molecules, reporting units: mean over seeds.
    share : Estimate
        Share of the prediction's variance: mean over seeds. All shares of a set sum to 1.
    """

    irrep_set: IrrepSet
    name: str
    sd: Estimate
    share: Estimate


def decompositions(group: Group) -> list[TermMean]:
    """Average the decompositions of the best checkpoints.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of TermMean
        Set by set, in the order of the files; sets without a decomposition are left out.
    """
    found = []
    for irrep_set in group.sets:
        known = [run.decomposition for run in irrep_set.runs if run.decomposition is not None]
        names = dict.fromkeys(term.name for one in known for term in one.terms)
        for name in names:
            terms = [term for one in known for term in one.terms if term.name == name]
            sd = mean_interval([term.sd for term in terms])
            share = mean_interval([term.share for term in terms])
            found.append(TermMean(irrep_set, name, sd, share))
    return found
