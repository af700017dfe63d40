"""Standard output and error that are closed, lost, full or unable to encode end no program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.faults.trains import BARE, ENVIRONMENT, REPOSITORY
from tests.patience import LIMIT

DUMMY = REPOSITORY / "tests" / "sweeping" / "dummy_program.py"
CLOSED, FULL, GONE, ASCII = "closed", "full", "reader gone", "ascii"
ONE_EPOCH = "--trainer.max_epochs=1"
REDIRECTION = {CLOSED: "{}>&-", FULL: "{}>/dev/full", GONE: "", ASCII: "{}>>log"}


def run(folder: Path, stdout: str, stderr: str, program: str, *arguments: str) -> int:
    """Run a program or module of the project with damaged streams; return its exit code."""
    is_file = program.endswith(".py")
    started = [str(REPOSITORY / program)] if is_file else ["-m", program]
    redirections = REDIRECTION[stdout].format(1), REDIRECTION[stderr].format(2)
    reader, writer = os.pipe()
    command = ["sh", "-c", f'exec "$@" {" ".join(redirections)}', "sh", sys.executable]
    process = subprocess.Popen(
        [*command, *started, *arguments],
        cwd=folder,
        env={
            **os.environ,
            **ENVIRONMENT,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONIOENCODING": "ascii" if ASCII in (stdout, stderr) else "utf-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    os.close(reader)
    os.close(writer)
    return process.wait(LIMIT)


@pytest.fixture(scope="module")
def finished_run(prepared_qm9: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained while nobody read its output, with closed standard error."""
    folder = tmp_path_factory.mktemp("é")
    assert run(folder, GONE, CLOSED, "train.py", *BARE, ONE_EPOCH, f"--runs_dir={folder}") == 0
    assert json.loads((folder / "tiny" / "summary.json").read_text())["status"] == "finished"
    return folder / "tiny"


def test_training_says_what_it_can(finished_run: Path, tmp_path: Path) -> None:
    """The locale lacks a character of the run's path, and nothing can be written to the errors."""
    again = [*BARE, ONE_EPOCH, f"--runs_dir={finished_run.parent}"]
    assert run(tmp_path, ASCII, FULL, "train.py", *again) == 0
    assert r"\xe9" in (tmp_path / "log").read_text(encoding="ascii")


@pytest.mark.parametrize(
    ("stdout", "stderr"), [(CLOSED, CLOSED), (GONE, FULL), (FULL, GONE), (ASCII, ASCII)]
)
def test_a_sweep_ends_as_its_trials_do(stdout: str, stderr: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(DUMMY.read_text())
    sweep = {
        "name": "demo",
        "program": "program.py",
        "method": "grid",
        "metric": {"name": "val/mae", "goal": "minimize"},
        "parameters": {"letter": {"values": ["e", "é"]}, "fail": {"values": [False, True]}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert run(tmp_path, stdout, stderr, "sweep.py", "sweep.yaml", "--no-report") == 1
    trials = json.loads((tmp_path / "runs" / "demo" / "sweep.json").read_text())["trials"]
    assert sorted(trial["status"] for trial in trials) == [
        "failed",
        "failed",
        "finished",
        "finished",
    ]
    logs = [log.read_text() for log in (tmp_path / "runs" / "demo" / "trials").glob("*.log")]
    assert sum("last words" in log for log in logs) == 2, "a trial has no output of its own"
    (tmp_path / "runs" / "demo" / "repaired").touch()
    retry = ["sweep.yaml", "--no-report", "--retry-failed"]
    assert run(tmp_path, stdout, stderr, "sweep.py", *retry) == 0
    assert stdout != ASCII or r"\xe9" in (tmp_path / "log").read_text(encoding="ascii")


@pytest.mark.parametrize(("stdout", "stderr"), [(CLOSED, CLOSED), (GONE, GONE), (ASCII, FULL)])
def test_a_report_is_written_all_the_same(
    stdout: str, stderr: str, finished_run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "é.html"
    arguments = [str(finished_run), "-o", str(page)]
    assert run(tmp_path, stdout, stderr, "report.py", *arguments) == 0
    assert "</html>" in page.read_text()
    assert stdout != ASCII or r"\xe9" in (tmp_path / "log").read_text(encoding="ascii")
    assert run(tmp_path, stdout, stderr, "report.py", "no/such/run") == 2


@pytest.mark.parametrize(
    ("program", "stdout", "stderr"),
    [
        ("qm9.validate", GONE, CLOSED),
        ("qm9.validate", FULL, FULL),
        ("benchmarks.planted", FULL, GONE),
        ("upload.py", GONE, FULL),
        ("prune.py", CLOSED, GONE),
    ],
)
def test_every_entry_point_ends_as_it_should(
    program: str, stdout: str, stderr: str, tmp_path: Path
) -> None:
    assert run(tmp_path, stdout, stderr, program, "--help") == 0
    assert run(tmp_path, stdout, stderr, program, "--no-such-option") == 2
