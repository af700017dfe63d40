"""Fixtures that the tests of several rooms share."""

import os
import signal

import pytest
import torch
from hypothesis import settings

from qm9.cache import PreparedData, load_or_build

# Examples have no deadline: how long they take depends on what else the machine does.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A shell starts jobs in the background deaf to Ctrl-C, and so would be all programs that the tests
# start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OPTIONAL = ("mace", "peers", "probe", "slow", "slurm", "xtb")
"""Markers of tests that are left out by default."""


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes one thread, as together they use all cores."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Hide the W&B service of earlier tests in this process, which may have ended meanwhile.

    Programs that a test starts would otherwise call on it. This process remembers its service
    without the variable.
    """
    os.environ.pop("WANDB_SERVICE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests that are left out by default as optional, before ``-m`` chooses among them."""
    for item in items:
        if any(item.get_closest_marker(name) for name in OPTIONAL):
            item.add_marker("optional")


@pytest.fixture(scope="session")
def prepared_qm9() -> PreparedData:
    """Load the real data set from the user's cache, where it is built once in about 20 s."""
    return load_or_build(progress=False)
