"""What a run leaves in W&B beside its numbers: notes, logs and, if asked, its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.wandb_session import start_wandb
from tests.programs import run_train
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

OPTIONS = [
    "--model.irreps=2x0e+2x1o", "--model.num_layers=2", "--model.embedding_dim=4",
    "--data.train_size=32", "--data.val_size=8", "--data.test_size=8",
    "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.devices=1",
    "--utilization.enabled=false", "--latent.enabled=false",
]  # fmt: skip


def train(server: WandbServer, folder: Path, *options: str, **environment: str) -> RunRecord:
    with server.client(folder) as client:
        code, output = run_train(
            [*OPTIONS, f"--runs_dir={folder}", "--run_name=net", *options],
            **{**client, "WANDB_MODE": "online", **environment},
        )
    assert code == 0, output
    assert server.unknown == []
    (run,) = server.runs.values()
    return run


@pytest.mark.usefixtures("prepared_qm9")
def test_notes_logs_and_the_checkpoint_arrive(tmp_path: Path) -> None:
    with WandbServer() as server:
        run = train(server, tmp_path, "--wandb_checkpoint")
        models = [a for a in server.artifacts.values() if a.type == "model"]
    assert run.notes is not None
    assert "U0 on the graph bonds, convnet with 2x0e+2x1o, 2 layers" in run.notes
    for words in ("Starting run net", "epoch 0  val/mae", "epoch 1  val/mae", "Test MAE"):
        assert words in run.output
    (model,) = models
    assert model.state == "COMMITTED"
    assert model.files["best.ckpt"] == (tmp_path / "net" / "checkpoints" / "best.ckpt").read_bytes()


@pytest.mark.usefixtures("prepared_qm9")
def test_a_users_notes_stay_and_weights_stay_at_home(tmp_path: Path) -> None:
    with WandbServer() as server:
        run = train(server, tmp_path, WANDB_NOTES="my own words")
        assert [a for a in server.artifacts.values() if a.type == "model"] == []
    assert run.notes == "my own words"


@pytest.mark.parametrize("kind", ["refuse", "hang"])
def test_a_checkpoint_is_named_that_a_broken_server_cannot_take(kind: str, tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    with WandbServer() as server, server.client(tmp_path):
        session = start_wandb(
            "online", "", tmp_path, "abc", "net", "irrepscope", {}, lambda: None, 60.0, 60.0
        )
        with server.fault(kind):
            problem = session.log_checkpoint(tmp_path / "best.ckpt", "net", {})
        assert session.finish(0) is None
    assert problem is not None
    assert "best.ckpt is not in W&B" in problem
    assert server.artifacts == {}
