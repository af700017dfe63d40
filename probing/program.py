"""What ``probe.py`` does with a parsed command line.

Imports torch, `figures`, `networks.layered`, `records`, `reporting` and this package.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime
from pathlib import Path

from figures.utilization_heatmap import draw_heatmap
from networks.device import usable_device
from networks.layered import LayeredNetwork, measuring
from probing.checks import STRUCTURES, Checked, check_model
from probing.find import find_model
from probing.measure import measure_blocks, measure_degrees, run_intact
from probing.model import ProbedModel
from probing.molecules import Molecules, Wanted, load_molecules
from records.files import replacing, write_text
from records.probing import (
    LINEAR,
    PROBE,
    LinearProbe,
    Probing,
    write_linear_probes,
    write_probing,
)
from reporting.html.probe_page import render_probe_page
from reporting.tables.probe_tables import blocks_table, linear_table
from reporting.tables.text import to_text
from reporting.words.formatting import duration
from reporting.words.probing import describe_blocks, describe_linear

HEATMAP, PAGE = "heatmap.png", "probe.html"


def probe(given: argparse.Namespace) -> None:
    """Probe a model, write the results and print them.

    Parameters
    ----------
    given : argparse.Namespace
        Options of ``probe.py``.

    Raises
    ------
    ValueError
        If anything given is unusable; before any measurement.
    """
    start = time.perf_counter()
    wanted = _wanted(given)
    model = find_model(
        given.model, usable_device(given.device), given.mace_python, given.trust_pickle
    )
    molecules = load_molecules(model, wanted)
    folder = given.out or Path("probes") / _folder_name(given.model)
    _check_folder(folder)
    with measuring(model.network):
        checked = check_model(model, molecules.measured[0])
        facts = describe_model(model, molecules, checked)
        print("\n".join(facts), flush=True)
        intact = run_intact(model, [*molecules.measured, *molecules.fitting])
        found = measure_blocks(model, molecules, intact, checked.has_linear_readout, given.seed)
        probes = measure_degrees(intact, molecules.properties, given.seed)
    facts.append(f"Time: {duration(time.perf_counter() - start)}.")
    write_results(folder, found, probes, facts)
    sentences = [
        sentence.replace("`", "").replace("**", "") for sentence in _findings(found, probes)
    ]
    print(f"\n{to_text(blocks_table(found))}")
    if probes:
        print(f"\n{to_text(linear_table(probes))}")
    print("\n" + "\n".join(sentences))
    print(f"\n{facts[-1]} Files: {folder} (open {folder / PAGE})")


def write_results(
    folder: Path, found: Probing, probes: list[LinearProbe], facts: list[str]
) -> None:
    """Write tables, picture and page, each atomically.

    Parameters
    ----------
    folder : Path
        Created if needed.
    found : Probing
        What blocks are worth.
    probes : list of LinearProbe
        What features tell; may be empty.
    facts : list of str
        What was probed and how.
    """
    write_probing(folder / PROBE, found)
    tables = [blocks_table(found)]
    if probes:
        write_linear_probes(folder / LINEAR, probes)
        tables.append(linear_table(probes))
    with replacing(folder / HEATMAP) as temporary:
        draw_heatmap(found.utilization, heatmap_title(found), found.unit, temporary, found.quantity)
    page = render_probe_page(
        f"{found.model} on {found.data.partition(',')[0]}",
        facts,
        _findings(found, probes),
        tables,
        (folder / HEATMAP).read_bytes(),
        f"made {datetime.now():%Y-%m-%d %H:%M} by probe.py",
    )
    write_text(folder / PAGE, page)


def describe_model(model: ProbedModel, molecules: Molecules, checked: Checked) -> list[str]:
    """Say what is probed, on what, and what the checks have found.

    Parameters
    ----------
    model : ProbedModel
    molecules : Molecules
    checked : Checked

    Returns
    -------
    list of str
        Sentences.
    """
    network, unit = model.network, model.target.reporting_unit
    factor = model.target.reporting_factor
    facts = [
        f"{model.name}: {len(network.layer_irreps)} layers, features {network.irreps}, last layer "
        f"{network.layer_irreps[-1]}, edges {network.edge_irreps}, cutoff {model.cutoff:g} Å.",
        f"Data: {molecules.name}.",
        _what_is_measured(model, molecules),
    ]
    if checked.deviation is not None:
        facts.append(
            f"The model's own calculator gives the same energies of {STRUCTURES} structures, to "
            f"{checked.deviation * factor:.2g} {unit}."
        )
    else:
        facts.append("The model has no calculator of its own to compare with.")
    facts.append(_symmetry(network, checked, factor, unit))
    if not checked.has_linear_readout:
        facts.append("The readout is not linear: it is not refitted after removals.")
    return facts


def _what_is_measured(model: ProbedModel, molecules: Molecules) -> str:
    if molecules.label is None:
        return (
            "Measured is the shift of the prediction when a block is taken away; no labels are "
            "used for it."
        )
    if model.reference is not None:
        return f"Measured is the error of {molecules.label.name} as the run was trained on it."
    return (
        f"Measured is the error of {molecules.label.name}. The model was trained at another level "
        "of theory, so a least-squares fit of the difference on element counts is subtracted "
        "first; what remains still contains the difference between the two levels."
    )


def _symmetry(network: LayeredNetwork, checked: Checked, factor: float, unit: str) -> str:
    text = f"Features turn with the structures (relative error {checked.rotation:.1g})"
    if checked.inversion < 1e-3:
        return f"{text}, under inversion, too ({checked.inversion:.1g})."
    return (
        f"{text}, but not under inversion: irreps labelled e stand for SO(3) only, so 1e holds "
        "vectors and pseudovectors alike. The prediction of a mirror image differs by at most "
        f"{checked.mirror * factor:.2g} {unit}."
    )


def _findings(found: Probing, probes: list[LinearProbe]) -> list[str]:
    return [*describe_blocks(found), *describe_linear(probes)]


def heatmap_title(found: Probing) -> str:
    """Say what a heatmap shows.

    Parameters
    ----------
    found : Probing
        What blocks are worth.
    """
    scale = f"{found.scale:.4g} {found.unit}"
    of = "MAE" if found.quantity == "error" else "spread of predictions"
    count = found.utilization.num_molecules
    return f"{found.model}: {found.target}, {of} {scale}, {count:,} structures"


def _wanted(given: argparse.Namespace) -> Wanted:
    fitting = 2 * given.molecules if given.fitting is None else given.fitting
    for option, number, least in (
        ("--molecules", given.molecules, 1),
        ("--fitting", fitting, 0),
        ("--batch-size", given.batch_size, 1),
        ("--seed", given.seed, 0),
    ):
        if number < least:
            raise ValueError(f"{option} {number} is out of range: give {least} or more")
    return Wanted(given.data, given.target, given.molecules, fitting, given.batch_size, given.seed)


def _folder_name(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", model.strip("/")).strip("-.") or "model"


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file: give a folder")
    folder.mkdir(parents=True, exist_ok=True)
