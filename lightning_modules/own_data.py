"""A data module of one's own, named by its import path: ``--data_class my_package.MyData``.

Imports this package only, and the module that the user names.
"""

from __future__ import annotations

import inspect

from lightning_modules.molecule_datamodule import MoleculeDataModule
from lightning_modules.own_network import import_class

OPTION = "data_class"


def import_data_class(path: str) -> type[MoleculeDataModule]:
    """Import a data module that the user names.

    Parameters
    ----------
    path : str
        Of the form ``package.module.Class``.

    Raises
    ------
    ValueError
        If there is no such class, or it is no `MoleculeDataModule` that can be used.
    """
    cls = import_class(path, OPTION)
    if not issubclass(cls, MoleculeDataModule):
        raise ValueError(
            f"{OPTION} {path!r} is no lightning_modules.molecule_datamodule.MoleculeDataModule: "
            "make the class a subclass of it, see docs/own_network.md"
        )
    # Lightning's data modules are no abstract classes, so that Python does not look for this.
    members = inspect.getmembers_static(cls)
    missing = [name for name, member in members if getattr(member, "__isabstractmethod__", False)]
    if missing:
        raise ValueError(f"{OPTION} {path!r} must implement {' and '.join(missing)}")
    if not takes(cls, "target"):
        raise ValueError(
            f"{OPTION} {path!r}: its constructor must take target, the name of what is learned"
        )
    return cls


def takes(cls: type, option: str) -> bool:
    """Whether a class's constructor names an option.

    Parameters
    ----------
    cls : type
        E.g. a data module.
    option : str
        Name of a parameter.
    """
    return option in inspect.signature(cls).parameters
