"""Rendering the page: templates for text and tables, JSON for figures and molecules.

The page is a single file that needs nothing else. Imports Jinja2 and `reporting` only.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from records.targets import describe_target
from reporting.compare.groups import Group, IrrepSet
from reporting.html.latent_layouts import LatentData
from reporting.plots import palette
from reporting.plots.figure import Figure
from reporting.tables.table import Table
from reporting.words import formatting
from reporting.words.findings import Findings
from reporting.words.titles import MEASURE_MEANINGS, MEASURE_TITLES

ASSETS = Path(__file__).parent / "assets"
TEMPLATES = Path(__file__).parent / "templates"
TITLE_OPTIONS = ("model.target", "data.target")
"""Options that the heading of a group shows already."""
SWATCHES = 4 * len(palette.COLORS)
"""How many sets get a colour in tables."""


@dataclass(frozen=True)
class LayoutChoice:
    """One entry of the menu that chooses whose latent layouts are shown.

    Attributes
    ----------
    key : str
        Key of the run in `LatentData.runs`.
    label : str
        Text of the entry.
    selected : bool
        Whether this run is shown first.
    """

    key: str
    label: str
    selected: bool


@dataclass
class Section:
    """One group of comparable runs, ready to be shown.

    Attributes
    ----------
    key : str
        Prefix of the ids of its elements.
    group : Group
    findings : Findings
    runs_table : Table
        All runs of the group.
    best : IrrepSet or None
        The set with the lowest error; None if there are no sets.
    tables : list of Table
        The ablation table, and what each irrep is worth to each set.
    further_tables : list of Table
        Tables that are folded away at first.
    figures : list of Figure
    downloads : list of Table
        Tables offered as CSV files.
    layouts : list of LayoutChoice
        Runs with latent layouts.
    """

    key: str
    group: Group
    findings: Findings
    runs_table: Table
    best: IrrepSet | None = None
    tables: list[Table] = field(default_factory=list)
    further_tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    downloads: list[Table] = field(default_factory=list)
    layouts: list[LayoutChoice] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """What the runs have in common, as far as a reader wants to know at once."""
        group = self.group
        description = describe_target(group.target)
        parts = [f"{group.target}, {description}" if description else group.name]
        graph = group.configuration.get("data.graph")
        parts += [f"{graph} graph"] if graph else []
        if group.counted_runs:
            run = group.counted_runs[0]
            molecules = run.summary.molecules.get("train")
            parts += [f"{formatting.whole(molecules)} training molecules"] if molecules else []
            parts.append(f"{run.epochs} epochs")
        return " · ".join(parts)

    @property
    def shared_options(self) -> dict[str, Any]:
        """The configuration that all runs share, without what the heading shows."""
        return {k: v for k, v in self.group.configuration.items() if k not in TITLE_OPTIONS}


def render_page(
    title: str,
    sections: Sequence[Section],
    latents: LatentData,
    problems: Sequence[str],
    made: str,
    overview: Sequence[Figure] = (),
) -> str:
    """Render the page.

    Parameters
    ----------
    title : str
        What is compared.
    sections : sequence of Section
        One per group.
    latents : LatentData
    problems : sequence of str
        One line for each run directory or file that could not be read.
    made : str
        When the page was made, and from how many runs.
    overview : sequence of Figure
        What compares several groups; shown before them.

    Returns
    -------
    str
        HTML that refers to nothing outside of itself.
    """
    data = {
        "figures": {f"all-{figure.key}": asdict(figure) for figure in overview}
        | {
            f"{section.key}-{figure.key}": asdict(figure)
            for section in sections
            for figure in section.figures
        },
        "latents": asdict(latents),
        "scale": palette.SEQUENTIAL,
    }
    # The page's own files are the only text that is not escaped.
    return (
        make_environment()
        .get_template("page.html")
        .render(
            title=title,
            sections=sections,
            problems=problems,
            made=made,
            overview=overview,
            data=Markup(pack(json.dumps(data, separators=(",", ":"), allow_nan=False).encode())),
            measure_titles=MEASURE_TITLES,
            measure_meanings=MEASURE_MEANINGS,
            style=Markup(_style()),
            script=Markup((ASSETS / "page.js").read_text(encoding="utf-8")),
            plotly=Markup(_plotly()),
        )
    )


def make_environment() -> Environment:
    """Set up Jinja2 with the page's templates and filters, escaping all text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["marked"] = marked
    environment.filters["csv_address"] = _csv_address
    return environment


def marked(text: str) -> Markup:
    """Turn the marks of `reporting.words` into HTML: backquotes and double asterisks.

    Code with spaces in it is a command, which may be broken into lines.

    Parameters
    ----------
    text : str
        Plain text with marks.

    Returns
    -------
    Markup
        Escaped text with ``<code>`` and ``<strong>``.
    """
    html = re.sub(r"`([^`]*)`", _code, str(escape(text)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html))


def _code(match: re.Match[str]) -> str:
    kind = ' class="command"' if " " in match[1] else ""
    return f"<code{kind}>{match[1]}</code>"


def _csv_address(table: Table) -> str:
    """Encode a table as a data URL."""
    encoded = base64.b64encode(table.to_csv().encode()).decode("ascii")
    return f"data:text/csv;base64,{encoded}"


def _style() -> str:
    swatches = (f".s{number}{{--c:{palette.color(number)}}}" for number in range(SWATCHES))
    return (ASSETS / "page.css").read_text(encoding="utf-8") + "".join(swatches)


def _plotly() -> str:
    """Compress Plotly's browser library, read from its Python package without importing that.

    Compressed and in base64 it has 40 % of its size.
    """
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package plotly is missing: pip install -r requirements.txt")
    path = Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
    return pack(path.read_bytes())


def pack(content: bytes) -> str:
    """Compress something for the page, which `page.js` unpacks.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    str
        Base 64 of a gzip stream.
    """
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
