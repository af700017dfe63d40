"""What the loopback W&B server remembers: runs, sweeps, agents, artifacts, views.

Search and early stopping are implemented here independently, because tests compare the local sweep
engine with them. Imports nothing of this project.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

ALIVE = ("pending", "running", "preempting")


def unwrap(config_json: str | None) -> dict[str, Any]:
    """Turn W&B's `{"key": {"value": v}}` into `{"key": v}`."""
    entries = json.loads(config_json or "{}") or {}
    return {key: entry["value"] for key, entry in entries.items()}


@dataclass
class RunRecord:
    """One run as the server saw it arrive."""

    id: str
    entity: str
    project: str
    config: dict[str, Any] = field(default_factory=dict)
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: list[str] = field(default_factory=list)
    sweep: str | None = None
    program: str | None = None
    state: str = "pending"
    exit_code: int | None = None
    preempting: bool = False
    stopped: bool = False
    attempts: int = 0
    resumed: int = 0
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    rewritten: list[tuple[str, int]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Every row of `wandb.log`, in order."""
        return self._rows("wandb-history.jsonl")

    @property
    def events(self) -> list[dict[str, Any]]:
        """System metrics."""
        return self._rows("wandb-events.jsonl")

    @property
    def summary(self) -> dict[str, Any]:
        """The last summary sent."""
        rows = self._rows("wandb-summary.json")
        return rows[-1] if rows else {}

    @property
    def output(self) -> str:
        """What the program printed."""
        return "\n".join(self.lines.get("output.log", {}).values())

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The last `wandb.Table` of each logged key; a key `a/b` arrives as folders."""
        found = {}
        for name, content in self.files.items():
            if name.startswith("media/table/") and name.endswith(".table.json"):
                key = name.removeprefix("media/table/").removesuffix(".table.json")
                found[key.rsplit("_", 2)[0]] = json.loads(content)
        return found

    @property
    def images(self) -> list[str]:
        """Names of the uploaded images, in order of arrival."""
        return [name for name in self.files if name.startswith("media/images/")]

    def metric(self, name: str) -> list[Any]:
        """All logged values of one metric."""
        return [row[name] for row in self.history if row.get(name) is not None]

    def receive(self, name: str, offset: int, content: list[str]) -> None:
        """Receive lines of a streamed file. Repeated lines are fine, changed ones are kept."""
        lines = self.lines.setdefault(name, {})
        if name == "wandb-summary.json":
            lines.clear()
        for number, line in enumerate(content, start=offset):
            if name == "wandb-history.jsonl" and lines.get(number, line) != line:
                self.rewritten.append((name, number))
            lines[number] = line

    def _rows(self, name: str) -> list[dict[str, Any]]:
        lines = self.lines.get(name, {})
        return [json.loads(lines[number]) for number in sorted(lines)]

    def file_nodes(self, url: str, names: list[str]) -> dict[str, Any]:
        """Uploaded files as GraphQL data; all of them if no names are given."""
        found = [name for name in sorted(self.files) if not names or name in names]
        edges = [
            {
                "node": {
                    "id": name,
                    "name": name,
                    "url": f"{url}/storage/run/{self.id}/{name}",
                    "directUrl": f"{url}/storage/run/{self.id}/{name}",
                    "sizeBytes": len(self.files[name]),
                    "mimetype": "text/plain",
                    "updatedAt": "2026-01-01T00:00:00",
                    "md5": base64.b64encode(hashlib.md5(self.files[name]).digest()).decode(),
                },
                "cursor": name,
            }
            for name in found
        ]
        return {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}

    def node(self, url: str = "") -> dict[str, Any]:
        """The run as GraphQL data (both as `Run` and as the older `Bucket`)."""
        history = self.lines.get("wandb-history.jsonl", {})
        events = self.lines.get("wandb-events.jsonl", {})
        return {
            "id": f"id-{self.id}",
            "name": self.id,
            "displayName": self.display_name or self.id,
            "group": self.group,
            "notes": self.notes,
            "tags": self.tags,
            "state": self.state,
            "exitcode": self.exit_code,
            "failed": self.state == "failed",
            "running": self.state == "running",
            "stopped": self.stopped,
            "shouldStop": self.stopped,
            "sweepName": self.sweep,
            "config": json.dumps({key: {"value": value} for key, value in self.config.items()}),
            "summaryMetrics": json.dumps(self.summary),
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "logLineCount": len(self.lines.get("output.log", {})),
            "historyTail": json.dumps([history[number] for number in sorted(history)[-1:]]),
            "eventsTail": json.dumps([events[number] for number in sorted(events)[-1:]]),
            "wandbConfig": json.dumps({"t": self.config.get("_wandb", {}).get("t", {})}),
            "history": lambda **_: [history[number] for number in sorted(history)],
            "sampledHistory": lambda specs=(), **_: [self.history for _ in specs],
            "historyKeys": {
                "lastStep": len(history) - 1,
                "keys": {key: {} for row in self.history for key in row},
            },
            "fileCount": len(self.files),
            "files": lambda names=(), **_: self.file_nodes(url, list(names or ())),
            "user": {"name": "tester", "username": "tester"},
            "projectId": "1",
            "project": {"id": "project", "name": self.project, "entity": {"name": self.entity}},
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
        }


@dataclass
class SweepRecord:
    """One sweep: its configuration, its runs, and those that wait to be handed out again."""

    id: str
    entity: str
    project: str
    text: str
    state: str = "RUNNING"
    runs: list[str] = field(default_factory=list)
    requeued: list[str] = field(default_factory=list)
    search: Iterator[dict[str, Any]] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The sweep file as the client sent it."""
        loaded: dict[str, Any] = yaml.safe_load(self.text)
        return loaded

    def next_configuration(self) -> dict[str, Any] | None:
        """Return the next configuration of the search, or None if none is left."""
        if len(self.runs) >= self.config.get("run_cap", math.inf):
            return None
        if self.search is None:
            parameters = self.config.get("parameters", {})
            grid = self.config["method"] == "grid"
            self.search = _grid(parameters) if grid else _draws(parameters)
        return next(self.search, None)

    def to_stop(self, runs: dict[str, RunRecord]) -> list[str]:
        """Name the running runs that Hyperband stops, by the rule that W&B publishes."""
        rule = self.config.get("early_terminate")
        if not rule:
            return []
        sign = -1.0 if self.config["metric"].get("goal") == "maximize" else 1.0
        name = self.config["metric"]["name"]
        curves = {run: [sign * value for value in runs[run].metric(name)] for run in self.runs}
        thresholds = {band: _threshold(band, rule, curves) for band in _bands(rule)}
        stopped = []
        for run, curve in curves.items():
            reached = [band for band in thresholds if band < len(curve)]
            if runs[run].state == "running" and reached:
                worse = min(curve) > thresholds[max(reached)]
                stopped += [run] if worse or runs[run].stopped else []
        return stopped

    def node(self, runs: dict[str, RunRecord]) -> dict[str, Any]:
        """The sweep as GraphQL data."""
        return {
            "id": f"id-{self.id}",
            "name": self.id,
            "displayName": self.config.get("name", self.id),
            "state": self.state,
            "config": self.text,
            "method": self.config.get("method"),
            "runCount": len(self.runs),
            "project": {"id": "project", "name": self.project, "entity": {"name": self.entity}},
            "runs": {"edges": [{"node": runs[run].node()} for run in self.runs]},
        }


@dataclass
class AgentRecord:
    """One `wandb agent` process."""

    id: str
    sweep: str
    host: str
    runs: list[str] = field(default_factory=list)
    heartbeats: int = 0
    exited: bool = False


@dataclass
class ArtifactRecord:
    """One artifact version."""

    id: str
    type: str
    name: str
    run: str | None
    state: str = "PENDING"
    metadata: Any = None
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class ViewRecord:
    """A saved workspace (`project-view`) or report (`runs`, `runs/draft`)."""

    id: str
    name: str
    type: str
    entity: str
    project: str
    display_name: str
    description: str
    spec: dict[str, Any]
    saves: int = 0

    def node(self) -> dict[str, Any]:
        """The view as GraphQL data."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "displayName": self.display_name,
            "description": self.description,
            "spec": json.dumps(self.spec),
            "project": {"id": "project", "name": self.project, "entityName": self.entity},
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": "2026-01-01T00:00:00",
        }


def _leaves(parameters: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[Any, dict]]:
    """Flatten nested `parameters:` into (path, definition) pairs, in the order of the file."""
    found = []
    for name, definition in parameters.items():
        if "parameters" in definition:
            found += _leaves(definition["parameters"], (*path, name))
        else:
            found.append(((*path, name), definition))
    return found


def _nest(pairs: Iterator[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in pairs:
        level = nested
        for name in path[:-1]:
            level = level.setdefault(name, {})
        level[path[-1]] = value
    return nested


def _grid(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    leaves = _leaves(parameters)
    choices = []
    for _, definition in leaves:
        values = definition.get("values", [definition.get("value")])
        if "min" in definition:
            values = list(range(definition["min"], definition["max"] + 1))
        choices.append(values)
    seen = set()
    for values in itertools.product(*choices):
        key = json.dumps(values)
        if key not in seen:
            seen.add(key)
            yield _nest(zip((path for path, _ in leaves), values))


def _draws(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Draw configurations at random, endlessly; also for `bayes`, which the client cannot tell."""
    generator = random.Random(0)
    leaves = _leaves(parameters)

    def draw(definition: dict[str, Any]) -> Any:
        if "values" in definition:
            return generator.choice(definition["values"])
        if "value" in definition:
            return definition["value"]
        low, high = definition["min"], definition["max"]
        kind = definition.get("distribution", "")
        if kind.startswith("log_uniform"):
            return math.exp(generator.uniform(math.log(low), math.log(high)))
        if kind == "q_uniform":
            return round(generator.uniform(low, high) / definition["q"]) * definition["q"]
        both = isinstance(low, int) and isinstance(high, int)
        return generator.randint(low, high) if both else generator.uniform(low, high)

    while True:
        yield _nest((path, draw(definition)) for path, definition in leaves)


def _bands(rule: dict[str, Any]) -> list[int]:
    eta = rule.get("eta", 3)
    if "max_iter" in rule:
        bands = [rule["max_iter"] / eta**power for power in range(1, rule.get("s", 4) + 1)]
        return sorted(int(band) for band in bands if band >= 1)
    return [int(rule["min_iter"] * eta**power) for power in range(20)]


def _threshold(band: int, rule: dict[str, Any], curves: dict[str, list[float]]) -> float:
    values = sorted(curve[band] for curve in curves.values() if len(curve) > band)
    return values[int(len(values) / rule.get("eta", 3))] if values else math.inf
