"""Fixtures that several areas' tests share."""

import pytest

from qm9.cache import PreparedData, load_or_build


@pytest.fixture(scope="session")
def prepared_qm9() -> PreparedData:
    """The real, prepared data set from the user's cache (built once in about 20 s)."""
    return load_or_build(progress=False)
