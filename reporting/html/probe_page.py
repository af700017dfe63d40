"""The page of a probed model: one file that needs nothing else.

Imports Jinja2, `records` and `reporting` only.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from markupsafe import Markup

from reporting.html.page import ASSETS, make_environment
from reporting.tables.table import Table


def render_probe_page(
    title: str,
    facts: Sequence[str],
    sentences: Sequence[str],
    tables: Sequence[Table],
    heatmap: bytes,
    made: str,
) -> str:
    """Render the page.

    Parameters
    ----------
    title : str
        Model and data.
    facts : sequence of str
        What was probed, how, and what the checks have found.
    sentences : sequence of str
        Findings, with the marks of `reporting.words`.
    tables : sequence of Table
        Shown whole, and offered as CSV.
    heatmap : bytes
        A PNG.
    made : str
        When and by what.

    Returns
    -------
    str
        HTML that refers to nothing outside of itself.
    """
    encoded = base64.b64encode(heatmap).decode("ascii")
    return (
        make_environment()
        .get_template("probe.html")
        .render(
            title=title,
            facts=facts,
            sentences=sentences,
            tables=tables,
            heatmap=Markup(f"data:image/png;base64,{encoded}"),
            made=made,
            style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        )
    )
