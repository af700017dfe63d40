"""Checks of the regressor's options, before anything is built.

Imports `networks` and this package only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from lightning_modules.own_network import OWN_DEFAULTS, is_own
from networks.choice import NETWORK_DEFAULTS, known_network
from networks.irreps import natural_parity, parse_irreps

ScheduleName = Literal["constant", "cosine", "plateau"]
LossName = Literal["mse", "l1", "huber"]

DEFAULT_GRAPHS: Mapping[str, str] = {"convnet": "bonds", "gated": "radius"}
"""The graph for which each network's other defaults are made."""
LARGEST_ELEMENT = 9
"""Fluorine, the heaviest element of QM9."""
MAX_LAYERS = 100
MAX_WEIGHTS = 10**10
"""Far more than can be trained on one device. An upper bound of the weights is compared with it."""


def network_defaults(network: str) -> dict[str, Any]:
    """List the defaults of model and data that depend on the network.

    Parameters
    ----------
    network : str
        ``convnet``, ``gated``, or the import path of a network of one's own.

    Returns
    -------
    dict of str to object
        By option, such as ``model.num_layers`` and ``data.graph``.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    defaults = OWN_DEFAULTS if is_own(network) else NETWORK_DEFAULTS[known_network(network)]
    sizes = {f"model.{name}": value for name, value in defaults.items()}
    return {**sizes, "data.graph": DEFAULT_GRAPHS.get(network, "bonds")}


def check_inner_irreps(
    irreps: str,
    inner_irreps: str | None,
    edge_irreps: str | None,
    num_layers: int,
    kept: list[dict[str, Any]] | None,
) -> list[dict[str, Any]] | None:
    """Say what stays of every layer if all layers but the last have fewer irreps.

    Parameters
    ----------
    irreps, inner_irreps, edge_irreps, num_layers, kept
        As given to `EquivariantRegressor`.

    Returns
    -------
    list of dict or None
        `kept`, or for `inner_irreps` what `networks.restriction.kept_to_json` would write: the
        inner layers see edges of the degrees of `inner_irreps` only.

    Raises
    ------
    ValueError
        If `inner_irreps` is unusable, has what `irreps` has not, or is given beside `kept`.
    """
    if inner_irreps is None:
        return kept
    if kept is not None:
        raise ValueError("inner_irreps and kept both say what stays of the layers: give one")
    whole, inner = parse_irreps(irreps), parse_irreps(inner_irreps)
    for mul, ir in inner:
        if mul > whole.count(ir):
            raise ValueError(
                f"inner_irreps {inner_irreps!r} has {mul}x{ir}, and irreps {irreps!r} has "
                f"{whole.count(ir)}x{ir}: give a part of irreps"
            )
    edges = set(whole.ls if edge_irreps is None else parse_irreps(edge_irreps).ls)
    layers = [(inner, edges & set(inner.ls))] * (num_layers - 1) + [(whole, edges)]
    return [
        {
            "channels": {str(ir): list(range(mul)) for mul, ir in channels},
            "edge_degrees": sorted(degrees),
        }
        for channels, degrees in layers
    ]


def irreps_of_channels(channels: tuple[int | None, ...]) -> str:
    """Make an irreps string of channels per degree, with natural parity.

    Parameters
    ----------
    channels : tuple of int or None
        For l = 0, 1, …; None and 0 leave a degree out.

    Returns
    -------
    str
        E.g. ``32x0e+8x2e`` for ``(32, 0, 8)``.

    Raises
    ------
    ValueError
        If a number is negative.
    """
    if any(c is not None and c < 0 for c in channels):
        raise ValueError(
            f"channels_l0 … are {channels}: each must be 0 (degree left out) or positive"
        )
    return "+".join(
        f"{c}x{degree}{'e' if natural_parity(degree) == 1 else 'o'}"
        for degree, c in enumerate(channels)
        if c
    )


def check_network_size(
    irreps: str,
    num_layers: int,
    embedding_dim: int | None,
    num_elements: int,
    num_radial: int,
    radial_hidden: int | None,
    network: str,
) -> None:
    """Refuse a network that would fill the memory before it could fail with a clear error.

    Parameters
    ----------
    irreps, num_layers, embedding_dim, num_elements, num_radial, radial_hidden, network
        As given to `EquivariantRegressor`, sizes with the network's defaults filled in.

    Raises
    ------
    ValueError
        If a number is out of range, or an upper bound of the weights exceeds `MAX_WEIGHTS`.
    """
    if num_elements <= LARGEST_ELEMENT:
        raise ValueError(
            f"num_elements is {num_elements}: give more than {LARGEST_ELEMENT}, as QM9's "
            "elements end with fluorine"
        )
    if num_layers > MAX_LAYERS:
        raise ValueError(f"num_layers is {num_layers}: give at most {MAX_LAYERS}")
    parsed = parse_irreps(irreps)
    embedding = embedding_dim or max(mul for mul, _ in parsed)
    widest = max(sum(mul for mul, _ in parsed), embedding)
    hidden = radial_hidden or max(mul for mul, _ in parsed)
    layer = hidden * (num_radial + len(parsed) * widest**2)
    if network == "gated":  # self-connections, by element
        layer += num_elements * widest**2
    weights = num_elements * embedding + num_layers * layer
    if weights > MAX_WEIGHTS:
        raise ValueError(
            f"a network with irreps {str(parsed)[:80]!r}, {num_layers} layers, embedding_dim "
            f"{embedding}, num_elements {num_elements}, num_radial {num_radial} and "
            f"radial_hidden {hidden} has up to {weights:.1e} weights: make it smaller, to stay "
            f"below {MAX_WEIGHTS:.0e}"
        )


def check_training_options(
    lr: float,
    weight_decay: float,
    lr_schedule: str,
    warmup_steps: int,
    patience: int,
    loss: str,
    compute_weight: float,
) -> None:
    """Refuse options of optimizer, schedule and loss that cannot be used.

    Parameters
    ----------
    lr, weight_decay, lr_schedule, warmup_steps, patience, loss, compute_weight
        As given to `EquivariantRegressor`.

    Raises
    ------
    ValueError
        Says what was given and what is allowed.
    """
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr is {lr}: it must be a positive number, e.g. 0.001")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay is {weight_decay}: it must be 0 or a positive number")
    if not 0 <= compute_weight < float("inf"):
        raise ValueError(f"compute_weight is {compute_weight}: it must be 0 or a positive number")
    if patience < 1:
        raise ValueError(f"patience is {patience}: it must be at least 1 epoch")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps is {warmup_steps}: it must be 0 or a positive number")
    for name, given, allowed in (
        ("lr_schedule", lr_schedule, get_args(ScheduleName)),
        ("loss", loss, get_args(LossName)),
    ):
        if given not in allowed:
            raise ValueError(f"{name} {given!r} is unknown: choose one of {', '.join(allowed)}")
    if warmup_steps and lr_schedule == "plateau":
        raise ValueError(
            f"warmup_steps is {warmup_steps}, which the plateau schedule does not have: choose "
            "lr_schedule constant or cosine, or leave warmup_steps at 0"
        )


def check_force_weight(force_weight: float, kernel: str, compile: bool, cuda_graph: bool) -> None:
    """Refuse to train on forces where that is unknown or impossible.

    Parameters
    ----------
    force_weight, kernel, compile, cuda_graph
        As given to `EquivariantRegressor`.

    Raises
    ------
    ValueError
        Says what was given and what to use.
    """
    if not 0 <= force_weight < float("inf"):
        raise ValueError(f"force_weight is {force_weight}: it must be 0 or a positive number")
    if force_weight:
        check_second_derivatives("force_weight", kernel, compile, cuda_graph)


def check_second_derivatives(use: str, kernel: str, compile: bool, cuda_graph: bool) -> None:
    """Refuse implementations of a network that cannot be differentiated by positions and weights.

    Parameters
    ----------
    use : str
        Option that takes both derivatives of a prediction.
    kernel, compile, cuda_graph
        As given to `EquivariantRegressor`.

    Raises
    ------
    ValueError
        Names the option to change.
    """
    if kernel not in ("auto", "e3nn"):
        raise ValueError(
            f"{use} needs second derivatives, which kernel {kernel} may lack: choose kernel auto"
        )
    for name, given in (("compile", compile), ("cuda_graph", cuda_graph)):
        if given:
            raise ValueError(
                f"{use} needs second derivatives, which {name} does not have: leave "
                f"model.{name} at false"
            )
