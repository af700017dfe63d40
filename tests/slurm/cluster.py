"""A real Slurm cluster on this machine: one controller, one node, no accounting, nothing shared.

Everything lies in a temporary folder and on ports of its own. The node claims more cores, memory
and GPUs than the machine has, so that job scripts meant for a cluster start unchanged. Processes
are tracked by their parents (``proctrack/linuxproc``), so neither cgroups nor systemd are needed.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.patience import LIMIT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
KILL_WAIT = 120
"""Seconds between SIGTERM and SIGKILL. A cluster's 30 would be too few for a machine that is busy
with other tests."""
NODE = "node"
GPUS = 8
MISSING = (
    "these tests need Slurm: `apt-get install --no-install-recommends slurm-wlm munge`, or leave "
    "them out with `pytest -m 'not slurm'`"
)
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY")
SLURM_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={kill_wait}
ReturnToService=2
MinJobAge=3600
SlurmdParameters=config_overrides
SlurmdTimeout=0
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} \
CPUs={cpus} RealMemory=500000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=low Nodes={node} Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=high Nodes={node} MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def _find(program: str) -> str | None:
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"]
    return shutil.which(program, path=os.pathsep.join(folders))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        taken = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for taken_socket in taken:
            taken_socket.bind(("127.0.0.1", 0))
        return [taken_socket.getsockname()[1] for taken_socket in taken]


class Cluster:
    """A running cluster; see `running_cluster`.

    Attributes
    ----------
    folder : Path
        Configuration, state and logs of the daemons.
    environment : dict of str to str
        What a client of this cluster needs in its environment.
    """

    def __init__(self, folder: Path) -> None:
        if any(_find(program) is None for program in PROGRAMS):
            raise RuntimeError(MISSING)
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    # ---- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start MUNGE, the controller and the node's daemon, and wait until the node is idle."""
        self._configure()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid"}
        options = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self._daemon("munged", "--foreground", "--force", "--num-threads=4", *options,
                     f"--seed-file={self.folder}/munge.seed")  # fmt: skip
        self.wait_for((self.folder / "munge.socket").exists, "MUNGE listens")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D", "-N", NODE)
        self.wait_for(lambda: self._node_state() == "IDLE", "the node is idle")

    def _configure(self) -> None:
        controller_port, node_port = _free_ports(2)
        values = {
            "host": socket.gethostname(),
            "user": getpass.getuser(),
            "folder": self.folder,
            "controller_port": controller_port,
            "node_port": node_port,
            "node": NODE,
            "cpus": 16 * GPUS,
            "gpus": GPUS,
            "kill_wait": KILL_WAIT,
        }
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
        # A node without a GPU offers files instead, which Slurm only counts.
        devices = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for device in devices:
            device.touch()
        (self.folder / "gres.conf").write_text(
            f"NodeName={NODE} Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n"
        )
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def _daemon(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    [str(_find(program)), *arguments],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _node_state(self) -> str | None:
        # A controller that is still starting gives no answer, which is no failure yet.
        answer = self._client("scontrol", "--oneliner", "show", "node", NODE, check=False)
        found = re.search(r"\bState=(\w+)", answer)
        return found[1] if found else None

    def stop(self) -> None:
        """Cancel what still runs, wait for its processes, and stop the daemons."""
        for signum in ("--signal=KILL", "--full"):
            self._client("scancel", "--user", getpass.getuser(), signum, check=False)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(LIMIT)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def logs(self) -> str:
        """Give the ends of the daemons' logs, for the message of a failing test."""
        logs = sorted(self.folder.glob("*.out"))
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds.

        Raises
        ------
        TimeoutError
            With the daemons' logs, after `LIMIT` seconds or when a daemon has ended.
        """
        deadline = time.monotonic() + LIMIT
        while not condition():
            dead = [str(d.args[0]) for d in self._daemons if d.poll() is not None]  # type: ignore[index]
            if dead or time.monotonic() > deadline:
                ended = f"{', '.join(dead)} has ended; " if dead else ""
                raise TimeoutError(f"{ended}never happened: {what}\n{self.logs()}")
            time.sleep(0.1)

    # ---- jobs -----------------------------------------------------------------------------------

    def _client(self, *command: str, check: bool = True, **options: object) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command} failed: {done.stderr}\n{self.logs()}")
        return done.stdout

    def scontrol(self, *arguments: str) -> str:
        """Run ``scontrol``."""
        return self._client("scontrol", *arguments)

    def scancel(self, *arguments: str) -> None:
        """Run ``scancel``."""
        self._client("scancel", *arguments)

    def submit(
        self, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run ``sbatch`` in a folder.

        Parameters
        ----------
        *arguments : str
            Options, script and the script's arguments.
        folder : Path
            The job's working directory.
        environment : mapping of str to str, optional
            The job's whole environment; this process's by default.

        Returns
        -------
        str
            The job's number.
        """
        done = subprocess.run(
            ["sbatch", "--parsable", f"--chdir={folder}", *arguments],
            cwd=folder,
            env={**(os.environ if environment is None else environment), **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(";")[0].strip()

    def job(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job or of one task of an array."""
        text = self.scontrol("--oneliner", "show", "job", job)
        return dict(re.findall(r"(\w+(?::\w+)?)=(\S*)", text.splitlines()[0]))

    def state(self, job: str) -> str:
        """Give a job's state, for example ``RUNNING``."""
        return self.job(job)["JobState"]

    def wait_until_running(self, job: str, restarts: int = 0) -> None:
        """Wait until a job runs, having been requeued a number of times."""

        def runs() -> bool:
            shown = self.job(job)
            assert shown["JobState"] not in ENDED or shown["Restarts"] == str(restarts), shown
            return shown["JobState"] == "RUNNING" and int(shown["Restarts"]) >= restarts

        self.wait_for(runs, f"job {job} runs, restarted {restarts} times")

    def wait_until_ended(self, job: str) -> tuple[str, int]:
        """Wait for a job's end; its state and exit code."""
        self.wait_for(lambda: self.state(job) in ENDED, f"job {job} ends")
        shown = self.job(job)
        return shown["JobState"], int(shown["ExitCode"].partition(":")[0])


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster, and stop it with the block."""
    # Sockets have short names only, which pytest's own temporary folders may exceed.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
