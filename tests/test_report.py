"""`report.py` as a program: what it writes, what it refuses, what it imports."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import report
from records.latent_paths import epoch_path
from reporting.build import write_report
from tests.reporting.synthetic_runs import smiles, write_run

ROOT = Path(__file__).parent.parent


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Run with unusable arguments, and return the one line that says why."""
    assert report.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets, two seeds each."""
    folder = tmp_path_factory.mktemp("report") / "runs"
    for irreps in ("16x0e", "16x0e+16x2e"):
        for seed in (0, 1):
            write_run(folder / "sweep", irreps, seed, molecules=smiles(20))
    return folder


# ---- what it writes -------------------------------------------------------------------------


def test_page_and_tables_lie_with_the_runs_by_default(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "runs" / "sweep")
    assert report.main([str(tmp_path / "runs" / "sweep")]) == 0
    assert (tmp_path / "runs" / "sweep" / "report.html").is_file()
    assert (tmp_path / "runs" / "sweep" / "report_tables" / "sets.csv").is_file()
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "runs" / "sweep", seed=1)
    assert report.main([str(run), str(other), "--csv", "tables"]) == 0
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "tables" / "sets.csv").is_file()
    assert not (tmp_path / "report_tables").exists()
    # The report's own files are no runs.
    assert report.main([str(tmp_path / "runs")]) == 0


def test_the_reference_is_used(runs_dir, tmp_path):
    output = tmp_path / "page.html"
    assert report.main([str(runs_dir), "-o", str(output), "--reference", "16x0e+16x2e"]) == 0
    rows = table(tmp_path / "page_tables" / "sets.csv")
    assert {row["reference"] for row in rows} == {"16x0e+16x2e"}
    assert "Against 0e+2e" in output.read_text()


def test_write_report_is_what_a_program_calls(runs_dir, tmp_path):
    page = write_report([runs_dir], tmp_path / "new" / "page.html")
    assert page == tmp_path / "new" / "page.html"
    assert page.is_file()


# ---- what it refuses ------------------------------------------------------------------------


def test_no_runs(tmp_path, capsys):
    assert "no run in" in refused(capsys, tmp_path)
    assert "nowhere" in refused(capsys, tmp_path / "nowhere")
    assert "give run directories" in refused(capsys)


@pytest.fixture
def with_broken(tmp_path: Path) -> Path:
    """Two good runs and one whose summary is cut off."""
    for seed in range(3):
        path = write_run(tmp_path / "runs", seed=seed)
    summary = path / "summary.json"
    summary.write_text(summary.read_text()[:100])
    return tmp_path / "runs"


def test_a_broken_run_is_refused_by_name_and_nothing_is_written(with_broken, capsys):
    line = refused(capsys, with_broken)
    assert "summary.json is damaged" in line
    assert "--skip-broken" in line
    assert not (with_broken / "report.html").exists()


def test_a_broken_run_can_be_left_out_and_the_page_says_so(with_broken):
    assert report.main([str(with_broken), "--skip-broken"]) == 0
    text = (with_broken / "report.html").read_text()
    assert "Left out because they cannot be read" in text
    assert "summary.json is damaged" in text
    assert len(table(with_broken / "report_tables" / "runs.csv")) == 2


def test_only_broken_runs_are_no_runs(with_broken, capsys):
    for path in list(with_broken.glob("U0*")):
        (path / "summary.json").write_text("{")
    assert "no run can be read" in refused(capsys, with_broken, "--skip-broken")


def test_damaged_latents_are_refused_or_told(tmp_path, capsys):
    run = write_run(tmp_path, molecules=smiles(20))
    path = epoch_path(run / "latents", 5)
    path.write_bytes(b"PK\x03\x04 cut off")
    assert "epoch_005.npz" in refused(capsys, run)
    assert report.main([str(run), "--skip-broken"]) == 0
    assert "epoch_005.npz" in (run / "report.html").read_text()


def test_runs_of_several_wandb_projects_are_not_mixed(tmp_path, capsys):
    write_run(tmp_path / "runs", seed=0)
    write_run(tmp_path / "runs", "16x0e", 0, "--project=other")
    line = refused(capsys, tmp_path / "runs")
    assert "2 W&B projects: irrepscope (1), other (1)" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs", "--nonsense"], "--nonsense"),
        (["runs", "--reference", "16x9o"], "no finished run has these irreps"),
        (["runs", "--reference", "abc"], "cannot be parsed"),
        (["runs", "--sweep", "abc"], "--sweep needs --wandb"),
        (["--wandb", "entity"], "ENTITY/PROJECT"),
        (["--wandb", "a/b", "-o", "page.html"], "need run directories"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    write_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *arguments)


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    run = write_run(tmp_path / "runs")
    (tmp_path / "file").touch()
    assert report.main([str(run), "-o", str(tmp_path / "file" / "page.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_the_process_ends_with_2_and_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "report.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    first, line = done.stderr.splitlines()
    assert first == "report.py: reading the runs"
    assert line.startswith("error: ")


# ---- what it imports ------------------------------------------------------------------------


def imported(*arguments: str) -> set[str]:
    """Return the packages that the program has imported by the time it ends."""
    code = (
        "import sys, report\n"
        "try: report.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


SLOW = {"torch", "lightning", "e3nn", "torch_geometric", "umap", "matplotlib", "pandas", "plotly"}


def test_help_and_errors_import_nothing_slow(tmp_path):
    assert not imported("--help") & (SLOW | {"numpy", "scipy", "rdkit", "wandb", "yaml"})
    assert not imported(str(tmp_path)) & (SLOW | {"numpy", "scipy", "rdkit", "wandb"})


def test_a_page_is_written_without_torch(tmp_path, runs_dir):
    copied = shutil.copytree(runs_dir, tmp_path / "runs")
    assert not imported(str(copied)) & (SLOW | {"wandb"})
    assert (copied / "report.html").is_file()
