"""W&B's server fails at the start, in the middle or at the end: training goes on, nothing is lost.

All tests use the real client and the loopback server, and none of them looks at a clock: each wait
is known to be bounded because the fault is lifted only after it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from records.run_files import REPORTED_FILES
from records.upload_command import upload_command
from records.wandb_media import Drawing, Table
from runtime.metrics_logger import MetricsCSVLogger
from runtime.wandb_logger import EpochWandbLogger
from runtime.wandb_server import choose_mode
from runtime.wandb_session import PREEMPTED_SECONDS, start_wandb
from tests.faults import trains
from tests.faults.trains import TrainServer, assert_same_run
from tests.faults.wandb_stage import (
    FAULTS,
    LIMIT,
    MOMENTS,
    Stage,
    StageFault,
    assert_all_rows_arrived,
    upload,
    warnings_in,
)
from tests.programs import run_train
from tests.wandb_cells import assert_every_cell_arrived_once
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parents[2]
EPOCHS = 5
LONG = 600.0
"""Seconds: longer than any fault lasts."""
TINY = [
    "--run_name=tiny",
    "--model.irreps=4x0e+4x1o",
    "--model.num_layers=2",
    "--model.embedding_dim=8",
    "--data.train_size=32",
    "--data.val_size=20",
    "--data.test_size=20",
    f"--trainer.max_epochs={EPOCHS}",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.callbacks+=tests.faults.wandb_stage.StageFault",
    "--utilization.num_molecules=20",
    "--utilization.num_bootstrap=50",
    "--latent.enabled=false",
]
CAUSES = {
    "refuse": "cannot be reached from here",
    "hang": "has not answered within",
    "drop": "breaks connections off",
    "status": "answers with HTTP 503",
    "slow": "answers too slowly",
    "key": "does not accept the API key",
}
EXCEPTIONS = {
    ("slow", "finish"): "--wandb_finish_timeout",
    # The key is accepted again by the time the run asks why uploads failed.
    ("key", "middle"): "debug-internal.log",
}


def timeouts(stage: Stage) -> dict[str, float]:
    """Timeouts for start and end. The fault lasts longer than the one at its own moment."""
    # A slow server answers a single question in 2 s, but starting a run takes several.
    short = 3.0 if stage.fault == "slow" else 2.0
    return {f"{end}_timeout": short if stage.moment == end else LONG for end in ("start", "finish")}


def log_epochs(stage: Stage, folder: Path) -> str:
    """Use W&B as a run does, but without training; return what the user is told."""
    with stage.server.client(folder):
        if stage.moment == "start":
            stage.begin()
        waits = timeouts(stage)
        mode, reason = choose_mode(waits["start_timeout"])
        session = start_wandb(
            mode,
            reason,
            folder,
            run_id="abc",
            name="tiny",
            project="irrepscope",
            config={"model.irreps": "4x0e"},
            stop=lambda: None,
            **waits,
        )
        logger, metrics = EpochWandbLogger(session.run), MetricsCSVLogger(folder / "metrics.csv")
        for epoch in range(-1, EPOCHS):
            if stage.moment == "middle" and epoch == 1:
                stage.begin()
            if stage.moment == "middle" and epoch == 3:
                stage.wait_for_a_hit()
                stage.end()
            for sink in (metrics, logger):
                sink.log_metrics({"epoch": epoch, "val/mae": 1.0 / (2 + epoch)}, step=epoch)
            logger.on_epoch_saved(epoch)
        if stage.moment == "finish":
            stage.begin()
        warning = session.finish(0)
        stage.end()
        lines = [session.reason, warning or ""]
        if session.mode == "offline":
            lines[0] += f" `{upload_command(folder)}`"
    return "\n".join(lines)


def check(stage: Stage, output: str, run_id: str, metrics: Path, folder: Path) -> None:
    """One warning names cause and remedy, and every row arrives, if need be by the remedy."""
    warnings = warnings_in(output)
    heals = stage.moment == "middle" and stage.fault != "key"
    if heals or (stage.fault == "slow" and stage.moment == "finish" and not warnings):
        assert warnings == []
    else:
        (warning,) = warnings
        assert EXCEPTIONS.get((stage.fault, stage.moment), CAUSES[stage.fault]) in warning
        upload(warning, stage.server, folder)
    run = stage.server.runs[run_id]
    assert_all_rows_arrived(run, metrics, EPOCHS)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert stage.server.unknown == []


@pytest.mark.parametrize(
    ("fault", "moment"),
    [
        ("hang", "start"),
        ("key", "start"),
        ("drop", "middle"),
        ("key", "middle"),
        ("refuse", "finish"),
    ],
)
def test_nothing_is_lost_and_one_line_says_what_to_do(
    fault: str, moment: str, tmp_path: Path
) -> None:
    with WandbServer() as server:
        stage = Stage(server, fault, moment)
        output = log_epochs(stage, tmp_path)
        check(stage, output, "abc", tmp_path / "metrics.csv", tmp_path)


def train_through(stage: Stage, folder: Path) -> None:
    """Run ``train.py`` with a fault, then apply the remedy that it names."""
    StageFault.stage = stage
    waits = [f"--wandb_{name}={seconds}" for name, seconds in timeouts(stage).items()]
    with stage.server.client(folder) as environment, contextlib.ExitStack() as ends:
        ends.callback(stage.end)
        if stage.moment == "start":
            stage.begin()
        wandb = {key: value for key, value in environment.items() if key.startswith("WANDB")}
        arguments = [*TINY, *waits, f"--runs_dir={folder}"]
        code, output = run_train(arguments, **{**wandb, "WANDB_MODE": ""})
    assert code == 0, output
    if stage.moment == "middle":
        assert stage.epochs_during == [1, 2], "training has waited for the server"
    (run_id,) = stage.server.runs or [None]
    metrics = folder / "tiny" / "metrics.csv"
    if run_id is None:
        (warning,) = warnings_in(output)
        upload(warning, stage.server, folder)
        (run_id,) = stage.server.runs
        assert CAUSES[stage.fault] in warning
        assert_all_rows_arrived(stage.server.runs[run_id], metrics, EPOCHS)
    else:
        check(stage, output, run_id, metrics, folder)


def test_training_goes_on_while_wandb_hangs(prepared_qm9: object, tmp_path: Path) -> None:
    with WandbServer() as server:
        train_through(Stage(server, "hang", "middle"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_at_every_moment_of_a_training(
    fault: str, moment: str, prepared_qm9: object, tmp_path: Path
) -> None:
    with WandbServer() as server:
        train_through(Stage(server, fault, moment), tmp_path)


def test_no_table_waits_while_wandb_hangs(tmp_path: Path) -> None:
    """W&B's client asks the server before it makes an artifact of a table, and waits 19 s."""
    table = Table(["irrep", "drawing"], [["1o", Drawing(b"")]])
    with WandbServer() as server, server.client(tmp_path):
        session = start_wandb(
            "online",
            "",
            tmp_path,
            run_id="abc",
            name="tiny",
            project="irrepscope",
            config={},
            stop=lambda: None,
            start_timeout=LONG,
            finish_timeout=LONG,
        )
        logger = EpochWandbLogger(session.run)
        with server.fault("hang") as fault:
            for epoch in range(2):
                logger.log_media({"table": table}, epoch)
            assert fault.hits > 0
            assert "ArtifactType" not in server.operations()
        assert session.finish(0) is None
    run = server.runs["abc"]
    assert [row["epoch"] for row in run.history if "table" in row] == [0, 1]
    assert run.tables["table"]["data"] == [["1o", None]]


PREEMPTED = """
import sys
from pathlib import Path
from runtime.wandb_session import start_wandb

session = start_wandb("online", "", Path(sys.argv[1]), run_id="abc", name="tiny", project="p",
                      config={}, stop=lambda: None, start_timeout=60, finish_timeout=80_000)
session.preempted_timeout = float(sys.argv[2])
session.run.log({"epoch": 0})
print("started", flush=True)
sys.stdin.readline()
print(session.finish(143, preempted=True))
sys.exit(143)
"""


@pytest.mark.parametrize("seconds", [1.0, pytest.param(PREEMPTED_SECONDS, marks=pytest.mark.slow)])
def test_a_preempted_process_is_gone_in_time_though_wandb_hangs(
    seconds: float, tmp_path: Path
) -> None:
    """Although ``--wandb_finish_timeout`` would let it wait for a day."""
    with WandbServer() as server:
        process = subprocess.Popen(
            [sys.executable, "-c", PREEMPTED, str(tmp_path), str(seconds)],
            cwd=REPOSITORY,
            env=server.environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        with server.fault("hang"):
            output, _ = process.communicate("\n", timeout=LIMIT)
        assert process.returncode == 143
        assert "has not answered" in output
        if seconds == PREEMPTED_SECONDS:
            upload(output, server, tmp_path)
            assert [row["epoch"] for row in server.runs["abc"].history] == [0]


KILLED = """
import sys
from pathlib import Path
from runtime.wandb_history import received_history
from runtime.wandb_logger import EpochWandbLogger
from runtime.wandb_session import start_wandb
from tests.faults.wandb_stage import services

def reconnect(run):
    logger.reconnect(run, received_history(run, "offline", Path(sys.argv[1]) / "wandb", None))

session = start_wandb("offline", "", Path(sys.argv[1]), run_id="abc", name="tiny", project="p",
                      config={}, stop=lambda: None, start_timeout=60, finish_timeout=60)
session.on_restart = reconnect
logger = EpochWandbLogger(session.run)
for service in services():
    service.kill()
for epoch in range(3):
    logger.log_metrics({"epoch": epoch, "val/mae": 1.0})
    logger.on_epoch_saved(epoch)
print(session.finish(0, summary={"test/mae": 1.0}))
"""


def test_a_run_outlives_the_service_process_of_wandb(tmp_path: Path) -> None:
    """As if memory ran out and the kernel killed the service."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "None\n", "it has a warning"
    with WandbServer() as server:
        upload(f"`{upload_command(tmp_path)}`", server, tmp_path)
        run = server.runs["abc"]
        assert run.metric("epochs") == [1, 2, 3]
        assert (run.state, run.summary["test/mae"]) == ("finished", 1.0)


KILLED_AS_IT_STARTS = """
import sys, threading, time
from pathlib import Path
from runtime.wandb_session import start_wandb
from tests.faults.wandb_stage import services

def kill():
    killed = set()
    while len(killed) < int(sys.argv[2]):
        for service in services():
            if service.pid not in killed:
                killed.add(service.pid)
                service.kill()
        time.sleep(0.001)

threading.Thread(target=kill, daemon=True).start()
session = start_wandb("offline", "as asked.", Path(sys.argv[1]), run_id="abc", name="tiny",
                      project="p", config={}, stop=lambda: None, start_timeout=60,
                      finish_timeout=60)
session.update_config({"a": 1})
session.run.log({"epoch": 0, "epochs": 1})
print(session.mode, session.reason, session.finish(0, summary={"test/mae": 1.0}))
"""


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (1, "offline as asked. None\n"),
        (99, "disabled W&B is disabled: its service process ends whenever it starts. None\n"),
    ],
)
def test_a_run_starts_though_the_service_process_of_wandb_is_killed(
    times: int, said: str, tmp_path: Path
) -> None:
    """W&B's client alone hangs for ever then."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AS_IT_STARTS, str(tmp_path), str(times)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


ANSWERING = """
import sys
from contextlib import contextmanager
from pathlib import Path
import wandb
from tests.faults.wandb_stage import services
from tests.runtime.test_journal import journal

moments = {sys.argv[2]}

def kill_at(moment):
    if moment in moments:
        moments.remove(moment)
        for service in services():
            service.kill()

@contextmanager
def starting(seconds):
    yield
    kill_at("start")

def finish(run, **options):
    kill_at("end")
    return ending(run, **options)

ending, wandb.Run.finish = wandb.Run.finish, finish
finished = journal(Path(sys.argv[1]))
finished.mode = "online"
finished._deferring_stop = starting
finished.record(status="finished", epochs=3, **{"test/mae": 1.0})
finished.log_results("other")
"""


@pytest.mark.parametrize("moment", ["start", "end"])
def test_a_finished_run_answers_though_the_service_process_of_wandb_is_killed(
    moment: str, tmp_path: Path
) -> None:
    with WandbServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", ANSWERING, str(tmp_path), moment],
            cwd=REPOSITORY,
            env=server.environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        run = server.runs["other"]
    assert [(row["epoch"], row["test/mae"]) for row in run.history] == [(2, 1.0)]
    assert (run.state, run.exit_code) == ("finished", 0)


def test_a_training_outlives_the_service_process_of_wandb(
    server: TrainServer, whole_run: Path, tmp_path: Path
) -> None:
    """Every number, table and picture is there, in the run's directory and after the upload."""
    command, run = [*trains.TINY, f"--runs_dir={tmp_path}"], tmp_path / "tiny"
    train = server.start(command, tmp_path / "log", pause=("training", 2), WANDB_MODE="offline")
    train.wait_until_paused()
    children = psutil.Process(train.pid).children(recursive=True)
    (service,) = (child for child in children if "wandb-core" in child.name())
    service.kill()
    train.resume()
    assert train.wait() == 0, train.output()
    assert "warning" not in train.output().lower(), train.output()
    assert_same_run(run, whole_run)
    with WandbServer() as wandb_server:
        upload(train.output(), wandb_server, tmp_path)
        (record,) = wandb_server.runs.values()
        assert_every_cell_arrived_once(record, run / "metrics.csv", trains.EPOCHS)
        assert {"utilization/table", "latent/molecules"} <= set(record.tables)
        drawn = [row["epoch"] for row in record.history if "latent/umap" in row]
        assert sorted(set(drawn)) == list(range(-1, trains.EPOCHS))
        assert len(record.metric("utilization/table")) == trains.EPOCHS + 1
        assert len(record.metric("utilization/heatmap")) == 2
        assert {name for name in REPORTED_FILES if (run / name).exists()} <= record.files.keys()
        assert any("_best" in name for name in record.summary)
