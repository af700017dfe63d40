"""The page and W&B's report of the same runs: one computation, shown twice."""

import csv
import html
import json
import re
from pathlib import Path

import pytest
import wandb

import report
from records.run_files import REPORTED_FILES
from reporting.html.page import marked
from tests.reporting.conftest import SETS
from tests.reporting.synthetic_runs import write_run
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
PATH = "tester/demo"


def record_of(path: Path) -> RunRecord:
    """Keep a run as W&B does: configuration, last logged values and uploaded files."""
    summary = json.loads((path / "summary.json").read_text())
    files = {name: path / name for name in REPORTED_FILES if (path / name).is_file()}
    return RunRecord(
        path.name,
        "tester",
        "demo",
        display_name=path.name,
        state="finished",
        attempts=1,
        config={"irreps": summary["irreps"], "test/mae": 1.0},
        files={name: file.read_bytes() for name, file in files.items()},
    )


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sets with three seeds that draw splits, and a run that failed."""
    folder = tmp_path_factory.mktemp("same") / "runs"
    for irreps in SETS:
        for seed in range(3):
            nested = irreps == SETS[-1]
            write_run(folder, irreps, seed, split_seed=seed, measures=True, nested=nested)
    write_run(folder, SETS[0], 7, split_seed=7, status="failed", error="loss is NaN at step 9")
    return folder


@pytest.fixture(scope="module")
def page(runs_dir) -> str:
    """What the page says, as HTML without its data."""
    output = runs_dir.parent / "report.html"
    assert report.main([str(runs_dir), "-o", str(output)]) == 0
    text = output.read_text()
    return text[text.index("<body>") : text.index('<script type="text/plain" id="data"')]


@pytest.fixture(scope="module")
def markdown(runs_dir, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The blocks of text in W&B's report."""
    with WandbServer() as server, server.client(tmp_path_factory.mktemp("client")):
        wandb.teardown()
        server.runs.update({path.name: record_of(path) for path in sorted(runs_dir.iterdir())})
        assert report.main(["--wandb", PATH]) == 0
        assert server.unknown == []
        (view,) = (view for view in server.views.values() if view.type == "runs")
        return [b["content"] for b in view.spec["blocks"] if b["type"] == "markdown-block"]


def test_every_sentence_of_one_is_in_the_other(page, markdown, runs_dir):
    said, *_ = markdown
    sentences = [line.removeprefix("- ") for line in said.splitlines() if line]
    sentences = [line for line in sentences if not line.startswith("###")]
    cards = re.findall(r'class="card (?:summary|reasons)"(.*?)</section>', page, re.DOTALL)
    shown = re.findall(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", "".join(cards))
    shown = [text.replace(f"{runs_dir}/", "runs/") for text in shown]  # W&B knows no directory
    assert [str(marked(sentence)) for sentence in sentences] == shown
    assert any("in 12 of 12 runs the validation error was still falling" in s for s in sentences)
    assert any("1 run that is unfinished, failed or repeated" in s for s in sentences)
    assert any("draw new weights, batches and splits" in s for s in sentences)


def cells_of_page(page: str, key: str) -> list[list[str]]:
    body = page[page.index(f'<table id="g1-{key}"') :]
    body = body[body.index("<tbody>") : body.index("</tbody>")]
    rows = []
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        plain = (re.sub(r"<[^>]+>", "", cell.replace("<small>", " ")) for cell in cells)
        rows.append([html.unescape(text).strip() for text in plain])
    return rows


def test_every_number_of_one_is_in_the_other(page, markdown, runs_dir):
    keys = ["sets", "irreps", "baselines", "pairs", "nested", "decomposition", "latent_r2"]
    keys.append("scalars")
    tables = [block for block in markdown if block.startswith("**")]
    assert len(tables) == len(keys)
    for key, table in zip(keys, tables, strict=True):
        lines = [line for line in table.splitlines() if line.startswith("|")][2:]
        shown = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        assert shown == cells_of_page(page, key), key
    with (runs_dir.parent / "report_tables" / "sets.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
