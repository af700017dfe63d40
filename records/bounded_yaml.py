"""Reading YAML that anybody may have made up: bounded in time and memory.

Imports the standard library, PyYAML and this package only.
"""

from __future__ import annotations

from typing import Any

import yaml

from records.bounded import DAMAGE

LARGEST_YAML = 2**20
"""Characters of a YAML file."""
MOST_NODES = 100_000
"""Values in a YAML file, each counted wherever an alias repeats it."""
DEEPEST = 50
"""Levels of nested lists and mappings in a YAML file."""
LONGEST_SCALAR = 10_000
"""Characters of one value in a YAML file."""


def parse_yaml(text: str) -> Any:
    """Parse YAML without tags that build objects.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        If it is not YAML, is too long, is nested too deeply, contains itself, or is small only
        because aliases repeat its parts.
    """
    try:
        check_yaml(text)
        return yaml.load(text, Loader=_loader())
    # A tag on a value that does not suit it lets PyYAML raise errors of many types.
    except (yaml.YAMLError, *DAMAGE) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def check_yaml(text: str) -> None:
    """Check that YAML can be parsed in little time and memory.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        As `parse_yaml`.
    yaml.YAMLError
        If it is not YAML.
    """
    if len(text) > LARGEST_YAML:
        raise ValueError(f"it is longer than {LARGEST_YAML:,} characters")
    sizes: dict[str | None, int] = {}
    levels: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=_loader()):
        size = 1
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, total))
            if len(levels) > DEEPEST:
                raise ValueError(f"it is nested too deeply, over {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = levels.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in levels):
                raise ValueError(f"{event.anchor} contains itself")
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_SCALAR:
            raise ValueError(f"a value is longer than {LONGEST_SCALAR:,} characters")
        total += size
        if total > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES:,} values")


def _loader() -> type[yaml.SafeLoader | yaml.CSafeLoader]:
    """Choose libyaml's parser where PyYAML was built with it: it takes a tenth of the time."""
    return yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
