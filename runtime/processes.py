"""Which of several processes this one is.

Imports Lightning, `records` and this package only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from records.launchers import LIGHTNING_VARIABLES, RANK_VARIABLES


def is_rank_zero() -> bool:
    """Whether this process is the one that writes files and prints.

    Returns
    -------
    bool
        True also where there is only one process. Right once `cluster_environment` has been called.
    """
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


class SrunEnvironment(SLURMEnvironment):
    """The ranks of processes that ``srun`` has started, and nothing else of Slurm.

    Parameters
    ----------
    processes : int
        Number of processes that train together.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(auto_requeue=False)
        self._processes = processes

    @override
    def world_size(self) -> int:
        """Return the number of processes that train together."""
        return self._processes


@contextmanager
def unchanged_rank() -> Iterator[None]:
    """Undo what building a trainer makes of this process's rank."""
    rank = rank_zero_only.rank  # type: ignore[attr-defined]
    try:
        yield
    finally:
        rank_zero_only.rank = rank  # type: ignore[attr-defined]


def cluster_environment(processes: int) -> ClusterEnvironment | None:
    """Choose how the processes of a training learn their ranks; forget ranks of anything else.

    Lightning by itself believes every variable that a launcher has set, even where several
    trainings of one process each run in one job: all but one of them would write nothing. Under
    Slurm it also writes a checkpoint on SIGUSR1, prefers that to any other from then on, and
    requeues the job. A run here continues from ``last.ckpt``, whoever stops and starts it.

    Parameters
    ----------
    processes : int
        Number of processes that the trainer's options ask for.

    Returns
    -------
    ClusterEnvironment or None
        A plugin for the trainer. None leaves the choice to Lightning, for launchers that have
        started the processes of this training.
    """
    # By this variable Lightning knows that it is under Slurm when it looks for checkpoints.
    os.environ.pop("SLURM_NTASKS", None)
    if processes > 1:
        if TorchElasticEnvironment.detect():
            return None
        if os.environ.get("SLURM_STEP_NUM_TASKS") == str(processes):
            return SrunEnvironment(processes)
        if LSFEnvironment.detect() or MPIEnvironment.detect():
            return None
    # Lightning tells the processes that it starts their ranks in its own variables.
    kept = LIGHTNING_VARIABLES if processes > 1 else ()
    for name in RANK_VARIABLES:
        if name not in kept:
            os.environ.pop(name, None)
    if processes == 1:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
    return LightningEnvironment()
