"""`UmapClient`: the training process's end of the UMAP worker.

Imports the standard library and `records.latent_paths` only. No method waits for the worker, except
`wait` and `close`.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from records.latent_paths import LOG

Job = dict[str, Any]
BEGIN: Job = {"do": "begin"}
PROJECT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, "-m", "latents.worker")
MAX_DEATHS = 3
CLOSE_SECONDS = 10.0


class UmapClient:
    """Start the worker, pass jobs to it and take its answers; restart it if it is killed.

    Jobs are answered in order. A job during which the worker died is sent once more. If the worker
    dies again, the job is sent with ``give_up``: the reason that its picture is to show.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; must exist.
    warn : callable
        Called with one line when the worker has died.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self.directory = directory
        self.failure: str | None = None
        self._warn = warn
        self._begun = False
        self._waiting: deque[Job] = deque()
        self._attempts = 0
        self._deaths = 0
        (directory / LOG).unlink(missing_ok=True)
        self._start()

    @property
    def outstanding(self) -> int:
        """Jobs without an answer."""
        return len(self._waiting)

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def _stdin(self) -> int:
        """File descriptor of the pipe into the worker."""
        if self._process.stdin is None:
            raise RuntimeError("the worker was started without a pipe")
        return self._process.stdin.fileno()

    def _start(self) -> None:
        self._unsent: deque[bytes] = deque()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with (self.directory / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [*WORKER, str(self.directory.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=PROJECT,
                env=worker_environment(),
                # In a session of its own, the terminal's Ctrl-C does not reach it.
                start_new_session=True,
            )
        os.set_blocking(self._stdin, False)
        self._reader = threading.Thread(
            target=_read_lines, args=(self._process, self._lines), daemon=True
        )
        self._reader.start()
        self._finalizer = weakref.finalize(
            self, _kill_at_exit, os.getpid(), self._process, self._reader
        )

    def begin(self) -> None:
        """Tell the worker that ``molecules.npz`` is there. Call this before `submit`."""
        self._begun = True
        self.submit(BEGIN)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Parameters
        ----------
        job : dict
            See `latents.worker.LatentWorker.answer`.
        """
        self._waiting.append(job)
        if self.failure is None:
            self._send(job)

    def _send(self, job: Job) -> None:
        self._unsent.append(f"{json.dumps(job)}\n".encode())
        self._push()

    def _push(self) -> None:
        """Write as many lines as the pipe takes; lines below PIPE_BUF are written whole or not."""
        while self._unsent:
            try:
                os.write(self._stdin, self._unsent[0])
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._unsent.clear()  # the worker has died; `answers` notices and sends all again
                return
            self._unsent.popleft()

    def answers(self) -> list[Job]:
        """Take the answers that have arrived.

        Returns
        -------
        list of dict
            In the order of the jobs; each is the job with its result, or with ``error``.
        """
        taken: list[Job] = []
        while self.failure is None:
            self._push()
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
            if line is None:
                self._replace_dead_worker()
                continue
            answer = json.loads(line)
            self._waiting.popleft()
            if answer["do"] != "begin":
                self._attempts = 0
            if answer["do"] != "begin" or "error" in answer:
                taken.append(answer)
        return taken

    def wait(self, seconds: float) -> list[Job]:
        """Wait until every job is answered, the worker is gone for good, or time is up.

        Parameters
        ----------
        seconds : float
            Longest wait.

        Returns
        -------
        list of dict
            As `answers`.
        """
        deadline = time.monotonic() + seconds
        taken = self.answers()
        while self._waiting and self.failure is None and time.monotonic() < deadline:
            time.sleep(0.05)
            taken += self.answers()
        return taken

    def _replace_dead_worker(self) -> None:
        """Say why the worker died, and start another one if that may help."""
        _end_process(self._process, self._reader, CLOSE_SECONDS)
        self._finalizer.detach()
        code = self._process.returncode
        cause = describe_death(code, self.directory / LOG)
        self._deaths += 1
        self._attempts += 1
        if code >= 0 or self._deaths >= MAX_DEATHS:
            self.failure = cause
            self._warn(f"the UMAP worker ended: {cause}. Training goes on without its pictures")
            return
        self._warn(f"the UMAP worker ended: {cause}. It is started again")
        self._start()
        if self._begun and not (self._waiting and self._waiting[0] == BEGIN):
            self._waiting.appendleft(BEGIN)
        if self._attempts > 1:
            self._give_up_next(f"the worker was {cause} twice")
        for job in self._waiting:
            self._send(job)

    def _give_up_next(self, reason: str) -> None:
        """Have the frame that kills the worker drawn without data, so that later ones follow."""
        for job in self._waiting:
            if job["do"] == "frame":
                job["give_up"] = reason
                return

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """End the worker.

        Parameters
        ----------
        seconds : float
            If the worker takes longer, it is killed; 0 kills it at once.
        """
        if self._finalizer.detach() is not None:
            _end_process(self._process, self._reader, seconds)
            log = self.directory / LOG
            if log.exists() and log.stat().st_size == 0:
                log.unlink()


def worker_environment() -> dict[str, str]:
    """Make the worker's environment: one thread, no GPU, this project importable."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM", "NUMEXPR")
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": "1" for name in threads},
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": path,
    }


def describe_death(code: int, log: Path) -> str:
    """Say why a process has ended.

    Parameters
    ----------
    code : int
        Its return code; negative for a signal.
    log : Path
        File with its standard error.
    """
    if code < 0:
        known = -code in set(signal.Signals)
        return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f", {lines[-1].strip()}" if lines else ""
    return f"exit code {code}{last} (see {log})"


def _read_lines(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line.decode("utf-8"))
    lines.put(None)


def _kill_at_exit(owner: int, process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """Kill a worker that was never closed; a forked child of its owner leaves it alone."""
    if os.getpid() == owner:
        _end_process(process, reader, 0.0)


def _end_process(
    process: subprocess.Popen[bytes], reader: threading.Thread, seconds: float
) -> None:
    """Close the worker's pipe, upon which it ends, and kill it if that takes too long."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join()
    if process.stdout is not None:
        process.stdout.close()
