"""How long a run still takes is extrapolated from what this process has trained."""

import pytest

from callbacks import time_left
from callbacks.time_left import TimeLeft, in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (44.2, "45 s"), (119, "119 s"), (121, "2 min"), (59 * 60, "59 min"),
        (3600, "1 h 0 min"), (12_000, "3 h 20 min"), (190_800, "2 d 5 h"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_estimate_is_of_what_this_process_has_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time_left.time, "perf_counter", lambda: now[0])
    left = TimeLeft()
    assert left.estimate(5, 30) is None
    left.start(5)  # a continued run: five epochs were trained by an earlier process
    assert left.estimate(5, 30) is None
    now[0] = 120.0
    left.start(7)  # at the next epoch; the clock runs already
    assert left.estimate(7, 30) == pytest.approx(20 / 2 * 23)
    assert left.estimate(7.5, 30) == pytest.approx(20 / 2.5 * 22.5)
    assert left.estimate(30, 30) == 0
    assert left.estimate(7, None) is None
    assert left.estimate(7, -1) is None
