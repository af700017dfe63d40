"""A W&B server on 127.0.0.1 for tests with the real, unmodified client: runs, files, sweeps, views.

Tests import the fixture `wandb_server`, and read its records afterwards, for example
`wandb_server.runs["id"].history`. `wandb_server.fault(...)` stages a fault and counts its hits. A
request that the server does not know is answered with an error and kept in `unknown`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests import wandb_graphql
from tests.wandb_records import (
    AgentRecord,
    ArtifactRecord,
    RunRecord,
    SweepRecord,
    ViewRecord,
    unwrap,
)

API_KEY = "0123456789abcdef0123456789abcdef01234567"
ENTITY = "tester"
FAULTS = ("refuse", "hang", "drop", "slow", "status")


@dataclass
class Fault:
    """A staged fault, and how many requests it has hit."""

    kind: str
    match: str = ""
    status: int = 503
    seconds: float = 1.0
    times: int | None = None
    hits: int = 0
    lifted: threading.Event = field(default_factory=threading.Event)

    def applies(self, label: str) -> bool:
        """Return whether the fault hits a request with this label (path and operation)."""
        spent = self.times is not None and self.hits >= self.times
        return not self.lifted.is_set() and not spent and self.match in label


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    operation: str
    variables: dict[str, Any]
    status: int = 0


class WandbServer:
    """The server, and everything that it has been told.

    Attributes
    ----------
    runs, sweeps, agents, artifacts, views : dict
        Records by id; see `tests.wandb_records`.
    requests : list of Request
    unknown : list of str
        Requests and GraphQL fields that the server does not know. Tests assert that it is empty.
    rejected_keys : int
        Requests turned away with 401 because of their API key.
    rejected_rows : int
        Those of them that carry rows of the history or the client's signs of life.
    """

    def __init__(self, api_key: str = API_KEY, entity: str = ENTITY) -> None:
        self.api_key = api_key
        self.entity = entity
        self.runs: dict[str, RunRecord] = {}
        self.sweeps: dict[str, SweepRecord] = {}
        self.agents: dict[str, AgentRecord] = {}
        self.artifacts: dict[str, ArtifactRecord] = {}
        self.views: dict[str, ViewRecord] = {}
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self.rejected_keys = self.rejected_rows = 0
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._connections: set[socket.socket] = set()
        self._http: _HTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    # ---- start and stop -------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Base URL for `WANDB_BASE_URL`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> WandbServer:
        """Listen; after a stop, on the same port again."""
        self._http = _HTTPServer(("127.0.0.1", self._port), _Handler)
        self._http.wandb = self
        self._port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="wandb-server"
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads."""
        for fault in self.faults:
            fault.lifted.set()
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._thread.join()
        with self.lock:
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()
        self._http = self._thread = None

    def __enter__(self) -> WandbServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- for tests ------------------------------------------------------------------------------

    def settings(self, folder: Path | str, **extra: str) -> dict[str, str]:
        """Return the environment variables that a client of this server needs."""
        folder = Path(folder)
        settings = {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ERROR_REPORTING": "false",
            # In whole seconds. With the default of 15 a short run would send everything at once.
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "NETRC": str(folder / "netrc"),
        }
        for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
            path = folder / f"wandb-{name.lower()}"
            path.mkdir(parents=True, exist_ok=True)
            settings[f"WANDB_{name}_DIR"] = str(path)
        return {**settings, **extra}

    def environment(self, folder: Path | str, **extra: str) -> dict[str, str]:
        """Return an environment for `subprocess`: this process's, with this server's settings."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WANDB_") and name != "NETRC"
        }
        # An agent starts `python` from PATH, which must be this interpreter.
        here = str(Path(sys.executable).parent)
        inherited["PATH"] = os.pathsep.join([here, inherited.get("PATH", "")])
        return {**inherited, **self.settings(folder, **extra)}

    @contextlib.contextmanager
    def client(self, folder: Path | str, **extra: str) -> Iterator[dict[str, str]]:
        """Set up `os.environ` for a client in this process, and restore it afterwards."""
        # The client remembers the settings of an earlier test's run in this process.
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()
        # Only now, as it would otherwise hold the address of the service that has just ended.
        before = dict(os.environ)
        settings = self.environment(folder, **extra)
        os.environ.clear()
        os.environ.update(settings)
        try:
            yield settings
        finally:
            os.environ.clear()
            os.environ.update(before)
            if "wandb" in sys.modules:
                sys.modules["wandb"].teardown()

    @contextlib.contextmanager
    def fault(
        self,
        kind: str,
        match: str = "",
        *,
        status: int = 503,
        seconds: float = 1.0,
        times: int | None = None,
    ) -> Iterator[Fault]:
        """Stage a fault for the requests whose path or operation contains `match`.

        Kinds: `refuse` (port closed), `hang` (no answer while the fault lasts), `drop` (connection
        reset), `slow` (`seconds` late), `status` (that HTTP status). `fault.hits` counts requests;
        for `refuse` it is the growth of this machine's count of refused connections.
        """
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; use one of {', '.join(FAULTS)}")
        staged = Fault(kind, match, status, seconds, times)
        refused = refused_connections()
        if kind == "refuse":
            self.stop()
        with self.lock:
            self.faults.append(staged)
        try:
            yield staged
        finally:
            staged.lifted.set()
            with self.lock:
                self.faults.remove(staged)
            if kind == "refuse":
                staged.hits = refused_connections() - refused
                self.start()

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
        """Wait until the condition holds after some request; raise `TimeoutError` otherwise."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0:
                    states = {run.id: run.state for run in self.runs.values()}
                    raise TimeoutError(f"{what or 'condition'} not met in {seconds} s; {states}")
                self.changed.wait(min(left, 0.5))
        return value

    def stop_run(self, run_id: str) -> None:
        """Stop a run, as Hyperband or a click on the web page does."""
        with self.lock:
            self.runs[run_id].stopped = True

    def operations(self) -> dict[str, int]:
        """Count the requests for each GraphQL operation or path."""
        counts: dict[str, int] = {}
        for request in self.requests:
            name = request.operation or re.sub(
                r"/(storage|files)/.*?([^/]*)$", r"/\1/…", request.path
            )
            counts[name] = counts.get(name, 0) + 1
        return counts

    # ---- what the client asks for ---------------------------------------------------------------

    def answer(self, document: wandb_graphql.Document, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one GraphQL request."""

        def resolve(name: str, arguments: dict[str, Any]) -> Any:
            resolver = getattr(self, f"field_{snake_case(name)}", None)
            if resolver is None:
                self.unknown.append(f"{document.kind} {document.name}: {name}")
                raise wandb_graphql.GraphQLError(f"unknown field {name}")
            with self.lock:
                given = arguments.get("input", arguments)
                return resolver(**{snake_case(key): value for key, value in given.items()})

        return wandb_graphql.execute(document, variables, resolve)

    def field_viewer(self) -> dict[str, Any]:
        return {
            "id": "viewer",
            "entity": self.entity,
            "username": self.entity,
            "name": "Tester",
            "email": "tester@example.org",
            "flags": "{}",
            "admin": False,
            "teams": {"edges": []},
            "apiKeys": {"edges": []},
        }

    def field_server_info(self) -> dict[str, Any]:
        return {
            "cliVersionInfo": {"min_cli_version": "0.1.0", "max_cli_version": "99.0.0"},
            "features": [],
            "latestLocalVersionInfo": None,
        }

    def field_entity(self, name: str) -> dict[str, Any]:
        return {"id": f"entity-{name}", "name": name, "xxhashDigestsEnabled": False}

    def field_project(self, name: str | None = None, entity_name: str | None = None) -> Any:
        mine = [run for run in self.runs.values() if name in (None, run.project)]

        last_page = {"hasNextPage": False, "endCursor": None}

        def views(**given: Any) -> dict[str, Any]:
            wanted, kind = given.get("viewName"), given.get("viewType") or "runs"
            found = [v for v in self.views.values() if wanted in (None, v.name) and v.type == kind]
            edges = [{"node": view.node(), "cursor": view.id} for view in found]
            return {"edges": edges, "pageInfo": last_page}

        def listed(filters: str = "{}", **_: Any) -> dict[str, Any]:
            sweep = (json.loads(filters or "{}") or {}).get("sweep")
            found = [run for run in mine if sweep in (None, run.sweep)]
            edges = [{"node": run.node(), "cursor": run.id} for run in found]
            return {"edges": edges, "pageInfo": last_page}

        return {
            "id": "project",
            "internalId": "project",
            "name": name,
            "entity": {"id": f"entity-{entity_name}", "name": entity_name or self.entity},
            "entityName": entity_name or self.entity,
            "bucket": self._run_node,
            "run": self._run_node,
            "runs": listed,
            "runCount": lambda **_: len(mine),
            "sweep": lambda **given: self._sweep_node(given["sweepName"]),
            "allViews": views,
            "artifactType": lambda **_: None,
        }

    field_model = field_project

    def field_models(self, entity_name: str | None = None, **_: Any) -> dict[str, Any]:
        known = {"__typename": "Project", "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
        edges = [
            {"node": {**self.field_project(name, entity_name), **known}, "cursor": name}
            for name in sorted({run.project for run in self.runs.values()})
        ]
        last_page = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": None}
        return {"edges": edges, "pageInfo": last_page}

    def _run_node(self, name: str, **_: Any) -> dict[str, Any] | None:
        # W&B also calls a run missing that the sweep has only announced.
        run = self.runs.get(name)
        return run.node(self.url) if run and run.attempts else None

    def _sweep_node(self, name: str) -> dict[str, Any] | None:
        sweep = self.sweeps.get(name)
        return sweep.node(self.runs) if sweep else None

    def field_upsert_model(self, name: str, entity_name: str | None = None, **_: Any) -> Any:
        return {"model": self.field_project(name, entity_name), "project": self.field_project(name)}

    def field_upsert_bucket(self, **given: Any) -> dict[str, Any]:
        run_id = given.get("name") or str(given.get("id") or "").removeprefix("id-")
        if not run_id:
            run_id = f"run{len(self.runs)}"
        inserted = run_id not in self.runs
        run = self.runs.setdefault(
            run_id,
            RunRecord(
                run_id,
                given.get("entity_name") or self.entity,
                given.get("model_name") or "uncategorized",
            ),
        )
        if given.get("config"):
            run.config = unwrap(given["config"])
        names = {"display_name": "display_name", "group_name": "group", "job_type": "job_type"}
        names |= {"notes": "notes", "sweep": "sweep", "job_program": "program"}
        for theirs, ours in names.items():
            if given.get(theirs):
                setattr(run, ours, given[theirs])
        run.tags = given.get("tags") or run.tags
        if given.get("summary_metrics"):
            run.receive("wandb-summary.json", 0, [given["summary_metrics"]])
        if run.state not in ("running", "preempting"):
            run.state, run.exit_code, run.preempting = "running", None, False
            run.attempts += 1
        return {"bucket": run.node(), "inserted": inserted}

    def field_create_run_files(self, run_name: str, files: list[str], **_: Any) -> dict[str, Any]:
        urls = [
            {"name": name, "uploadUrl": f"{self.url}/storage/run/{run_name}/{name}"}
            for name in files
        ]
        return {"runID": f"id-{run_name}", "uploadHeaders": [], "files": urls}

    def field_mark_run_files_uploaded(self, **_: Any) -> dict[str, Any]:
        return {"success": True}

    # ---- sweeps ---------------------------------------------------------------------------------

    def field_upsert_sweep(self, **given: Any) -> dict[str, Any]:
        sweep_id = str(given.get("id") or "").removeprefix("id-")
        if not sweep_id:
            sweep_id = f"sweep{len(self.sweeps):03d}"
            self.sweeps[sweep_id] = SweepRecord(
                sweep_id,
                given.get("entity_name") or self.entity,
                given.get("project_name") or "uncategorized",
                given["config"],
            )
        sweep = self.sweeps[sweep_id]
        sweep.state = given.get("state") or sweep.state
        sweep.text = given.get("config") or sweep.text
        return {"sweep": sweep.node(self.runs), "configValidationWarnings": []}

    def field_create_agent(self, host: str, sweep: str, **_: Any) -> dict[str, Any]:
        agent = AgentRecord(f"agent{len(self.agents)}", sweep, host)
        self.agents[agent.id] = agent
        return {"agent": {"id": agent.id, "name": agent.id}}

    def field_agent_heartbeat(self, id: str, run_state: str = "{}", **_: Any) -> dict[str, Any]:
        agent = self.agents[id]
        agent.heartbeats += 1
        return {
            "agent": {"id": id},
            "commands": json.dumps(self._commands(agent, json.loads(run_state))),
        }

    def _commands(self, agent: AgentRecord, running: dict[str, bool]) -> list[dict[str, Any]]:
        sweep = self.sweeps[agent.sweep]
        for run_id in sweep.to_stop(self.runs):
            self.runs[run_id].stopped = True
        if sweep.state == "CANCELED":
            return [{"type": "exit"}]
        if running:
            stopped = [run_id for run_id in running if self.runs[run_id].stopped]
            return [{"type": "stop", "run_id": run_id} for run_id in stopped]
        if sweep.requeued:
            run_id = sweep.requeued.pop(0)
            self.runs[run_id].resumed += 1
            return [self._start(agent, sweep, run_id, "resume")]
        # A run that says it is being preempted comes back to the queue when its process is gone.
        if any(self.runs[run_id].state == "preempting" for run_id in sweep.runs):
            return []
        configuration = sweep.next_configuration() if sweep.state == "RUNNING" else None
        if configuration is None:
            agent.exited = True
            return [{"type": "exit"}]
        run_id = f"{sweep.id}-{len(sweep.runs)}"
        self.runs[run_id] = RunRecord(
            run_id, sweep.entity, sweep.project, config=configuration, sweep=sweep.id
        )
        sweep.runs.append(run_id)
        return [self._start(agent, sweep, run_id, "run")]

    def _start(
        self, agent: AgentRecord, sweep: SweepRecord, run_id: str, kind: str
    ) -> dict[str, Any]:
        agent.runs.append(run_id)
        run = self.runs[run_id]
        names = sweep.config.get("parameters", {})
        return {
            "type": kind,
            "run_id": run_id,
            "program": sweep.config.get("program"),
            "args": {name: {"value": run.config[name]} for name in sorted(names)},
        }

    # ---- artifacts and views --------------------------------------------------------------------

    def field_create_artifact(self, **given: Any) -> dict[str, Any]:
        identity = f"artifact{len(self.artifacts)}"
        name = (
            given.get("artifact_collection_names") or given.get("artifact_collection_name")
        ) or ""
        record = ArtifactRecord(
            identity,
            given.get("artifact_type_name", ""),
            name[0] if isinstance(name, list) else name,
            given.get("run_name"),
            metadata=given.get("metadata"),
        )
        self.artifacts[identity] = record
        sequence = {"id": f"sequence-{identity}", "latestArtifact": None}
        return {"artifact": {"id": identity, "state": record.state, "artifactSequence": sequence}}

    def field_create_artifact_manifest(self, artifact_id: str, **_: Any) -> dict[str, Any]:
        return {"artifactManifest": self._manifest(artifact_id)}

    def field_update_artifact_manifest(self, artifact_manifest_id: str, **_: Any) -> dict[str, Any]:
        return {"artifactManifest": self._manifest(artifact_manifest_id.removeprefix("manifest-"))}

    def _manifest(self, identity: str) -> dict[str, Any]:
        url = f"{self.url}/storage/manifest/{identity}"
        file = {"id": f"file-{identity}", "uploadUrl": url, "uploadHeaders": []}
        return {"id": f"manifest-{identity}", "file": file}

    def field_create_artifact_files(self, artifact_files: list[dict[str, Any]], **_: Any) -> Any:
        edges = []
        for spec in artifact_files:
            identity, name = spec["artifactID"], spec["name"]
            edges.append(
                {
                    "node": {
                        "storagePath": f"storage/{identity}/{name}",
                        "uploadUrl": f"{self.url}/storage/artifact/{identity}/{name}",
                        "uploadHeaders": [],
                        "artifact": {"id": identity},
                    }
                }
            )
        return {"files": {"edges": edges}}

    def field_commit_artifact(self, artifact_id: str, **_: Any) -> dict[str, Any]:
        self.artifacts[artifact_id].state = "COMMITTED"
        return {"artifact": {"id": artifact_id, "digest": "digest"}}

    def field_use_artifact(self, artifact_id: str, **_: Any) -> dict[str, Any]:
        return {"artifact": {"id": artifact_id}}

    def field_upsert_view(self, **given: Any) -> dict[str, Any]:
        identity = given.get("id") or next(
            (view.id for view in self.views.values() if view.name == given.get("name")), None
        )
        inserted = identity is None
        if identity is None:
            identity = base64.b64encode(f"View:{len(self.views)}".encode()).decode()
            self.views[identity] = ViewRecord(identity, "", "", self.entity, "", "", "", {})
        view = self.views[identity]
        view.saves += 1
        view.spec = json.loads(given["spec"])
        names = {"name": "name", "type": "type", "entity_name": "entity", "project_name": "project"}
        names |= {"display_name": "display_name", "description": "description"}
        for theirs, ours in names.items():
            if given.get(theirs):
                setattr(view, ours, given[theirs])
        return {"view": view.node(), "inserted": inserted}

    def field_view(self, id: str) -> dict[str, Any] | None:
        return self.views[id].node() if id in self.views else None

    def field_delete_view(self, id: str, **_: Any) -> dict[str, Any]:
        return {"success": self.views.pop(id, None) is not None}

    # ---- files ----------------------------------------------------------------------------------

    def stream(self, run_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Receive one file_stream request: history, summary, console, and how the run ended."""
        with self.lock:
            run = self.runs[run_id]
            for name, part in body.get("files", {}).items():
                run.receive(name, part["offset"], part["content"])
            if body.get("preempting"):
                run.preempting = True
                run.state = "preempting"
            if body.get("complete"):
                self._complete(run, body.get("exitcode", 0))
        # `stopped` makes the client interrupt its program; the agent is told separately.
        return {"exitcode": None, "limits": {}, **({"stopped": True} if run.stopped else {})}

    def _complete(self, run: RunRecord, exit_code: int) -> None:
        run.exit_code = exit_code
        if exit_code == 0:
            run.state = "finished"
        elif run.stopped:
            run.state = "killed"
        elif run.preempting:
            run.state = "preempted"
            sweep = self.sweeps.get(run.sweep or "")
            if sweep and run.id not in sweep.requeued:
                sweep.requeued.append(run.id)
        else:
            run.state = "failed"

    def store(self, path: str, content: bytes) -> None:
        """Keep an uploaded file with its run or artifact."""
        kind, owner, *rest = path.split("/", 2)
        name = rest[0] if rest else ""
        with self.lock:
            if kind == "run":
                self.runs[owner].files[name] = content
            elif kind == "manifest":
                self.artifacts[owner].manifest = json.loads(content)
            else:
                self.artifacts[owner].files[name] = content


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True
    request_queue_size = 128
    wandb: WandbServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.wandb.unknown.append(f"handler failed: {error!r}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HTTPServer

    def setup(self) -> None:
        super().setup()
        with self.server.wandb.lock:
            self.server.wandb._connections.add(self.connection)

    def finish(self) -> None:
        with self.server.wandb.lock:
            self.server.wandb._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def handle_request(self) -> None:
        wandb = self.server.wandb
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        path = unquote(urlsplit(self.path).path)
        request = Request(self.command, path, "", {})
        document = None
        if path == "/graphql":
            asked = json.loads(body)
            document = wandb_graphql.parse(asked["query"])
            request.operation = document.name or "anonymous"
            request.variables = asked.get("variables") or {}
        with wandb.lock:
            wandb.requests.append(request)
        if self.hit_by_fault(f"{path} {request.operation}", request):
            return
        if not path.startswith("/storage/") and not self.authorized():
            wandb.rejected_keys += 1
            wandb.rejected_rows += path.endswith("/file_stream")
            self.reply(request, 401, {"error": "invalid API key"})
            return
        try:
            status, answer = self.dispatch(path, body, document, request)
        except wandb_graphql.GraphQLError as error:
            status, answer = 400, {"errors": [{"message": str(error)}]}
        self.reply(request, status, answer)
        with wandb.changed:
            wandb.changed.notify_all()

    do_GET = do_POST = do_PUT = handle_request  # noqa: N815

    def dispatch(
        self,
        path: str,
        body: bytes,
        document: wandb_graphql.Document | None,
        request: Request,
    ) -> tuple[int, Any]:
        wandb = self.server.wandb
        if document is not None:
            return 200, {"data": wandb.answer(document, request.variables)}
        stream = re.fullmatch(r"/files/[^/]*/[^/]*/([^/]*)/file_stream", path)
        if stream and stream[1] in wandb.runs:
            return 200, wandb.stream(stream[1], json.loads(body))
        if path.startswith("/storage/") and self.command == "PUT":
            wandb.store(path.removeprefix("/storage/"), body)
            return 200, {}
        if path.startswith("/storage/run/") and self.command == "GET":
            _, _, _, owner, name = path.split("/", 4)
            if name in wandb.runs[owner].files:
                return 200, wandb.runs[owner].files[name]
        wandb.unknown.append(f"{self.command} {path}")
        return 404, {"error": f"unknown {path}"}

    def authorized(self) -> bool:
        given = self.headers.get("Authorization", "")
        expected = base64.b64encode(f"api:{self.server.wandb.api_key}".encode()).decode()
        return given == f"Basic {expected}"

    def hit_by_fault(self, label: str, request: Request) -> bool:
        """Apply a staged fault; return whether it ends the request."""
        wandb = self.server.wandb
        with wandb.lock:
            fault = next((fault for fault in wandb.faults if fault.applies(label)), None)
            if fault is None:
                return False
            fault.hits += 1
        if fault.kind == "slow":
            fault.lifted.wait(fault.seconds)
            return False
        if fault.kind == "status":
            self.reply(request, fault.status, {"error": "staged fault"})
            return True
        if fault.kind == "hang":
            fault.lifted.wait()
        # Closing with a linger time of 0 sends RST: the client sees a reset, not an end of file.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        return True

    def reply(self, request: Request, status: int, answer: Any) -> None:
        request.status = status
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def snake_case(name: str) -> str:
    """Turn GraphQL's `artifactID` into `artifact_id`."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def refused_connections() -> int:
    """Count this machine's refused or failed outgoing connections since it started (Linux)."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values))["AttemptFails"])


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """A fresh server for one test."""
    with WandbServer() as server:
        yield server
