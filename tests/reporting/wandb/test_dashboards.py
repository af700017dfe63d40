"""The saved workspace and report, by the real library, on a loopback server with real runs."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import wandb

import report
from reporting.compare.groups import group_runs
from reporting.read.latents import read_latent_metrics
from reporting.read.runs import ReportError, find_runs, read_run
from reporting.read.utilization import whole_network
from reporting.wandb.dashboards import view_name
from reporting.wandb.runs import read_project, split_path, to_run
from tests.reporting.conftest import Trained
from tests.wandb_records import ViewRecord
from tests.wandb_server import WandbServer

# The library's own models are of Pydantic's older style.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
PATH = "tester/demo"
BUILT_IN = {"", "_step", "epoch"}


@pytest.fixture
def server(trained: Trained, tmp_path) -> Iterator[WandbServer]:
    """A server that has the trained runs, and an environment that leads to it."""
    with WandbServer() as running, running.client(tmp_path):
        running.runs.update(trained.records)
        wandb.teardown()
        yield running


def saved(server: WandbServer, kind: str) -> ViewRecord:
    (view,) = (view for view in server.views.values() if view.type == kind)
    return view


def workspace_panels(view: ViewRecord) -> list[dict[str, Any]]:
    sections = view.spec["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def report_panels(view: ViewRecord) -> list[dict[str, Any]]:
    grids = [block for block in view.spec["blocks"] if block["type"] == "panel-grid"]
    return [
        panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]
    ]


def keys_of(panel: dict[str, Any]) -> set[str]:
    """Every key that a panel asks for, with its section where it has one."""
    config = panel["config"]
    keys = {config.get(name) or "" for name in ("xAxis", "yAxis", "zAxis", "targetKey")}
    keys |= {*config.get("metrics", []), *config.get("mediaKeys", [])}
    keys |= {column["accessor"] for column in config.get("columns", [])}
    table = re.search(r'"key": {[^}]*"val": "([^"]*)"', json.dumps(config))
    return keys | ({table[1]} if table else set())


def assert_logged(key: str, trained: Trained) -> None:
    """Fail for a key that no run has logged."""
    section, _, name = key.rpartition(":")
    if section == "config":
        known = {f"{k}.value" for run in trained.records.values() for k in run.config}
    else:
        known = trained.history_keys() | BUILT_IN
    assert name in known, f"no run logs {key}"


def test_what_is_saved_asks_only_for_keys_that_runs_log(server, trained, capsys):
    assert report.main(["--wandb", PATH]) == 0
    workspace, text = saved(server, "project-view"), saved(server, "runs")
    panels = workspace_panels(workspace) + report_panels(text)
    asked = {key for panel in panels for key in keys_of(panel)}
    assert len(asked) > 20
    for key in asked:
        assert_logged(key, trained)
    with pytest.raises(AssertionError, match="no run logs"):
        assert_logged("val/nonsense", trained)
    assert server.unknown == []
    said = capsys.readouterr().out
    assert f"Workspace saved: {server.url}/{PATH}?nw=" in said
    assert f"Report saved: {server.url}/{PATH}/reports/" in said


PANELS = {
    "Scatter Plot": {"config:params/total.value", "summary:test/mae"},
    "Bar Chart": {"test/mae"},
    "Run History Line Plot": {"epoch", "val/mae"},
    "Parallel Coordinates Plot": {"config:irreps.value", "config:params/total.value"}
    | {"summary:val/mae", "summary:test/mae"},
    "Media Browser": {"utilization/heatmap"},
    "Run Comparer": set(),
    "Parameter Importance": {"test/mae"},
}


@pytest.mark.parametrize("kind", ["project-view", "runs"])
def test_the_promised_panels_are_there(server, kind):
    report.main(["--wandb", PATH])
    view = saved(server, kind)
    panels = workspace_panels(view) if kind == "project-view" else report_panels(view)
    for name, keys in PANELS.items():
        assert any(p["viewType"] == name and keys <= keys_of(p) for p in panels), name
    assert any(keys_of(panel) >= {"latent/umap"} for panel in panels)
    reliances = {f"utilization/network/{irrep}/reliance" for irrep in ("0e", "1o")}
    assert any(keys_of(panel) >= reliances for panel in panels)
    assert any(keys_of(panel) >= {"latent/molecules"} for panel in panels)


def test_the_workspace_begins_with_the_answer(server):
    report.main(["--wandb", PATH])
    first = workspace_panels(saved(server, "project-view"))[0]
    assert first["viewType"] == "Markdown Panel"
    text = first["config"]["value"]
    assert "has the lowest test MAE" in text
    assert "| 1o" in text


def test_the_table_of_runs_has_the_right_columns_and_groups(server, trained):
    report.main(["--wandb", PATH])
    (runs,) = saved(server, "project-view").spec["section"]["runSets"]
    assert runs["grouping"] == [{"section": "config", "name": "model.irreps.value"}]
    assert runs["sort"]["keys"][0]["key"] == {"section": "summary", "name": "test/mae"}
    columns = runs["runFeed"]["columnOrder"]
    assert columns[0] == "run:displayName"
    assert {"config:irreps.value", "summary:val/mae", "summary:test/mae"} <= set(columns)
    for column in columns:
        if not column.startswith("run:"):
            assert_logged(column, trained)


def test_saving_twice_updates_both(server, capsys):
    report.main(["--wandb", PATH])
    first = {view.id: view.name for view in server.views.values() if view.type == "project-view"}
    report.main(["--wandb", PATH])
    assert len(server.views) == 2
    assert all(view.saves == 2 for view in server.views.values())
    again = {view.id: view.name for view in server.views.values() if view.type == "project-view"}
    assert first == again
    assert "Workspace updated" in capsys.readouterr().out


def test_other_peoples_views_are_left_alone(server):
    server.views["mine"] = ViewRecord(
        "mine", "other", "runs", "tester", "demo", "Irrepscope: which irreps matter?", "Mine.", {}
    )
    report.main(["--wandb", PATH])
    assert server.views["mine"].saves == 0
    assert len(server.views) == 3


def test_a_sweep_has_a_workspace_of_its_own(server):
    for number, run in enumerate(server.runs.values()):
        run.sweep = "abc123" if number == 0 else None
    try:
        assert report.main(["--wandb", PATH]) == 0
        assert report.main(["--wandb", PATH, "--sweep", "abc123"]) == 0
        assert len(server.views) == 4
        view = next(
            v for v in server.views.values() if v.display_name == "Irrepscope: sweep abc123"
        )
        (filtered,) = view.spec["section"]["runSets"][0]["filters"]["filters"]
        assert (filtered["key"]["name"], filtered["value"]) == ("sweep", "abc123")
        project = read_project(PATH, "abc123")
        assert len(project.runs) == 1
        assert view_name(project) == view.name
    finally:
        for run in server.runs.values():
            run.sweep = None


def test_the_report_has_the_summary_in_words(server):
    report.main(["--wandb", PATH])
    blocks = saved(server, "runs").spec["blocks"]
    text = "\n".join(b["content"] for b in blocks if b["type"] == "markdown-block")
    assert "has the lowest test MAE" in text
    assert "one seed: no interval exists" in text
    assert "### What cannot be concluded yet" in text
    assert "`1o` (vectors)" in text


def test_runs_are_read_from_wandb_as_from_disk(server, trained):
    on_disk = {run.name: run for run in map(read_run, find_runs([trained.runs_dir]))}
    found = read_project(PATH, None).runs
    assert len(found) == len(on_disk) == 2
    for run in found:
        local = on_disk[run.name]
        for name in ("irreps", "metrics", "utilization", "best_utilization", "decomposition"):
            assert repr(getattr(run, name)) == repr(getattr(local, name)), name
        assert repr(run.latent_metrics) == repr(read_latent_metrics(local))  # NaN is unequal
        assert run.summary.results == local.summary.results
        assert (run.finished, run.configuration) == (True, local.configuration)


def test_a_run_whose_files_are_not_in_wandb_is_read_from_what_was_logged(server, trained):
    on_disk = {run.name: run for run in map(read_run, find_runs([trained.runs_dir]))}
    kept = {key: dict(record.files) for key, record in server.runs.items()}
    for record in server.runs.values():
        record.files.clear()
    try:
        (group,) = group_runs(read_project(PATH, None).runs)
    finally:
        for key, record in server.runs.items():
            record.files.update(kept[key])
    assert len(group.sets) == len(on_disk) == 2
    for known in group.sets:
        (run,) = known.runs
        local = on_disk[run.name]
        assert (run.irreps, run.seed, run.unit) == (local.irreps, local.seed, local.unit)
        assert run.number("test/mae") == pytest.approx(local.number("test/mae"))
        assert run.configuration == local.configuration
        assert run.epochs == local.epochs
        for block in run.final_utilization().rows:
            (expected,) = whole_network(local.final_utilization(), block.irrep)
            reliance = expected.effects["reliance"].value
            assert block.effects["reliance"].value == pytest.approx(reliance)
            assert block.channels == expected.channels


def test_different_targets_are_grouped_apart(server):
    other = json.loads(json.dumps(next(iter(server.runs.values())).config))
    changed = {"target": "gap", "data.target": "gap", "model.target": "gap"}
    record = next(iter(server.runs.values()))
    own = {"id": "clone", "files": {}, "config": {**other, **changed}}
    clone = type(record)(**{**vars(record), **own})
    server.runs["clone"] = clone
    report.main(["--wandb", PATH])
    (runs,) = saved(server, "project-view").spec["section"]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["data.target.value", "model.irreps.value"]


def test_a_running_run_has_its_minimum_as_its_error():
    run = to_run("name", "running", {"irreps": "4x0e"}, {"val/mae": {"min": 3.5}, "epoch": 2})
    assert (run.number("val/mae"), run.epochs, run.finished) == (3.5, 3, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([PATH, "--sweep", "zzz"], "sweep zzz of tester/demo has no runs"),
        (["tester/nothing"], "tester/nothing has no runs"),
        (["demo"], "ENTITY/PROJECT"),
        (["a/b/c"], "ENTITY/PROJECT"),
        ([PATH, "--sweep", "tester/demo/abc"], "only the sweep's ID"),
        ([PATH, "--reference", "16x9o"], "no finished run has these irreps"),
    ],
)
def test_wrong_input_is_one_line_and_saves_nothing(server, capsys, arguments, words):
    assert report.main(["--wandb", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert server.views == {}


def test_without_a_key_it_says_so_and_asks_nobody(server, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    assert report.main(["--wandb", PATH]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs an API key" in line
    assert server.requests == []


def test_a_refused_key_is_one_line(server, capsys, monkeypatch):
    monkeypatch.setitem(os.environ, "WANDB_API_KEY", "f" * 40)
    wandb.teardown()
    assert report.main(["--wandb", PATH]) == 2
    assert "refuses this API key" in capsys.readouterr().err


def test_paths_are_split():
    assert split_path("a/b") == ("a", "b")
    with pytest.raises(ReportError):
        split_path("/b")


def test_runs_are_tagged_with_what_they_are_filtered_by(trained):
    tags = {tuple(run.tags) for run in trained.records.values()}
    assert tags == {("U0", "bonds", "convnet", "l=0"), ("U0", "bonds", "convnet", "l=0,1")}
