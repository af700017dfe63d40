"""A user's own network by an adapter: ``FILE.py:factory`` or ``module:factory``.

Imports torch, `networks.layered` and this package only.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from networks.layered import LayeredNetwork
from probing.model import ENERGY, ProbedModel

CONTRACT = "docs/probe.md says how to write one"


def load_own_module(name: str, device: torch.device) -> ProbedModel:
    """Call a factory of one's own.

    The factory takes no arguments. It returns a `ProbedModel`, or a `LayeredNetwork` with the
    attribute ``cutoff`` (angstrom) and, if it knows some elements only, ``elements`` (atomic
    numbers). Such a network predicts energies in eV.

    Parameters
    ----------
    name : str
        ``FILE.py:factory``, or ``module:factory`` of a module that Python finds, also in the
        working directory. Its code is run.
    device : torch.device
        Where to compute.

    Raises
    ------
    ValueError
        If the module cannot be imported, or its factory fails or returns something else.
    """
    place, _, attribute = name.rpartition(":")
    module = _import(place)
    factory = getattr(module, attribute, None)
    if factory is None or not (callable(factory) or isinstance(factory, ProbedModel)):
        raise ValueError(f"{place} has no {attribute!r}: name a function that returns a network")
    # One's own code may raise anything; what it says belongs into the message.
    try:
        made = factory if isinstance(factory, nn.Module | ProbedModel) else factory()
    except Exception as error:
        raise ValueError(f"{name}() failed ({_reason(error)})") from error
    if isinstance(made, ProbedModel):
        made.network.to(device).eval()
        return made
    if not isinstance(made, LayeredNetwork):
        raise ValueError(
            f"{name} gives a {type(made).__name__}, but it must give a "
            f"networks.layered.LayeredNetwork or a probing.model.ProbedModel: {CONTRACT}"
        )
    cutoff = getattr(made, "cutoff", None)
    if not isinstance(cutoff, int | float) or not cutoff > 0:
        raise ValueError(
            f"the network of {name} has no attribute cutoff, the radius of its graph in angstrom: "
            f"set it, or return a probing.model.ProbedModel: {CONTRACT}"
        )
    elements = getattr(made, "elements", None)
    return ProbedModel(
        name=name,
        network=made.to(device).eval(),
        target=ENERGY,
        cutoff=float(cutoff),
        elements=None if elements is None else frozenset(map(int, elements)),
    )


def _import(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return _import_named(place)
        path = Path(place)
        if not path.is_file():
            raise ValueError(f"there is no file {place}: give FILE.py:factory")
        spec = importlib.util.spec_from_file_location(f"probed_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{place} cannot be imported ({_reason(error)})") from error


def _import_named(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(Path.cwd()))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
