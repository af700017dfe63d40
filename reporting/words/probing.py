"""A probed model in sentences: what it uses each irrep for.

Imports `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from records.names import NETWORK
from records.probing import LinearProbe, Probing
from records.utilization import PAIR, BlockUtilization, Effect
from reporting.words import formatting

DONE = {
    "reliance": "Set to {what} in all layers",
    "resampled": "with another atom's features instead",
    "refitted": "with the linear readout fitted anew after the removal",
}
"""What is done to an irrep, for each measure that is told."""


def describe_blocks(found: Probing) -> list[str]:
    """Say what every irrep is worth in all layers at once.

    Parameters
    ----------
    found : Probing

    Returns
    -------
    list of str
        A sentence per irrep and one per pair, with backquotes around irreps.
    """
    rows = [row for row in found.utilization.rows if row.layer == NETWORK]
    return [_sentence(row, found) for row in rows if PAIR not in row.irrep]


def _sentence(row: BlockUtilization, found: Probing) -> str:
    if not row.reachable:
        return f"`{row.irrep}` cannot reach the prediction."
    verb = "moves the prediction" if found.quantity == "shift" else "changes the MAE"
    parts: list[str] = []
    for measure, words in DONE.items():
        if measure in row.effects:
            what = "its mean" if row.irrep == "0e" else "zero"
            effect = row.effects[measure]
            text = _amount(effect, found)
            parts.append(
                f"{words.format(what=what)}{f', it {verb}' if not parts else ''} by {text}"
            )
    return f"`{row.irrep}`: {'; '.join(parts)}."


def _amount(effect: Effect, found: Probing) -> str:
    value, low, high = (
        formatting.plain(number, 3) for number in (effect.value, effect.low, effect.high)
    )
    share = formatting.percent(effect.value / found.scale) if found.scale > 0 else ""
    of = "the spread" if found.quantity == "shift" else "the MAE"
    relative = f", {share} of {of}" if share else ""
    return f"{value} {found.unit} [{low}, {high}]{relative} ({effect.verdict})"


def describe_linear(probes: Sequence[LinearProbe]) -> list[str]:
    """Say for each property what each degree adds to element counts.

    Parameters
    ----------
    probes : sequence of LinearProbe

    Returns
    -------
    list of str
        A sentence per property.
    """
    sentences = []
    for target in dict.fromkeys(probe.target for probe in probes):
        base, *others = (probe for probe in probes if probe.target == target)
        told = "; ".join(
            f"with {probe.features}: {formatting.fixed(probe.r2, 2)} ({probe.verdict})"
            for probe in others
        )
        sentences.append(
            f"**{target}**, R² of linear probes: {base.features} alone: "
            f"{formatting.fixed(base.r2, 2)}{f'; {told}' if told else ''}."
        )
    return sentences
