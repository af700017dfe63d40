"""The loopback W&B server receives the real client's data, and its staged faults are really hit."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wandb

from tests import wandb_graphql
from tests.patience import LIMIT
from tests.wandb_server import FAULTS, WandbServer

PROGRAM = """
import sys, time
import numpy as np
import wandb

first, last = int(sys.argv[1]), int(sys.argv[2])
settings = wandb.Settings(console="off", x_disable_stats=True)
run = wandb.init(project="demo", id="abc", name="first", resume="allow", settings=settings,
                 config={"model.irreps": "8x0e", "l_values": [0, 1]})
run.define_metric("*", step_metric="epoch")
for epoch in range(first, last):
    run.log({"epoch": epoch, "val/mae": 1.0 / (1 + epoch)})
    time.sleep(0.1)
picture = wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))
table = wandb.Table(columns=["irrep", "verdict"], data=[["0e", "used"]])
run.log({"epoch": last - 1, "utilization/heatmap": picture, "utilization/table": table})
run.finish()
"""


def log_epochs(server, folder, first, last, **environ):
    """Log epochs with the real client in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(first), str(last)],
        cwd=folder,
        env=server.environment(folder, WANDB_RUN_GROUP="group", WANDB_TAGS="a,b", **environ),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in two sessions, the second of which resumes the first."""
    folder = tmp_path_factory.mktemp("client")
    with WandbServer() as server:
        log_epochs(server, folder, 0, 3)
        log_epochs(server, folder, 3, 5)
        assert server.unknown == []
        assert server.rejected_keys == 0
        return server.runs["abc"]


def test_configuration_and_names_arrive(run):
    assert (run.project, run.display_name, run.group, run.tags) == (
        "demo",
        "first",
        "group",
        ["a", "b"],
    )
    assert run.config["model.irreps"] == "8x0e"
    assert run.config["l_values"] == [0, 1]


def test_a_resumed_history_continues(run):
    assert run.metric("val/mae") == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert [row["_step"] for row in run.history] == [0, 1, 2, 3, 4, 5, 6]
    assert run.rewritten == []


def test_pictures_tables_and_summary_arrive(run):
    assert len(run.images) == 2
    assert run.images[0].startswith("media/images/utilization/heatmap")
    assert run.files[run.images[0]].startswith(b"\x89PNG")
    assert run.tables["utilization/table"]["data"] == [["0e", "used"]]
    assert run.summary["val/mae"] == pytest.approx(0.2)


def test_the_server_knows_how_the_run_ended(run):
    assert (run.state, run.exit_code, run.attempts, run.preempting) == ("finished", 0, 2, False)


def break_and_finish(kind, folder):
    """Log epochs while the history cannot be sent; end the fault after some seconds."""
    with WandbServer() as server, ThreadPoolExecutor(1) as pool:
        logging = pool.submit(log_epochs, server, folder, 0, 30)
        server.wait_for(lambda: "abc" in server.runs, LIMIT)
        with server.fault(kind, "" if kind == "refuse" else "file_stream", seconds=2) as fault:
            deadline = time.monotonic() + LIMIT
            while fault.kind != "refuse" and not fault.hits and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(2)
        logging.result()
        return server, fault


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """All faults at the same time, each with a server of its own."""
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        folders = {kind: tmp_path_factory.mktemp(kind) for kind in FAULTS}
        futures = {kind: pool.submit(break_and_finish, kind, folders[kind]) for kind in FAULTS}
        return {kind: future.result() for kind, future in futures.items()}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_hit_and_nothing_is_lost_afterwards(broken, kind):
    server, fault = broken[kind]
    assert fault.hits > 0
    assert server.runs["abc"].metric("epoch")[:30] == list(range(30))
    assert server.runs["abc"].state == "finished"


def test_a_wrong_key_is_rejected_and_counted(server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "0", "1"],
        cwd=tmp_path,
        env=server.environment(tmp_path, WANDB_API_KEY="f" * 40),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode != 0
    assert server.rejected_keys > 0
    assert server.runs == {}


def test_no_address_of_an_ended_service_is_left_behind(tmp_path: Path) -> None:
    wandb.teardown()  # an earlier test's service would be kept, and the environment not told
    wandb.setup()
    assert "WANDB_SERVICE" in os.environ
    with WandbServer() as quiet, quiet.client(tmp_path):
        pass
    assert "WANDB_SERVICE" not in os.environ


def test_an_unknown_fault_is_refused(server):
    with pytest.raises(ValueError, match="drop"), server.fault("earthquake"):
        pass


def test_graphql_projects_aliases_fragments_and_directives():
    document = wandb_graphql.parse(
        "query Q($n: String!, $deep: Boolean!) { "
        "  short: project(name: $n, tags: [1, {a: true}]) { ...F  gone @skip(if: true) } } "
        "fragment F on Project { name runs { edges { node { id } } } "
        "  ... on Project @include(if: $deep) { size } }"
    )
    asked = []

    def resolve(name, arguments):
        asked.append((name, arguments))
        runs = {"edges": [{"node": {"id": 1, "secret": 2}}]}
        return {"name": "p", "runs": runs, "size": lambda **_: 3, "gone": 4}

    answer = wandb_graphql.execute(document, {"n": "p", "deep": True}, resolve)
    project = {"name": "p", "runs": {"edges": [{"node": {"id": 1}}]}, "size": 3}
    assert answer == {"short": project}
    assert asked == [("project", {"name": "p", "tags": [1, {"a": True}]})]


def test_unknown_requests_are_remembered(server):
    with pytest.raises(wandb_graphql.GraphQLError, match="nonsense"):
        server.answer(wandb_graphql.parse("query Q { nonsense { id } }"), {})
    assert server.unknown == ["query Q: nonsense"]
