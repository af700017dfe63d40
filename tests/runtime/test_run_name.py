"""A run is named by its configuration, and by nothing that a file system or W&B refuses."""

from __future__ import annotations

import pytest

from records.configuration import configuration_hash
from runtime.run_name import check_run_name, default_run_name

CONFIG = {"seed_everything": 3, "data": {"target": "U0"}, "model": {"irreps": "8x0e"}}


def test_default_name_says_target_irreps_seed_and_hash() -> None:
    name = default_run_name(CONFIG, "8x0e")
    assert name == f"U0-8x0e-s3-{configuration_hash(CONFIG)}"
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 201, "ä", "..", "a\n"])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="run_name .* is unusable"):
        check_run_name(name)
