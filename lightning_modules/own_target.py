"""Targets of a user's own data: a name and a unit, and the unit of their errors.

Imports `qm9.targets` only.
"""

from __future__ import annotations

from collections.abc import Mapping

from qm9.targets import TARGETS, Target, get_target

REPORTING_UNITS: Mapping[str, tuple[str, float]] = {
    "eV": ("meV", 1000.0),
    "Ha": ("mHa", 1000.0),
    "kcal/mol": ("kcal/mol", 1.0),
    "kJ/mol": ("kJ/mol", 1.0),
    "Ry": ("mRy", 1000.0),
}
"""Energies: unit of the data, unit of reported errors, and the factor between the two."""
MAX_LENGTH = 40


def find_target(name: str, unit: str | None) -> Target:
    """Describe a target.

    Parameters
    ----------
    name : str
        One of QM9's targets, or any key if a unit is given.
    unit : str, optional
        Unit of a target of one's own; None for a target of QM9.

    Raises
    ------
    ValueError
        If the name is not one of QM9's and no unit is given, or either is no plain text.
    """
    if unit is None:
        if name in TARGETS:
            return get_target(name)
        raise ValueError(
            f"target {name!r} is unknown: choose one of {', '.join(TARGETS)}, or give structures "
            "of your own with --data.path"
        )
    for option, text in (("target", name), ("unit", unit)):
        if not text.strip() or len(text) > MAX_LENGTH or not text.isprintable():
            raise ValueError(
                f"{option} {text[:MAX_LENGTH]!r} is unusable: give 1 to {MAX_LENGTH} printable "
                "characters"
            )
    reporting_unit, factor = REPORTING_UNITS.get(unit, (unit, 1.0))
    return Target(name, unit, reporting_unit, factor, 0, f"{name} of one's own structures", "")


def is_energy(target: Target) -> bool:
    """Whether a target's unit is one of energy."""
    return target.unit in REPORTING_UNITS
