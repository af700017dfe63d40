"""All figures of a group of runs, and those that compare groups.

Imports `reporting.compare` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from reporting.compare.baselines import compare_with_baselines
from reporting.compare.decompositions import decompositions
from reporting.compare.groups import Group
from reporting.compare.irrep_effects import IrrepEffect, pair_effects
from reporting.compare.latent_spaces import LatentMeasure
from reporting.compare.nested_subsets import nested_subsets
from reporting.compare.pruned_fronts import pruned_fronts
from reporting.compare.set_comparison import Standing
from reporting.compare.target_ranks import compare_ranks
from reporting.compare.training_sizes import training_sizes
from reporting.plots.errors import error_against_cost, error_against_size, learning_curves
from reporting.plots.figure import Figure
from reporting.plots.heatmaps import heatmaps
from reporting.plots.latents import latent_spaces
from reporting.plots.paths import decomposition_bars, nested_bars
from reporting.plots.pruned import pruned_figure
from reporting.plots.reliance import reliance_against_retraining
from reporting.plots.target_ranks import worth_by_rank
from reporting.plots.training_size import error_against_training_size
from reporting.plots.worth import worth_of_irreps


def draw_figures(
    group: Group,
    rows: Sequence[Standing],
    effects: Sequence[IrrepEffect],
    latent: Sequence[LatentMeasure],
) -> list[Figure]:
    """Draw everything that is known of a group.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
    effects : sequence of IrrepEffect
    latent : sequence of LatentMeasure

    Returns
    -------
    list of Figure
        What the first screen shows comes first. Figures that would be empty are left out.
    """
    nested = nested_subsets(group)
    drawn = [
        worth_of_irreps(
            group,
            rows,
            effects,
            pair_effects(group),
            nested,
            compare_with_baselines(group),
        ),
        error_against_size(group, rows),
        error_against_cost(group, rows),
        learning_curves(group),
        reliance_against_retraining(group, effects),
        nested_bars(group, nested),
        pruned_figure(pruned_fronts(group)),
        decomposition_bars(group, decompositions(group)),
        heatmaps(group, rows),
        latent_spaces(group, latent),
    ]
    return [figure for figure in drawn if figure.views]


def draw_overview(groups: Sequence[Group]) -> list[Figure]:
    """Draw what compares several groups.

    Parameters
    ----------
    groups : sequence of Group

    Returns
    -------
    list of Figure
        Figures that would be empty are left out.
    """
    drawn = [
        error_against_training_size(training_sizes(groups)),
        worth_by_rank(compare_ranks(groups)),
    ]
    return [figure for figure in drawn if figure.views]
