"""Tables as HTML and as CSV."""

import csv
import html
import io
from html.parser import HTMLParser

import pytest

from reporting.compare.irrep_effects import irrep_effects
from reporting.compare.latent_spaces import latent_measures
from reporting.compare.set_comparison import standings
from reporting.html.page import make_environment
from reporting.tables import group_tables, measure_tables
from reporting.tables.table import Cell, Column, Table, write_csv
from tests.reporting.conftest import one_group
from tests.reporting.synthetic_runs import write_run


class Cells(HTMLParser):
    """Collects rows of cells, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[dict]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.rows and self.rows[-1] and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1]["text"] += data


def read(table: Table) -> list[dict]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


@pytest.fixture(scope="module")
def rows(sweep_group):
    return standings(sweep_group, sweep_group.sets[0])


def test_the_ablation_table_holds_what_was_computed(sweep_group, rows):
    table = group_tables.sets_table(sweep_group, rows, sweep_group.sets[0])
    for written, row in zip(read(table), rows, strict=True):
        assert written["irreps"] == row.irrep_set.irreps
        assert float(written["mae"]) == pytest.approx(row.mae.mean)
        assert float(written["mae_low"]) == pytest.approx(row.mae.low)
        assert int(written["seeds"]) == 3
        assert float(written["parameters"]) == row.irrep_set.parameters
        assert float(written["molecules_per_s"]) == pytest.approx(row.rate.mean)
        assert written["epochs"] == "6"
        if row.difference:
            assert float(written["difference_high"]) == pytest.approx(row.difference.estimate.high)
            assert float(written["p_holm"]) == pytest.approx(row.difference.adjusted_p)
        else:
            assert written["p_holm"] == ""


def test_html_is_well_formed_sortable_and_escaped():
    table = Table("t", "A < B & C", [Column("a", "<i>"), Column("b", "B", "note")])
    table.rows = [[Cell("<x>", "<x>"), Cell("1,000", 1000.0, "one seed")]]
    macros = make_environment().get_template("table.html").module
    text = macros.sortable_table(table, "id")
    parsed = Cells(text)
    (heading, row) = parsed.rows
    assert [cell["scope"] for cell in heading] == ["col", "col"]
    assert text.count("<button") == 2
    assert row[0] | {"tag": "th", "scope": "row", "data-value": "<x>", "text": "<x>"} == row[0]
    assert row[1]["data-value"] == "1000"
    assert "one seed" in row[1]["text"]
    assert html.escape("A < B & C") in text


def test_one_seed_is_written_below_the_number(tmp_path):
    write_run(tmp_path, "16x0e", 0)
    write_run(tmp_path, "16x0e+16x1o", 0)
    group = one_group(tmp_path)
    table = group_tables.sets_table(group, standings(group, group.sets[0]), group.sets[0])
    assert [row[1].note for row in table.rows] == ["one seed", "one seed"]
    assert read(table)[0]["mae_low"] == ""


def test_all_runs_are_listed_with_why_they_are_not_counted(sweep_group):
    listed = read(group_tables.runs_table(sweep_group))
    assert len(listed) == 14
    assert [row["counted"] for row in listed].count("yes") == 12
    assert "failed: loss is NaN at step 9" in [row["counted"] for row in listed]


def test_every_table_is_written_as_csv(tmp_path, sweep_group, rows):
    made = [
        group_tables.sets_table(sweep_group, rows, sweep_group.sets[0]),
        measure_tables.irreps_table(sweep_group, irrep_effects(sweep_group)),
        group_tables.utilization_table(sweep_group),
        measure_tables.latent_table(latent_measures(sweep_group)),
        group_tables.curves_table(sweep_group),
        group_tables.runs_table(sweep_group),
        Table("empty", "", []),
    ]
    paths = write_csv(made, tmp_path / "new" / "folder")
    names = ["sets", "irreps", "utilization", "latent", "curves", "runs"]
    assert [path.stem for path in paths] == names
    for path in paths:
        with path.open() as file:
            lengths = {len(row) for row in csv.reader(file)}
        assert len(lengths) == 1, f"{path.name} has rows of different length"
