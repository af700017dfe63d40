"""Does one nested run rank degree sets as separate trainings do? ``python -m benchmarks.nested``.

Trains, for each seed, one network with irrep dropout and one separate network for each degree set,
with the same recipe, and tests all of them on the same molecules. Every result is a row of a CSV
file, and rows that are there are not computed again, so the benchmark may be killed and started
again. At the end it prints, for each way of nested training, the rank correlation with the
separate networks, the mean difference, and the cost ratio.

May import everything but the programs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from scipy.stats import kendalltau, spearmanr
from torch_geometric.data import Batch

from analysis.decomposition import degree_label, subsets
from analysis.subsets import subset_errors
from benchmarks.result_rows import ResultRows
from lightning_modules.irrep_dropout import IrrepDropoutName
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from networks.layered import measuring
from networks.nested import NestedNetworks
from networks.restrictable import RestrictableNetwork
from networks.restriction import keep_degrees
from records.standard_streams import make_standard_streams_safe

Degrees = tuple[int, ...]
"""Degrees above 0."""
Scale = Literal["quickstart", "reading", "nine"]
SEPARATE, TUNED = "separate", "tuned"
WAYS = ("uniform", "sandwich", "uniform@0.25", "uniform-tuned")
"""Compared by default, see `parsed`."""
TUNING_RATE = 0.3
"""Part of the learning rate with which a subset of a nested network is trained on by itself."""


@dataclass(frozen=True)
class Recipe:
    """What all trainings of a scale have in common.

    Attributes
    ----------
    degrees : tuple of int
        Degrees above 0 of the largest set.
    channels, num_layers, train_size, batch_size : int
        Size of the networks and of the training.
    epochs : int
        Of each separate training.
    lr : float
        Learning rate, on a cosine schedule, with gradients clipped at norm 1.
    sets : tuple of tuple of int
        Degrees above 0 of the sets that are compared; by default all subsets of `degrees`.
    """

    degrees: Degrees
    channels: int
    num_layers: int
    train_size: int
    batch_size: int
    epochs: int
    lr: float
    sets: tuple[Degrees, ...] = ()

    @property
    def compared(self) -> tuple[Degrees, ...]:
        """The sets that are compared, the largest last."""
        return self.sets or tuple(subsets(self.degrees))


RECIPES: dict[Scale, Recipe] = {
    "quickstart": Recipe((1, 2, 3), 8, 3, 6_000, 16, 6, 0.02),
    "reading": Recipe((1, 2, 3), 8, 5, 20_000, 32, 8, 0.02),
    "nine": Recipe(
        (1, 2, 3, 4), 8, 3, 6_000, 16, 6, 0.02, sets=(*subsets((1, 2, 3)), (1, 2, 3, 4))
    ),
}
"""Sizes as in configs/quickstart.yaml and configs/reading.yaml, with eight degree sets each.
``nine`` is ``quickstart`` with l = 0, ..., 4 as well: the separate trainings of the other sets are
the same."""


@dataclass(frozen=True)
class Result:
    """One row: a degree set, trained in one way with one seed.

    Attributes
    ----------
    scale, way, degrees : str
        E.g. ``quickstart``, ``sandwich``, ``0,1``.
    seed, epochs : int
        Epochs of the training; of a tuned subset, those of the nested training before it.
    mae : float
        Test MAE, meV.
    cpu_seconds : float
        CPU time of the training; a nested training's stands in each of its rows.
    """

    scale: str
    way: str
    degrees: str
    seed: int
    epochs: int
    mae: float
    cpu_seconds: float


class Results(ResultRows[Result]):
    """All rows of the benchmark.

    Parameters
    ----------
    path : Path
        CSV file; read if it exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(Result, path)

    def find(self, scale: str, way: str, seed: int) -> list[Result]:
        """List the rows of one way of training."""
        return [r for r in self.rows if (r.scale, r.way, r.seed) == (scale, way, seed)]

    def note(self, results: Sequence[Result]) -> None:
        """Append rows, write the file and say what was found."""
        self.add(results)
        for row in results:
            print(
                f"{row.scale} {row.way} [{row.degrees}] seed {row.seed}: {row.mae:.1f} meV, "
                f"{row.cpu_seconds:.0f} s",
                flush=True,
            )


def train(
    recipe: Recipe,
    data: QM9DataModule,
    degrees: Degrees,
    seed: int,
    epochs: int,
    irrep_dropout: IrrepDropoutName = "none",
    start: EquivariantRegressor | None = None,
) -> tuple[EquivariantRegressor, float]:
    """Train a network.

    Parameters
    ----------
    recipe : Recipe
        Size and learning rate.
    data : QM9DataModule
        Molecules.
    degrees : tuple of int
        Degrees above 0.
    seed : int
        Seed of weights, order of molecules and subsets.
    epochs : int
        Number of epochs.
    irrep_dropout : str
        See `EquivariantRegressor`.
    start : EquivariantRegressor, optional
        A nested network whose subset is trained on, at `TUNING_RATE` of the learning rate.

    Returns
    -------
    model : EquivariantRegressor
        Trained.
    cpu_seconds : float
        CPU time of the training.
    """
    seed_everything(seed, verbose=False)
    model = _network(recipe, degrees, irrep_dropout, 1.0 if start is None else TUNING_RATE)
    if start is not None:
        kept = keep_degrees(start.network.kept, (0, *degrees))
        model.network.load_state_dict(start.network.restricted(kept).state_dict())
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    begin = time.process_time()
    trainer.fit(model, datamodule=data)
    return model, time.process_time() - begin


def _molecules(recipe: Recipe) -> QM9DataModule:
    data = QM9DataModule(
        train_size=recipe.train_size,
        val_size=1_000,
        test_size=2_000,
        batch_size=recipe.batch_size,
        cutoff=2.0,
    )
    data.prepare_data()
    data.setup()
    return data


def _network(
    recipe: Recipe, degrees: Degrees, irrep_dropout: IrrepDropoutName, rate: float = 1.0
) -> EquivariantRegressor:
    """Build a network, with `rate` times the recipe's learning rate."""
    return EquivariantRegressor(
        "+".join(f"{recipe.channels}x{l}{'eo'[l % 2]}" for l in (0, *degrees)),  # noqa: E741
        num_layers=recipe.num_layers,
        radial_hidden=32,
        cutoff=2.0,
        lr=recipe.lr * rate,
        lr_schedule="cosine",
        irrep_dropout=irrep_dropout,
    )


def step_costs(scale: Scale, steps: int = 20) -> dict[str, tuple[float, float]]:
    """Measure a training step of every subset, the optimizer included.

    Parameters
    ----------
    scale : str
        Key of `RECIPES`.
    steps : int
        Steps per subset, taken in turns.

    Returns
    -------
    dict of str to tuple of float
        By degrees, the full set last: median CPU milliseconds of a step with the large network's
        weights, and of the same step of a separate network.
    """
    recipe = RECIPES[scale]
    data, model = _molecules(recipe), _network(recipe, recipe.degrees, "uniform")
    nested, chosen = (
        NestedNetworks(cast(RestrictableNetwork, model.network)),
        recipe.compared,
    )
    separate = {d: _network(recipe, d, "none").network for d in chosen}
    together = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    alone = {d: torch.optim.AdamW(n.parameters(), lr=0.0, fused=True) for d, n in separate.items()}
    times: dict[Degrees, tuple[list[float], list[float]]] = {d: ([], []) for d in chosen}
    for rows in data.splits["train"][: steps * recipe.batch_size].split(recipe.batch_size):
        batch = data.batch(rows)
        for degrees, (of_nested, of_separate) in times.items():
            nested(degrees, batch)  # builds the network, the first time
            of_nested.append(_step_seconds(together, partial(nested, degrees), batch))
            of_separate.append(_step_seconds(alone[degrees], separate[degrees], batch))
    return {
        degree_label(d): (1000 * float(np.median(one)), 1000 * float(np.median(other)))
        for d, (one, other) in times.items()
    }


def _step_seconds(
    optimizer: torch.optim.Optimizer, predict: Callable[[Batch], torch.Tensor], batch: Batch
) -> float:
    begin = time.process_time()
    optimizer.zero_grad()
    predict(batch).square().mean().backward()
    optimizer.step()
    return time.process_time() - begin


def tested_maes(
    model: EquivariantRegressor, data: QM9DataModule, chosen: Sequence[Degrees]
) -> list[float]:
    """Test subsets of a network's degrees, meV."""
    batches = [data.batch(rows) for rows in data.splits["test"].split(500)]
    for batch in batches:
        batch.y = model.reference.standardize(batch)
    with measuring(model.network):
        unit = float(model.reporting_scale())
        errors = subset_errors(
            NestedNetworks(cast(RestrictableNetwork, model.network)), batches, chosen, unit
        )
    return [float(mae) for mae in errors.mean(0)]


def run(scale: Scale, seed: int, ways: Sequence[str], results: Results) -> None:
    """Train what the results lack.

    Parameters
    ----------
    scale : str
        Key of `RECIPES`.
    seed : int
        Seed.
    ways : sequence of str
        Ways of nested training, see `parsed`.
    results : Results
        Extended.
    """
    recipe = RECIPES[scale]
    data = _molecules(recipe)
    chosen = recipe.compared
    done = {row.degrees for row in results.find(scale, SEPARATE, seed)}
    for degrees in chosen:
        if degree_label(degrees) not in done:
            model, seconds = train(recipe, data, degrees, seed, recipe.epochs)
            (mae,) = tested_maes(model, data, [degrees])
            name = degree_label(degrees)
            results.note([Result(scale, SEPARATE, name, seed, recipe.epochs, mae, seconds)])
    for way in ways:
        if not results.find(scale, way, seed):
            results.note(_nested(scale, way, seed, data, chosen))


def _nested(
    scale: Scale, way: str, seed: int, data: QM9DataModule, chosen: Sequence[Degrees]
) -> list[Result]:
    """Train one nested network at the cost of the separate ones, or a part of it; test it."""
    recipe, (kind, cost, tuned) = RECIPES[scale], parsed(way)
    # A sandwich step costs two. A random subset costs as much as the mean separate step.
    steps = len(chosen) / (2 if kind == "sandwich" else 1)
    epochs = max(1, round(recipe.epochs * steps * cost * (2 / 3 if tuned else 1)))
    model, seconds = train(recipe, data, recipe.degrees, seed, epochs, kind)
    maes = tested_maes(model, data, chosen)
    if tuned:
        maes, rest = [], max(1, round(recipe.epochs * cost / 3))
        for degrees in chosen:
            own, more = train(recipe, data, degrees, seed, rest, start=model)
            maes += tested_maes(own, data, [degrees])
            seconds += more
    return [
        Result(scale, way, degree_label(s), seed, epochs, mae, seconds)
        for s, mae in zip(chosen, maes)
    ]


def parsed(way: str) -> tuple[IrrepDropoutName, float, bool]:
    """Split a way of nested training into its parts.

    Parameters
    ----------
    way : str
        ``uniform`` costs as much as all separate trainings together, ``uniform@0.25`` a quarter.
        With ``-tuned`` at the end, a third of the cost is spent on training every subset on by
        itself.

    Returns
    -------
    kind : str
        Irrep dropout.
    cost : float
        Of the separate trainings' cost.
    tuned : bool
        Whether subsets are trained on by themselves.

    Raises
    ------
    ValueError
        If there is no such way.
    """
    name, _, end = way.partition("-")
    kind, _, cost = name.partition("@")
    if kind not in get_args(IrrepDropoutName)[1:] or end not in ("", TUNED):
        raise ValueError(f"way {way!r} is unknown: give e.g. uniform, sandwich@0.5, uniform-tuned")
    return cast(IrrepDropoutName, kind), float(cost or 1), end == TUNED


def summary(rows: Sequence[Result]) -> Iterator[str]:
    """Compare every way of nested training with the separate networks of the same seeds.

    Parameters
    ----------
    rows : sequence of Result
        Of any scales.

    Yields
    ------
    str
        A line per scale and way: rank correlations with the separate networks' mean over seeds,
        of single runs (mean over seeds); for comparison, those of separate trainings of single
        seeds; mean difference of the MAE; cost ratio.
    """
    for scale in dict.fromkeys(row.scale for row in rows):
        table = _by_way(rows, scale)
        reference = _means(table[SEPARATE])
        for way, seeds in table.items():
            complete = {s: m for s, m in seeds.items() if m.keys() == reference.keys()}
            if len(reference) < 3 or not complete:
                continue
            rho, tau = (_mean_rank(test, complete, reference) for test in (spearmanr, kendalltau))
            both = set(complete) & set(table[SEPARATE])
            extra = [complete[s][d] - table[SEPARATE][s][d] for s in both for d in reference]
            ratio = [complete[s][d] / table[SEPARATE][s][d] - 1 for s in both for d in reference]
            cost = _cost(rows, scale, way) / _cost(rows, scale, SEPARATE)
            yield (
                f"{scale} {way}: {len(complete)} seeds, {len(reference)} sets; Spearman {rho:.3f}, "
                f"Kendall {tau:.3f}; {np.mean(extra):+.1f} meV ({np.mean(ratio):+.0%}); "
                f"cost {cost:.2f} of the separate trainings"
            )
            means = _means(complete)
            yield "  " + "  ".join(f"[{name}] {mae:.1f}" for name, mae in means.items())


def _by_way(rows: Sequence[Result], scale: str) -> dict[str, dict[int, dict[str, float]]]:
    """MAE by way, seed and degrees; the separate trainings first."""
    table: dict[str, dict[int, dict[str, float]]] = {SEPARATE: {}}
    for row in rows:
        if row.scale == scale:
            table.setdefault(row.way, {}).setdefault(row.seed, {})[row.degrees] = row.mae
    return table


def _means(seeds: dict[int, dict[str, float]]) -> dict[str, float]:
    """Mean over seeds of every degree set."""
    names = dict.fromkeys(name for maes in seeds.values() for name in maes)
    return {n: float(np.mean([maes[n] for maes in seeds.values() if n in maes])) for n in names}


def _mean_rank(
    correlation: Callable[..., Any],
    seeds: dict[int, dict[str, float]],
    reference: dict[str, float],
) -> float:
    names = list(reference)
    expected = [reference[name] for name in names]
    values = [
        correlation([maes[name] for name in names], expected).statistic for maes in seeds.values()
    ]
    return float(np.mean(values))


def _cost(rows: Sequence[Result], scale: str, way: str) -> float:
    """CPU seconds per seed."""
    found = [row for row in rows if (row.scale, row.way) == (scale, way)]
    seeds = {row.seed for row in found}
    if way == SEPARATE:
        return sum(row.cpu_seconds for row in found) / len(seeds)
    return sum({row.seed: row.cpu_seconds for row in found}.values()) / len(seeds)


def main() -> None:
    """Read the options, train what is missing and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=get_args(Scale), default="reading")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--results", type=Path, default=Path("results/nested/benchmark.csv"))
    parser.add_argument("--only-summary", action="store_true", help="train nothing")
    parser.add_argument("--step-costs", action="store_true", help="time steps of all subsets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step_costs:
        for degrees, cost in step_costs(arguments.scale).items():
            print(f"[{degrees}] {cost[0]:.1f} ms of CPU time per step, separately {cost[1]:.1f}")
        return
    results = Results(arguments.results)
    if not arguments.only_summary:
        for seed in arguments.seeds:
            run(arguments.scale, seed, arguments.ways, results)
    for line in summary(results.rows):
        print(line)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
