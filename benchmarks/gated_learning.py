"""Results of ``python -m benchmarks.gated_accuracy``: their file, their table, learning curves.

Imports matplotlib, `records` and other benchmarks; only `benchmarks.gated_accuracy` imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.result_rows import ResultRows
from benchmarks.study.words import markdown
from records.files import replacing

NetworkKind = Literal["gated", "gated-32", "gated-3.5", "nequip", "published"]
KINDS: Sequence[NetworkKind] = get_args(NetworkKind)
NAMES: Mapping[str, str] = {
    "gated": "gated network, 16 channels, 5 Å",
    "gated-32": "gated network, 32 channels, 5 Å",
    "gated-3.5": "gated network, 16 channels, 3.5 Å",
    "nequip": "NequIP's model",
    "published": "published network, 8 channels, bonds",
}
COLORS: Mapping[str, str] = {
    "gated": "#1b6ca8",
    "gated-32": "#3f7d3a",
    "gated-3.5": "#7a4fa3",
    "nequip": "#b3471d",
    "published": "#6b6b6b",
}
MARKERS: Mapping[str, str] = {
    "gated": "o",
    "gated-32": "D",
    "gated-3.5": "v",
    "nequip": "s",
    "published": "^",
}


@dataclass(frozen=True)
class Result:
    """One row: a network trained for some time on some molecules.

    Attributes
    ----------
    network, train_size, seed, minutes, clock
        What was asked for.
    threads, parameters, steps, epochs
        What the training was.
    val_mae, test_mae : float
        In meV.
    """

    network: str
    train_size: int
    seed: int
    minutes: float
    clock: str
    threads: int
    parameters: int
    steps: int
    epochs: float
    val_mae: float
    test_mae: float

    @property
    def setting(self) -> tuple[int, float, str]:
        """What its line of the table says: training size, minutes, clock."""
        return self.train_size, self.minutes, self.clock


def read_results(path: Path) -> ResultRows[Result]:
    """Read the rows of a CSV file; none if it does not exist."""
    return ResultRows(Result, path)


def table(results: Sequence[Result]) -> str:
    """Write the rows as a Markdown table, one line for each training size and time.

    Parameters
    ----------
    results : sequence of Result
        Seeds of the same training are averaged.
    """
    parameters = {r.network: r.parameters for r in results}
    kinds = [kind for kind in KINDS if kind in parameters]
    header = ["molecules:", "time:"]
    header += [f"{kind} ({parameters[kind]:,} parameters):" for kind in kinds]
    lines = []
    for setting in sorted({r.setting for r in results}):
        cells = [
            _cell([r for r in results if (r.network, r.setting) == (k, setting)]) for k in kinds
        ]
        lines.append([f"{setting[0]:,}", _time(*setting[1:]), *cells])
    return markdown(header, lines)


def _time(minutes: float, clock: str) -> str:
    return f"{minutes:g} CPU minutes" if clock == "cpu" else f"{minutes:g} minutes"


def _cell(rows: Sequence[Result]) -> str:
    if not rows:
        return "\N{EN DASH}"
    seeds = f", {len(rows)} seeds" if len(rows) > 1 else ""
    mae, epochs = fmean(r.test_mae for r in rows), fmean(r.epochs for r in rows)
    return f"{mae:.1f} ({epochs:,.0f} epochs{seeds})"


def draw(results: Sequence[Result], picture: Path) -> None:
    """Write `learning_curves` to a PNG file.

    Parameters
    ----------
    results : sequence of Result
    picture : Path
    """
    with replacing(picture) as temporary:
        FigureCanvasAgg(learning_curves(results)).print_png(temporary)


def learning_curves(results: Sequence[Result]) -> Figure:
    """Draw test MAE against the number of training molecules, both logarithmic.

    Parameters
    ----------
    results : sequence of Result
        At least one. Those are drawn that were trained for the time for which most networks and
        sizes are there; seeds are averaged.
    """
    figure = Figure(figsize=(6.0, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    chosen = _usual_setting(results)
    sizes = sorted({r.train_size for r in chosen})
    for kind in KINDS:
        points = {
            size: fmean(r.test_mae for r in rows)
            for size in sizes
            if (rows := [r for r in chosen if (r.network, r.train_size) == (kind, size)])
        }
        if points:
            (line,) = axes.plot(list(points), list(points.values()), label=NAMES[kind])
            line.set(color=COLORS[kind], marker=MARKERS[kind])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("training molecules")
    axes.set_ylabel("test MAE of U0, meV")
    axes.set_title(f"trained for {_time(*chosen[0].setting[1:])}", fontsize=10)
    axes.grid(True, which="both", color="#e6e6e6", linewidth=0.6)
    figure.legend(fontsize=9, loc="outside lower center", ncols=2)
    return figure


def _usual_setting(results: Sequence[Result]) -> list[Result]:
    times = {(r.minutes, r.clock) for r in results}
    count = {
        t: len({(r.network, r.train_size) for r in results if r.setting[1:] == t}) for t in times
    }
    usual = max(count, key=lambda time: count[time])
    return [r for r in results if r.setting[1:] == usual]
