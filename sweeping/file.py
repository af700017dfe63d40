"""Read a W&B sweep file and say in one line what is wrong with it.

The rules are those of W&B's own schema (package `sweeps` 0.2.0) plus what a run without a server
needs. Imports only the standard library and PyYAML.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
LOCAL_METHODS = ("grid", "random")
KNOWN_KEYS = (
    "apiVersion",
    "command",
    "controller",
    "description",
    "early_terminate",
    "entity",
    "kind",
    "method",
    "metric",
    "name",
    "parameters",
    "program",
    "project",
    "run_cap",
    "scheduler",
    "settings",
)
# Distribution -> the keys that it needs, the keys that it may have.
DISTRIBUTIONS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "constant": (frozenset({"value"}), frozenset()),
    "categorical": (frozenset({"values"}), frozenset()),
    "categorical_w_probabilities": (frozenset({"values", "probabilities"}), frozenset()),
    "int_uniform": (frozenset({"min", "max"}), frozenset()),
    "uniform": (frozenset({"min", "max"}), frozenset()),
    "q_uniform": (frozenset({"min", "max"}), frozenset({"q"})),
    "log_uniform": (frozenset({"min", "max"}), frozenset()),
    "log_uniform_values": (frozenset({"min", "max"}), frozenset()),
    "q_log_uniform": (frozenset({"min", "max"}), frozenset({"q"})),
    "q_log_uniform_values": (frozenset({"min", "max"}), frozenset({"q"})),
    "inv_log_uniform": (frozenset({"min", "max"}), frozenset()),
    "inv_log_uniform_values": (frozenset({"min", "max"}), frozenset()),
    "normal": (frozenset(), frozenset({"mu", "sigma"})),
    "q_normal": (frozenset(), frozenset({"mu", "sigma", "q"})),
    "log_normal": (frozenset(), frozenset({"mu", "sigma"})),
    "q_log_normal": (frozenset(), frozenset({"mu", "sigma", "q"})),
    "beta": (frozenset(), frozenset({"a", "b"})),
    "q_beta": (frozenset(), frozenset({"a", "b", "q"})),
}
GRID_DISTRIBUTIONS = ("constant", "categorical", "int_uniform", "q_uniform")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Parameter:
    """One leaf of `parameters:`: where it stands, how it is distributed, with which numbers."""

    path: tuple[str, ...]
    distribution: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class SweepFile:
    """A sweep file that `sweep.py` can run.

    Attributes
    ----------
    parameters : tuple of Parameter
        Leaves in W&B's order: sorted by name at each level. The last one varies fastest in a grid.
    notes : tuple of str
        What the file asks for and a run without a server does not do.
    """

    path: Path
    name: str
    method: str
    program: str
    command: tuple[str, ...]
    metric: str
    goal: str
    parameters: tuple[Parameter, ...]
    run_cap: int | None
    project: str | None
    entity: str | None
    notes: tuple[str, ...]


def load_sweep_file(path: str | Path) -> SweepFile:
    """Read and check a sweep file.

    Raises
    ------
    ValueError
        One line: what was given, what is allowed, what to do.
    """
    path = Path(path)
    config = _read(path)
    _check_keys(path, config)
    method = _method(path, config)
    parameters = parse_parameters(config.get("parameters"))
    if method == "grid":
        _check_grid(parameters)
    metric, goal = _metric(config)
    _check_early_terminate(config.get("early_terminate"))
    command = _command(config)
    return SweepFile(
        path=path,
        name=_sweep_name(path, config),
        method=method,
        program=_program(config, command),
        command=command,
        metric=metric,
        goal=goal,
        parameters=parameters,
        run_cap=_run_cap(config),
        project=_optional_text(config, "project"),
        entity=_optional_text(config, "entity"),
        notes=_notes(config),
    )


def parse_parameters(parameters: object) -> tuple[Parameter, ...]:
    """Check a `parameters:` block and flatten it, sorted as W&B sorts it.

    Raises
    ------
    ValueError
        Naming the parameter and what its definition lacks or has too much.
    """
    if not isinstance(parameters, dict) or not parameters:
        raise ValueError(
            "the sweep file has no `parameters:`; name at least one, e.g. "
            "`parameters: {model.irreps: {values: [32x0e, 32x0e+32x1o]}}`"
        )
    return tuple(_leaves(parameters, ()))


def _leaves(parameters: dict[str, Any], path: tuple[str, ...]) -> list[Parameter]:
    leaves = []
    for name, definition in sorted(parameters.items()):
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"parameter name {name!r} is not allowed; use letters, digits, `_`, `.`, `-`, "
                "and start with a letter"
            )
        if not isinstance(definition, dict):
            raise ValueError(
                f"parameter `{name}` must be a mapping, got {definition!r}; write "
                f"`{name}: {{value: {definition}}}`"
            )
        if set(definition) == {"parameters"} and isinstance(definition["parameters"], dict):
            leaves += _leaves(definition["parameters"], (*path, name))
        else:
            leaves.append(_leaf((*path, name), definition))
    return leaves


def _leaf(path: tuple[str, ...], definition: dict[str, Any]) -> Parameter:
    label = ".".join(path)
    settings = {key: value for key, value in definition.items() if key != "distribution"}
    distribution = definition.get("distribution") or _default_distribution(label, definition)
    if not isinstance(distribution, str) or distribution not in DISTRIBUTIONS:
        raise ValueError(
            f"parameter `{label}`: unknown distribution {distribution!r}; use one of "
            + ", ".join(DISTRIBUTIONS)
        )
    needed, optional = DISTRIBUTIONS[distribution]
    if missing := sorted(needed - set(settings)):
        raise ValueError(f"parameter `{label}` ({distribution}) lacks {', '.join(missing)}")
    if extra := sorted(set(settings) - needed - optional):
        allowed = ", ".join(sorted(needed | optional | {"distribution"}))
        raise ValueError(
            f"parameter `{label}` ({distribution}) has {', '.join(extra)}; allowed are {allowed}"
        )
    _check_numbers(label, distribution, settings)
    return Parameter(path, distribution, settings)


def _default_distribution(label: str, definition: dict[str, Any]) -> str:
    if "value" in definition:
        return "constant"
    if "values" in definition:
        return "categorical_w_probabilities" if "probabilities" in definition else "categorical"
    if "min" in definition and "max" in definition:
        low, high = definition["min"], definition["max"]
        # The client's own rule, word for word in effect: a mixed pair is ambiguous.
        if type(low) is int and type(high) is int:
            return "int_uniform"
        if type(low) is float and type(high) is float:
            return "uniform"
        raise ValueError(
            f"parameter `{label}` is ambiguous: min {low!r} and max {high!r} must be both integers "
            "(int_uniform) or both floats (uniform); in YAML write 1.0e-3, since 1e-3 is a string"
        )
    raise ValueError(f"parameter `{label}` needs `value`, `values`, or `min` and `max`")


def _check_numbers(label: str, distribution: str, settings: dict[str, Any]) -> None:
    values = settings.get("values")
    if values is not None and (not isinstance(values, list) or not values):
        raise ValueError(f"parameter `{label}`: `values` must be a list with at least one item")
    for key in sorted(settings.keys() - {"value", "values", "probabilities"}):
        if not _is_number(settings[key]):
            raise ValueError(f"parameter `{label}`: {key} must be a number, got {settings[key]!r}")
    if "min" in settings and settings["min"] >= settings["max"]:
        raise ValueError(
            f"parameter `{label}`: min {settings['min']} is not less than max {settings['max']}"
        )
    if distribution == "int_uniform" and not all(type(n) is int for n in settings.values()):
        raise ValueError(f"parameter `{label}`: min and max of int_uniform must be whole numbers")
    if settings.get("q", 1) <= 0:
        raise ValueError(f"parameter `{label}`: q must be positive, got {settings['q']}")
    if distribution.endswith("log_uniform_values") and settings["min"] <= 0:
        raise ValueError(f"parameter `{label}`: min must be positive, got {settings['min']}")
    if distribution == "categorical_w_probabilities":
        shares = settings["probabilities"]
        if not isinstance(shares, list) or len(shares) != len(settings["values"]):
            raise ValueError(f"parameter `{label}`: give one probability for each value")
        if not all(_is_number(share) for share in shares):
            raise ValueError(f"parameter `{label}`: probabilities must be numbers, got {shares}")
        if abs(sum(shares) - 1.0) > 1e-8 or min(shares) < 0:
            raise ValueError(f"parameter `{label}`: probabilities {shares} do not sum to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"no sweep file {path}; give the path of a YAML file such as sweeps/quickstart.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the sweep file {path}: {error}") from None
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} holds no sweep; it needs at least `method:`, `program:` and `parameters:`"
        )
    return _as_sent(path, config)


def _as_sent(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Give what a W&B server would get: the client sends the file through JSON, keys sorted."""
    try:
        sent = json.dumps(config, sort_keys=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a value that W&B cannot send: {error}; quote it") from None
    loaded: dict[str, Any] = yaml.safe_load(yaml.dump(json.loads(sent)))
    return loaded


def _check_keys(path: Path, config: dict[str, Any]) -> None:
    for key in config:
        if key not in KNOWN_KEYS:
            near = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(KNOWN_KEYS)}"
            raise ValueError(f"{path}: unknown key `{key}`; {hint}")


def _method(path: Path, config: dict[str, Any]) -> str:
    method = config.get("method")
    if method in LOCAL_METHODS:
        return str(method)
    online = f"run `wandb sweep {path}` and then `wandb agent ID`"
    if method == "bayes":
        raise ValueError(
            "method bayes needs W&B's server, which fits a model to finished runs; "
            f"{online}, or write `method: random` with a run_cap"
        )
    if method == "custom":
        raise ValueError(f"method custom needs a scheduler of yours on W&B's server; {online}")
    raise ValueError(
        f"{path}: unknown method {method!r}; sweep.py runs {' and '.join(LOCAL_METHODS)}, "
        "W&B's server also bayes"
    )


def _check_grid(parameters: tuple[Parameter, ...]) -> None:
    for parameter in parameters:
        if parameter.distribution not in GRID_DISTRIBUTIONS:
            raise ValueError(
                f"a grid cannot enumerate `{'.'.join(parameter.path)}` "
                f"({parameter.distribution}); use `values`, integer min and max, or method random"
            )


def _metric(config: dict[str, Any]) -> tuple[str, str]:
    metric = config.get("metric")
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise ValueError(
            "the sweep file has no metric; add `metric: {name: val/mae, goal: minimize}`"
        )
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise ValueError(f"metric goal {goal!r} is unknown; use minimize or maximize")
    return metric["name"], goal


def _check_early_terminate(rule: object) -> None:
    if rule is None:
        return
    if not isinstance(rule, dict) or rule.get("type") != "hyperband":
        raise ValueError("early_terminate must have `type: hyperband`, the only one W&B knows")
    if "min_iter" not in rule and not {"max_iter", "s"} <= set(rule):
        raise ValueError("early_terminate needs `min_iter`, or `max_iter` and `s`")
    if extra := sorted(set(rule) - {"type", "min_iter", "max_iter", "s", "eta", "strict"}):
        raise ValueError(f"early_terminate has unknown {', '.join(extra)}")


def _command(config: dict[str, Any]) -> tuple[str, ...]:
    command = config.get("command")
    if command is None:
        return DEFAULT_COMMAND
    if not isinstance(command, list) or not command:
        raise ValueError("`command:` must be a list such as [${env}, python, ${program}, ${args}]")
    if any(isinstance(item, dict | list) for item in command):
        raise ValueError(f"`command:` must hold plain items, got {command}; quote ${{...}} items")
    return tuple(str(item) for item in command)


def _program(config: dict[str, Any], command: tuple[str, ...]) -> str:
    program = config.get("program")
    if program is None:
        if "${program}" in command:
            raise ValueError("the sweep file has no `program:`; add `program: train.py`")
        return ""
    if not isinstance(program, str):
        raise ValueError(f"`program:` must be a file name, got {program!r}")
    if "${program}" in command and not Path(program).is_file():
        raise ValueError(
            f"no program {program} in {Path.cwd()}; start sweep.py in the folder that holds it"
        )
    return program


def _sweep_name(path: Path, config: dict[str, Any]) -> str:
    name = config.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError(
            f"`name: {name}` cannot name a folder of runs; use letters, digits, `_`, `.` and `-`"
        )
    return name


def _run_cap(config: dict[str, Any]) -> int | None:
    cap = config.get("run_cap")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        raise ValueError(f"run_cap must be a whole number from 1, got {cap!r}")
    return cap


def _optional_text(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{key}:` must be a name, got {value!r}")
    return value


def _notes(config: dict[str, Any]) -> tuple[str, ...]:
    if "early_terminate" in config:
        return (
            "early_terminate is W&B's server's work and is not done here: every trial runs to its "
            "end",
        )
    return ()
