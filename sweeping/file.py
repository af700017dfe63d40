"""Read a W&B sweep file, or say in one line what is wrong with it.

The rules are those of W&B's own schema (package `sweeps` 0.2.0) and what a sweep without a server
needs besides. Imports pydantic, PyYAML and this package.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from records.bounded import read_text
from records.bounded_yaml import LARGEST_YAML, parse_yaml
from sweeping.distributions import (
    DISTRIBUTIONS,
    Categorical,
    Constant,
    Distribution,
    Enumerable,
    Number,
    WeightedCategorical,
)
from sweeping.errors import describe, first_problem, keys_with

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SWEEP_NAME = re.compile(r"[A-Za-z0-9]([\w. +=()@-]*[\w+=()@-])?")
_TEXT_ARGUMENTS = {
    "${args}",
    "${args_no_hyphens}",
    "${args_no_boolean_flags}",
    "${args_no_equals}",
    "${args_append_hydra}",
    "${args_override_hydra}",
}
"""Items of `command:` that show each value as Python prints it."""
_MISSING = {
    "method": "the sweep file has no `method:`; add `method: grid` or `method: random`",
    "metric": "the sweep file has no metric; add `metric: {name: val/mae, goal: minimize}`",
    "metric.name": "the metric has no name; add `metric: {name: val/mae, goal: minimize}`",
    "parameters": (
        "the sweep file has no `parameters:`; name at least one, e.g. "
        "`parameters: {model.irreps: {values: [32x0e, 32x0e+32x1o]}}`"
    ),
    "early_terminate.type": "early_terminate must have `type: hyperband`, the only one W&B knows",
}
"""What to add where a required key is missing."""


@dataclass(frozen=True)
class Parameter:
    """One entry of `parameters:`.

    Attributes
    ----------
    path : tuple of str
        Its name, preceded by the names of the parameters that it is nested in.
    kind : str
        W&B's name of the distribution.
    distribution : Distribution
        What the parameter may be.
    """

    path: tuple[str, ...]
    kind: str
    distribution: Distribution

    @property
    def label(self) -> str:
        """The path with dots, as messages name the parameter."""
        return ".".join(self.path)


def parse_parameters(parameters: object) -> tuple[Parameter, ...]:
    """Check a `parameters:` block and flatten it.

    Parameters
    ----------
    parameters : object
        As read from YAML.

    Returns
    -------
    tuple of Parameter
        In W&B's order: sorted by name at each level.

    Raises
    ------
    ValueError
        If a definition is wrong. The message names the parameter.
    """
    if not isinstance(parameters, dict) or not parameters:
        raise ValueError(_MISSING["parameters"])
    found = tuple(_flatten(parameters, ()))
    if not found:
        raise ValueError(_MISSING["parameters"])
    return found


def _flatten(parameters: dict[str, Any], path: tuple[str, ...]) -> list[Parameter]:
    found = []
    for name, definition in sorted(parameters.items()):
        if not _PARAMETER_NAME.fullmatch(name):
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
            found += _flatten(definition["parameters"], (*path, name))
        else:
            found.append(_parameter((*path, name), definition))
    return found


def _parameter(path: tuple[str, ...], definition: dict[str, Any]) -> Parameter:
    label = ".".join(path)
    keys = {key: value for key, value in definition.items() if key != "distribution"}
    kind = definition.get("distribution") or _default_distribution(label, definition)
    if not isinstance(kind, str) or kind not in DISTRIBUTIONS:
        raise ValueError(
            f"parameter `{label}`: unknown distribution {kind!r}; use one of "
            + ", ".join(DISTRIBUTIONS)
        )
    model = DISTRIBUTIONS[kind]
    try:
        return Parameter(path, kind, model.model_validate(keys))
    except ValidationError as error:
        if missing := keys_with(error, "missing"):
            problem = f"parameter `{label}` ({kind}) lacks {', '.join(missing)}"
        elif unknown := keys_with(error, "extra_forbidden"):
            allowed = ", ".join(sorted({*model.model_fields, "distribution"}))
            problem = (
                f"parameter `{label}` ({kind}) has {', '.join(unknown)}; allowed are {allowed}"
            )
        else:
            problem = f"parameter `{label}`: {describe(first_problem(error))}"
        raise ValueError(problem) from None


def _default_distribution(label: str, definition: dict[str, Any]) -> str:
    if "value" in definition:
        return "constant"
    if "values" in definition:
        return "categorical_w_probabilities" if "probabilities" in definition else "categorical"
    if "min" in definition and "max" in definition:
        low, high = definition["min"], definition["max"]
        # W&B's client follows the same rule: it refuses one integer with one float.
        if type(low) is int and type(high) is int:
            return "int_uniform"
        if type(low) is float and type(high) is float:
            return "uniform"
        raise ValueError(
            f"parameter `{label}` is ambiguous: min {low!r} and max {high!r} must be both integers "
            "(int_uniform) or both floats (uniform); in YAML write 1.0e-3, since 1e-3 is a string"
        )
    raise ValueError(f"parameter `{label}` needs `value`, `values`, or `min` and `max`")


def _command(command: object) -> tuple[str, ...]:
    if not isinstance(command, list) or not command:
        raise ValueError("`command:` must be a list such as [${env}, python, ${program}, ${args}]")
    if any(isinstance(item, dict | list) for item in command):
        raise ValueError(f"`command:` must hold plain items, got {command}; quote ${{...}} items")
    return tuple(str(item) for item in command)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Metric(_Section):
    """What the sweep optimizes: a key of the program's summary, and in which direction."""

    name: str
    goal: Literal["minimize", "maximize"] = "minimize"
    target: Number | None = None
    impute: Literal["latest", "best", "worst"] = "worst"


class Hyperband(_Section):
    """W&B's rule for stopping trials early; checked here, carried out by W&B's server only."""

    type: Literal["hyperband"]
    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: Number | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if self.min_iter is None and (self.max_iter is None or self.s is None):
            raise ValueError("early_terminate needs `min_iter`, or `max_iter` and `s`")
        return self


class SweepFile(_Section):
    """A sweep file that `sweep.py` can run. The fields are the file's keys.

    Attributes
    ----------
    parameters : tuple of Parameter
        In W&B's order: sorted by name at each level. The last one varies fastest in a grid.
    name : str
        Also the folder of the sweep's runs.
    """

    method: Literal["grid", "random"]
    parameters: Annotated[tuple[Parameter, ...], PlainValidator(parse_parameters)]
    metric: Metric
    early_terminate: Hyperband | None = None
    command: Annotated[tuple[str, ...], PlainValidator(_command)] = DEFAULT_COMMAND
    program: str = ""
    name: str
    run_cap: int | None = Field(default=None, ge=1)
    project: str | None = None
    entity: str | None = None
    description: Any = None
    apiVersion: Any = None  # noqa: N815  W&B's spelling
    controller: Any = None
    kind: Any = None
    scheduler: Any = None
    settings: Any = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _SWEEP_NAME.fullmatch(name):
            raise ValueError(
                f"`name: {name}` cannot name a folder of runs; use letters, digits, "
                "spaces and `_.+=()@-`; begin with a letter or digit, and end with no dot or space"
            )
        return name

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        for parameter in self.parameters if self.method == "grid" else ():
            if not isinstance(parameter.distribution, Enumerable):
                raise ValueError(
                    f"a grid cannot enumerate `{parameter.label}` ({parameter.kind}); use "
                    "`values`, integer min and max, or method random"
                )
        return self

    @model_validator(mode="after")
    def _check_program(self) -> Self:
        if "${program}" in self.command and not self.program:
            raise ValueError("the sweep file has no `program:`; add `program: train.py`")
        return self

    @model_validator(mode="after")
    def _check_rendering(self) -> Self:
        """Refuse values that `train.py` would not read as they stand in the file."""
        if Path(self.program).name != "train.py":
            return self
        as_text = bool(_TEXT_ARGUMENTS & set(self.command))
        flags = "${args_no_boolean_flags}" in self.command
        for parameter in self.parameters:
            for value in _choices(parameter.distribution):
                if as_text and _holds_null(value):
                    raise ValueError(
                        f"parameter `{parameter.label}` has a null, which train.py would get as "
                        'the text None: write "null" in quotes, or a whole mapping such as '
                        '"{a: null}"'
                    )
                if flags and isinstance(value, bool):
                    raise ValueError(
                        f"parameter `{parameter.label}` is {value}, which "
                        "${args_no_boolean_flags} shows in a form that train.py does not take: "
                        "write ${args} in `command:`"
                    )
        return self

    @property
    def notes(self) -> list[str]:
        """What the file asks for and a sweep without a server does not do."""
        if self.early_terminate is None:
            return []
        return ["only W&B's server stops trials early (early_terminate); here each one runs on"]


_SECTIONS: dict[str, type[BaseModel]] = {
    "": SweepFile,
    "metric": Metric,
    "early_terminate": Hyperband,
}
"""Models by the key that holds them."""


def _choices(distribution: Distribution) -> list[Any]:
    """List the values that stand in the file; none for a range of numbers."""
    if isinstance(distribution, Constant):
        return [distribution.value]
    if isinstance(distribution, Categorical | WeightedCategorical):
        return list(distribution.values)
    return []


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_holds_null, value)))


def load_sweep_file(path: str | Path) -> SweepFile:
    """Read and check a sweep file.

    Parameters
    ----------
    path : str or Path
        YAML file. The sweep's name defaults to the file's.

    Raises
    ------
    ValueError
        If the file cannot be read or run. One line: what was given, what is allowed, what to do.
    """
    path = Path(path)
    # W&B treats a null as an absent key. An unknown key stays, so that the error names it.
    given = {
        key: value
        for key, value in _read(path).items()
        if value is not None or key not in SweepFile.model_fields
    }
    try:
        sweep = SweepFile.model_validate({"name": path.stem, **given})
    except ValidationError as error:
        raise ValueError(_explain(path, first_problem(error))) from None
    if "${program}" in sweep.command and not Path(sweep.program).is_file():
        raise ValueError(
            f"no program {sweep.program} in {Path.cwd()}; start sweep.py in the folder that holds "
            "it"
        )
    return sweep


def _explain(path: Path, problem: ErrorDetails) -> str:
    """Say in one line what is wrong with a file, and what to write instead."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing" and key in _MISSING:
        return _MISSING[key]
    if problem["type"] == "extra_forbidden":
        return f"{path}: {_explain_unknown_key(problem['loc'])}"
    if key == "method":
        return _explain_method(path, problem["input"])
    return describe(problem)


def _explain_unknown_key(loc: tuple[str | int, ...]) -> str:
    *section, name = (str(part) for part in loc)
    known = _SECTIONS[".".join(section)].model_fields
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{similar[0]}`?" if similar else f"known: {', '.join(sorted(known))}"
    return f"unknown key `{'.'.join((*section, name))}`; {hint}"


def _explain_method(path: Path, method: object) -> str:
    online = f"run `wandb sweep {path}` and then `wandb agent ID`"
    if method == "bayes":
        return (
            "method bayes needs W&B's server, which fits a model to finished runs; "
            f"{online}, or write `method: random` with a run_cap"
        )
    if method == "custom":
        return f"method custom needs your own scheduler on W&B's server; {online}"
    return (
        f"{path}: unknown method {method!r}; sweep.py runs grid and random, W&B's server also bayes"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path, LARGEST_YAML)
    except FileNotFoundError:
        raise ValueError(
            f"no sweep file {path}; give the path of a YAML file such as sweeps/quickstart.yaml"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the sweep file {path}: {error}") from None
    return _through_json(path, _parse_yaml(path, text))


def _parse_yaml(path: Path, text: str) -> dict[str, Any]:
    try:
        config = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} holds no sweep; it needs at least `method:`, `program:` and `parameters:`"
        )
    return config


def _through_json(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return what W&B's server receives, because the client sends a sweep as JSON."""
    try:
        sent = json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a value that W&B cannot send: {error}; quote it") from None
    loaded: dict[str, Any] = yaml.safe_load(yaml.dump(json.loads(sent)))
    return loaded
