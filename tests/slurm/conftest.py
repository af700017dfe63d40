"""The cluster that all tests of this folder share."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Slurm for all tests; its node takes their jobs side by side."""
    with running_cluster() as running:
        yield running
