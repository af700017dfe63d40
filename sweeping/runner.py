"""Run the trials of a local sweep in child processes, and stop them cleanly.

One thread runs one loop: start, reap, sleep. POSIX only. Imports `sweeping.state`.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from sweeping.state import FAILED, FINISHED, INTERRUPTED, SETTLED, Claim, SweepState, Trial

POLL_SECONDS = 0.2
CLAIM_SECONDS = 2.0
"""How long to wait before asking for a trial again when other processes hold all that are left."""
TAIL_LINES = 15
"""How many lines of a failed trial's log are kept."""
ATTEMPT = "=== attempt"
"""Marks the start of an attempt in a trial's log."""
MAX_OUTSIDE_STOPS = 3
"""How often a trial may be stopped from outside before it counts as failed."""
STOP_CODES = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of a program that was asked to stop."""


class Progress(Protocol):
    """Receives what happens during a sweep."""

    def started(self, trial: Trial, running: int) -> None:
        """Report that a trial has started; `running` trials now run."""

    def ended(self, trial: Trial, running: int) -> None:
        """Report that a trial has finished, failed or was interrupted."""

    def say(self, line: str) -> None:
        """Print a line."""

    def tick(self) -> None:
        """Report that time has passed."""


@dataclass
class Child:
    """A running trial."""

    claim: Claim
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    worker: int
    started_at: float


@dataclass
class Runner:
    """Runs trials until none is left, or until a signal stops it.

    Attributes
    ----------
    state : SweepState
        The trials.
    keys : sequence of str
        Trials to run, in order.
    workers : int
        Number of trials that run at the same time.
    prepare : callable
        Maps a trial and the number of its worker to a command line and an environment.
    progress : Progress
        Is told what happens.
    grace : float
        Seconds between SIGTERM and SIGKILL when stopping.
    stopped_by : int or None
        Signal that stopped the runner.
    killing : bool
        Whether a second signal asked to kill the trials at once.
    children : list of Child
        Running trials.
    outside_stops : Counter
        How often each trial was stopped from outside, by key.
    """

    state: SweepState
    keys: Sequence[str]
    workers: int
    prepare: Callable[[Trial, int], tuple[list[str], dict[str, str]]]
    progress: Progress
    grace: float = 60.0
    stopped_by: int | None = None
    killing: bool = False
    children: list[Child] = field(default_factory=list)
    outside_stops: Counter[str] = field(default_factory=Counter)
    _next_claim: float = 0.0

    def run(self) -> None:
        """Run all trials. A signal, such as SIGINT or SIGTERM, stops them and ends the call."""
        with self._handling_signals():
            try:
                self._loop()
            finally:
                # After a normal end there are none. An error must not leave any running either.
                self._stop_children()

    def _loop(self) -> None:
        announced = False
        while self.stopped_by is None:
            self._reap()
            while len(self.children) < self.workers and self._start_next():
                pass
            if not self.children:
                left = [t for t in self.state.trials(self.keys) if t.status not in SETTLED]
                if not left:
                    return
                if not announced:
                    self.progress.say(f"waiting for {len(left)} trials of another process")
                announced = True
            self.progress.tick()
            time.sleep(POLL_SECONDS)

    def _start_next(self) -> bool:
        if self.stopped_by is not None or time.monotonic() < self._next_claim:
            return False
        claim = self.state.claim(self.keys)
        if claim is None:
            # Other processes may be running the trials that are left, and may die.
            self._next_claim = time.monotonic() + CLAIM_SECONDS
            return False
        used = {child.worker for child in self.children}
        worker = next(number for number in range(self.workers) if number not in used)
        command, environment = self.prepare(claim.trial, worker)
        self.state.result_file(claim.trial).unlink(missing_ok=True)
        log = self.state.log_file(claim.trial).open("ab", buffering=0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        log.write(f"{ATTEMPT} {claim.trial.attempts}, {now}: {shlex.join(command)}\n".encode())
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=(claim.descriptor,),
                preexec_fn=_end_with_parent(os.getpid()),
            )
        except (OSError, ValueError) as error:
            log.write(f"cannot start: {error}\n".encode())
            self._settle(claim, log, code=127, started_at=time.monotonic())
            return True
        self.children.append(Child(claim, process, log, worker, time.monotonic()))
        self.progress.started(claim.trial, len(self.children))
        return True

    def _reap(self) -> None:
        for child in list(self.children):
            code = child.process.poll()
            if code is not None:
                self.children.remove(child)
                self._settle(child.claim, child.log, code, child.started_at)

    def _settle(self, claim: Claim, log: IO[bytes], code: int, started_at: float) -> None:
        """Record how a trial ended, and release its lock after that."""
        trial = claim.trial
        self._next_claim = 0.0
        log.close()
        trial.exit_code = code
        trial.seconds += round(time.monotonic() - started_at, 1)
        self.state.find_run(trial)
        trial.tail = []
        if code == 0 and self.state.summary(trial).finished:
            trial.status = FINISHED
        elif self.stopped_by is not None or (code in STOP_CODES and self._may_continue(trial)):
            trial.status = INTERRUPTED
        else:
            trial.status = FAILED
            trial.tail = last_lines(self.state.log_file(trial), TAIL_LINES)
            if code == 0:
                trial.tail.append("(its summary.json does not say that the run is finished)")
            if code < 0:
                trial.tail.append(f"(killed by {signal.Signals(-code).name})")
        self.state.record(trial)
        claim.release()
        self.progress.ended(trial, len(self.children))

    def _may_continue(self, trial: Trial) -> bool:
        self.outside_stops[trial.key] += 1
        return self.outside_stops[trial.key] < MAX_OUTSIDE_STOPS

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        def handle(signum: int, _: FrameType | None) -> None:
            # Clusters send SIGUSR1 ahead of a time limit.
            signum = signal.SIGTERM if signum == signal.SIGUSR1 else signum
            self.killing = self.stopped_by is not None
            self.stopped_by = self.stopped_by or signum

        before = {}
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            # `nohup` ignores SIGHUP so that a program survives its terminal, and a job script
            # SIGUSR1 because it passes it on as SIGTERM.
            if signal.getsignal(signum) != signal.SIG_IGN:
                before[signum] = signal.signal(signum, handle)
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _stop_children(self) -> None:
        """Send SIGTERM to every child, wait, then kill what is left of its process group."""
        if not self.children:
            return
        if self.stopped_by is not None:
            name, count = signal.Signals(self.stopped_by).name, len(self.children)
            self.progress.say(
                f"{name}: stopping {count} trials within {self.grace:.0f} s (repeat to kill them)"
            )
        for child in self.children:
            # Like an agent, signal the program only: it stops its own helpers in the right order.
            child.process.terminate()
        deadline = time.monotonic() + self.grace
        groups = [child.process.pid for child in self.children]
        while self.children and time.monotonic() < deadline and not self.killing:
            self._reap()
            time.sleep(POLL_SECONDS / 4)
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for child in self.children:
            child.process.wait()
        self._reap()


def last_lines(path: Path, count: int) -> list[str]:
    """Read the end of the last attempt's log, with progress bars reduced to their last state."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    text = text.rpartition(ATTEMPT)[2].partition("\n")[2] if ATTEMPT in text else text
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """Make the kernel send a child SIGTERM when this process dies, even by SIGKILL (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    set_death_signal = ctypes.CDLL(None, use_errno=True).prctl
    pr_set_pdeathsig = 1

    def in_child() -> None:
        set_death_signal(pr_set_pdeathsig, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)

    return in_child
