"""The declared contrasts and how they came out.

Imports `benchmarks.study.arms`, `reporting` and pydantic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.study.arms import RESULTS, Arm, find_set
from benchmarks.study.latents import LatentMeasure, latent_by_seed
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import (
    Estimate,
    PooledScatter,
    equivalence_p_value,
    holm,
    mean_interval,
    pool,
    pooled_difference,
)

DECLARED = RESULTS / "contrasts.yaml"
LEVEL = 0.05
MIN_SEEDS = 2
TEST_MAE: Final = "test_mae"
Outcome = Literal["first better", "second better", "equivalent", "undecided", "under two seeds"]


class Contrast(BaseModel):
    """Two sets that are compared.

    Attributes
    ----------
    claim : str
        Key of `Declaration.claims`.
    arm : str
        Name of the arm.
    where : dict
        Options that the arm's runs must have.
    sets : tuple of str
        Irreps of the first and the second set.
    measure : str
        What is compared: the test MAE, or a latent measure, which is the better the larger it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    arm: str
    where: dict[str, Any] = Field(default_factory=dict)
    sets: tuple[str, str]
    measure: Literal["test_mae"] | LatentMeasure = TEST_MAE


class Declaration(BaseModel):
    """The content of `results/contrasts.yaml`.

    Attributes
    ----------
    margin : float
        Relative difference of test MAEs, and difference of R², that does not matter.
    claims : dict of str to str
        The claims in words.
    contrasts : list of Contrast
    """

    model_config = ConfigDict(extra="forbid")

    margin: float
    claims: dict[str, str]
    contrasts: list[Contrast]


@dataclass(frozen=True)
class Result:
    """How a contrast came out.

    Estimates are of log(test MAE of the first set / of the second), or of the difference of R².

    Attributes
    ----------
    contrast : Contrast
    pooled : Estimate or None
        With the scatter over seeds of all sets of the group; None without results.
    own : Estimate or None
        With the scatter of this contrast's own differences.
    p_value : float
        After Holm's correction for all contrasts of the same family; NaN without a test.
    equivalence : float
        p-value of the test for equivalence within the margin, uncorrected.
    outcome : str
    """

    contrast: Contrast
    pooled: Estimate | None
    own: Estimate | None
    p_value: float
    equivalence: float
    outcome: Outcome


def read_declaration(path: Path = DECLARED) -> Declaration:
    """Read the declared contrasts.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    return Declaration.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def judge(declaration: Declaration, arms: Mapping[str, Arm]) -> list[Result]:
    """Judge all contrasts: those of test MAEs together, and those of latent spaces together.

    Parameters
    ----------
    declaration : Declaration
    arms : mapping of str to Arm
        Results by arm.

    Returns
    -------
    list of Result
        In the order of the declaration. Fewer than two seeds are no result.
    """
    compared = [_compare(contrast, arms) for contrast in declaration.contrasts]
    p_values = [math.nan if found is None else found[0].p_value for found in compared]
    adjusted = np.full(len(p_values), math.nan)
    for family in _families(declaration.contrasts):
        adjusted[family] = holm([p_values[position] for position in family])
    results = []
    for contrast, found, p in zip(declaration.contrasts, compared, adjusted):
        if found is None:
            results.append(Result(contrast, None, None, math.nan, math.nan, "under two seeds"))
            continue
        difference, own, scatter = found
        of_errors = contrast.measure == TEST_MAE
        margin = math.log1p(declaration.margin) if of_errors else declaration.margin
        equivalence = equivalence_p_value(difference, scatter, margin)
        worse = difference.mean if of_errors else -difference.mean
        outcome = _outcome(worse, float(p), equivalence)
        results.append(Result(contrast, difference, own, float(p), equivalence, outcome))
    return results


def _families(contrasts: Sequence[Contrast]) -> list[list[int]]:
    """Split positions into contrasts of test MAEs and of latent spaces, which came later."""
    of_errors = [contrast.measure == TEST_MAE for contrast in contrasts]
    return [[i for i, value in enumerate(of_errors) if value is kind] for kind in (True, False)]


def _compare(
    contrast: Contrast, arms: Mapping[str, Arm]
) -> tuple[Estimate, Estimate, PooledScatter] | None:
    first, second = (
        find_set(arms, contrast.arm, contrast.where, irreps) for irreps in contrast.sets
    )
    if first is None or second is None:
        return None
    group = first[0]
    values = [_values(group, one, contrast.measure) for _, one in (first, second)]
    common = sorted(set(values[0]) & set(values[1]))
    if len(common) < MIN_SEEDS:
        return None
    differences = [values[0][seed] - values[1][seed] for seed in common]
    scatter = pool([list(_values(group, one, contrast.measure).values()) for one in group.sets])
    return pooled_difference(differences, scatter), mean_interval(differences), scatter


def _values(group: Group, irrep_set: IrrepSet, measure: str) -> dict[int, float]:
    """Return what is subtracted, by seed: logarithms of errors, or R²."""
    if measure != TEST_MAE:
        return latent_by_seed(irrep_set, measure)
    errors = group.errors_by_seed(irrep_set)
    return {seed: math.log(error) for seed, error in errors.items()}


def _outcome(worse: float, p_value: float, equivalence: float) -> Outcome:
    # A difference that is significant and yet within the margin does not matter.
    if equivalence < LEVEL:
        return "equivalent"
    if p_value < LEVEL:
        return "first better" if worse < 0 else "second better"
    return "undecided"


def outcomes_of_claim(results: Sequence[Result], claim: str) -> list[Result]:
    """List the results of one claim's contrasts."""
    return [result for result in results if result.contrast.claim == claim]
