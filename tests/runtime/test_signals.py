"""SIGTERM and Ctrl-C end a run once, and never between a checkpoint and its row of metrics."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from runtime.signals import StopRequestedError, StopSignals
from tests.patience import LIMIT


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    signums = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGALRM)
    before = {signum: signal.getsignal(signum) for signum in signums}
    handler = StopSignals()
    handler.install()
    yield handler
    for signum, original in before.items():
        signal.signal(signum, original)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
def test_exit_code_is_128_plus_signal(signals: StopSignals, signum: int, code: int) -> None:
    with pytest.raises(StopRequestedError) as caught:
        os.kill(os.getpid(), signum)
    assert caught.value.exit_code == code


def test_a_deferring_block_finishes_first(signals: StopSignals) -> None:
    done = []

    def block() -> None:
        with signals.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(True)

    with pytest.raises(StopRequestedError):
        block()
    assert done == [True]


def test_a_block_that_takes_too_long_is_interrupted(signals: StopSignals) -> None:
    def block() -> None:
        with signals.deferred(longest_wait=0.01):
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                signal.pause()

    with pytest.raises(StopRequestedError) as caught:
        block()
    assert caught.value.exit_code == 143


def test_no_alarm_is_left_behind(signals: StopSignals) -> None:
    def block() -> None:
        with signals.deferred(longest_wait=1000.0):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequestedError):
        block()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_later_signals_are_ignored(signals: StopSignals) -> None:
    with pytest.raises(StopRequestedError):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)


def test_the_server_can_stop_a_run_from_another_thread(signals: StopSignals) -> None:
    def stop() -> None:
        thread = threading.Thread(target=signals.stop_by_server)
        thread.start()
        thread.join(LIMIT)

    with pytest.raises(StopRequestedError):
        stop()
    assert signals.by_server
