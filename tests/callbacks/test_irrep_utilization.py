"""IrrepUtilization in real training: right numbers, at the right time, without a trace."""

from __future__ import annotations

import json
import random
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch_geometric.data import Batch

import callbacks.irrep_utilization as module_under_test
from analysis.measurement import Scope, TargetScale, measure_utilization
from callbacks.irrep_utilization import EVERY_EPOCH, IrrepUtilization, logged_numbers
from lightning_modules.measured import measurable_network
from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.weight_averaging import WeightAverage
from networks.convnet import EquivariantConvNet
from networks.layered import measuring
from records.decomposition import read_decomposition
from records.metrics import read_metrics
from records.names import NETWORK
from records.utilization import EFFECTS, Utilization, flat_row, read_table
from runtime.metrics_logger import MetricsCSVLogger
from tests.callbacks.synthetic import SyntheticMolecules

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Running in `fast_dev_run` mode"),
    pytest.mark.filterwarnings("ignore:ModelCheckpoint"),
]
LAYERS, IRREPS = 3, ("0e", "1o", "2e")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are tiny: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Memory(DummyLogger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], *args: Any, **kwargs: Any) -> None:
        self.logged.append(metrics)

    def epochs(self) -> list[float]:
        return [m["epoch"] for m in self.logged if "equivariance/rotation_error" in m]


def regressor(**options: Any) -> EquivariantRegressor:
    torch.manual_seed(0)
    return EquivariantRegressor(
        **{"irreps": "3x0e+2x1o+2x2e", "num_layers": LAYERS, "embedding_dim": 4, "num_radial": 4}
        | {"lr": 1e-2, "reference": "mean"}
        | options
    )


def utilization(**options: Any) -> IrrepUtilization:
    return IrrepUtilization(
        **{"num_molecules": 10, "num_bootstrap": 50, "heatmap": False, "missed_share": 0.0}
        | options
    )


def fit(
    path: Path,
    *callbacks: Callback,
    model: LightningModule | None = None,
    data: Any = None,
    ckpt_path: Any = None,
    **options: Any,
) -> Trainer:
    trainer = Trainer(
        **{
            "accelerator": "cpu",
            "default_root_dir": path,
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        | options,
        callbacks=list(callbacks),
    )
    data = SyntheticMolecules() if data is None else data
    trainer.fit(model or regressor(), datamodule=data, ckpt_path=ckpt_path)
    return trainer


def assert_same(one: Utilization, other: Utilization, rel: float = 1e-12) -> None:
    assert one.mae == pytest.approx(other.mae, rel=rel)
    for a, b in zip(one.rows, other.rows, strict=True):
        got, expected = flat_row(a), flat_row(b)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, str) or key.startswith(("refitted", "probe")):
                continue  # verdicts at the edge of their margin, and solutions of linear systems
            close = rel * one.mae if key.partition("_")[0] in EFFECTS else 1e-9
            assert got[key] == pytest.approx(value, rel=max(rel, 1e-9), abs=close), (a, key)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Memory, EquivariantRegressor]:
    path, memory, model = tmp_path_factory.mktemp("run"), Memory(), regressor()
    settings = wandb.Settings(console="off", quiet=True, x_disable_stats=True)
    run = wandb.init(mode="offline", dir=str(path), settings=settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = MetricsCSVLogger(path / "metrics.csv")
        loggers = [memory, metrics, WandbLogger(experiment=run)]
        with (path / "terminal.txt").open("w") as terminal, redirect_stdout(terminal):
            fit(path, utilization(heatmap=True), model=model, logger=loggers)
    run.finish()
    return path, memory, model


def test_files_hold_the_baseline_and_every_epoch(run: Any) -> None:
    path, memory, _ = run
    table = read_table(path / "utilization.csv")
    assert list(table) == memory.epochs() == [-1, 0, 1]
    singles = [(f"layer{k}", irrep) for k in range(LAYERS) for irrep in IRREPS]
    singles += [("network", irrep) for irrep in IRREPS]
    for epoch, measured in table.items():
        pairs = [("network", "1o&2e")] if epoch == -1 else []
        assert [(row.layer, row.irrep) for row in measured.rows] == singles + pairs
        by_layer = [row.effects for row in measured.rows if row.layer != "network"]
        assert all(by_layer) == (epoch == -1)
    best = read_table(path / "utilization_best.csv")
    assert list(best) == [1]  # without checkpoints, the network as it is at the end
    assert [(row.layer, row.irrep) for row in best[1].rows] == [*singles, ("network", "1o&2e")]
    pictures = sorted(p.name for p in (path / "utilization").iterdir())
    assert pictures == ["best.png", "untrained.png"]
    assert [term.name for term in read_decomposition(path / "decomposition.csv").terms] == [
        *("reference", "0", "0,1", "0,2", "0,1,2")
    ]


def test_a_single_molecule_is_measured_and_not_decomposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # no variance to explain either
        warnings.filterwarnings("error", message="irrep utilization could not be")
        fit(tmp_path, utilization(num_molecules=1), max_epochs=1)
    assert (tmp_path / "utilization_best.csv").exists()
    assert not (tmp_path / "decomposition.csv").exists()
    assert "No decomposition: terms are compared by" in capsys.readouterr().out


def test_a_few_numbers_are_logged_under_their_keys(run: Any) -> None:
    path, memory, _ = run
    table = read_table(path / "utilization.csv")
    for metrics in memory.logged:
        if "equivariance/rotation_error" not in metrics:
            continue
        assert 0 < metrics["equivariance/rotation_error"] < 1e-4
        for key, value in logged_numbers(table[int(metrics["epoch"])]).items():
            assert metrics[key] == pytest.approx(value, nan_ok=True)
        network = {row.irrep: row for row in table[int(metrics["epoch"])].rows[9:12]}
        for irrep in IRREPS:
            reliance = network[irrep].effects["reliance"]
            assert metrics[f"utilization/network/{irrep}/reliance"] == reliance.value
            assert metrics[f"utilization/network/{irrep}/contribution_sd"] > 0
        verdicts = [v for k, v in metrics.items() if k.startswith("utilization/verdicts/")]
        assert sum(verdicts) == len(IRREPS)


def wandb_records(path: Path) -> list[dict[str, Any]]:
    (offline,) = (path / "wandb").glob("offline-run-*")
    command = ["wandb", "leet", "inspect", "--json", str(offline)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def test_wandb_has_pictures_and_a_table_of_every_epoch(run: Any) -> None:
    path, _, _ = run
    records = wandb_records(path)
    rows = [r["history"]["item"] for r in records if r["type"] == "history"]
    for key, epochs in (("utilization/heatmap", [-1, 1]), ("utilization/table", [-1, 0, 1])):
        of_key = [row for row in rows if any(name.startswith(key) for name in row)]
        assert [float(row["epoch"]) for row in of_key] == epochs
    (offline,) = (path / "wandb").glob("offline-run-*")
    assert len(list(offline.glob("files/media/images/utilization/heatmap_*.png"))) == 2
    files = list(offline.glob("files/media/table/utilization/table_*.table.json"))
    tables = [json.loads(file.read_text()) for file in files]
    assert len(tables) == 3
    (untrained,) = [table for table in tables if len(table["data"]) == 13]  # with the pair
    expected = read_table(path / "utilization.csv")[-1].rows
    verdict = untrained["columns"].index("reliance_verdict")
    assert [row[verdict] for row in untrained["data"]] == [
        row.effects["reliance"].verdict for row in expected
    ]
    assert "utilization/network/0e/reliance_best" in json.dumps(records)


def test_tables_of_wandb_are_one_per_epoch_with_the_rows_of_the_file(run: Any) -> None:
    path, _, _ = run
    (offline,) = (path / "wandb").glob("offline-run-*")
    files = offline.glob("files/media/table/utilization/table_*.table.json")
    tables = [json.loads(file.read_text()) for file in sorted(files, key=table_step)]
    epochs = read_table(path / "utilization.csv").values()
    for table, epoch in zip(tables, epochs, strict=True):
        for values, row in zip(table["data"], epoch.rows, strict=True):
            found = dict(zip(table["columns"], values))
            for key, expected in flat_row(row).items():
                is_missing = isinstance(expected, float) and expected != expected
                assert is_missing or found[key] == expected, (row.layer, row.irrep, key)


def table_step(file: Path) -> int:
    """The step in the name of a table that W&B stored, table_<step>_<hash>.table.json."""
    return int(file.name.split("_")[1])


def test_logged_metrics_are_the_numbers_of_the_table(run: Any) -> None:
    path, _, _ = run
    metrics = read_metrics(path / "metrics.csv")
    for epoch, measured in read_table(path / "utilization.csv").items():
        for row in measured.rows:
            if row.layer == NETWORK and "&" not in row.irrep:
                for measure in ("reliance", "refitted", "probe"):
                    logged = metrics[epoch][f"utilization/network/{row.irrep}/{measure}"]
                    assert float(logged) == row.effects[measure].value


def test_the_terminal_shows_the_numbers_of_the_best_checkpoints_table(run: Any) -> None:
    path, _, _ = run
    lines = (path / "terminal.txt").read_text().splitlines()
    (best,) = read_table(path / "utilization_best.csv").values()
    effects = [
        (measure, effect)
        for row in best.rows
        if row.layer == NETWORK
        for measure, effect in row.effects.items()
    ]
    shown = [line.split() for line in lines if " meV [" in line]
    assert [words[0] for words in shown] == [measure for measure, _ in effects]
    for words, (_, effect) in zip(shown, effects):
        texts = (words[1], words[3].strip("[,"), words[4].strip("]"))
        for text, number in zip(texts, (effect.value, effect.low, effect.high)):
            decimals = len(text.partition(".")[2])
            assert float(text.replace(",", "")) == pytest.approx(number, abs=0.5 * 10**-decimals)
        assert " ".join(words[5:]).startswith(effect.verdict)


def measured_directly(model: EquivariantRegressor, scope: Scope) -> Utilization:
    data = SyntheticMolecules()
    batches = {part: data.batch(data.splits[part][:10]) for part in ("val_measure", "train")}
    scale = TargetScale(float(model.reference.intercept), float(model.target_std), 1000.0)
    with measuring(model.network):
        return measure_utilization(
            model.network, [batches["val_measure"]], scale, [batches["train"]], scope, 50
        )


def test_last_rows_are_the_trained_networks_on_molecules_that_select_nothing(run: Any) -> None:
    path, _, model = run
    data = SyntheticMolecules()
    batch = data.batch(data.splits["val_measure"][:10])
    direct = measured_directly(model, EVERY_EPOCH)
    with torch.no_grad():
        error = (model.predict_target(batch) - 1000 * batch.y).abs().mean()
    assert direct.mae == pytest.approx(error.item(), rel=1e-5)
    assert_same(read_table(path / "utilization.csv")[1], direct, rel=1e-4)


def test_epochs_are_measured_on_fewer_molecules_than_the_start_and_the_end(tmp_path: Path) -> None:
    fit(tmp_path, utilization(epoch_molecules=6))
    table = read_table(tmp_path / "utilization.csv")
    assert {epoch: u.num_molecules for epoch, u in table.items()} == {-1: 10, 0: 6, 1: 6}
    (best,) = read_table(tmp_path / "utilization_best.csv").values()
    assert best.num_molecules == 10


class EvaluatedNetwork(Callback):
    """Keeps a copy of the weights that validation runs on, epoch by epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_validation_batch_end(self, trainer: Any, module: Any, *unused: Any) -> None:
        if not trainer.sanity_checking:
            state = {name: value.clone() for name, value in module.state_dict().items()}
            self.states[trainer.current_epoch :] = [state]


@pytest.mark.parametrize("comes_first", [True, False])
def test_averaged_weights_are_measured_where_validation_runs_on_them(
    tmp_path: Path, comes_first: bool
) -> None:
    """Whether the average is put in place before this callback's hooks run or after them."""
    model, evaluated = regressor(ema_decay=0.7, lr=0.05), EvaluatedNetwork()
    average = WeightAverage(0.7)
    model.configure_callbacks = list  # type: ignore[method-assign, assignment]
    order = [utilization(), average] if comes_first else [average, utilization()]
    fit(tmp_path, evaluated, *order, model=model)
    table = read_table(tmp_path / "utilization.csv")
    for epoch in (0, 1):
        model.load_state_dict(evaluated.states[epoch])
        assert_same(table[epoch], measured_directly(model, EVERY_EPOCH), rel=1e-4)
    (best,) = read_table(tmp_path / "utilization_best.csv").values()
    assert_same(best, measured_directly(model, Scope()), rel=1e-4)


def test_the_end_describes_the_best_checkpoint(tmp_path: Path) -> None:
    """The learning rate is so large that the first epoch is the best."""
    saver = ModelCheckpoint(dirpath=tmp_path / "ckpt", filename="best", monitor="val/mae")
    model = regressor(lr=3.0)
    fit(tmp_path, saver, utilization(), model=model, max_epochs=3)
    checkpoint = torch.load(saver.best_model_path, weights_only=True)
    assert checkpoint["epoch"] < 2
    found = read_table(tmp_path / "utilization_best.csv")
    assert list(found) == [checkpoint["epoch"]]
    model.load_state_dict(checkpoint["state_dict"])
    assert_same(found[checkpoint["epoch"]], measured_directly(model, Scope()), rel=1e-4)


def test_what_is_missed_is_found_at_the_end(tmp_path: Path) -> None:
    model = regressor()
    fit(tmp_path, utilization(missed_share=1.0), model=model, max_epochs=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (rows,) = [u.rows for u in read_table(tmp_path / "utilization_best.csv").values()]
    found = {row.irrep: row.effects for row in rows if row.layer == "network"}
    assert "missed" not in found["0e"]
    for name in ("1o", "2e", "1o&2e"):
        assert found[name]["missed"].low <= found[name]["missed"].value
        assert found[name]["missed"].verdict == "undecided"  # of ten molecules
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_verdicts_are_printed_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, utilization(), max_epochs=1)
    out = capsys.readouterr().out
    assert "Utilization after epoch" in out
    assert "(best checkpoint): MAE" in out
    assert out.count("  reliance ") == len(IRREPS) + 1
    assert out.count("  interaction ") == 1
    assert "(untrained " in out


class State(Callback):
    """Everything that decides how training goes on."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *unused: Any) -> None:
        optimizer = trainer.optimizers[0].state.values()
        self.seen += [
            *[p.detach().clone() for p in pl_module.parameters()],
            *[v.clone() for state in optimizer for v in state.values()],
            torch.get_rng_state(),
            torch.from_numpy(np.random.get_state()[1].astype("int64")),  # noqa: NPY002
            torch.tensor(random.getstate()[1]),
            torch.tensor([m.training for m in pl_module.modules()]),
        ]


def test_training_is_bit_identical_without_the_callback(tmp_path: Path) -> None:
    runs = []
    for callback in ([utilization(heatmap=True)], [IrrepUtilization(enabled=False)], []):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        state = State()
        fit(tmp_path, *callback, state)
        runs.append(state.seen)
    for other in runs[1:]:
        assert len(other) == len(runs[0]) > 100
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other))


def test_a_resumed_run_has_the_rows_of_an_unbroken_one(tmp_path: Path) -> None:
    fit(tmp_path / "whole", utilization(), max_epochs=4)
    saver = ModelCheckpoint(dirpath=tmp_path / "ckpt", filename="{epoch}", save_top_k=-1)
    fit(tmp_path / "broken", utilization(), saver, max_epochs=3)
    # The last epoch's checkpoint was not written: its rows are there, its weights are not.
    checkpoint = tmp_path / "ckpt" / "epoch=1.ckpt"
    saver = ModelCheckpoint(dirpath=tmp_path / "ckpt")
    fit(tmp_path / "broken", utilization(), saver, max_epochs=4, ckpt_path=checkpoint)
    whole = read_table(tmp_path / "whole" / "utilization.csv")
    broken = read_table(tmp_path / "broken" / "utilization.csv")
    assert list(broken) == list(whole) == [-1, 0, 1, 2, 3]
    for epoch in (-1, 0, 1):
        assert repr(broken[epoch]) == repr(whole[epoch])


def test_a_new_run_in_the_same_place_starts_a_new_table(tmp_path: Path) -> None:
    fit(tmp_path, utilization(), max_epochs=3)
    fit(tmp_path, utilization(), max_epochs=1)
    assert list(read_table(tmp_path / "utilization.csv")) == [-1, 0]


def test_a_damaged_table_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "utilization.csv").write_text("epoch,layer\n0,layer0\n")
    with pytest.warns(UserWarning, match="damaged in line 2: moved to utilization.csv.damaged"):
        fit(tmp_path, utilization(), max_epochs=1)
    assert list(read_table(tmp_path / "utilization.csv")) == [-1, 0]


@pytest.mark.parametrize(("every", "expected"), [(1, [-1, 0, 1, 2, 3]), (3, [-1, 2, 3])])
def test_measures_every_nth_epoch_and_the_last(
    tmp_path: Path, every: int, expected: list[int]
) -> None:
    memory = Memory()
    fit(tmp_path, utilization(every_n_epochs=every), max_epochs=4, logger=memory)
    assert memory.epochs() == expected


def test_limit_val_batches_and_fast_dev_run_change_nothing_but_the_number(tmp_path: Path) -> None:
    fit(tmp_path / "whole", utilization(num_molecules=20), max_epochs=1)
    fit(tmp_path / "part", utilization(num_molecules=20), max_epochs=1, limit_val_batches=1)
    fit(tmp_path / "fast", utilization(num_molecules=10**9), fast_dev_run=1)
    whole, part, fast = (
        read_table(tmp_path / name / "utilization.csv") for name in ("whole", "part", "fast")
    )
    assert repr(part) == repr(whole)
    assert list(fast) == [-1, 0]
    assert fast[-1].num_molecules == 24


@pytest.mark.parametrize(("precision", "rel"), [("bf16-mixed", 1e-12), ("64-true", 1e-3)])
def test_measured_in_float32_or_better(tmp_path: Path, precision: Any, rel: float) -> None:
    """In half precision the rotation error would be near 1e-2."""
    memory = Memory()
    for name, options in (("single", {}), ("other", {"precision": precision, "logger": memory})):
        model = regressor(convolution="e3nn")
        fit(tmp_path / name, utilization(), model=model, max_epochs=1, **options)
    assert memory.logged[0]["equivariance/rotation_error"] < 1e-5
    single, other = (
        read_table(tmp_path / name / "utilization.csv")[-1] for name in ("single", "other")
    )
    assert_same(other, single, rel)


def test_half_precision_parameters_are_measured_in_a_float32_copy() -> None:
    model = regressor().to(torch.bfloat16)
    network = measurable_network(model)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    single = regressor()
    assert measurable_network(single) is single.network


def test_a_failure_is_one_warning_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        torch.rand(3)
        raise RuntimeError("no more memory")

    plain, disturbed = State(), State()
    fit(tmp_path, plain)
    monkeypatch.setattr(module_under_test, "measure_utilization", fail)
    with pytest.warns(UserWarning, match="irrep utilization") as caught:
        trainer = fit(tmp_path, utilization(), disturbed)
    ours = [w for w in caught if "utilization" in str(w.message)]
    assert len(ours) == 1
    assert "before training; training goes on. RuntimeError: no more memory" in str(ours[0].message)
    assert trainer.current_epoch == 2
    assert all(torch.equal(a, b) for a, b in zip(plain.seen, disturbed.seen, strict=True))


def test_an_interrupt_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(module_under_test, "measure_utilization", stop)
    with pytest.raises(SystemExit):
        fit(tmp_path, utilization())


class Minimal(LightningModule):
    """A module that knows nothing of targets and units."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network: nn.Module = EquivariantConvNet("2x0e+2x1o", num_layers=2, embedding_dim=3)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return (self.network(batch) - batch.y.float()).square().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-5)


def test_says_so_if_there_is_no_network(tmp_path: Path) -> None:
    model = Minimal()
    model.net = model.network
    del model.network
    model.network = model.net.forward
    with pytest.warns(UserWarning, match="Minimal cannot be measured: it must have `network`"):
        fit(tmp_path, utilization(), model=model, max_epochs=1)


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    """The learning rate is too small to move anything: both train through the same states."""
    fit(tmp_path / "one", utilization(), model=regressor(lr=1e-30), max_epochs=1)
    fit(
        tmp_path / "two",
        utilization(),
        model=regressor(lr=1e-30),
        max_epochs=1,
        strategy="ddp_spawn",
        devices=2,
    )
    one, two = (read_table(tmp_path / name / "utilization.csv") for name in ("one", "two"))
    assert list(one) == list(two) == [-1, 0]
    for epoch in (-1, 0):
        assert_same(two[epoch], one[epoch], rel=1e-6)


def test_checkpoint_with_the_callback_loads_weights_only(tmp_path: Path) -> None:
    saver = ModelCheckpoint(dirpath=tmp_path, filename="last")
    fit(tmp_path, utilization(), saver, max_epochs=1)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["callbacks"]["IrrepUtilization"] == {"measured": 0}


@pytest.mark.parametrize(
    "name",
    ["num_molecules", "epoch_molecules", "every_n_epochs", "num_bootstrap", "batch_size"],
)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0: it must be at least 1"):
        IrrepUtilization(**{name: 0})
