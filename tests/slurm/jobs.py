"""Jobs of the real project on the real Slurm, with the loopback W&B server."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.slurm.cluster import Cluster
from tests.wandb_server import WandbServer

REPOSITORY = Path(__file__).parents[2]
EPOCHS = 4
TINY = {
    "model.irreps": "4x0e+4x1o",
    "model.num_layers": 2,
    "model.embedding_dim": 8,
    "data.train_size": 32,
    "data.val_size": 20,
    "data.test_size": 20,
    "trainer.max_epochs": EPOCHS,
    "trainer.accelerator": "cpu",
    "utilization.num_molecules": 20,
    "utilization.num_bootstrap": 50,
    "latent.enabled": False,
    "utilization.enabled": False,
}
HOLD = "--trainer.callbacks+=tests.slurm.hold.HoldOnce"
ARGUMENTS = [*(f"--{name}={value}" for name, value in TINY.items()), HOLD]


class Place:
    """A folder for one test: environment, sweep file, log, and where its training waits."""

    def __init__(self, cluster: Cluster, server: WandbServer, folder: Path) -> None:
        self.cluster = cluster
        self.server = server
        self.folder = folder
        self.held = folder / "held"
        self.log = folder / "job.log"
        self.environment = server.environment(
            folder, HOLD_FILE=str(self.held), OMP_NUM_THREADS="1", WANDB_DIR=str(folder)
        )

    def write_sweep(self, seeds: list[int]) -> Path:
        """Write a sweep file with one trial per seed."""
        sweep = {
            "name": "tiny",
            "program": "train.py",
            "method": "grid",
            "metric": {"name": "val/mae", "goal": "minimize"},
            "parameters": {
                "seed_everything": {"values": seeds},
                **{name: {"value": value} for name, value in TINY.items()},
            },
            "command": [
                "${env}",
                "${interpreter}",
                "${program}",
                "--runs_dir=${envvar:WANDB_DIR}/runs",
                HOLD,
                "${args}",
            ],
        }
        path = self.folder / "sweep.yaml"
        path.write_text(yaml.safe_dump(sweep))
        return path

    def submit(self, *arguments: str) -> str:
        """Submit a job from the repository; its output is appended to `log`."""
        return self.cluster.submit(
            f"--output={self.log}",
            "--open-mode=append",
            *arguments,
            folder=REPOSITORY,
            environment=self.environment,
        )

    def wait_until_held(self, job: str) -> None:
        """Wait until the training of a job waits at the start of epoch 2."""

        def is_held() -> bool:
            assert self.cluster.state(job) in ("PENDING", "RUNNING"), self.output()
            return self.held.exists()

        self.cluster.wait_for(is_held, f"the training of job {job} is in epoch 2")

    def wait_until_completed(self, job: str) -> None:
        """Wait for the end of a job that must succeed."""
        assert self.cluster.wait_until_ended(job) == ("COMPLETED", 0), self.output()

    def output(self) -> str:
        """What the jobs have printed."""
        return self.log.read_text() if self.log.exists() else ""
