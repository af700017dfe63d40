"""Nested training: what each step keeps and trains, and that a resumed run ends the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from lightning_modules.irrep_dropout import SubsetSchedule
from lightning_modules.regressor import EquivariantRegressor
from networks.restriction import keep_degrees
from tests.callbacks.synthetic import SyntheticMolecules

DEGREES = (1, 2, 4)
SMALL: dict[str, Any] = {
    "irreps": "3x0e+2x1o+2x2e",
    "num_layers": 2,
    "embedding_dim": 4,
    "num_radial": 4,
    "lr": 0.01,
}


def trainer(
    tmp_path: Path, epochs: int, callbacks: list[Callback] | None = None, precision: Any = "32-true"
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        precision=precision,
        default_root_dir=tmp_path,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def drawn(kind: Any, steps: int = 4000) -> list[list[tuple[int, ...]]]:
    schedule = SubsetSchedule(kind, DEGREES, seed=3)
    return [schedule.kept(step) for step in range(steps)]


def test_uniform_keeps_every_subset_equally_often() -> None:
    counts = Counter(subset for (subset,) in drawn("uniform"))
    assert len(counts) == 8
    assert all(abs(count - 500) < 4 * (4000 / 8 * 7 / 8) ** 0.5 for count in counts.values())


def test_sizes_keeps_every_size_equally_often() -> None:
    counts = Counter(subset for (subset,) in drawn("sizes"))
    assert len(counts) == 8
    for size in range(4):
        count = sum(n for subset, n in counts.items() if len(subset) == size)
        assert abs(count - 1000) < 4 * (4000 / 4 * 3 / 4) ** 0.5


def test_sandwich_keeps_the_full_set_and_every_proper_subset_equally_often() -> None:
    steps = drawn("sandwich")
    assert all(len(kept) == 2 and kept[0] == DEGREES for kept in steps)
    counts = Counter(kept[1] for kept in steps)
    assert len(counts) == 7
    assert DEGREES not in counts
    assert all(abs(count - 4000 / 7) < 4 * (4000 / 7) ** 0.5 for count in counts.values())


@pytest.mark.parametrize("kind", ["uniform", "sizes", "sandwich"])
def test_subsets_depend_on_seed_and_step_alone(kind: Any) -> None:
    schedule, again = SubsetSchedule(kind, DEGREES, 3), SubsetSchedule(kind, (4, 2, 1), 3)
    torch.manual_seed(7)
    assert [again.kept(step) for step in (9, 2, 9)] == [schedule.kept(step) for step in (9, 2, 9)]
    other = SubsetSchedule(kind, DEGREES, 4)
    assert [other.kept(s) for s in range(40)] != [schedule.kept(s) for s in range(40)]


@pytest.mark.parametrize("kind", ["uniform", "sandwich"])
def test_a_step_follows_the_gradients_of_the_subsets_that_it_keeps(
    kind: Any, tmp_path: Path
) -> None:
    """The trained weights are those of plain AdamW on restricted networks of the moment."""
    seed_everything(5, verbose=False)
    model, data = EquivariantRegressor(**SMALL, irrep_dropout=kind), SyntheticMolecules(val=4)
    by_hand = EquivariantRegressor(**SMALL).double()
    by_hand.network.load_state_dict(model.network.state_dict())
    batches: list[Any] = []

    class Record(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, i: int) -> None:
            batches.append(batch)

    trainer(tmp_path, 1, [Record()], "64-true").fit(model, datamodule=data)
    assert len(batches) == 4
    by_hand.reference = model.reference
    optimizer = torch.optim.AdamW(by_hand.network.parameters(), lr=0.01, weight_decay=0.0)
    schedule = SubsetSchedule(kind, (1, 2), seed=5)
    torch.set_default_dtype(torch.float64)
    try:
        for step, batch in enumerate(batches):
            optimizer.zero_grad()
            target, kept = model.reference.standardize(batch), schedule.kept(step)
            for subset in kept:
                network = by_hand.network
                smaller = network.restricted(keep_degrees(network.kept, (0, *subset)))
                weights = network.restricted_parameters(smaller)
                predicted = torch.func.functional_call(smaller, weights, (batch,))
                (torch.nn.functional.mse_loss(predicted, target) / len(kept)).backward()
            optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    for name, parameter in model.network.named_parameters():
        expected = by_hand.network.get_parameter(name)
        torch.testing.assert_close(parameter, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_resumed_run_ends_with_the_same_weights(ema_decay: float | None, tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"

    class Save(Callback):
        def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(path)

    def fit(callbacks: list[Callback], ckpt_path: Path | None) -> Any:
        seed_everything(2, verbose=False)
        model = EquivariantRegressor(**SMALL, irrep_dropout="uniform", ema_decay=ema_decay)
        data = OrderedMolecules(train=16, val=4)
        run = trainer(tmp_path, 4, callbacks)
        run.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return run

    unbroken, resumed = fit([Save()], None), fit([], path)
    assert resumed.global_step == unbroken.global_step == 8
    for one, other in zip(resumed.model.parameters(), unbroken.model.parameters()):
        assert torch.equal(one, other)


class OrderedMolecules(SyntheticMolecules):
    """The same batches in every epoch."""

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self._batches("train"), batch_size=None)  # type: ignore[arg-type]


def test_the_optimizer_and_the_checkpoint_hold_the_large_network_alone(tmp_path: Path) -> None:
    plain, nested = EquivariantRegressor(**SMALL), EquivariantRegressor(
        **SMALL, irrep_dropout="uniform"
    )  # fmt: skip
    trainer(tmp_path, epochs=1).fit(nested, datamodule=SyntheticMolecules(val=4))
    assert nested.state_dict().keys() == plain.state_dict().keys()
    assert [n for n, _ in nested.named_parameters()] == [n for n, _ in plain.named_parameters()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"irrep_dropout": "half"}, "choose one of none, uniform, sizes, sandwich"),
        ({"irrep_dropout": "uniform", "irreps": "4x0e"}, "the irreps have none: add some"),
        ({"irrep_dropout": "sizes", "cuda_graph": True}, "leave model.cuda_graph at false"),
        (
            {"irrep_dropout": "sandwich", "compile": True, "convolution": "e3nn"},
            "leave model.compile at false",
        ),
    ],
)
def test_what_nested_training_cannot_do_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        EquivariantRegressor(**(SMALL | options))
    assert "\n" not in str(error.value)
