"""The worker's own work in this process, with principal axes in place of UMAP."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.SpacialScore import SPS

from analysis.latent_metrics import composition_residual, knn_r2, standardize
from latents import worker as umap_worker
from latents.worker import LatentWorker
from records.latent_paths import (
    BEST,
    epoch_path,
    epochs_in,
    final_frame,
    pending_frames,
    picture_path,
    remove_after,
    snapshot_path,
)
from records.latent_tables import LatentMetric, metric_rows, read_metric_table
from records.latents import (
    ELEMENT_COUNTS,
    METRICS,
    Molecules,
    Settings,
    Snapshot,
    read_epoch,
    write_molecules,
    write_snapshot,
)
from tests.latents.quick_worker import principal_axes

G = 40
RNG = np.random.default_rng(0)
COUNTS = RNG.integers(1, 9, size=(G, 3))
TARGET = COUNTS @ [-3000.0, -9000.0, -4000.0] + 1000 * RNG.normal(size=G)
PREDICTION = TARGET + RNG.normal(size=G)


def blocks(**changed: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    usual = {name: rng.normal(size=(G, 3)).astype(np.float32) for name in ("0e", "1o", "2e")}
    return {**usual, **changed}


def settings(**changed: Any) -> Settings:
    usual = {
        "target": "U0",
        "unit": "eV",
        "reporting_unit": "meV",
        "reporting_factor": 1000.0,
        "irreps": "3x0e+3x1o+3x2e",
        "layer": 3,
        "n_neighbors": 6,
        "dpi": 40,
    }
    return Settings(**{**usual, **changed})


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("latents.layout.umap_layout", principal_axes)
    smiles = np.array(["CC", "C1CC1", "CC(O)C#N", "broken"] * (G // 4))
    write_molecules(tmp_path, molecules(smiles))
    return tmp_path


def molecules(smiles: np.ndarray, **changed: Any) -> Molecules:
    elements = np.array([1, 6, 8])
    return Molecules(np.arange(G), smiles, TARGET, elements, COUNTS, settings(**changed))


def lay_out(directory: Path, epoch: int, given: dict[str, np.ndarray], **job: Any) -> dict:
    worker = LatentWorker(directory)
    worker.begin()
    write_snapshot(directory, Snapshot(epoch, 10 * (epoch + 1), given, PREDICTION))
    return worker.answer({"do": "frame", "frame": epoch, **job})


def test_an_epoch_has_layouts_errors_scores_and_metrics(directory: Path) -> None:
    answer = lay_out(directory, -1, blocks())
    latent = read_epoch(epoch_path(directory, -1))
    assert answer["problems"] == {}
    assert list(latent.layouts) == ["all", "0e", "1o", "2e"]
    assert latent.channels == {"all": 9, "0e": 3, "1o": 3, "2e": 3, ELEMENT_COUNTS: 3}
    np.testing.assert_allclose(latent.error, np.abs(PREDICTION - TARGET))
    known = [SPS(MolFromSmiles(s)) for s in ("CC", "C1CC1", "CC(O)C#N")]
    np.testing.assert_allclose(latent.spatial_score[:4], [*known, np.nan])
    space = standardize(np.concatenate(list(blocks().values()), axis=1))
    assert tuple(latent.metrics["all"]) == METRICS
    assert latent.metrics["all"]["knn_r2_target"] == knn_r2(space, TARGET)
    assert not snapshot_path(directory, -1).exists()
    assert picture_path(directory, -1).stat().st_size > 0


DEGENERATE = {
    "NaN": np.where(np.arange(G)[:, None] == 5, np.nan, blocks()["1o"]).astype(np.float32),
    "constant": np.full((G, 3), 0.25, dtype=np.float32),
}


@pytest.mark.parametrize(
    ("kind", "cause"), [("NaN", "1 of 40 molecules are NaN"), ("constant", "the same for all")]
)
def test_a_degenerate_block_costs_its_own_panel_only(
    directory: Path, kind: str, cause: str
) -> None:
    answer = lay_out(directory, 0, blocks(**{"1o": DEGENERATE[kind]}))
    latent = read_epoch(epoch_path(directory, 0))
    assert cause in answer["problems"]["1o"]
    assert np.isnan(latent.layouts["1o"]).all()
    assert all(np.isnan(latent.metrics["1o"][name].value) for name in METRICS)
    assert np.isfinite(latent.layouts["2e"]).all()
    assert ("all" in answer["problems"]) == (kind == "NaN")


def test_umap_failing_costs_one_panel(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_on_three_channels(x: np.ndarray, *args: Any) -> np.ndarray:
        if x.shape[1] == 3:
            raise RuntimeError("no convergence")
        return principal_axes(x)

    monkeypatch.setattr("latents.layout.umap_layout", fails_on_three_channels)
    answer = lay_out(directory, 0, blocks())
    assert answer["problems"]["0e"] == "RuntimeError: no convergence"
    assert "all" not in answer["problems"]
    assert np.isfinite(read_epoch(epoch_path(directory, 0)).metrics["0e"]["knn_r2_target"].value)


def test_a_block_of_one_channel_is_laid_out(directory: Path) -> None:
    answer = lay_out(directory, 0, blocks(**{"2e": blocks()["2e"][:, :1]}))
    assert answer["problems"] == {}


def test_fewer_molecules_than_neighbours_is_said(directory: Path) -> None:
    write_molecules(directory, molecules(np.array(["CC"] * G), n_neighbors=G))
    answer = lay_out(directory, 0, blocks())
    assert set(answer["problems"]) == {"all", "0e", "1o", "2e"}
    assert "40 molecules are too few for 40 neighbours" in answer["problems"]["all"]
    assert picture_path(directory, 0).exists()


def test_a_given_up_epoch_is_drawn_without_data(directory: Path) -> None:
    answer = lay_out(directory, 0, blocks(), give_up="the worker was killed twice")
    assert set(answer["problems"].values()) == {"the worker was killed twice"}
    assert picture_path(directory, 0).exists()


def test_a_single_irrep_is_the_whole(directory: Path) -> None:
    lay_out(directory, 0, {"0e": blocks()["0e"]})
    latent = read_epoch(epoch_path(directory, 0))
    assert latent.metrics["all"] == latent.metrics["0e"]
    assert np.array_equal(latent.layouts["all"], latent.layouts["0e"])


def test_layouts_start_from_the_epoch_before_also_in_a_new_process(directory: Path) -> None:
    for epoch in (-1, 0, 1):
        write_snapshot(directory, Snapshot(epoch, 1, blocks(), PREDICTION))
    unbroken = LatentWorker(directory)
    unbroken.begin()
    for epoch in (-1, 0, 1):
        unbroken.frame(epoch)
    layouts = [read_epoch(epoch_path(directory, e)).layouts["all"] for e in (-1, 0, 1)]
    assert not np.array_equal(layouts[0], layouts[1])  # the same features, another start
    whole = epoch_path(directory, 1).read_bytes()
    remove_after(directory, 0)
    write_snapshot(directory, Snapshot(1, 1, blocks(), PREDICTION))
    resumed = LatentWorker(directory)
    resumed.begin()
    resumed.frame(1)
    assert epoch_path(directory, 1).read_bytes() == whole


def test_a_block_without_data_for_an_epoch_goes_on_from_before(directory: Path) -> None:
    worker = LatentWorker(directory)
    worker.begin()
    for epoch, given in ((0, blocks()), (1, blocks(**{"1o": DEGENERATE["NaN"]}))):
        write_snapshot(directory, Snapshot(epoch, 1, given, PREDICTION))
        worker.frame(epoch)
    later = LatentWorker(directory)
    later.begin()
    first = read_epoch(epoch_path(directory, 0))
    assert np.array_equal(later.layouts["1o"], first.layouts["1o"])
    assert np.array_equal(worker.layouts["1o"], first.layouts["1o"])


def test_composition_is_taken_out_and_measured_alone(directory: Path) -> None:
    lay_out(directory, 0, blocks())
    latent = read_epoch(epoch_path(directory, 0))
    residual = composition_residual(TARGET, COUNTS)
    np.testing.assert_array_equal(latent.composition_free_target, residual)
    counts = standardize(COUNTS)
    alone = latent.metrics[ELEMENT_COUNTS]
    assert alone["knn_r2_target"] == knn_r2(counts, TARGET)
    assert alone["knn_r2_composition_free"] == knn_r2(counts, residual)
    assert alone["knn_r2_target"].low > alone["knn_r2_composition_free"].high


def best_of(epoch: int, given: dict[str, np.ndarray], prediction: np.ndarray) -> Snapshot:
    return Snapshot(epoch, 10 * (epoch + 1), given, prediction, is_best=True)


def test_the_best_checkpoint_reuses_its_epochs_layout(directory: Path) -> None:
    for epoch in (-1, 0, 1):
        lay_out(directory, epoch, blocks())
    write_snapshot(directory, best_of(0, blocks(), PREDICTION))
    worker = LatentWorker(directory)
    worker.begin()
    worker.frame(BEST)
    best, epoch = (read_epoch(epoch_path(directory, frame)) for frame in (BEST, 0))
    assert best.is_best
    assert not epoch.is_best
    assert best.metrics == epoch.metrics
    assert np.array_equal(best.layouts["1o"], epoch.layouts["1o"])
    assert picture_path(directory, BEST).read_bytes() != picture_path(directory, 0).read_bytes()


def test_averaged_weights_are_laid_out_anew(directory: Path) -> None:
    lay_out(directory, 0, blocks())
    averaged = {name: -block for name, block in blocks().items()}
    write_snapshot(directory, best_of(0, averaged, PREDICTION + 1.0))
    worker = LatentWorker(directory)
    worker.begin()
    worker.frame(BEST)
    best = read_epoch(epoch_path(directory, BEST))
    np.testing.assert_array_equal(best.prediction, PREDICTION + 1.0)
    assert not np.array_equal(
        best.layouts["1o"], read_epoch(epoch_path(directory, 0)).layouts["1o"]
    )


def test_tables_and_animation_end_with_the_best_checkpoint(directory: Path) -> None:
    worker = LatentWorker(directory)
    worker.begin()
    for snapshot in (
        Snapshot(0, 10, blocks(), PREDICTION),
        best_of(1, blocks(), PREDICTION + 7.0),
    ):
        write_snapshot(directory, snapshot)
        worker.frame(snapshot.frame)
    assert worker.answer({"do": "finish"})["final"] == BEST == final_frame(directory)
    with (directory / "molecules.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["prediction (meV)"]) == pytest.approx(PREDICTION[0] + 7.0, rel=1e-6)
    with Image.open(directory / "animation.gif") as gif:
        assert gif.n_frames == 2
    assert [row.is_best for row in read_metric_table(directory / "metrics.csv")][-1]


def test_metrics_of_all_epochs_are_in_one_table_also_in_a_new_process(directory: Path) -> None:
    for epoch in (-1, 0, 1):
        lay_out(directory, epoch, blocks())
    rows = read_metric_table(directory / "metrics.csv")
    latents = [read_epoch(epoch_path(directory, epoch)) for epoch in (-1, 0, 1)]
    expected = [row for latent in latents for row in metric_rows(latent)]
    assert len(rows) == len(expected) == 3 * (4 * len(METRICS) + 3)
    for row, other in zip(rows, expected):
        assert same_row(row, other)
    assert {row.channels for row in rows if row.block == "1o"} == {3}
    assert {row.num_molecules for row in rows if row.metric == "knn_r2_target"} == {G}
    # One SMILES in four has no spatial score.
    assert {row.num_molecules for row in rows if row.metric == "knn_r2_complexity"} == {30}


def same_row(row: LatentMetric, other: LatentMetric) -> bool:
    numbers = ("value", "low", "high")
    names = [name for name in vars(row) if name not in numbers]
    return all(getattr(row, name) == getattr(other, name) for name in names) and all(
        getattr(row, name) == pytest.approx(getattr(other, name), rel=1e-6, nan_ok=True)
        for name in numbers
    )


def test_a_damaged_metric_table_is_named_with_its_line(directory: Path) -> None:
    lay_out(directory, 0, blocks())
    path = directory / "metrics.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("all", "all,x", 1)
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"metrics.csv, line 4 is damaged"):
        read_metric_table(path)


def test_a_damaged_earlier_file_is_passed_over(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(directory, 0, blocks())
    epoch_path(directory, 0).write_bytes(b"PK damaged")
    assert lay_out(directory, 1, blocks())["problems"] == {}
    assert "epoch_000.npz is damaged" in capsys.readouterr().err


def test_an_error_is_an_answer(directory: Path) -> None:
    worker = LatentWorker(directory)
    worker.begin()
    answer = worker.answer({"do": "frame", "frame": 3})
    assert "FileNotFoundError" in answer["error"]


def test_table_has_every_molecule_with_units(directory: Path) -> None:
    lay_out(directory, -1, blocks())
    lay_out(directory, 0, blocks())
    worker = LatentWorker(directory)
    worker.begin()
    structures = directory / "structures"
    answer = worker.answer({"do": "finish", "table_size": 8, "structures": str(structures)})
    assert answer["final"] == 0
    with (directory / "molecules.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == G
    assert float(rows[3]["target (meV)"]) == pytest.approx(TARGET[3], rel=1e-6)
    assert rows[3]["spatial score"] == "nan"
    latent = read_epoch(epoch_path(directory, 0))
    assert float(rows[7]["1o UMAP 2"]) == pytest.approx(latent.layouts["1o"][7, 1], rel=1e-5)
    # The fourth SMILES of each four cannot be read.
    assert sorted(p.stem for p in structures.iterdir()) == ["0", "1", "2", "4", "5", "6"]


def test_what_an_interrupted_run_left_is_finished_alone(directory: Path) -> None:
    lay_out(directory, -1, blocks())
    for epoch in (0, 1):
        write_snapshot(directory, Snapshot(epoch, 1, blocks(), PREDICTION))
    write_snapshot(directory, best_of(1, blocks(), PREDICTION))
    assert pending_frames(directory) == [0, 1, BEST]
    umap_worker.main(["--finish", str(directory)])
    assert epochs_in(directory) == [-1, 0, 1]
    assert pending_frames(directory) == []
    assert final_frame(directory) == BEST
    assert (directory / "animation.gif").exists()


def test_files_beyond_a_checkpoint_are_removed(directory: Path) -> None:
    for epoch in (-1, 0, 1):
        lay_out(directory, epoch, blocks())
    write_snapshot(directory, Snapshot(2, 1, blocks(), PREDICTION))
    write_snapshot(directory, best_of(1, blocks(), PREDICTION))
    (directory / ".epoch_001.npz.0a1b2c3d.tmp").touch()
    remove_after(directory, 0)
    assert sorted(p.name for p in directory.iterdir()) == [
        "epoch_-01.npz",
        "epoch_-01.png",
        "epoch_000.npz",
        "epoch_000.png",
        "molecules.npz",
    ]
