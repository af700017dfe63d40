"""EquivariantRegressor: metrics, units, schedules and options, on molecules made up here."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lightning_modules.compute_cost import relative_compute
from lightning_modules.options import irreps_of_channels
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from networks.choice import default_network
from networks.cuda_graph import PaddedNetwork
from qm9.cache import PreparedData
from tests.lightning_modules.made_up import SMALL, Molecules, quiet_trainer


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[EquivariantRegressor, Molecules, Any]:
    torch.manual_seed(0)
    model, data = EquivariantRegressor(**SMALL, compute_weight=0.5), Molecules()
    trainer = quiet_trainer(tmp_path_factory.mktemp("run"), max_epochs=2)
    trainer.fit(model, datamodule=data)
    metrics = dict(trainer.callback_metrics)
    return model, data, metrics


def predictions(model: EquivariantRegressor, batches: Any) -> tuple[Any, Any]:
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model.predict_target(batch) for batch in batches])
    return predicted.numpy(), torch.cat([batch.y for batch in batches]).numpy() * 1000


def test_validation_metrics_are_scikit_learns_in_mev(trained: Any) -> None:
    model, data, metrics = trained
    predicted, target = predictions(model, data.val_dataloader())
    mae, rmse = mean_absolute_error(target, predicted), root_mean_squared_error(target, predicted)
    assert float(metrics["val/mae"]) == pytest.approx(mae, rel=1e-5)
    assert float(metrics["val/rmse"]) == pytest.approx(rmse, rel=1e-5)
    unit = float(model.target_std) * 1000
    assert float(metrics["val/mse_standardized"]) == pytest.approx((rmse / unit) ** 2, rel=1e-5)


def test_objective_is_mae_under_the_compute_term(trained: Any) -> None:
    model, data, metrics = trained
    expected = float(metrics["val/mae"]) * relative_compute(model.network, "convnet", data) ** 0.5
    assert float(metrics["val/objective"]) == pytest.approx(expected, rel=1e-6)


def test_training_loss_is_the_standardized_mse(tmp_path: Any) -> None:
    model, data = EquivariantRegressor(**SMALL, lr=1e-30), Molecules()
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(model, datamodule=data)
    predicted, target = predictions(model, data.train_dataloader())
    expected = np.mean(((predicted - target) / float(model.target_std) / 1000) ** 2)
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(expected, rel=1e-5)


def test_test_metrics_and_the_checkpoint_agree(trained: Any, tmp_path: Any) -> None:
    model, data, _ = trained
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    loaded = EquivariantRegressor.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    tester = quiet_trainer(tmp_path)
    tester.test(loaded, datamodule=data, verbose=False)
    row = {key: float(value) for key, value in tester.callback_metrics.items()}
    predicted, target = predictions(model, data.test_dataloader())
    assert row["test/mae"] == pytest.approx(mean_absolute_error(target, predicted), rel=1e-5)
    assert set(row) == {"test/mae", "test/rmse", "test/mse_standardized"}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_schedules_train(schedule: Any, tmp_path: Any) -> None:
    model = EquivariantRegressor(**SMALL, lr_schedule=schedule)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=Molecules())
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(0.0 if schedule == "cosine" else 1e-3, abs=1e-12)


@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_compute_is_relative_to_the_default_network_of_the_kind(network: Any) -> None:
    data, random_state = Molecules(), torch.get_rng_state()
    default, half = default_network(network), EquivariantRegressor("32x0e", network=network).network
    torch.set_rng_state(random_state)
    assert relative_compute(default, network, data) == 1.0
    molecules = data.batch(data.splits["train"])
    counts = [net.operations(net.prepare(molecules)) for net in (half, default)]
    assert relative_compute(half, network, data) == pytest.approx(counts[0] / counts[1])
    assert torch.equal(torch.get_rng_state(), random_state), "training would draw other numbers"


def test_operations_need_molecules(tmp_path: Any) -> None:
    data = Molecules()
    data.batch = None  # type: ignore[method-assign, assignment]
    model = EquivariantRegressor(**SMALL, compute_weight=0.5)
    with pytest.raises(TypeError, match="Molecules: it needs batch, as QM9DataModule has"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=data)


def test_channels_replace_irreps() -> None:
    assert irreps_of_channels((32, 0, 8, None, 4)) == "32x0e+8x2e+4x4e"
    model = EquivariantRegressor(irreps="64x0e", channels_l0=8, channels_l1=2)
    assert str(model.network.irreps) == "8x0e+2x1o"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0: it must be a positive number"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"lr_schedule": "linear"}, "choose one of constant, cosine, plateau"),
        ({"patience": 0}, "patience is 0"),
        ({"target": "energy"}, "energy"),
        ({"channels_l1": -1}, "0 .degree left out. or positive"),
        ({"channels_l1": 4}, "has no 0e"),
        ({"irreps": "16x0e+foo"}, "cannot be parsed"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"cutoff": -1.0}, "cutoff is -1.0"),
        ({"network": "gatted"}, "choose one of convnet, gated"),
        ({"network": "gated", "num_elements": 5}, "num_elements is 5"),
        ({"network": "gated", "compile": True}, "no tensor products to compile: leave compile"),
        ({"network": "gated", "convolution": "e3nn"}, "leave it at fast and choose a kernel"),
        ({"kernel": "e3nn"}, "is for network gated"),
        ({"network": "gated", "irreps": "10000x0e", "num_elements": 100}, "make it smaller"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EquivariantRegressor(**options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strategy": SimpleNamespace(root_device=torch.device("cpu"))}, "the device is cpu"),
        ({"world_size": 2}, "one device, but 2 devices"),
        ({"precision": "bf16-mixed"}, "precision is bf16-mixed"),
        ({"accumulate_grad_batches": 4}, "accumulate_grad_batches is 4"),
    ],
)
def test_a_cuda_graph_is_refused_where_it_would_fail(changed: dict[str, Any], message: str) -> None:
    model = EquivariantRegressor(**SMALL, cuda_graph=True)
    fit: dict[str, Any] = {
        "strategy": SimpleNamespace(root_device=torch.device("cuda", 0)),
        "world_size": 1,
        "precision": "32-true",
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
    }
    model.check_trainer(SimpleNamespace(**fit))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{message}.*leave model.cuda_graph at false"):
        model.check_trainer(SimpleNamespace(**(fit | changed)))  # type: ignore[arg-type]


def test_a_kernel_without_a_cpu_path_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("networks.channelwise.choice.find_spec", lambda name: True)
    model = EquivariantRegressor(**SMALL, network="gated", kernel="openequivariance")
    cpu = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")), precision="32-true"
    )
    with pytest.raises(ValueError, match="CUDA devices only, not on cpu: choose kernel auto"):
        model.check_trainer(cpu)  # type: ignore[arg-type]


def test_a_cuda_graph_needs_batches_of_known_shape(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EquivariantRegressor, "check_trainer", lambda *_: None)
    model = EquivariantRegressor(**SMALL, cuda_graph=True)
    with pytest.raises(ValueError, match="training_sizes of QM9DataModule, which Molecules"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=Molecules())


@pytest.mark.parametrize(("network", "graph"), [("convnet", "bonds"), ("gated", "radius")])
def test_training_on_padded_batches_is_the_same_training(
    network: Any,
    graph: str,
    prepared_qm9: PreparedData,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "lightning_modules.qm9_datamodule.load_or_build", lambda *_, **__: prepared_qm9
    )
    monkeypatch.setattr(EquivariantRegressor, "check_trainer", lambda *_: None)
    padded_steps, call = [], PaddedNetwork.__call__
    monkeypatch.setattr(
        PaddedNetwork, "__call__", lambda *args: padded_steps.append(args) or call(*args)
    )
    found = []
    for cuda_graph in (False, True):
        torch.manual_seed(0)
        model = EquivariantRegressor(**SMALL, network=network, cutoff=3.0, cuda_graph=cuda_graph)
        sizes = {"train_size": 50, "val_size": 20, "test_size": 20, "batch_size": 16}
        data = QM9DataModule(graph=graph, cutoff=3.0, **sizes)  # type: ignore[arg-type]
        trainer = quiet_trainer(tmp_path, max_epochs=2)
        trainer.fit(model, datamodule=data)
        found.append({k: float(v) for k, v in trainer.callback_metrics.items()})
    assert len(padded_steps) == 2 * 4
    assert found[1] == pytest.approx(found[0], rel=1e-4)
