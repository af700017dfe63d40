"""The cluster that all tests of this folder share."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, running_cluster


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "slurm: needs slurm-wlm and munge")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Slurm for all tests; its node takes their jobs side by side."""
    with running_cluster() as running:
        yield running
