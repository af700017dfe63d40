"""Keeping libraries' advertisements and known false alarms out of a run's log.

Imports the standard library only.
"""

from __future__ import annotations

import logging
import warnings

NOISE = (
    "Tip:",
    "to estimate number of stepping",
    # Lightning says so whenever it saves a checkpoint. Ours are read with weights_only=True.
    "`weights_only` was not set",
    # The lines of the epochs say so.
    "`Trainer.fit` stopped: `max_epochs=",
    "GPU available: False",
    # Measures and references need all digits; networks multiply small matrices.
    "that has Tensor Cores",
    "TPU available: False",
    # The program says itself what has stopped it, and what to do.
    "Received SIGTERM",
    "Bypassing SIGTERM",
)
# A logger's filter does not apply to its children's records, hence every name.
LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "lightning.pytorch.trainer.connectors.signal_connector",
)


def _is_about_the_run(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(noise in message for noise in NOISE)


def quiet_libraries() -> None:
    """Silence messages that say nothing about the run. All others stay visible."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_is_about_the_run)
    # Batches are collated from flat tensors in this process; workers would only add copies.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # torch_geometric.typing uses TorchScript, which torch now calls deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
    # Apple's GPU, or one that was declined on the command line.
    warnings.filterwarnings("ignore", message="GPU available but not used")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)
    # The checkpoint directory of a continued run is supposed to exist.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Agents and batch scripts start one process per device themselves, without srun.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
