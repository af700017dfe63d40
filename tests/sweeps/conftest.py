"""The loopback server for these tests."""

from tests.wandb_server import wandb_server

__all__ = ["wandb_server"]
