"""`sweep.py` with real processes: sharing, failing, stopping, continuing. The trial is a dummy."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import sweep as program
from sweeping.kept_results import failed_trials, finished_trials
from tests.patience import LIMIT
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parent.parent
DUMMY = REPOSITORY / "tests" / "sweeping" / "dummy_program.py"


class Sweep:
    """A sweep file in a folder of its own, and `sweep.py` run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs" / "demo"
        (folder / "program.py").write_text(DUMMY.read_text())
        self.write()

    def write(self, method: str = "grid", **parameters: object) -> None:
        """Write the sweep file; parameters are values or lists of values."""
        leaves = {
            name: {"values": value} if isinstance(value, list) else {"value": value}
            for name, value in (parameters or {"lr": [0.2, 0.1], "seed": [0, 1]}).items()
        }
        config = {
            "name": "demo",
            "program": "program.py",
            "method": method,
            "metric": {"name": "val/mae", "goal": "minimize"},
            "parameters": leaves,
        }
        (self.folder / "sweep.yaml").write_text(yaml.safe_dump(config))

    def start(self, *options: str, **environ: str) -> subprocess.Popen:
        """Start `sweep.py` in the background."""
        return subprocess.Popen(
            [sys.executable, str(REPOSITORY / "sweep.py"), "sweep.yaml", "--no-report", *options],
            cwd=self.folder,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, **environ: str) -> subprocess.CompletedProcess:
        """Run `sweep.py` to its end."""
        process = self.start(*options, **environ)
        out, err = process.communicate(timeout=LIMIT)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def trials(self) -> list[dict]:
        """The trials in `sweep.json`."""
        return json.loads((self.runs / "sweep.json").read_text())["trials"]

    def starts(self) -> list[dict]:
        """The starts of the program, of all trials."""
        files = sorted(self.runs.glob("*/starts"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def summaries(self) -> list[dict]:
        """The summaries of finished runs."""
        return [json.loads(file.read_text()) for file in sorted(self.runs.glob("*/summary.json"))]

    def wait_for_starts(self, count: int) -> list[dict]:
        """Wait until `count` trials have started."""
        deadline = time.monotonic() + LIMIT
        while len(self.starts()) < count:
            assert time.monotonic() < deadline, "the trials did not start"
            time.sleep(0.05)
        return self.starts()


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


def start_job(sweep: Sweep, task: int) -> subprocess.Popen:
    """Run the body of the job script as Slurm would, in the sweep's folder."""
    return subprocess.Popen(
        ["bash", str(REPOSITORY / "sweeps" / "agents.slurm"), "sweep.yaml", "--no-report"],
        cwd=sweep.folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(sweep.folder),
            "SLURM_ARRAY_TASK_ID": str(task),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


OFFLINE_PROGRAM = """
import os, sys, wandb
options = dict(item[2:].split("=", 1) for item in sys.argv[1:])
folder = os.path.join(options["runs_dir"], "run " + options["lr"])
os.makedirs(folder)
with open(os.environ["IRREPSCOPE_RESULT"], "w") as file:
    file.write(os.path.abspath(folder))
settings = wandb.Settings(console="off", x_disable_stats=True)
with wandb.init(mode="offline", dir=folder, config={"lr": options["lr"]}, settings=settings) as run:
    run.log({"epoch": 0, "val/mae": float(options["lr"])})
"""


def alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_grid_runs_once_and_ends_with_a_table(sweep):
    done = sweep.run("--workers", "2")
    assert done.returncode == 0, done.stderr
    assert [trial["status"] for trial in sweep.trials()] == ["finished"] * 4
    assert {summary["group"] for summary in sweep.summaries()} == {"demo"}
    lines = done.stdout.splitlines()
    header = next(line for line in lines if line.startswith("irreps"))
    assert " ".join(header.split()) == "irreps lr seed parameters val/mae test MAE [meV] run"
    first = lines[lines.index(header) + 2]
    assert first.split()[-5:] == ["0", "1,234", "0.1", "0.2", "runs/demo/lr_0.1-seed_0"]
    again = sweep.run()
    assert again.returncode == 0
    assert len(sweep.starts()) == 4


def test_a_trial_is_announced_by_what_distinguishes_it(sweep):
    sweep.write(lr=0.1, seed=[0, 1])
    lines = sweep.run("--workers=1").stderr.splitlines()
    assert lines[0] == "sweep.py: 2 trials, 1 at a time"
    assert [line for line in lines if "starts" in line] == [
        "trial 0 starts: seed=0",
        "trial 1 starts: seed=1",
    ]
    sweep.write(lr=0.3, seed=2)
    assert "trial 2 starts" in sweep.run().stderr.splitlines()


def test_trials_run_in_the_order_of_the_grid(sweep):
    sweep.run()
    given = [trial["configuration"] for trial in sweep.trials()]
    assert given == [{"lr": lr, "seed": seed} for lr in (0.2, 0.1) for seed in (0, 1)]


def test_new_values_in_the_file_add_trials_only(sweep):
    sweep.run()
    sweep.write(lr=[0.3, 0.2, 0.1], seed=[0, 1])
    done = sweep.run("--workers", "2")
    assert "6 of 6 finished" in done.stdout
    assert len(sweep.starts()) == 6


def test_a_random_search_needs_a_limit_and_a_seed_repeats_it(sweep):
    sweep.write("random", lr=[0.1 * i for i in range(1, 50)])
    refused = sweep.run()
    assert refused.returncode == 2
    assert "--count" in refused.stderr
    assert sweep.run("--count", "3", "--workers", "2").returncode == 0
    assert sweep.run("--count", "3").returncode == 0
    assert len(sweep.starts()) == 3
    sweep.run("--count", "1", "--seed", "7")
    assert len(sweep.starts()) == 4


def test_a_failing_trial_stops_no_other_and_is_named(sweep):
    sweep.write(fail=[True, False], lr=[0.1, 0.2])
    done = sweep.run()
    assert done.returncode == 1
    assert sorted(trial["status"] for trial in sweep.trials()) == ["failed"] * 2 + ["finished"] * 2
    assert "last words" in done.stderr
    assert "2 failed" in done.stdout
    assert "RuntimeError: this configuration cannot be trained" in done.stdout
    assert sweep.run().returncode == 1
    assert len(sweep.starts()) == 4, "failed trials are not run again unless asked"


def test_retry_failed_runs_only_the_failed(sweep):
    sweep.write(fail=[True, False])
    sweep.run()
    (sweep.runs / "repaired").touch()
    done = sweep.run("--retry-failed")
    assert done.returncode == 0
    assert len(sweep.starts()) == 3


def test_a_program_that_cannot_start_is_a_failed_trial(sweep):
    config = yaml.safe_load((sweep.folder / "sweep.yaml").read_text())
    config["command"] = ["/nowhere/python", "${program}", "${args}"]
    (sweep.folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    done = sweep.run()
    assert done.returncode == 1
    assert "cannot start" in done.stdout


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_the_children_and_the_next_start_continues(sweep, signum, code):
    sweep.write(epochs=3, lr=[0.1, 0.2, 0.3], seconds=0.4)
    process = sweep.start("--workers", "2")
    pids = [start["pid"] for start in sweep.wait_for_starts(2)]
    process.send_signal(signum)
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert "the same command continues it" in out
    assert not any(alive(pid) for pid in pids)
    statuses = [trial["status"] for trial in sweep.trials()]
    assert statuses == ["interrupted", "interrupted", "pending"]
    assert sweep.run("--workers", "3").returncode == 0
    for file in sweep.runs.glob("*/epochs"):
        assert file.read_text().split() == ["0", "1", "2"], "no epoch twice"


def test_a_child_that_does_not_end_is_killed_after_the_grace_time(sweep):
    sweep.write(hang=True, seconds=60)
    process = sweep.start("--grace", "0.5")
    (start,) = sweep.wait_for_starts(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    assert not alive(start["pid"])


def test_kill_and_restart_continues_and_repeats_nothing(sweep):
    sweep.write(epochs=2, lr=[0.1, 0.2, 0.3], seconds=0.5)
    process = sweep.start("--workers", "2")
    sweep.wait_for_starts(2)
    process.kill()
    process.communicate(timeout=LIMIT)
    done = sweep.run("--workers", "2")
    assert done.returncode == 0, done.stderr
    assert [trial["status"] for trial in sweep.trials()] == ["finished"] * 3
    for file in sweep.runs.glob("*/epochs"):
        assert file.read_text().split() == ["0", "1"], "no epoch twice"


def test_an_orphan_is_waited_for_and_its_result_taken(sweep):
    # With `hang` the child ignores the signal it gets when sweep.py dies, so it outlives sweep.py.
    sweep.write(hang=True, seconds=2)
    process = sweep.start()
    (orphan,) = sweep.wait_for_starts(1)
    process.kill()
    process.communicate(timeout=LIMIT)
    assert alive(orphan["pid"])
    done = sweep.run()
    assert done.returncode == 0
    assert "waiting for 1 trials" in done.stderr
    assert len(sweep.starts()) == 1


def test_two_at_once_share_the_trials(sweep):
    sweep.write(lr=[0.1 * i for i in range(1, 7)], seconds=0.3)
    both = [sweep.start() for _ in range(2)]
    for process in both:
        process.communicate(timeout=LIMIT)
    assert [process.returncode for process in both] == [0, 0]
    assert len(sweep.starts()) == 6


def test_a_damaged_state_is_set_aside(sweep):
    sweep.run()
    (sweep.runs / "sweep.json").write_text("{")
    done = sweep.run()
    assert done.returncode == 0
    assert "damaged" in done.stderr
    assert (sweep.runs / "sweep.json.damaged").read_text() == "{"


def test_each_device_has_its_own_worker(sweep):
    sweep.write(lr=[0.1, 0.2], seconds=0.5)
    assert sweep.run("--devices", "0,1", CUDA_VISIBLE_DEVICES="3,5").returncode == 0
    assert {summary["devices"] for summary in sweep.summaries()} == {"3", "5"}


def test_dry_run_prints_commands_and_touches_nothing(sweep):
    done = sweep.run("--dry-run")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert "program.py --lr=0.2 --seed=0 --runs_dir=runs/demo" in done.stdout
    assert not sweep.runs.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--workers", "0"], "--workers"),
        (["--workers", "many"], "--workers"),
        (["--devices", "0,0"], "--devices"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(sweep, options, expected):
    done = sweep.run(*options)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_sweep_ends_with_its_report(monkeypatch, capsys):
    asked = []

    def write_report(runs, output):
        asked.append((runs, output))
        return output

    monkeypatch.setattr("reporting.build.write_report", write_report)
    program._write_report(Path("runs/demo"), [Path("runs/demo")])
    assert asked == [([Path("runs/demo")], Path("runs/demo/report.html"))]
    assert capsys.readouterr().out == "\nReport: runs/demo/report.html\n"


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("no runs"), KeyError("irreps")])
def test_a_report_that_fails_is_one_warning_with_its_reason(monkeypatch, capsys, error):
    def write_report(runs, output):
        raise error

    monkeypatch.setattr("reporting.build.write_report", write_report)
    program._write_report(Path("runs/demo"), [Path("runs/demo")])
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning" in line
    assert str(error) in line
    assert "python report.py runs/demo" in line


def test_kept_results_spare_another_checkout_the_trials(sweep, tmp_path):
    (tmp_path / "other").mkdir()
    other = Sweep(tmp_path / "other")
    results = tmp_path / "results"
    sweep.write(lr=[0.2, 0.1], seed=[0])
    first = sweep.run("--results", str(results))
    assert first.returncode == 0, first.stderr
    kept = sorted(results.glob("demo/*/trial.json"))
    assert len(kept) == 2
    assert {file.name for file in kept[0].parent.iterdir()} == {"summary.json", "trial.json"}

    again = other.run("--results", str(results))
    assert again.returncode == 0, again.stderr
    assert [start["argv"] for start in other.starts()] == [
        ["--lr=0.1", "--seed=1", "--runs_dir=runs/demo"],
        ["--lr=0.2", "--seed=1", "--runs_dir=runs/demo"],
    ]
    assert "4 of 4 finished" in again.stdout
    assert len(list(results.glob("demo/*/trial.json"))) == 4


def test_results_of_a_trial_that_was_killed_while_they_were_kept_are_kept_again(sweep, tmp_path):
    results = tmp_path / "results"
    sweep.run("--results", str(results))
    file = min(results.glob("demo/*/trial.json"))
    file.unlink()  # it is written last
    (file.parent / "summary.json").write_text("half")
    done = sweep.run("--results", str(results))
    assert done.returncode == 0, done.stderr
    assert file.exists()
    assert json.loads((file.parent / "summary.json").read_text())["status"] == "finished"
    assert len(sweep.starts()) == 4


def test_a_failure_is_written_down_and_stays_so_when_the_trial_succeeds_later(sweep, tmp_path):
    results = tmp_path / "results"
    sweep.write(fail=[True, False])
    assert sweep.run("--results", str(results)).returncode == 1
    (failed,) = failed_trials(results).values()
    assert failed.configuration == {"fail": True}
    assert (failed.attempts, failed.exit_code) == (1, 1)
    assert "RuntimeError: this configuration cannot be trained" in failed.tail
    assert failed.key not in finished_trials(results)

    (sweep.runs / "repaired").touch()
    assert sweep.run("--results", str(results), "--retry-failed").returncode == 0
    assert failed_trials(results) == {failed.key: failed}
    assert failed.key in finished_trials(results)


def test_a_damaged_record_of_a_failure_is_named(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "failed-0123.json").write_text('{"version": 1}')
    with pytest.raises(
        ValueError, match=r"failed-0123\.json is damaged .*: restore it, or remove it"
    ):
        failed_trials(tmp_path)


def test_damaged_kept_results_are_named_before_anything_is_trained(sweep, tmp_path):
    results = tmp_path / "results"
    (results / "demo" / "run").mkdir(parents=True)
    (results / "demo" / "run" / "trial.json").write_text('{"version": 1}')
    done = sweep.run("--results", str(results))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "trial.json is damaged" in line
    assert sweep.starts() == []


def test_several_files_run_one_after_the_other(sweep):
    second = (sweep.folder / "sweep.yaml").read_text().replace("name: demo", "name: second")
    (sweep.folder / "second.yaml").write_text(second)
    done = sweep.run("second.yaml")
    assert done.returncode == 0, done.stderr
    assert "demo: 4 of 4 finished" in done.stdout
    assert "second: 4 of 4 finished" in done.stdout


def test_bayes_is_refused_with_the_command_to_use(sweep):
    sweep.write("bayes")
    done = sweep.run()
    assert done.returncode == 2
    assert "wandb sweep sweep.yaml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_job_array_without_internet_shares_the_trials_and_survives_a_stop(sweep):
    (sweep.folder / "sweep.py").symlink_to(REPOSITORY / "sweep.py")
    sweep.write(epochs=2, lr=[0.1, 0.2, 0.3], seconds=0.5)
    jobs = [start_job(sweep, task) for task in (0, 1)]
    sweep.wait_for_starts(2)
    jobs[0].send_signal(signal.SIGTERM)
    assert jobs[0].wait(LIMIT) == 143
    assert jobs[1].wait(LIMIT) == 0
    assert [trial["status"] for trial in sweep.trials()] == ["finished"] * 3
    for file in sweep.runs.glob("*/epochs"):
        assert file.read_text().split() == ["0", "1"], "no epoch twice"


def test_a_moved_sweep_goes_on_where_it_is_now(sweep):
    sweep.write(lr=[0.2, 0.1], epochs=3, seconds=0.5)
    process = sweep.start("--workers", "1")
    deadline = time.monotonic() + LIMIT
    while not sweep.summaries():
        assert time.monotonic() < deadline, "no trial has finished"
        time.sleep(0.05)
    sweep.wait_for_starts(2)
    process.kill()
    process.communicate()
    second = sweep.starts()[-1]["pid"]
    while alive(second):
        time.sleep(0.05)
    moved = sweep.folder / "elsewhere"
    (sweep.folder / "runs").rename(moved)
    sweep.runs = moved / "demo"
    done = sweep.run("--workers", "1", f"--runs_dir={moved}")
    assert done.returncode == 0, done.stderr
    assert not (sweep.folder / "runs").exists(), "the old place was made again"
    assert sweep.trials()[0]["attempts"] == 1, "a finished trial was started again"
    for file in sweep.runs.glob("*/epochs"):
        assert file.read_text().split() == ["0", "1", "2"], "no epoch twice"
    table = [line.split() for line in done.stdout.splitlines() if str(moved) in line]
    assert [line[-3:-1] for line in table] == [["0.1", "0.2"], ["0.2", "0.4"]]


def test_offline_runs_are_uploaded_as_one_group_by_the_printed_command(sweep):
    sweep.write(lr=[0.1, 0.2])
    (sweep.folder / "program.py").write_text(OFFLINE_PROGRAM)
    with WandbServer() as server:
        environ = server.environment(sweep.folder)
        done = sweep.run("--workers", "2", **environ)
        command = done.stdout.rpartition("wandb login && ")[2].strip()
        assert command == f"python {REPOSITORY / 'upload.py'} runs/demo"
        upload = subprocess.run(
            command, shell=True, cwd=sweep.folder, env=environ, capture_output=True, text=True
        )
        assert upload.returncode == 0, upload.stderr
    runs = server.runs.values()
    assert [(run.group, run.tags) for run in runs] == [("demo", ["sweep:demo"])] * 2
    assert sorted(run.metric("val/mae")[0] for run in runs) == [0.1, 0.2]
    assert server.unknown == []
