"""Finding and reading run directories."""

import json
import shutil
from pathlib import Path

import pytest

from records.metrics import read_metrics
from records.names import UNTRAINED
from records.summary import read_summary
from records.utilization import read_table
from reporting.read.runs import ReportError, find_runs, read_run, wandb_project
from tests.reporting.synthetic_runs import write_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "sweep", "16x0e+16x1o", seed=3)


def test_runs_are_found_two_levels_down_and_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "runs" / "sweep")
    second = write_run(tmp_path / "runs", seed=1)
    too_deep = write_run(tmp_path / "runs" / "a" / "b" / "c")
    (tmp_path / "runs" / ".hidden").mkdir()
    assert set(find_runs([tmp_path / "runs", first])) == {first, second}
    assert find_runs([too_deep]) == [too_deep]


def test_a_run_is_read_as_it_was_written(run_dir: Path) -> None:
    run = read_run(run_dir)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (run.irreps, run.seed, run.unit, run.target) == ("16x0e+16x1o", 3, "meV", "U0")
    assert run.finished
    assert run.configuration == summary["configuration"]
    assert run.number("test/mae") == summary["test/mae"]
    assert run.number("error") is None
    assert sorted(run.metrics) == [UNTRAINED, *range(6)]
    assert len(run.trained_rows()) == run.epochs == 6
    assert wandb_project(run) == "irrepscope"


def test_every_file_is_read_by_its_own_reader(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.summary == read_summary(run_dir / "summary.json")
    assert run.metrics == read_metrics(run_dir / "metrics.csv")
    assert run.utilization.keys() == {UNTRAINED, 5}
    # NaN differs from itself, so the tables are compared as text.
    assert repr(run.utilization) == repr(read_table(run_dir / "utilization.csv"))
    assert run.final_utilization() is run.utilization[5]


def test_the_best_checkpoint_stands_for_the_run(run_dir: Path) -> None:
    shutil.copy(run_dir / "utilization.csv", run_dir / "utilization_best.csv")
    run = read_run(run_dir)
    assert run.final_utilization() is run.best_utilization
    assert repr(run.best_utilization) == repr(run.utilization[5])


def test_rate_is_the_median_and_time_follows_from_it(run_dir: Path) -> None:
    run = read_run(run_dir)
    rates = sorted(row["throughput/molecules_per_s"] for row in run.trained_rows())
    assert run.molecules_per_second() == (rates[2] + rates[3]) / 2
    assert run.training_seconds() == 4000 * 6 / run.molecules_per_second()
    run.metrics = {}
    assert run.molecules_per_second() == run.number("throughput/molecules_per_s")


def test_an_unfinished_run_may_lack_everything(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text('{"wandb_run_id": "0a1b2c3d"}')
    run = read_run(tmp_path / "run")
    assert (run.status, run.irreps, run.seed, run.epochs) == ("unfinished", "", None, 0)
    assert run.final_utilization() is None


def test_not_finite_numbers_are_no_results(run_dir: Path) -> None:
    path = run_dir / "summary.json"
    path.write_text(path.read_text().replace('"test/mae": ', '"test/mae": NaN, "was": '))
    assert read_run(run_dir).number("test/mae") is None


DAMAGE = {
    "no JSON": ("summary.json", '{"status": "fin'),
    "no object": ("summary.json", "[]"),
    "not text": ("summary.json", b"\xff\xfe\x00"),
    "nothing recorded": ("summary.json", '{"status": "finished"}'),
    "bad irreps": ("summary.json", '{"irreps": "16y0e"}'),
    "a summary of another type": ("summary.json", '{"seed": "three"}'),
    "metrics": ("metrics.csv", "epoch,val/mae\n0,1.0\n1,abc\n"),
    "an infinite epoch": ("metrics.csv", "epoch,val/mae\ninf,1.0\n"),
    "an epoch twice": ("metrics.csv", "epoch,val/mae\n0,1.0\n0,2.0\n"),
    "metrics without epochs": ("metrics.csv", "val/mae\n1.0\n"),
    "utilization": ("utilization.csv", "epoch,layer,irrep\n0,layer0,1o\n"),
    "binary table": ("metrics.csv", b"\xff\xfe\x00\n\xff\n"),
}


@pytest.mark.parametrize(("name", "content"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_in_one_line(run_dir: Path, name: str, content) -> None:
    (run_dir / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ReportError) as caught:
        read_run(run_dir)
    message = str(caught.value)
    assert str(run_dir / name) in message
    assert "--skip-broken" in message
    assert "\n" not in message


def test_a_damaged_configuration_is_named(run_dir: Path) -> None:
    (run_dir / "config.yaml").write_text("project: [")
    with pytest.raises(ReportError, match=r"config\.yaml is damaged.*--skip-broken"):
        wandb_project(read_run(run_dir))
    (run_dir / "config.yaml").unlink()
    assert wandb_project(read_run(run_dir)) is None


def test_a_run_directory_without_its_summary_is_broken(run_dir: Path) -> None:
    (run_dir / "summary.json").unlink()
    assert find_runs([run_dir]) == [run_dir]
    with pytest.raises(ReportError, match=r"summary.json is missing"):
        read_run(run_dir)


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_where_there_are_no_runs_it_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=name):
        find_runs([tmp_path / name])
