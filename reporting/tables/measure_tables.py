"""The tables of what irreps, pairs of irreps, paths, subsets and latent spaces are worth.

Imports `records` and `reporting` only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from records.latents import ALL
from records.utilization import INTERACTION
from reporting.compare.decompositions import TermMean
from reporting.compare.groups import Group
from reporting.compare.irrep_effects import IrrepEffect, MeasuredEffect, PairEffect
from reporting.compare.latent_spaces import LatentMeasure
from reporting.compare.nested_subsets import NestedSubsets
from reporting.compare.set_comparison import Difference
from reporting.compare.statistics import Estimate
from reporting.read.irreps import degree_of
from reporting.read.utilization import EFFECTS
from reporting.tables.cells import ends_cells, interval_cell, number_cell, set_cell, text_cell
from reporting.tables.table import Cell, Column, Table
from reporting.words import formatting
from reporting.words.titles import MEASURE_MEANINGS, MEASURE_TITLES, word_term


def irreps_table(group: Group, effects: Sequence[IrrepEffect]) -> Table:
    """Make the table of what each irrep with l > 0 is worth to each set that has it.

    Parameters
    ----------
    group : Group
    effects : sequence of IrrepEffect

    Returns
    -------
    Table
        Irreps of which nothing was measured are left out.
    """
    shown = [effect for effect in effects if degree_of(effect.irrep) > 0]
    caption = f"What each irrep with l > 0 is worth, in {group.unit} of the MAE"
    table = _effects_table("irreps", caption, group, shown)
    table.note = f"{MEASURE_MEANINGS['missed']} {MEASURE_MEANINGS['reliance']}"
    return table


def scalars_table(group: Group, effects: Sequence[IrrepEffect]) -> Table:
    """Make the same table for scalars, which are not comparable with the other irreps.

    Parameters
    ----------
    group : Group
    effects : sequence of IrrepEffect
    """
    shown = [effect for effect in effects if degree_of(effect.irrep) == 0]
    table = _effects_table("scalars", f"Scalars, in {group.unit} of the MAE", group, shown)
    table.note = (
        "Every set has them. Removing them leaves nothing but a molecule's size, so these numbers "
        "are not to be ranked with those of other irreps."
    )
    return table


def _effects_table(key: str, caption: str, group: Group, effects: Sequence[IrrepEffect]) -> Table:
    measured = [name for name in EFFECTS if any(name in effect.effects for effect in effects)]
    retrained = any(effect.retrained is not None for effect in effects)
    contributes = any(effect.contribution is not None for effect in effects)
    trained = [Column("retrained", MEASURE_TITLES["retrained"], "over seeds")] if retrained else []
    flow = [Column("contribution", MEASURE_TITLES["contribution"], "SD")] if contributes else []
    table = Table(
        key,
        caption,
        [
            Column("irreps", "Set", numeric=False),
            Column("irrep", "Irrep", numeric=False),
            *trained,
            *(Column(name, MEASURE_TITLES[name]) for name in measured),
            *flow,
        ],
        hidden=[
            Column("unit", "Unit"),
            *(
                Column(f"{name}_{end}", f"{MEASURE_TITLES[name]}, {end}")
                for name in measured
                for end in ("low", "high", "verdicts")
            ),
            Column("reliance_relative", "Torn out, share of the MAE"),
            Column("reliance_untrained", "Torn out before training"),
            Column("retrained_low", "Trained without, lower end"),
            Column("retrained_high", "Trained without, upper end"),
            Column("retrained_p_holm", "Trained without, p"),
        ],
    )
    for effect in effects:
        if not effect.effects and effect.retrained is None:
            continue
        difference = effect.retrained
        estimate = difference.estimate if difference else None
        cells = [set_cell(effect.irrep_set, group), text_cell(effect.irrep)]
        cells += [_retrained_cell(difference)] if retrained else []
        cells += [_effect_cell(effect.effects.get(name)) for name in measured]
        cells += [interval_cell(effect.contribution)] if contributes else []
        cells.append(text_cell(group.unit))
        for name in measured:
            cells += _hidden_cells(effect.effects.get(name))
        cells += [number_cell(effect.relative_reliance), number_cell(effect.untrained_reliance)]
        cells += ends_cells(estimate)
        cells.append(number_cell(difference.adjusted_p if difference else None))
        table.rows.append(cells)
    return table


def _retrained_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell(formatting.plain(None), None, "not trained")
    note = "established" if difference.established else "not established"
    cell = interval_cell(difference.estimate, sign=True)
    return Cell(cell.text, cell.value, cell.note or note)


def _effect_cell(effect: MeasuredEffect | None) -> Cell:
    if effect is None:
        return Cell(formatting.plain(None), None)
    estimate = effect.estimate
    return Cell(_plus_minus(estimate), estimate.mean, word_verdicts(effect.verdicts))


def _plus_minus(estimate: Estimate) -> str:
    """Write an estimate with its interval; three digits are enough where there is none."""
    if estimate.has_interval:
        return formatting.plus_minus(estimate, sign=True)
    return formatting.mean(estimate, sign=True)


def word_verdicts(verdicts: Counter[str]) -> str:
    """Write verdicts with how many networks have them: ``missed 3 of 3``."""
    total = verdicts.total()
    ordered = sorted(verdicts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) == 1:
        return f"{ordered[0][0]} {total} of {total}"
    return ", ".join(f"{verdict} {count}" for verdict, count in ordered)


def _hidden_cells(effect: MeasuredEffect | None) -> list[Cell]:
    verdicts = "" if effect is None else word_verdicts(effect.verdicts)
    return [*ends_cells(effect.estimate if effect else None), text_cell(verdicts)]


def pairs_table(group: Group, pairs: Sequence[PairEffect]) -> Table:
    """Make the table of what is lost with two irreps at once.

    Parameters
    ----------
    group : Group
    pairs : sequence of PairEffect
    """
    retrained = any(pair.retrained is not None for pair in pairs)
    columns = {
        **({"retrained": "Trained without both"} if retrained else {}),
        "missed": "Both missed",
        "missed_interaction": "beyond the sum",
        "reliance": "Both torn out",
        INTERACTION: "beyond the sum",
    }
    table = Table(
        "pairs",
        f"Two irreps at once, in {group.unit} of the MAE",
        [
            Column("irreps", "Set", numeric=False),
            Column("pair", "Irreps", numeric=False),
            *(Column(name, heading) for name, heading in columns.items()),
        ],
        note="Beyond the sum: both at once minus the sum of each alone. Above zero, one stands in "
        "for the other; below zero, they work together.",
    )
    for pair in pairs:
        together = pair.missed_interaction
        table.rows.append(
            [
                set_cell(pair.irrep_set, group),
                text_cell(" and ".join(pair.irreps)),
                *([_retrained_cell(pair.retrained)] if retrained else []),
                _effect_cell(pair.effects.get("missed")),
                interval_cell(together, sign=True),
                _effect_cell(pair.effects.get("reliance")),
                _effect_cell(pair.effects.get(INTERACTION)),
            ]
        )
    return table


def decomposition_table(group: Group, terms: Sequence[TermMean]) -> Table:
    """Make the table of the prediction as a sum over visited degrees.

    Parameters
    ----------
    group : Group
    terms : sequence of TermMean
    """
    table = Table(
        "decomposition",
        "The prediction as an exact sum over which degrees a path has visited",
        [
            Column("irreps", "Set", numeric=False),
            Column("term", "Paths", numeric=False),
            Column("sd", "SD over molecules", group.unit),
            Column("share", "Share", "of the prediction's variance"),
        ],
    )
    for term in terms:
        share = term.share
        table.rows.append(
            [
                set_cell(term.irrep_set, group),
                Cell(word_term(term.name), term.name),
                interval_cell(term.sd),
                Cell(formatting.percent(share.mean), share.mean),
            ]
        )
    return table


def subsets_table(group: Group, nested: Sequence[NestedSubsets]) -> Table:
    """Make the table of all subsets of degrees of nested networks.

    Parameters
    ----------
    group : Group
    nested : sequence of NestedSubsets
    """
    table = Table(
        "nested",
        "Networks trained with irrep dropout: every subset of their degrees",
        [
            Column("irreps", "Set", numeric=False),
            Column("degrees", "Subset or degree", numeric=False),
            Column("mae", "Validation MAE", f"of the subset, {group.unit}"),
            Column("shapley", "Shapley value", f"of the degree, {group.unit}"),
        ],
        hidden=[Column("low", "Lower end"), Column("high", "Upper end")],
    )
    nothing = Cell("", None)
    for one in nested:
        first = set_cell(one.irrep_set, group)
        for degrees, mae in one.mae.items():
            cells = [first, text_cell(f"l = {degrees}"), interval_cell(mae), nothing]
            table.rows.append([*cells, *ends_cells(mae)])
        for degree, value in one.shapley.items():
            cells = [first, text_cell(f"adding l = {degree}"), nothing, interval_cell(value, True)]
            table.rows.append([*cells, *ends_cells(value)])
    return table


_LATENT_COLUMNS = (
    ("knn_r2_composition_free", "R², composition-free target"),
    ("knn_r2_target", "R², whole target"),
)


def latent_summary_table(group: Group, measured: Sequence[LatentMeasure]) -> Table:
    """Make the table of what latent spaces know of the target, beside what is known without them.

    Parameters
    ----------
    group : Group
    measured : sequence of LatentMeasure
    """
    counts = sorted({m.num_molecules for m in measured if m.num_molecules})
    molecules = f", {formatting.whole(counts[0])} molecules" if len(counts) == 1 else ""
    columns = [
        Column(f"{metric}_{key}", heading, note)
        for metric, heading in _LATENT_COLUMNS
        for key, note in (
            ("trained", "trained"),
            ("untrained", "untrained"),
            ("element_counts", "element counts alone"),
        )
    ]
    table = Table(
        "latent_r2",
        f"What neighbours in the latent space know of the target (five-fold R²{molecules})",
        [
            Column("irreps", "Set", numeric=False),
            Column("block", "Features", numeric=False),
            *columns,
        ],
    )
    by_key = {(m.irrep_set.irreps, m.block, m.metric): m for m in measured}
    for irreps, block in dict.fromkeys((m.irrep_set.irreps, m.block) for m in measured):
        found = [by_key.get((irreps, block, metric)) for metric, _ in _LATENT_COLUMNS]
        irrep_set = next(m.irrep_set for m in measured if m.irrep_set.irreps == irreps)
        cells = [set_cell(irrep_set, group), Cell("all irreps" if block == ALL else block, block)]
        for measure in found:
            three = (
                (measure.trained, measure.untrained, measure.element_counts)
                if measure
                else (None,) * 3
            )
            cells += [interval_cell(estimate) for estimate in three]
        table.rows.append(cells)
    return table


def latent_table(measured: Sequence[LatentMeasure]) -> Table:
    """Make the CSV file behind the plot of latent spaces.

    Parameters
    ----------
    measured : sequence of LatentMeasure
    """
    texts = ("irreps", "block", "metric")
    names = ("trained", "untrained", "element_counts")
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    columns = [Column(name, name) for name in (*texts, *ends, "num_molecules")]
    table = Table("latent", "Latent space", columns)
    for measure in measured:
        cells = [text_cell(t) for t in (measure.irrep_set.irreps, measure.block, measure.metric)]
        for name in names:
            estimate: Estimate | None = getattr(measure, name)
            cells += [number_cell(estimate.mean if estimate else math.nan), *ends_cells(estimate)]
        cells.append(Cell("", measure.num_molecules))
        table.rows.append(cells)
    return table
