"""Run directories with made-up numbers, written by the same functions that write real ones.

Configuration and provenance come from the real command line, so that a change of any format or
option reaches the tests of the report.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from records.configuration import configuration_hash, identity, write_configuration
from records.decomposition import Decomposition, Term, write_decomposition
from records.latent_paths import METRIC_TABLE
from records.latent_tables import LatentMetric, write_metric_table
from records.latents import (
    ELEMENT_COUNTS,
    METRICS,
    Estimate,
    LatentEpoch,
    Molecules,
    Settings,
    write_epoch,
)
from records.metrics import Row, write_metrics
from records.names import NETWORK, UNTRAINED
from records.nested import Estimate as NestedEstimate
from records.nested import NestedEpoch, write_nested
from records.summary import from_json, write_summary
from records.utilization import (
    INTERACTION,
    MEASURES,
    PAIR,
    BlockUtilization,
    Effect,
    Utilization,
    UtilizationTable,
    Verdict,
    write_utilization,
)
from reporting.read.irreps import degree_of, parse_irreps
from runtime.cli import IrrepscopeCLI
from runtime.run_name import default_run_name
from runtime.signals import StopSignals

NAN = math.nan
GAIN = {0: 0.0, 1: 14.0, 2: 9.0, 3: 1.5, 4: 0.4, 5: 0.1, 6: 0.0}
"""By how many meV a degree lowers the error."""


@functools.cache
def _described(options: tuple[str, ...]) -> str:
    found = IrrepscopeCLI(list(options), StopSignals()).configuration
    return json.dumps([found.resolved, found.provenance, found.yaml_text])


def smiles(count: int) -> list[str]:
    """Return that many different small molecules."""
    groups = ("O", "N", "C#N", "C=O", "F", "OC", "C(=O)N", "c1ccoc1")
    chains = ("", "C", "CC", "C(C)C", "C1CC1", "C1CCC1", "CC(C)C", "COC", "CNC", "C(O)C")
    found = [f"C{'C' * n}{chain}{group}" for n in range(30) for chain in chains for group in groups]
    return list(dict.fromkeys(found))[:count]


def write_run(
    folder: Path,
    irreps: str = "16x0e+16x1o",
    seed: int = 0,
    *options: str,
    status: str = "finished",
    name: str | None = None,
    epochs: int = 6,
    molecules: Sequence[str] = (),
    utilization: bool = True,
    split_seed: int = 0,
    measures: bool = False,
    nested: bool = False,
    **summary: Any,
) -> Path:
    """Write the directory of one run; further keywords change its summary (None removes a key).

    With `measures` it also has what is measured at the end of a run, and all baselines.
    """
    given = (f"--model.irreps={irreps}", f"--trainer.max_epochs={epochs}", *options)
    config, provenance, text = copy.deepcopy(json.loads(_described(given)))
    config["seed_everything"], config["data"]["split_seed"] = seed, split_seed
    name = name or default_run_name(config, provenance["irreps"])
    path = (folder / name).resolve()
    path.mkdir(parents=True)
    write_configuration(path / "config.yaml", text)
    rng = np.random.default_rng([seed, *map(ord, irreps)])
    mae = _error(provenance["l_values"], seed, rng)
    trained = epochs if status == "finished" else epochs // 2
    _write_metrics(path / "metrics.csv", provenance["irreps"], mae, trained, rng)
    if utilization:
        _write_utilization(path / "utilization.csv", provenance, mae, trained, rng)
    if molecules:
        write_latents(path, provenance["irreps"], molecules, trained - 1, seed)
    values: dict[str, Any] = {
        "run_name": name,
        "status": status,
        "seed": seed,
        **provenance,
        "configuration": identity(config),
        "configuration_hash": configuration_hash(config),
        "wandb_run_id": "0a1b2c3d",
    }
    if status == "finished":
        values |= _results(mae, epochs, len(provenance["l_values"]))
    if measures:
        _write_measures(path, provenance, mae, trained, seed)
        baselines = {"mean": 7145.0, "elements": 860.0 + seed, "bonds": 480.0 + seed}
        values |= {f"baseline/{name}_mae": error for name, error in baselines.items()}
    if nested:
        _write_nested(path, provenance, mae, trained, seed)
    write_summary(path / "summary.json", from_json({**values, **summary}))
    return path


def _error(degrees: Iterable[int], seed: int, rng: np.random.Generator) -> float:
    gain = sum(GAIN.get(degree, 0.0) for degree in degrees)
    return 50.0 - gain + 1.5 * math.sin(5 * seed) + 0.3 * float(rng.normal())


def _results(mae: float, epochs: int, degrees: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "train/loss": 0.01,
        "lr": 1e-3,
        "throughput/molecules_per_s": 4000 / degrees,
        "cost/operations": 2.5e6 * degrees,
        "cost/memory": 1e5 * degrees**2,
        "val/mae": 0.98 * mae,
        "molecules": {"train": 4000, "val": 500, "test": 2000},
        "test/mae": mae,
        "test/rmse": 1.4 * mae,
        "test/mse_standardized": (mae / 10323) ** 2,
        "test/seconds": 1.0,
        "test/mae_of_mean": 7145.0,
    }


def _write_metrics(
    path: Path, irreps: str, mae: float, epochs: int, rng: np.random.Generator
) -> None:
    rows: dict[int, Row] = {}
    for epoch in range(UNTRAINED, epochs):
        rise = (epoch + 2) / (epochs + 1)
        latent = {
            f"latent/{block}/{metric}": float(0.4 + 0.5 * rise + 0.02 * rng.normal())
            for block in ("all", *parse_irreps(irreps))
            for metric in METRICS
        }
        if epoch == UNTRAINED:
            latent |= {f"{key}_untrained": value for key, value in latent.items()}
            trained = {}
        else:
            error = mae * (1 + 6 * math.exp(-3.5 * rise))
            rate = float(4000 / len(parse_irreps(irreps)) * (1 + 0.03 * rng.normal()))
            trained = {"val/mae": error, "val/rmse": 1.4 * error, "train/loss": 0.3 * (1 - rise)}
            trained |= {"throughput/molecules_per_s": rate, "lr": 1e-3}
        rows[epoch] = {"epoch": epoch, **latent, **trained}
    write_metrics(path, rows)


def _write_utilization(
    path: Path, provenance: dict[str, Any], mae: float, epochs: int, rng: np.random.Generator
) -> None:
    table = UtilizationTable(path, provenance["unit"])
    for epoch in (UNTRAINED, epochs - 1):
        scale = 0.0 if epoch == UNTRAINED else 1.0
        rows = _blocks(provenance, mae, scale, rng)
        table.add(epoch, Utilization(rows, mae if scale else 7000.0, 200))


def _blocks(
    provenance: dict[str, Any], mae: float, scale: float, rng: np.random.Generator
) -> list[BlockUtilization]:
    names = list(parse_irreps(provenance["irreps"]))
    layers = [
        (f"layer{k}", parse_irreps(text)) for k, text in enumerate(provenance["layer_irreps"])
    ]
    rows = []
    for layer, present in [*layers, (NETWORK, parse_irreps(provenance["irreps"]))]:
        for name in names:
            channels = present.get(name, 0)
            degree = degree_of(name)
            size = scale * mae * 3.0 ** (-1.4 * degree) * float(np.exp(0.3 * rng.normal()))
            reachable = channels > 0
            verdict: Verdict = "unreachable"
            if reachable:
                verdict = "relied on" if size > 0.02 * mae else "negligible"
            effect = Effect(size, 0.9 * size, 1.1 * size, verdict)
            inside = layer != NETWORK and reachable
            rows.append(
                BlockUtilization(
                    layer=layer,
                    irrep=name,
                    channels=channels,
                    reachable=reachable,
                    power=1.0 if inside else NAN,
                    power_share=1 / len(present) if inside else NAN,
                    effective_channels=0.4 * channels if inside else NAN,
                    contribution_sd=0.1 * 2.0**-degree if inside else NAN,
                    effects={"reliance": effect if reachable else Effect(0.0, 0.0, 0.0, verdict)},
                )
            )
    return rows


def write_latents(path: Path, irreps: str, molecules: Sequence[str], last: int, seed: int) -> None:
    """Write layouts of the molecules before training and after the last epoch."""
    shared, rng = np.random.default_rng(0), np.random.default_rng(seed)
    count = len(molecules)
    target = -76000.0 + 10000.0 * shared.normal(size=count)
    settings = Settings("U0", "eV", "meV", 1000.0, irreps, layer=3)
    fixed = Molecules(
        idx=np.arange(count),
        smiles=np.array(molecules),
        target=target,
        elements=np.array([1, 6]),
        element_counts=shared.integers(0, 9, (count, 2)),
        settings=settings,
    )
    blocks = ["all", *parse_irreps(irreps)]
    for epoch in (UNTRAINED, last):
        error = rng.normal(size=count) * (5000 if epoch == UNTRAINED else 40)
        angle = (target - target.min()) / np.ptp(target) * 5
        layouts = {
            block: np.stack([(2 + k) * np.cos(angle + k), (2 + k) * np.sin(angle)], axis=1).astype(
                np.float32
            )
            + rng.normal(scale=1.5 if epoch == UNTRAINED else 0.35, size=(count, 2)).astype("f4")
            for k, block in enumerate(blocks)
        }
        if len(blocks) == 2:
            layouts[blocks[1]] = layouts["all"]
        write_epoch(
            path / "latents",
            LatentEpoch(
                epoch=epoch,
                step=100 * (epoch + 1),
                molecules=fixed,
                prediction=target + error,
                error=np.abs(error),
                composition_free_target=target - target.mean(),
                spatial_score=shared.uniform(5, 60, count),
                layouts=layouts,
                channels=dict.fromkeys(blocks, 16),
                metrics={
                    block: dict.fromkeys(METRICS, Estimate(0.5, 0.4, 0.6, count))
                    for block in blocks
                },
                problems={},
            ),
        )


WORTH = {"reliance": 10.0, "resampled": 12.0, "refitted": 4.0, "probe": 0.0, "missed": 2.0}
"""Times that the loss of l = 1 raises the MAE, by measure; of l = 2 half of that."""


def _write_measures(
    path: Path, provenance: dict[str, Any], mae: float, epochs: int, seed: int
) -> None:
    rng = np.random.default_rng([seed, 7])
    names = list(parse_irreps(provenance["irreps"]))
    above = [name for name in names if degree_of(name) > 0]
    lost = {
        (name, measure): times * mae / max(1, degree_of(name)) + 0.1 * mae * float(rng.normal())
        for name in names
        for measure, times in WORTH.items()
    }
    rows = [row for row in _blocks(provenance, mae, 1.0, rng) if row.layer != NETWORK]
    for name in names:
        effects = {measure: _effect(measure, lost[name, measure], mae) for measure in MEASURES}
        rows.append(BlockUtilization(NETWORK, name, 16, True, effects=effects))
    for number, first in enumerate(above):
        for second in above[number + 1 :]:
            both = {m: lost[first, m] + lost[second, m] + 0.5 * mae for m in ("reliance", "missed")}
            effects = {measure: _effect(measure, value, mae) for measure, value in both.items()}
            effects[INTERACTION] = Effect(0.5 * mae, 0.4 * mae, 0.6 * mae, "more than the sum")
            pair = f"{first}{PAIR}{second}"
            rows.append(BlockUtilization(NETWORK, pair, 32, True, effects=effects))
    unit = provenance["unit"]
    best = {epochs - 1: Utilization(rows, mae, 500)}
    write_utilization(path / "utilization_best.csv", best, unit)
    if above:
        terms = [Term("reference", 9700.0, 0.99, 9e7), Term("0", 300.0 + seed, 0.006, 1e5)]
        terms += [Term(f"0,{degree_of(name)}", 200.0, 0.002, 1e4) for name in above]
        write_decomposition(path / "decomposition.csv", Decomposition(terms, 500), unit)
    write_metric_table(path / "latents" / METRIC_TABLE, _latent_rows(names, epochs, seed))


def _effect(measure: str, value: float, mae: float) -> Effect:
    verdict: Verdict = MEASURES[measure] if value > 0.3 * mae else "undecided"  # type: ignore[index]
    return Effect(value, value - 0.3 * mae, value + 0.3 * mae, verdict)


def _latent_rows(names: Sequence[str], epochs: int, seed: int) -> list[LatentMetric]:
    rows = []
    for is_best, epoch, base in ((False, UNTRAINED, 0.3), (True, epochs - 1, 0.8)):
        for block in ("all", *names, ELEMENT_COUNTS):
            for metric in METRICS[:3] if block == ELEMENT_COUNTS else METRICS:
                value = (-0.04 if "free" in metric else 0.93) if block == ELEMENT_COUNTS else base
                value += 0.01 * seed
                ends = (value - 0.03, value + 0.03, 1000)
                rows.append(LatentMetric(epoch, is_best, block, 16, metric, value, *ends))
    return rows


def _write_nested(
    path: Path, provenance: dict[str, Any], mae: float, epochs: int, seed: int
) -> None:
    degrees = [degree for degree in provenance["l_values"] if degree > 0]
    subsets = {"0": mae + 20.0 + seed}
    subsets |= {f"0,{degree}": mae + 15.0 - 3 * degree for degree in degrees}
    subsets[",".join(map(str, (0, *degrees)))] = mae
    last = NestedEpoch(
        {name: NestedEstimate(value, value - 1, value + 1) for name, value in subsets.items()},
        {degree: NestedEstimate(4.0 * degree, 3.0, 5.0 * degree) for degree in degrees},
        500,
    )
    write_nested(path / "nested.csv", {0: last, epochs - 1: last}, provenance["unit"])
