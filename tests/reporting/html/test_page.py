"""The page as a file: self-contained, safe, of bounded size."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qm9.cache import PreparedData
from reporting.build import write_report
from reporting.html.page import marked
from tests.reporting.conftest import data_of
from tests.reporting.synthetic_runs import smiles, write_run

LIMIT = 3_000_000
ATTRIBUTES = ("src", "href", "action", "data", "poster", "srcset")


class Parts(HTMLParser):
    """Collects the addresses that a browser would fetch, and the ids of elements."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ATTRIBUTES if given.get(name)]
        self.ids += [given["id"]] if "id" in given else []


@pytest.fixture(scope="module")
def page(sweep_dir: Path, tmp_path_factory) -> Path:
    return write_report([sweep_dir], tmp_path_factory.mktemp("page") / "report.html")


def test_nothing_is_fetched_from_anywhere(page):
    parts = Parts(page)
    assert [a for a in parts.addresses if not a.startswith(("data:", "#"))] == []
    text = page.read_text()
    assert "@import" not in text[: text.index("<body>")]
    assert "url(" not in text[: text.index("<body>")]
    assert "default-src 'none'" in text, "the browser refuses what slips through"
    assert len(parts.ids) == len(set(parts.ids)), "ids are unique"


def test_what_the_page_shows_is_in_it(page, sweep_group):
    data = data_of(page)
    figures = ("worth", "size", "cost", "curves", "reliance", "heatmaps", "latent")
    assert set(data["figures"]) == {f"g1-{key}" for key in figures}
    assert len(data["latents"]["runs"]) == 12
    assert len(data["latents"]["drawings"]) == 60
    text = page.read_text()
    for run in sweep_group.runs:
        assert run.name in text
    assert "loss is NaN at step 9" in text
    assert "What cannot be concluded yet" in text


def test_tables_lie_beside_the_page(page):
    names = sorted(path.name for path in (page.parent / "report_tables").iterdir())
    folded = ["baselines", "latent_r2", "scalars"]
    shown = ["curves", "irreps", "latent", "runs", "sets", "utilization"]
    assert names == sorted(f"{name}.csv" for name in (*folded, *shown))


def test_groups_have_sections_of_their_own(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs", "16x0e", seed, **{"test/mae": 10.0})
        write_run(tmp_path / "runs", "16x0e", seed, "--data.graph=radius", **{"test/mae": 30.0})
    text = write_report([tmp_path / "runs"], tmp_path / "report.html").read_text()
    assert text.count('class="group"') == 2
    assert "never averaged together" in text
    body = text[text.index("<body>") : text.index('<script type="text/plain" id="data"')]
    assert "10.0 meV" in body.replace("\N{NO-BREAK SPACE}", " ")
    assert "20.0" not in body, "the mean of both groups"
    names = {path.name for path in (tmp_path / "report_tables").iterdir()}
    assert {"g1-sets.csv", "g2-sets.csv"} <= names


def test_text_of_runs_cannot_become_markup(tmp_path):
    script = "</script><script>alert(1)</script>"
    write_run(tmp_path / "runs", "16x0e", 0, target=script, molecules=smiles(20))
    write_run(tmp_path / "runs", "16x0e", 1, status="failed", error=script, target=script)
    text = write_report([tmp_path / "runs"], tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    json.dumps(data_of(tmp_path / "report.html"))


def test_marks_become_markup_and_nothing_else():
    assert marked("`0e` is **so & so** < 1") == (
        "<code>0e</code> is <strong>so &amp; so</strong> &lt; 1"
    )


def test_thirty_wide_runs_of_2000_molecules_stay_below_3_mb(
    tmp_path: Path, prepared_qm9: PreparedData
):
    irreps = "16x0e+16x1o+16x2e+16x3o+16x4e+16x5o+16x6e"
    molecules = [prepared_qm9.smiles(61 * number) for number in range(2000)]
    first = write_run(tmp_path / "runs", irreps, 0, molecules=molecules)
    for seed in range(1, 30):
        path = write_run(tmp_path / "runs", irreps, seed)
        shutil.copytree(first / "latents", path / "latents")
    page = write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert page.stat().st_size < LIMIT
    data = data_of(page)["latents"]
    assert len(data["runs"]) == 30
    (molecules_shown,) = data["molecules"].values()
    assert len(molecules_shown["smiles"]) > 150
    assert len(data["drawings"]) == len(set(molecules_shown["smiles"]))


def test_a_failed_write_leaves_the_old_page(tmp_path, sweep_dir, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("old")

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_space)
    with pytest.raises(OSError, match="No space"):
        write_report([sweep_dir], page)
    monkeypatch.undo()
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
