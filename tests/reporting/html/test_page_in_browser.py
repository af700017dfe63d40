"""The page in a real browser: it draws, sorts, shows structures, and makes no requests."""

import base64
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys

from reporting.build import write_report
from tests.browser import Browser, browser
from tests.reporting.conftest import SETS, data_of
from tests.reporting.synthetic_runs import smiles, write_run

__all__ = ["browser"]
pytestmark = pytest.mark.browser
DRAWN = "[...document.querySelectorAll('figure.plot .panels')].every(p => p.querySelector('svg'))"
CANVASES = "document.querySelectorAll('figure.umap canvas').length > 1"
SHOWN = "!document.getElementById('tip').hidden"


@pytest.fixture(scope="module")
def page(sweep_dir: Path, tmp_path_factory) -> Path:
    return write_report([sweep_dir], tmp_path_factory.mktemp("page") / "report.html")


def scroll_through(browser: Browser) -> None:
    """Bring every figure into view once, and wait until all are drawn."""
    browser.run(
        "for (const f of document.querySelectorAll('figure')) "
        "f.scrollIntoView({behavior: 'instant', block: 'center'})"
    )
    browser.wait_for("document.querySelector('figure.umap canvas')")
    for number in range(browser.run("return document.querySelectorAll('figure').length")):
        browser.run(
            "document.querySelectorAll('figure')[arguments[0]]"
            ".scrollIntoView({behavior: 'instant', block: 'center'})",
            number,
        )
        browser.wait_for(
            f"document.querySelectorAll('figure')[{number}].querySelector('.panels svg, canvas')"
        )


def show_molecules(browser: Browser) -> None:
    browser.run("document.querySelector('figure.umap').scrollIntoView({behavior: 'instant'})")
    browser.wait_for(CANVASES)


def first_point(browser: Browser, page: Path) -> list[float]:
    """Return where the first molecule lies in the first panel, according to the page's data."""
    chosen = browser.run("return document.querySelector('select[name=run]').value")
    layout = data_of(page)["latents"]["runs"][chosen]["blocks"]["all"]["after"]
    x, y = np.frombuffer(base64.b64decode(layout), "<u2")[:2]
    return browser.run(
        "const box = document.querySelector('figure.umap canvas').getBoundingClientRect();"
        "const scale = (box.width - 20) / 65535;"
        "return [box.left + 10 + scale * arguments[0],"
        " box.top + box.width - 10 - scale * arguments[1]];",
        int(x),
        int(y),
    )


def point_at(browser: Browser, x: float, y: float) -> None:
    """Move the mouse to a point of the window."""
    chain = ActionChains(browser.driver)
    chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    chain.perform()


def test_no_console_message_and_no_request_leaves_the_file(browser, page):
    browser.open(page)
    scroll_through(browser)
    assert browser.run(f"return {DRAWN}")
    assert browser.console() == []
    asked = browser.requests()
    assert asked[0] == page.as_uri()
    assert [url for url in asked[1:] if not url.startswith(("data:", "blob:"))] == []


def test_a_request_would_have_been_seen_and_refused(browser, page):
    browser.open(page)
    browser.run("new Image().src = 'https://example.org/a.png'; fetch('https://example.org/b')")
    browser.wait_for("true")
    said = "\n".join(browser.console())
    assert "Content Security Policy" in said
    assert "a.png" in said


def column(browser: Browser, number: int) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('#g1-sets tbody tr')]"
        ".map(row => row.cells[arguments[0]].dataset.value)",
        number,
    )


def test_the_table_sorts_by_each_heading_both_ways(browser, page):
    browser.open(page)
    headings = browser.driver.find_elements("css selector", "#g1-sets thead button")
    names = [heading.text.strip() for heading in headings]
    assert names[:2] == ["Irreps", "Test MAE"]
    assert column(browser, 1) == sorted(column(browser, 1), key=float), "the best set is first"
    number = names.index("Parameters")
    for direction, reverse in (("ascending", False), ("descending", True)):
        browser.run("arguments[0].click()", headings[number])
        values = [float(value) for value in column(browser, number)]
        assert values == sorted(values, reverse=reverse)
        state = "return document.querySelectorAll('#g1-sets thead th')[arguments[0]].ariaSort"
        assert browser.run(state, number) == direction
    headings[0].send_keys(Keys.ENTER)
    assert column(browser, 0) == sorted(column(browser, 0)), "text sorts too, by keyboard as well"
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
    browser.run("arguments[0].click()", headings[names.index("p")])
    *known, last = column(browser, names.index("p"))
    assert last == "", "what is not known comes last"
    assert "" not in known


def test_hover_shows_structure_smiles_target_prediction_and_error(browser, page):
    browser.open(page)
    show_molecules(browser)
    point_at(browser, *first_point(browser, page))
    browser.wait_for(SHOWN)
    tip = "document.getElementById('tip')"
    assert browser.run(f"return {tip}.querySelectorAll('svg path').length") > 0
    assert browser.run(f"return {tip}.querySelector('b').textContent") in smiles(60)
    terms = browser.run(f"return [...{tip}.querySelectorAll('dt')].map(e => e.textContent)")
    assert terms == ["target", "prediction", "error", "spatial score"]
    values = browser.run(f"return [...{tip}.querySelectorAll('dd')].map(e => e.textContent)")
    target, prediction, error = (
        float(value.replace(",", "").replace("−", "-").removesuffix(" meV")) for value in values[:3]
    )
    assert error == pytest.approx(prediction - target, abs=1.01)
    point_at(browser, 5, 5)
    assert browser.run(f"return {tip}.hidden")


def test_molecules_can_be_walked_through_with_the_keyboard(browser, page):
    browser.open(page)
    show_molecules(browser)
    (canvas, *_) = browser.driver.find_elements("css selector", "figure.umap canvas")
    shown = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        canvas.send_keys(key)
        shown.append(browser.run("return document.querySelector('#tip b').textContent"))
    assert shown == [smiles(60)[0], smiles(60)[1], smiles(60)[0]]
    canvas.send_keys(Keys.ESCAPE)
    assert browser.run("return document.getElementById('tip').hidden")


def test_network_colour_and_epoch_can_be_chosen(browser, page):
    browser.open(page)
    show_molecules(browser)
    picture = "return document.querySelector('figure.umap canvas').toDataURL()"
    seen = {browser.run(picture)}
    for name, value in (("color", "error"), ("color", "score"), ("when", "before")):
        browser.run(
            "const select = document.querySelector(`select[name=${arguments[0]}]`);"
            "select.value = arguments[1]; select.dispatchEvent(new Event('change'))",
            name,
            value,
        )
        seen.add(browser.run(picture))
    assert len(seen) == 4
    assert browser.run("return document.querySelector('select[name=run]').length") == 12
    chosen = "return document.querySelector('select[name=run]').selectedOptions[0].textContent"
    assert browser.run(chosen) == "0e+1o+2e, seed 0", "the best set comes first"


def test_views_and_legend_change_the_figures(browser, page):
    browser.open(page)
    scroll_through(browser)
    text = "return document.querySelector('[data-figure=g1-heatmaps] .panels').textContent"
    before = browser.run(text)
    browser.run("document.querySelectorAll('[data-figure=g1-heatmaps] .views button')[2].click()")
    assert browser.run(text) != before
    entries = "document.querySelectorAll('[data-figure=g1-curves] .legend button')"
    assert browser.run(f"return {entries}.length") == len(SETS)
    visible = (
        "return document.querySelector('[data-figure=g1-curves] .js-plotly-plot')"
        ".data.filter(trace => trace.visible !== false).length"
    )
    count = browser.run(visible)
    browser.run(f"{entries}[0].click()")
    browser.wait_for(f"(() => {{ {visible} }})() === {count - 3}")


@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (390, True), (320, True)])
def test_the_page_never_scrolls_sideways(browser, page, width, mobile):
    browser.open(page, width, 844, mobile)
    scroll_through(browser)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.console() == []
    clipped = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3, p, li, figcaption, button, select')]"
        ".filter(e => e.offsetParent && !e.closest('.scroll')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.textContent)"
    )
    assert clipped == []


def test_a_tap_shows_the_molecule_at_the_bottom(browser, page):
    browser.open(page, 390, 844, mobile=True)
    show_molecules(browser)
    x, y = first_point(browser, page)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.command("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    browser.wait_for(SHOWN)
    box = browser.run("return document.getElementById('tip').getBoundingClientRect().toJSON()")
    assert box["bottom"] <= 844
    assert box["left"] >= 0
    assert box["right"] <= 390


def test_plotly_starts_only_when_the_page_can_be_read(browser, page):
    browser.command(
        "Page.addScriptToEvaluateOnNewDocument",
        source="addEventListener('DOMContentLoaded', () => { window.early = !!window.Plotly })",
    )
    browser.open(page)
    assert browser.run("return window.early") is False
    browser.run("document.querySelector('figure').scrollIntoView({behavior: 'instant'})")
    browser.wait_for("window.Plotly")


def test_paper_gets_every_figure_and_table(browser, page):
    browser.open(page)
    browser.wait_for("window.Plotly")
    browser.run(
        "addEventListener('beforeprint', () => { window.wide = document.documentElement"
        ".scrollWidth; window.folded = !!document.querySelector('details:not([open])') })"
    )
    pdf = browser.command("Page.printToPDF", printBackground=True)["data"]
    assert base64.b64decode(pdf).startswith(b"%PDF")
    assert browser.run(f"return {DRAWN}")
    assert browser.console() == []
    assert not browser.run("return document.documentElement.classList.contains('paper')")
    assert browser.run("return window.folded") is False
    assert browser.run("return !!document.querySelector('details:not([open])')")


NINE = [
    [0],
    [0, 1],
    [0, 2],
    [0, 1, 2],
    [0, 3],
    [0, 1, 2, 3],
    [0, 4],
    [0, 1, 2, 3, 4],
    [0, 3, 4, 5, 6],
]
CROWDED = """
const found = [];
for (const plot of document.querySelectorAll('.js-plotly-plot')) {
  const title = plot.closest('figure').dataset.figure;
  for (const kind of ['xtick', 'ytick']) {
    const labels = [...plot.querySelectorAll(`.${kind} text`)].filter(t => t.textContent.trim());
    const isNumeric = labels.every(t => /^[+\\u22120-9.,kMGm\\u00b5×%]+$/.test(t.textContent));
    if (isNumeric && labels.length > 12) found.push(`${title} ${kind} ${labels.length} labels`);
    const boxes = labels.map(t => t.getBoundingClientRect());
    for (let i = 1; i < boxes.length; i++) {
      const [a, b] = [boxes[i - 1], boxes[i]];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 2) {
        found.push(`${title} ${kind} "${labels[i - 1].textContent}" on "${labels[i].textContent}"`);
      }
    }
  }
}
return found;
"""


def irreps_of(degrees: list[int]) -> str:
    return "+".join(f"16x{degree}{'eo'[degree % 2]}" for degree in degrees)


def many_seeds(folder: Path) -> None:
    for seed in range(22):
        for degrees in NINE:
            write_run(folder, irreps_of(degrees), seed, utilization=False)


def measured(folder: Path) -> None:
    for seed in range(3):
        for degrees in NINE:
            options = {"measures": True, "nested": len(degrees) > 2, "molecules": smiles(300)}
            write_run(folder, irreps_of(degrees), seed, split_seed=seed, **options)


def three_targets(folder: Path) -> None:
    for target in ("U0", "gap", "mu"):
        write_run(folder, irreps_of([0, 1]), 0, f"--data.target={target}", measures=True)


def odd_values(folder: Path) -> None:
    for seed, mae in enumerate((float("nan"), 1e-7, 3e6)):
        for degrees in NINE[:4]:
            write_run(folder, irreps_of(degrees), seed, measures=True, **{"test/mae": mae})


@pytest.mark.parametrize("write", [write_run, measured, three_targets, odd_values, many_seeds])
def test_no_plot_has_piled_or_too_many_labels(browser, tmp_path, write):
    write(tmp_path / "runs")
    page = write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert page.stat().st_size < 3e6
    browser.open(page)
    browser.wait_for("window.Plotly")
    browser.run("dispatchEvent(new Event('beforeprint')); dispatchEvent(new Event('afterprint'))")
    browser.wait_for(DRAWN)
    assert browser.run(CROWDED) == []
    assert browser.console() == []
