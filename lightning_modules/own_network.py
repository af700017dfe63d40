"""A network of one's own, named by its import path: ``--model.network my_package.MyNetwork``.

Imports `networks` only, and the module that the user names.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from networks.choice import known_network, with_defaults
from networks.layered import LayeredNetwork

OWN_DEFAULTS: Mapping[str, Any] = {
    "num_layers": None,
    "embedding_dim": None,
    "num_elements": 100,
    "num_radial": None,
    "cutoff": 6.0,
    "neighbor_norm": None,
}
"""Options of `networks.choice.NETWORK_DEFAULTS` for networks that bring their own defaults. The
cutoff is also the radius of ``graph: radius``; `num_elements` bounds the target's reference."""
SHARED = ("num_elements", "cutoff")
"""Options that have a meaning of their own, whether or not the network takes them."""


def is_own(network: str) -> bool:
    """Whether a network is named by an import path.

    Parameters
    ----------
    network : str
        As given to `EquivariantRegressor`.
    """
    return "." in network


def sizes_of(network: str, **options: Any) -> dict[str, Any]:
    """Replace every option that is None by the network's default.

    Parameters
    ----------
    network : str
        As given to `EquivariantRegressor`.
    **options
        Those in `OWN_DEFAULTS`.

    Raises
    ------
    ValueError
        If the network is unknown.
    """
    if not is_own(network):
        return with_defaults(known_network(network), **options)
    return {**OWN_DEFAULTS, **{name: value for name, value in options.items() if value is not None}}


def import_class(path: str, option: str) -> type:
    """Import a class that the user names.

    Parameters
    ----------
    path : str
        Of the form ``package.module.Class``.
    option : str
        Where the path was given, for errors.

    Raises
    ------
    ValueError
        If there is no such module or class, or the module fails.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{option} {path!r}: there is no module {error.name!r}; give package.module.Class, and "
            "put the folder of the package into the environment variable PYTHONPATH"
        ) from error
    except Exception as error:
        # The module is the user's, and may fail with anything.
        raise ValueError(
            f"{option} {path!r}: importing {module_name} fails with {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, type):
        raise ValueError(f"{option} {path!r}: module {module_name} has no class {name}")
    return found


def build_own_network(
    network: str, arguments: Mapping[str, Any] | None, default_irreps: str, **options: Any
) -> LayeredNetwork:
    """Build a network of the user's.

    Its constructor gets those of the options that it names, and the arguments.

    Parameters
    ----------
    network : str
        Import path of a subclass of `LayeredNetwork`.
    arguments : mapping or None
        ``model.network_args``.
    default_irreps : str
        The value of ``irreps`` that nobody has given.
    **options
        ``irreps`` and the sizes in `OWN_DEFAULTS`, with None for those that are not given.

    Raises
    ------
    ValueError
        If the path names no `LayeredNetwork`, one that lacks a method, or one whose constructor
        does not take what was given.
    """
    cls = import_class(network, "network")
    if not issubclass(cls, LayeredNetwork):
        raise ValueError(
            f"network {network!r} is no networks.layered.LayeredNetwork: make the class a subclass "
            "of it, see docs/own_network.md"
        )
    if missing := sorted(cls.__abstractmethods__):
        raise ValueError(f"network {network!r} must implement {' and '.join(missing)}")
    arguments = dict(arguments or {})
    parameters = inspect.signature(cls).parameters
    names = {n for n, p in parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    for name, value in options.items():
        if name in arguments:
            raise ValueError(f"network_args has {name}: give --model.{name} instead")
        is_given = value is not None and (name, value) != ("irreps", default_irreps)
        if name not in names and is_given and name not in SHARED:
            raise ValueError(f"network {network!r} takes no {name}: leave --model.{name} out")
    given = {name: value for name, value in options.items() if name in names and value is not None}
    try:
        inspect.signature(cls).bind(**given, **arguments)
    except TypeError as error:
        raise ValueError(
            f"network {network!r}: {error}; it takes {', '.join(parameters) or 'no arguments'}: "
            "change --model.network_args"
        ) from error
    return cls(**given, **arguments)


def refuse_for_own(network: str, given: Mapping[str, bool]) -> None:
    """Refuse options that only the networks of this project have.

    Parameters
    ----------
    network : str
        As given to `EquivariantRegressor`.
    given : mapping of str to bool
        Options, and whether each is given.

    Raises
    ------
    ValueError
        Names the option.
    """
    refused = [option for option, is_given in given.items() if is_given]
    if refused and is_own(network):
        raise ValueError(
            f"{refused[0]} is for this project's networks, not for {network}: leave "
            f"--model.{refused[0]} out"
        )
