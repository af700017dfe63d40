"""The options that come with a checkpoint, and the place of a run that is named by a file in it.

Imports PyYAML, `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from records.configuration import NEUTRAL_KEYS, flatten, read_configuration
from records.irreps import canonical_irreps
from records.run_files import is_run_directory
from runtime.checkpoints import read_checkpoint

GROUPS = ("model", "data")
"""Groups of options that a checkpoint fixes."""
NETWORK_KEYS = tuple(
    f"model.{name}"
    for name in (
        "network",
        "network_args",
        "irreps",
        "edge_irreps",
        "kept",
        "inner_irreps",
        "num_layers",
        "embedding_dim",
        "num_elements",
        "num_radial",
        "radial_hidden",
        "cutoff",
        "neighbor_norm",
        "trim_unreachable",
        *(f"channels_l{degree}" for degree in range(5)),
    )
)
"""Options that a network's weights fix."""
SIZES = ("data.val_size", "data.test_size")
"""Options of the evaluation that may differ from the checkpoint's, which is said in one line."""


def options_of_checkpoint(path: Path) -> dict[str, Any]:
    """Read the options that a checkpoint was trained with.

    Parameters
    ----------
    path : Path
        Written by `train.py`.

    Returns
    -------
    dict
        Flat, with dotted keys below ``model`` and ``data``. What concerns the machine rather than
        the result is left out.

    Raises
    ------
    ValueError
        If the checkpoint is missing or damaged, or was not trained by `train.py`.
    """
    checkpoint = read_checkpoint(path)
    model = checkpoint.get("hyper_parameters")
    data = checkpoint.get("datamodule_hyper_parameters")
    if not data and (run := run_of_checkpoint(path)) is not None:
        data = read_configuration(run / "config.yaml").get("data")
    if not isinstance(model, Mapping) or not isinstance(data, Mapping) or not data:
        raise ValueError(
            f"checkpoint {path} does not say what it was trained with: name a run instead, with "
            "--config RUN/config.yaml"
        )
    model = dict(model)
    own = {"model.network_args": model.pop("network_args", None)}  # one option, however nested
    flat = flatten({"model": model, "data": dict(data)}) | own
    if strange := [key for key, value in flat.items() if not _is_plain(value)]:
        raise ValueError(f"checkpoint {path} holds {strange[0]}, which is no option's value")
    # These options are set once for model and data.
    flat.setdefault("data.target", flat.get("model.target"))
    linked = ("model.target", "model.unit", "data.cutoff")
    return {k: v for k, v in flat.items() if k not in NEUTRAL_KEYS and k not in linked}


def _is_plain(value: Any) -> bool:
    """Whether a value can be an option's: nothing that takes long to compare, as a tensor may."""
    if isinstance(value, Mapping):  # what a pruned network keeps of each layer
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def run_of_checkpoint(path: Path) -> Path | None:
    """Find the run that a checkpoint lies in.

    Parameters
    ----------
    path : Path
        For example ``runs/NAME/checkpoints/best.ckpt``.

    Returns
    -------
    Path or None
        The run's directory, absolute; None if the checkpoint lies elsewhere.
    """
    run = path.absolute().parent.parent
    return run if path.parent.name == "checkpoints" and is_run_directory(run) else None


def conflicts(
    trained: Mapping[str, Any], options: Mapping[str, Any], given: set[str]
) -> dict[str, str]:
    """Compare what a user has given with what a checkpoint was trained with.

    Parameters
    ----------
    trained : mapping
        From `options_of_checkpoint`.
    options : mapping
        All options, flat, with dotted keys.
    given : set of str
        Keys of those that are not defaults.

    Returns
    -------
    dict of str to str
        ``{"data.graph": "data.graph radius -> bonds"}`` for every option that was given otherwise.
    """
    return {
        key: f"{key} {value} -> {options[key]}"
        for key, value in trained.items()
        if key in given
        and key in options
        and _canonical(key, options[key]) != _canonical(key, value)
    }


def _canonical(key: str, value: Any) -> Any:
    return canonical_irreps(value) if key == "model.irreps" and isinstance(value, str) else value


def config_files(arguments: Sequence[str]) -> Iterator[tuple[int, Path]]:
    """Find the configuration files on a command line that exist.

    Parameters
    ----------
    arguments : sequence of str
        Without the program.

    Yields
    ------
    tuple of int and Path
        Position of the argument that ends with the file's path, and that path.
    """
    for number, argument in enumerate(arguments):
        path = None
        if argument.startswith("--config="):
            path = Path(argument.partition("=")[2])
        elif number and arguments[number - 1] in ("--config", "-c"):
            path = Path(argument)
        with suppress(OSError):  # a name that is too long
            if path is not None and path.is_file():  # anything else is the parser's to refuse
                yield number, path


def keys_in(arguments: Sequence[str]) -> set[str]:
    """List the options below ``model`` and ``data`` that a command line names.

    Parameters
    ----------
    arguments : sequence of str
        Without the program. The contents of its configuration files count, too.

    Returns
    -------
    set of str
        Dotted keys.
    """
    options = {a.partition("=")[0].removeprefix("--") for a in arguments if a.startswith("--")}
    for _, path in config_files(arguments):
        config = read_configuration(path)
        options |= flatten({group: config.get(group) or {} for group in GROUPS}).keys()
    return {key for key in options if key.startswith(tuple(f"{group}." for group in GROUPS))}


def follow_moved_runs(arguments: Sequence[str]) -> list[str]:
    """Let the configuration of a run that was moved name the place where the run is now.

    Parameters
    ----------
    arguments : sequence of str
        Command line without the program.

    Returns
    -------
    list of str
        With ``--runs_dir`` and ``--run_name`` after each ``--config RUN/config.yaml`` that names
        another place. Later options still override them.
    """
    followed = list(arguments)
    for number, path in reversed(list(config_files(arguments))):
        run = path.absolute().parent
        if path.name != "config.yaml" or not is_run_directory(run):
            continue
        config = read_configuration(path)
        recorded = Path(str(config.get("runs_dir"))).expanduser() / str(config.get("run_name"))
        if recorded.resolve() != run.resolve():
            place = [f"--runs_dir={run.parent}", f"--run_name={run.name}"]
            followed[number + 1 : number + 1] = place
    return followed
