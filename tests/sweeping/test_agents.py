"""The real `wandb` command, real agents and the launchers, against the loopback server.

An agent looks at its runs only every 5 seconds, so all scenarios run once, at the same time.
"""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sweeping.command import render_command
from sweeping.file import load_sweep_file
from sweeping.space import grid
from tests.patience import LIMIT
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "dummy_wandb_program.py"
BIN = Path(sys.executable).parent
EPOCHS = 6
METRIC = {"name": "val/mae", "goal": "minimize"}


def sweep_config(parameters: dict, **more: object) -> dict:
    """Configure a sweep of the dummy program; parameters are lists of values or definitions."""
    leaves = {
        name: value if isinstance(value, dict) else {"values": value}
        for name, value in parameters.items()
    }
    return {
        "program": "program.py",
        "method": "grid",
        "metric": METRIC,
        "parameters": leaves,
        **more,
    }


class Place:
    """A folder with the program, a sweep file and launchers, as a user would have it."""

    def __init__(self, folder: Path, server: WandbServer, config: dict) -> None:
        self.folder = self.cwd = folder
        self.processes: list[subprocess.Popen] = []
        self.server = server
        (folder / "stubs").mkdir(parents=True)
        shutil.copy(PROGRAM, folder / "program.py")
        shutil.copytree(REPOSITORY / "sweeps", folder / "sweeps")
        (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
        self.environ = server.environment(folder, OMP_NUM_THREADS="1")
        self.environ["PATH"] = f"{folder / 'stubs'}{os.pathsep}{self.environ['PATH']}"
        self.environ.pop("CUDA_VISIBLE_DEVICES", None)

    def stub(self, name: str, text: str) -> None:
        """Put a shell script on PATH before all other commands."""
        path = self.folder / "stubs" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def create(self) -> str:
        """Run `wandb sweep sweep.yaml` and return the sweep's ID."""
        done = subprocess.run(
            [BIN / "wandb", "sweep", str(self.folder / "sweep.yaml")],
            cwd=self.cwd,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr.rpartition("wandb agent ")[2].split()[0]

    def start(self, *command: str, **environ: str) -> subprocess.Popen:
        """Start a launcher."""
        with (self.folder / "launcher.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.cwd,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Stop what a failed scenario left; launchers stop their agents, agents their runs."""
        for process in self.processes:
            process.terminate()
            process.wait(LIMIT)

    def log(self) -> str:
        """What the launchers printed."""
        return (self.folder / "launcher.log").read_text()

    def starts(self) -> list[dict]:
        """Every start of the program."""
        lines = (self.folder / "starts").read_text().splitlines()
        return [json.loads(line) for line in lines]


def share_a_grid(place: Place) -> SimpleNamespace:
    """agents.sh starts one agent on each of two GPUs; one configuration fails."""
    place.stub("nvidia-smi", f"[ $1 = -L ] || exit 9\ncat <<END\n{TWO_GPUS}END")
    sweep = place.create()
    launcher = place.start("sweeps/agents.sh", sweep, WANDB_AGENT_DISABLE_FLAPPING="true")
    code = launcher.wait(LIMIT)
    return SimpleNamespace(place=place, sweep=sweep, code=code)


def preempt_and_resume(place: Place) -> SimpleNamespace:
    """A task of a job array near its time limit is stopped, and Slurm starts it again."""
    place.stub(
        "scontrol",
        'if [ "$1" = requeue ]; then echo "$@" >> requeued; exit; fi\n'
        'echo "JobId=77 JobState=RUNNING EndTime=$(date -d "+100 seconds" +%FT%T) Deadline=N/A"',
    )
    sweep = place.create()
    name = sweep.rpartition("/")[2]
    slurm = {
        "SLURM_SUBMIT_DIR": str(place.folder),
        "SLURM_JOB_ID": "77",
        "SLURM_ARRAY_JOB_ID": "70",
        "SLURM_ARRAY_TASK_ID": "0",
    }
    runs = place.server.runs
    job = place.start("bash", "sweeps/agents.slurm", sweep, **slurm)
    place.server.wait_for(lambda: len(runs.get(f"{name}-0", NOTHING).history) >= 2, LIMIT)
    job.send_signal(signal.SIGTERM)
    code = job.wait(LIMIT)
    first = SimpleNamespace(code=code, state=runs[f"{name}-0"].state)
    first.exit_code, first.rows = runs[f"{name}-0"].exit_code, len(runs[f"{name}-0"].history)
    again = place.start("bash", "sweeps/agents.slurm", sweep, **slurm).wait(LIMIT)
    return SimpleNamespace(place=place, run=runs[f"{name}-0"], first=first, code=again)


def stop_by_hyperband(place: Place) -> SimpleNamespace:
    """One agent runs two good configurations, and then a bad one."""
    sweep = place.create()
    code = place.start(str(BIN / "wandb"), "agent", "--forward-signals", sweep).wait(LIMIT)
    runs = place.server.sweeps[sweep.rpartition("/")[2]].runs
    return SimpleNamespace(place=place, runs=[place.server.runs[run] for run in runs], code=code)


def stop_all(place: Place) -> SimpleNamespace:
    """agents.sh gets Ctrl-C while two agents work."""
    sweep = place.create()
    name = sweep.rpartition("/")[2]
    launcher = place.start("sweeps/agents.sh", sweep, CUDA_VISIBLE_DEVICES="3,GPU-x")
    runs = place.server.runs
    place.server.wait_for(
        lambda: all(runs.get(f"{name}-{i}", NOTHING).history for i in (0, 1)), LIMIT
    )
    launcher.send_signal(signal.SIGINT)
    return SimpleNamespace(place=place, name=name, code=launcher.wait(LIMIT))


def train_for_real(place: Place) -> SimpleNamespace:
    """An agent trains on real QM9, is preempted after an epoch, and another agent continues."""
    folder, runs = place.folder, place.server.runs
    place.cwd = REPOSITORY
    place.environ |= {"WANDB_DIR": str(folder), "MPLBACKEND": "agg"}
    sweep = place.create()
    name = f"{sweep.rpartition('/')[2]}-0"
    agent = place.start(str(BIN / "wandb"), "agent", "--forward-signals", sweep)
    place.server.wait_for(lambda: epochs_of(runs.get(name, NOTHING)), LIMIT)
    agent.send_signal(signal.SIGTERM)
    agent.wait(LIMIT)
    first = SimpleNamespace(state=runs[name].state, exit_code=runs[name].exit_code)
    first.epochs = epochs_of(runs[name])
    code = place.start(str(BIN / "wandb"), "agent", "--forward-signals", sweep).wait(LIMIT)
    return SimpleNamespace(place=place, run=runs[name], first=first, code=code)


def epochs_of(run: RunRecord | SimpleNamespace) -> list[int]:
    """List the epochs whose validation error has arrived."""
    return [row["epoch"] for row in run.history if "val/mae" in row]


NOTHING = SimpleNamespace(history=[])
TWO_GPUS = """\
GPU 0: NVIDIA H200 (UUID: GPU-0a1b)
GPU 1: NVIDIA H200 (UUID: GPU-2c3d)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0a1b)
  MIG 3g.20gb     Device  0: (UUID: MIG-77aa)
  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-88bb/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2c3d)
"""
TINY = {
    "data.train_size": 256,
    "data.val_size": 64,
    "data.test_size": 64,
    "model.num_layers": 2,
    "trainer.max_epochs": EPOCHS,
    "seed_everything": 0,
}
SCENARIOS: dict[str, tuple[Callable[[Place], SimpleNamespace], dict]] = {
    "grid": (
        share_a_grid,
        sweep_config(
            {
                "lr": [0.2, 0.3, 1.0e-7],
                "data.sizes": [[0, 1, 2]],
                "flag": [True],
                "names": [["a", "b c"]],
                "nest": {"parameters": {"b": {"value": {"z": 1, "a": None}}, "a": {"value": "hi"}}},
                "text": ["16x0e+16x1o"],
            },
            command=[
                "${env}",
                "${interpreter}",
                "${program}",
                "literal",
                "--home=${envvar:WANDB_PROJECT}",
                "${envvar:NOT_SET_AT_ALL}",
                "${args}",
                "${args_no_hyphens}",
                "${args_no_boolean_flags}",
                "${args_no_equals}",
                "${args_append_hydra}",
                "${args_override_hydra}",
                "${args_json}",
                "${unknown}",
            ],
        ),
    ),
    "preempt": (
        preempt_and_resume,
        sweep_config({"epochs": [5], "seconds": [0.5]}),
    ),
    "hyperband": (
        stop_by_hyperband,
        sweep_config(
            {"lr": [0.1, 0.2, 7.0], "epochs": [20], "seconds": [0.4]},
            early_terminate={"type": "hyperband", "min_iter": 3, "eta": 2},
        ),
    ),
    "train": (
        train_for_real,
        sweep_config(
            {"model.irreps": ["8x0e+8x1o"], **{name: [value] for name, value in TINY.items()}},
            program="train.py",
            command=[
                "${env}",
                "${interpreter}",
                "${program}",
                "--config=configs/quickstart.yaml",
                "--runs_dir=${envvar:WANDB_DIR}/runs",
                "${args}",
            ],
        ),
    ),
    "stop": (
        stop_all,
        sweep_config({"lr": [1.0, 2.0, 3.0], "epochs": [200], "seconds": [0.5]}),
    ),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run all scenarios at once; yield the server and the outcome of each scenario."""
    folder = tmp_path_factory.mktemp("agents")
    with WandbServer() as server, ThreadPoolExecutor(len(SCENARIOS)) as pool:
        places = {n: Place(folder / n, server, config) for n, (_, config) in SCENARIOS.items()}
        futures = {n: pool.submit(run, places[n]) for n, (run, _) in SCENARIOS.items()}
        try:
            yield server, {name: future.result() for name, future in futures.items()}
        finally:
            for place in places.values():
                place.stop()


def test_the_server_knows_every_request(outcome):
    assert outcome[0].unknown == []


def test_two_agents_share_the_grid_and_each_configuration_runs_once(outcome):
    server, done = outcome
    grid_done = done["grid"]
    assert grid_done.code == 0, grid_done.place.log()
    sweep = server.sweeps[grid_done.sweep.rpartition("/")[2]]
    assert len(sweep.runs) == 3
    started = grid_done.place.starts()
    assert sorted(start["id"] for start in started) == sorted(sweep.runs)
    assert {start["gpu"] for start in started} == {"0", "1"}
    logs = grid_done.place.folder.glob(f"runs/agents/{sweep.id}/*-gpu[01].log")
    assert len(list(logs)) == 2


def test_a_failing_configuration_is_failed_and_its_agent_goes_on(outcome):
    server, done = outcome
    runs = [server.runs[run] for run in server.sweeps[done["grid"].sweep.rpartition("/")[2]].runs]
    states = {run.config["lr"]: (run.state, run.exit_code) for run in runs}
    assert states == {0.2: ("finished", 0), 0.3: ("failed", 1), 1e-7: ("finished", 0)}
    assert [run.metric("epoch") for run in runs if run.state == "finished"] == [[0, 1]] * 2


def test_command_lines_equal_those_of_the_agent(outcome, monkeypatch):
    place = outcome[1]["grid"].place
    theirs = {start["argv"][-1]: start["argv"] for start in place.starts()}
    monkeypatch.chdir(place.folder)
    sweep = load_sweep_file("sweep.yaml")
    ours = {}
    for configuration in grid(sweep.parameters):
        command = render_command(
            sweep.command,
            sweep.program,
            configuration,
            environ={"WANDB_PROJECT": "uncategorized"},
        )
        assert command[:3] == ["/usr/bin/env", "python", "program.py"]
        ours[command[-1]] = command[3:]
    assert ours == theirs
    flags = [item for item in next(iter(theirs.values())) if item.startswith("--data.sizes=")]
    assert ast.literal_eval(flags[0].partition("=")[2]) == [0, 1, 2]


def test_sigterm_marks_the_run_preempting_and_requeues_the_job(outcome):
    preempted = outcome[1]["preempt"]
    assert preempted.first.code == 143
    assert (preempted.first.state, preempted.first.exit_code) == ("preempted", 143)
    assert 2 <= preempted.first.rows < 5
    assert (preempted.place.folder / "requeued").read_text() == "requeue 70_0\n"


def test_the_next_agent_resumes_the_same_run_without_gap_or_repetition(outcome):
    resumed = outcome[1]["preempt"]
    assert resumed.code == 0, resumed.place.log()
    run = resumed.run
    assert (run.state, run.resumed, run.attempts) == ("finished", 1, 2)
    assert run.metric("epoch") == [0, 1, 2, 3, 4]
    assert [row["_step"] for row in run.history] == [0, 1, 2, 3, 4]
    assert run.rewritten == []


def test_hyperband_stops_only_the_bad_run_and_does_not_requeue_it(outcome):
    hyperband = outcome[1]["hyperband"]
    assert hyperband.code == 0
    assert [run.state for run in hyperband.runs] == ["finished", "finished", "killed"]
    assert 3 < len(hyperband.runs[2].history) < 20
    assert hyperband.runs[2].attempts == 1


def test_ctrl_c_on_the_launcher_stops_all_agents_and_their_runs(outcome):
    server, done = outcome
    stopped = done["stop"]
    assert stopped.code == 130, stopped.place.log()
    states = [server.runs[f"{stopped.name}-{i}"].state for i in (0, 1)]
    assert states == ["preempted", "preempted"]
    assert f"{stopped.name}-2" not in server.runs
    assert {start["gpu"] for start in stopped.place.starts()} == {"3", "GPU-x"}


def test_train_py_is_preempted_and_resumed_by_the_next_agent(outcome):
    trained = outcome[1]["train"]
    assert (trained.first.state, trained.first.exit_code) == ("preempted", 143)
    assert trained.first.epochs == list(range(len(trained.first.epochs)))
    assert trained.code == 0, trained.place.log()
    run = trained.run
    assert (run.state, run.attempts, run.resumed, run.rewritten) == ("finished", 2, 1, [])
    assert epochs_of(run) == list(range(EPOCHS)), "a gap or a repetition"
    steps = [row["_step"] for row in run.history]
    assert steps == list(range(len(steps)))


def test_a_value_that_the_sweep_has_set_is_no_reason_to_warn(outcome):
    assert "locked by" not in outcome[1]["train"].place.log()


def test_a_run_of_train_py_arrives_completely(outcome):
    run = outcome[1]["train"].run
    assert run.config["model.irreps"] == "8x0e+8x1o"
    assert run.config["data.train_size"] == 256
    assert run.summary["test/mae"] > 0
    assert isinstance(run.summary["val/mae"], int | float), "agents compare runs by this number"
    pictures = {"utilization/heatmap": 2, "latent/umap": EPOCHS}  # untrained and best; all epochs
    for picture, count in pictures.items():
        logged = {row["epoch"] for row in run.history if picture in row}
        assert len(logged) >= count, picture
        assert logged <= set(range(-1, EPOCHS)), picture
        arrived = [name for name in run.images if picture in name]
        assert len(arrived) >= count
    assert {"utilization/table", "latent/molecules"} <= set(run.tables)
    assert run.group is None


@pytest.mark.parametrize("script", ["agents.sh", "agents.slurm"])
def test_the_launchers_pass_shellcheck(script):
    done = subprocess.run(
        [BIN / "shellcheck", f"sweeps/{script}"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sweeps/agents.sh"], "usage"),
        (["sweeps/agents.sh", "sweeps/irreps.yaml"], "wandb sweep sweeps/irreps.yaml"),
        (["bash", "sweeps/agents.slurm"], "usage"),
    ],
)
def test_the_launchers_say_what_they_need(command, expected):
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert expected in done.stderr


@pytest.mark.parametrize(
    ("smi", "variables", "expected"),
    [
        (f"cat <<END\n{TWO_GPUS}END", {}, ["0", "1"]),
        (f"cat <<END\n{DIVIDED}END", {}, ["MIG-77aa", "MIG-GPU-88bb/2/0", "1"]),
        ("exit 0", {}, ["none"]),
        ("exit 9", {"CUDA_VISIBLE_DEVICES": "GPU-2c3d, MIG-77aa"}, ["GPU-2c3d", "MIG-77aa"]),
        ("exit 9", {"CUDA_VISIBLE_DEVICES": "-1"}, ["none"]),
        ("exit 9", {"CUDA_VISIBLE_DEVICES": ""}, ["none"]),
    ],
)
def test_every_gpu_or_part_of_one_gets_an_agent(
    smi: str, variables: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    done, agents = run_launcher(tmp_path, smi, variables)
    assert done.returncode == 0, done.stderr
    assert sorted(agents) == sorted(expected)
    assert len(list((tmp_path / "runs" / "agents" / "ID").glob("*.log"))) == len(expected)


def test_gpus_that_cannot_be_listed_do_not_become_a_cpu(tmp_path: Path) -> None:
    done, agents = run_launcher(tmp_path, "echo Failed to initialize NVML; exit 9", {})
    assert done.returncode == 1
    assert "set CUDA_VISIBLE_DEVICES" in done.stderr
    assert agents == []


def test_an_agent_leaves_a_core_to_the_pictures(tmp_path: Path) -> None:
    run_launcher(tmp_path, f"cat <<END\n{TWO_GPUS}END", {}, nproc=8)
    assert (tmp_path / "threads").read_text().split() == ["3", "3"]


def run_launcher(
    folder: Path, smi: str, variables: dict[str, str], nproc: int = 2
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run agents.sh with stubs; also list the devices that its agents were given."""
    agent = (
        'echo "${CUDA_VISIBLE_DEVICES:-none}" | sed "s/^-1$/none/" >> given\n'
        "echo $OMP_NUM_THREADS >> threads"
    )
    for name, text in {"nvidia-smi": smi, "nproc": f"echo {nproc}", "wandb": agent}.items():
        path = folder / "stubs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    hidden = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    environ["PATH"] = f"{folder / 'stubs'}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", str(REPOSITORY / "sweeps" / "agents.sh"), "ENTITY/PROJECT/ID"],
        cwd=folder, env=environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    given = folder / "given"
    return done, given.read_text().splitlines() if given.exists() else []
