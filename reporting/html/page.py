"""The HTML page: text and tables as HTML, figures and molecules as data for `assets/page.js`.

Imports this package only; nothing that the page needs is left outside of it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qm9.targets import TARGETS
from reporting.compare.groups import Group, IrrepSet
from reporting.html.table import Table
from reporting.plots import palette
from reporting.plots.figure import Figure
from reporting.read.latents import LatentPack
from reporting.words import formatting
from reporting.words.summary import Summary

ASSETS = Path(__file__).parent / "assets"
NEUTRAL = ("model.target", "data.target")
"""Options that a group's title says already."""
SECURITY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Content security policy: the browser itself refuses every request to elsewhere."""


@dataclass
class Section:
    """One group of comparable runs, ready to be shown.

    Attributes
    ----------
    key : str
        Prefix of its elements' ids.
    group : Group
    summary : Summary
    best : IrrepSet or None
        The set with the lowest error.
    tables : list of Table
        Shown, the list of runs last.
    downloads : list of Table
        Offered as CSV files.
    figures : list of Figure
    runs : list of tuple of str and str
        Keys of the runs with latent layouts, and their labels.
    first_run : str
        Key of the run whose layouts are shown first.
    """

    key: str
    group: Group
    summary: Summary
    best: IrrepSet | None = None
    tables: list[Table] = field(default_factory=list)
    downloads: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    first_run: str = ""


def render(
    title: str,
    sections: Sequence[Section],
    latents: LatentPack,
    problems: Sequence[str],
    made: str,
) -> str:
    """Write the page.

    Parameters
    ----------
    title : str
        What is compared.
    sections : sequence of Section
        One a group.
    latents : LatentPack
    problems : sequence of str
        Run directories that could not be read, in one line each.
    made : str
        When the page was made and from what.

    Returns
    -------
    str
        HTML that needs nothing but itself.
    """
    data = {
        "figures": {
            f"{section.key}-{figure.key}": asdict(figure)
            for section in sections
            for figure in section.figures
        },
        "latents": asdict(latents),
        "scale": palette.SEQUENTIAL,
    }
    body = [
        _header(title, sections, made),
        _problems(problems),
        *(_section(section) for section in sections),
        (ASSETS / "reading.html").read_text(encoding="utf-8"),
    ]
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">\n'
        f"<style>{_style()}</style></head>\n<body>\n<main>"
        + "\n".join(body)
        + '</main>\n<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="data">{_json(data)}</script>\n'
        f'<script type="text/plain" id="plotly">{_plotly()}</script>\n'
        f"<script>{(ASSETS / 'page.js').read_text(encoding='utf-8')}</script>\n"
        "</body></html>\n"
    )


def _style() -> str:
    swatches = "".join(
        f".s{number}{{--c:{palette.color(number)}}}" for number in range(4 * len(palette.COLORS))
    )
    return (ASSETS / "page.css").read_text(encoding="utf-8") + swatches


def _plotly() -> str:
    """Read Plotly's library for browsers out of its Python package, which is not imported."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package plotly is missing: pip install -r requirements.txt")
    path = Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def marked(text: str) -> str:
    """Turn backquotes and double asterisks into HTML.

    Parameters
    ----------
    text : str
        From `reporting.words.summary`.

    Returns
    -------
    str
        Escaped, with ``<code>`` and ``<strong>``.
    """
    html = escape(text)
    html = re.sub(r"`([^`]*)`", r"<code>\1</code>", html)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html)


# ---- parts ----------------------------------------------------------------------------------


def _header(title: str, sections: Sequence[Section], made: str) -> str:
    links = ""
    if len(sections) > 1:
        items = "".join(
            f'<li><a href="#{section.key}">{escape(section.group.name)}</a> '
            f"<span>{marked(section.summary.best[0])}</span></li>"
            for section in sections
        )
        links = (
            "<nav aria-label='Groups'><p>These runs form "
            f"{len(sections)} groups that differ in more than irreps and seed. Each has its own "
            f"section; they are never averaged together.</p><ol>{items}</ol></nav>"
        )
    return (
        f'<header><p class="kind">Irrepscope report</p><h1>{escape(title)}</h1>'
        f"<p class='made'>{escape(made)}</p>{links}</header>"
    )


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    return (
        f'<section class="card warning"><h2>Left out: unreadable</h2>{_items(problems)}</section>'
    )


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{marked(text)}</li>" for text in texts) + "</ul>"


def _section(section: Section) -> str:
    parts = [
        f'<section id="{section.key}" class="group"><h2>{escape(_heading(section.group))}</h2>',
        _summary(section.summary),
    ]
    *compared, runs = section.tables
    if compared:
        html = compared[0].to_html(f"{section.key}-{compared[0].key}")
        parts.append(f'<section class="card">{html}</section>')
    parts.append('<div class="figures">')
    parts += [_figure(section.key, figure) for figure in section.figures]
    parts.append("</div>")
    for table in compared[1:]:
        html = table.to_html(f"{section.key}-{table.key}")
        parts.append(
            f'<section class="card"><details><summary>Table of irreps and sets '
            f"({len(table.rows)} rows)</summary>{html}</details></section>"
        )
    if section.runs:
        parts.append(_umap(section))
    parts.append(_runs(section, runs))
    parts.append("</section>")
    return "\n".join(parts)


def _heading(group: Group) -> str:
    """Say what the runs of a group have in common, as far as a reader wants to know at once."""
    known = TARGETS.get(group.target)
    parts = [f"{group.target}, {known.description}" if known else group.name]
    graph = group.configuration.get("data.graph")
    parts += [f"{graph} graph"] if graph else []
    run = next((run for known in group.sets for run in known.runs), None)
    if run is not None:
        molecules = run.summary.get("molecules") or {}
        if molecules.get("train"):
            parts.append(f"{formatting.whole(molecules['train'])} training molecules")
        parts.append(f"{run.epochs} epochs")
    return " · ".join(parts)


def _summary(summary: Summary) -> str:
    lead, *rest = summary.best
    parts = [f'<section class="card summary"><p class="lead">{marked(lead)}</p>']
    parts += [f"<p>{marked(text)}</p>" for text in (*rest, *summary.seeds)]
    parts.append('<div class="columns">')
    if summary.irreps:
        parts.append(f"<div><h3>What each irrep is worth</h3>{_items(summary.irreps)}</div>")
    if summary.unknown:
        parts.append(f"<div><h3>What cannot be concluded yet</h3>{_items(summary.unknown)}</div>")
    parts.append("</div></section>")
    return "".join(parts)


def _figure(prefix: str, figure: Figure) -> str:
    wide = " wide" if figure.wide else ""
    return (
        f'<figure class="card plot{wide}" data-figure="{prefix}-{figure.key}">'
        f"<h3>{escape(figure.title)}</h3>"
        '<div class="views" role="group" aria-label="Show"></div><div class="panels"></div>'
        f'<div class="legend"></div><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def _umap(section: Section) -> str:
    options = "".join(
        f'<option value="{key}"{" selected" if key == section.first_run else ""}>'
        f"{escape(label)}</option>"
        for key, label in section.runs
    )
    return (
        f'<figure class="card umap" id="{section.key}-umap"><h3>Latent space of molecules</h3>'
        '<div class="controls">'
        f'<label>Network <select name="run">{options}</select></label>'
        '<label>Colour <select name="color"><option value="target">target</option>'
        '<option value="error">absolute error</option>'
        '<option value="score">spatial score</option></select></label>'
        '<label>Training <select name="when"><option value="after">after</option>'
        '<option value="before">before</option></select></label></div>'
        '<div class="scale"></div><div class="panels"></div>'
        "<figcaption>UMAP of validation molecules by the features of one layer: all irreps "
        "together, and each alone. Point at a molecule (or tap it, or use the arrow keys) to see "
        "it, and where it lies in the other panels.</figcaption></figure>"
    )


def _runs(section: Section, runs: Table) -> str:
    configuration = "".join(
        f"<tr><th scope='row'>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in section.group.configuration.items()
        if key not in NEUTRAL
    )
    downloads = " ".join(
        f'<a download="{section.key}-{table.key}.csv" '
        f'href="data:text/csv;base64,{_base64(table.to_csv())}">{table.key}.csv</a>'
        for table in section.downloads
        if table.rows
    )
    left_out = len(section.group.left_out)
    note = f", {left_out} not counted" if left_out else ""
    return (
        f'<section class="card"><details{" open" if left_out else ""}>'
        f"<summary>All {len(section.group.runs)} runs{note}</summary>"
        f"<div class='runs'>{runs.to_html(f'{section.key}-runs')}</div></details>"
        f"<details><summary>Configuration that all of them share</summary>"
        f"<div class='scroll'><table class='plain'>{configuration}</table></div></details>"
        f"<p class='downloads'>Tables as CSV: {downloads}</p></section>"
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
