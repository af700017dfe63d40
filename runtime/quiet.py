"""Keeps libraries' advertisements and known false alarms out of a run's log.

Imports the standard library only.
"""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Silence what says nothing about the run; everything else stays visible."""

    def no_tips(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(noise in message for noise in ("Tip:", "to estimate number of stepping"))

    # A filter of a logger is not asked about its children's records, hence every name.
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).addFilter(no_tips)
    # Batches are collated straight from flat tensors in this process; workers would only copy.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torch_geometric.typing registers with TorchScript, which torch now calls deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)
    # The checkpoint directory of a continued run is meant to be there.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
