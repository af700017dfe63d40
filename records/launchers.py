"""Environment variables by which launchers tell a process which of several it is. Imports nothing.

A process whose environment holds them, though it trains by itself, would take itself for one of
several: Lightning and its loggers write nothing in a process of rank 1.
"""

from __future__ import annotations

LIGHTNING_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")
"""Set by Lightning for the processes that it starts itself, and by ``torchrun``."""
RANK_VARIABLES = (
    *LIGHTNING_VARIABLES,
    # torchrun
    "RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    # srun
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_NUM_TASKS",
    # jsrun
    "JSM_NAMESPACE_RANK",
    "JSM_NAMESPACE_LOCAL_RANK",
    "JSM_NAMESPACE_SIZE",
    # mpirun and mpiexec of Open MPI, MPICH, Intel MPI and MVAPICH
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_NODE_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK",
    "PMI_LOCAL_RANK",
    "PMI_SIZE",
    "PMIX_RANK",
    "MPI_LOCALRANKID",
    "MV2_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "MV2_COMM_WORLD_SIZE",
)
"""Variables that belong to one process of several, and not to the programs that it starts."""
