"""How accurate is the gated network? ``python -m benchmarks.gated_accuracy``.

Trains the gated network, NequIP's own model with the same irreps, and the published network on the
same molecules of QM9 for the same time each, and prints the test MAE of U0. All three learn the
same standardized target, what is left of U0 without a linear fit on element counts. The gated
network and NequIP's model have the same optimizer, learning rate, schedule and batches, so that
only the model differs; the published network has its own best recipe (that of
configs/reading.yaml). ``gated-32`` is the gated network with twice the channels, and
``gated-3.5`` the gated network with a cutoff of 3.5 angstrom in place of 5.

Learning rates follow a cosine of the time that has passed, so that every training ends with a rate
of zero. Every result is a row of a CSV file, and rows that are there are not computed again. A
training that is killed goes on from its last checkpoint, at most a minute before.
``--only-summary`` trains nothing, and ``--picture`` draws the learning curves.

May import everything but the programs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch_geometric.data import Batch

from benchmarks.gated_learning import NetworkKind, Result, draw, read_results, table
from benchmarks.gated_peers import Architecture, NequipNetwork
from benchmarks.training_step import CLOCKS, Clock
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.target_reference import TargetReference
from networks.convnet import EquivariantConvNet
from networks.gated import GatedNetwork
from records.files import replacing
from records.standard_streams import make_standard_streams_safe

CHECKPOINT_SECONDS = 60.0
WARMUP = 0.01
"""Part of the time in which the learning rate grows."""
VAL_SIZE, TEST_SIZE, EVAL_BATCH = 2_000, 10_000, 128


SIZE = Architecture("16x0e+16x1o+16x2e", num_layers=4)
"""Of the gated network and of NequIP's model."""


@dataclass(frozen=True)
class Recipe:
    """How one kind of network is built and trained.

    Attributes
    ----------
    graph : {"bonds", "radius"}
        Edges.
    cutoff : float
        In angstrom.
    batch_size : int
        Molecules per step.
    lr : float
        Largest learning rate of AdamW.
    ema_decay : float
        Decay of the average of the weights that is tested.
    clip : float
        Largest norm of the gradients.
    architecture : Architecture
        Of the gated network and of NequIP's model.
    """

    graph: str = "radius"
    cutoff: float = 5.0
    batch_size: int = 16
    lr: float = 0.01
    ema_decay: float = 0.999
    clip: float = 1.0
    architecture: Architecture = SIZE

    def network(self, kind: NetworkKind, seed: int) -> nn.Module:
        """Build a network; `seed` decides its weights."""
        torch.manual_seed(seed)
        if kind in ("gated", "gated-32", "gated-3.5"):
            return GatedNetwork(**self.architecture.options())
        if kind == "nequip":
            return NequipNetwork(self.architecture, seed=seed)
        return EquivariantConvNet(
            "8x0e+8x1o+8x2e", num_layers=5, radial_hidden=32, cutoff=self.cutoff
        )


GATED = Recipe()
RECIPES: Mapping[NetworkKind, Recipe] = {
    "gated": GATED,
    "gated-32": replace(GATED, architecture=replace(SIZE, irreps="32x0e+32x1o+32x2e")),
    "gated-3.5": replace(
        GATED, cutoff=3.5, architecture=replace(SIZE, cutoff=3.5, neighbor_norm=2.8)
    ),
    "nequip": GATED,
    "published": Recipe("bonds", 2.0, 32, 0.02, 0.998),
}


@dataclass(frozen=True)
class Trial:
    """What one row asks for."""

    network: NetworkKind
    train_size: int
    seed: int
    minutes: float
    clock: Clock

    @property
    def name(self) -> str:
        """Name of its checkpoint."""
        return f"{self.network}-{self.train_size}-s{self.seed}-{self.minutes:g}min-{self.clock}"


class Training:
    """One training, which can be saved and continued.

    Parameters
    ----------
    trial : Trial
        What is trained, on what, for how long.
    recipe : Recipe
        How.
    data : QM9DataModule
        The molecules, set up.
    """

    def __init__(self, trial: Trial, recipe: Recipe, data: QM9DataModule) -> None:
        self.trial, self.recipe, self.data = trial, recipe, data
        self.network = recipe.network(trial.network, trial.seed)
        self.average = AveragedModel(self.network, multi_avg_fn=self._average)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.lr, weight_decay=0.0, fused=True
        )
        self.reference = TargetReference("composition", num_elements=10)
        self.reference.fit(data)
        self.steps, self.seconds = 0, 0.0

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.seconds = state["steps"], state["seconds"]

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def run(self, path: Path) -> None:
        """Train until the time is over, and save now and then."""
        read, total = CLOCKS[self.trial.clock], 60.0 * self.trial.minutes
        start, saved = read() - self.seconds, read()
        for batch in self._batches():
            if self.seconds >= total:
                break
            self._step(batch, learning_rate(self.seconds / total) * self.recipe.lr)
            self.steps += 1
            self.seconds = read() - start
            if read() - saved > CHECKPOINT_SECONDS:
                before = read()
                self.save(path)
                saved = read()
                start += saved - before
        self.save(path)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; what is left over is trained on in another epoch."""
        return max(1, self.trial.train_size // self.recipe.batch_size)

    def _batches(self) -> Iterator[Batch]:
        """Draw batches without end, from the next one on; the seed decides their order."""
        rows = self.data.splits["train"][: self.trial.train_size]
        epoch, first = divmod(self.steps, self.steps_per_epoch)
        while True:
            generator = torch.Generator().manual_seed(1_000_003 * self.trial.seed + epoch)
            order = rows[torch.randperm(len(rows), generator=generator)]
            for k in range(first, self.steps_per_epoch):
                start = k * self.recipe.batch_size
                yield self.data.batch(order[start : start + self.recipe.batch_size])
            epoch, first = epoch + 1, 0

    def _step(self, batch: Batch, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        prediction = self.network(batch)
        loss = nn.functional.mse_loss(prediction, self.reference.standardize(batch))
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss is {loss.item()} at step {self.steps}: lower the rate")
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.average.update_parameters(self.network)

    @torch.no_grad()
    def _average(self, averages: Any, weights: Any, count: Tensor | int) -> None:
        """Average exponentially; over fewer steps in the beginning, to forget the first weights."""
        decay = min(self.recipe.ema_decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def result(self) -> Result:
        """Test the average of the weights."""
        trial = self.trial
        return Result(
            trial.network,
            trial.train_size,
            trial.seed,
            trial.minutes,
            trial.clock,
            torch.get_num_threads(),
            sum(p.numel() for p in self.network.parameters()),
            self.steps,
            self.steps / self.steps_per_epoch,
            self.mae("val"),
            self.mae("test"),
        )

    @torch.no_grad()
    def mae(self, part: str) -> float:
        """Mean absolute error of a part's molecules, meV."""
        errors: list[Tensor] = []
        for rows in self.data.splits[part].split(EVAL_BATCH):
            batch = self.data.batch(rows)
            prediction = self.reference.restore(batch, self.average(batch))
            errors.append((prediction - batch.y).abs())
        return float(torch.cat(errors).mean()) * self.data.target.reporting_factor


def learning_rate(part: float) -> float:
    """Relative learning rate: grows linearly during `WARMUP`, then falls along a cosine.

    Parameters
    ----------
    part : float
        Part of the time that has passed, from 0 to 1.
    """
    if part < WARMUP:
        return max(part, 1e-4) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (part - WARMUP) / (1 - WARMUP))))


def find(results: Sequence[Result], trial: Trial) -> Result | None:
    """Look up a trial's row."""
    for result in results:
        if all(getattr(result, name) == value for name, value in asdict(trial).items()):
            return result
    return None


def molecules(recipe: Recipe, train_size: int) -> QM9DataModule:
    """Load the molecules of a recipe: the first of the standard training part."""
    data = QM9DataModule(
        target="U0",
        graph=recipe.graph,
        cutoff=recipe.cutoff,
        train_size=train_size,
        val_size=VAL_SIZE,
        test_size=TEST_SIZE,
    )
    data.prepare_data()
    data.setup()
    return data


def run_trial(trial: Trial, results: Path, checkpoints: Path) -> None:
    """Train and test, or go on with it, and add the row.

    Parameters
    ----------
    trial : Trial
        What to train.
    results : Path
        CSV file.
    checkpoints : Path
        Folder of the checkpoint, which is removed in the end.
    """
    recipe, path = RECIPES[trial.network], checkpoints / f"{trial.name}.ckpt"
    training = Training(trial, recipe, molecules(recipe, trial.train_size))
    training.load(path)
    training.run(path)
    result = training.result()
    read_results(results).add([result])
    path.unlink()
    print(
        f"{trial.name}: {result.epochs:.1f} epochs, test MAE {result.test_mae:.1f} meV", flush=True
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    kinds = get_args(NetworkKind)
    parser.add_argument("--networks", nargs="+", choices=kinds, default=kinds, metavar="KIND")
    parser.add_argument("--train-sizes", nargs="+", type=int, default=[10_000, 5_000, 2_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of each training (default 30)")
    parser.add_argument(
        "--clock",
        choices=get_args(Clock),
        default="wall",
        help="count minutes that pass (default) or CPU time, on a machine that others use too",
    )
    parser.add_argument("--results", type=Path, default=Path("results/gated/accuracy.csv"))
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/gated_accuracy"))
    parser.add_argument("--only-summary", action="store_true", help="train nothing")
    parser.add_argument("--picture", type=Path, help="PNG file that gets the learning curves")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Train what is not in the file yet, and print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; by default, that of the program.
    """
    options = parse(arguments)
    trials = [
        Trial(cast(NetworkKind, kind), size, seed, options.minutes, options.clock)
        for seed in options.seeds
        for size in options.train_sizes
        for kind in options.networks
    ]
    for trial in [] if options.only_summary else trials:
        if find(read_results(options.results).rows, trial) is None:
            run_trial(trial, options.results, options.checkpoints)
    results = read_results(options.results).rows
    if not results:
        raise SystemExit(f"{options.results} has no results: leave out --only-summary to train")
    print(table(results))
    if options.picture:
        draw(results, options.picture)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
