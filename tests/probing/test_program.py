"""probe.py on networks of one's own and on runs: planted truths, files, checks and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import molecule
from ase.io import write

import probe
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from records.names import NETWORK
from records.probing import LINEAR, PROBE, Probing, read_linear_probes, read_probing
from records.utilization import BlockUtilization
from runtime.checkpoints import read_checkpoint
from tests.programs import run_program, run_train
from tests.structures.made import ethanol

NETWORKS = Path(__file__).parent / "own_networks.py"
SMALL = ["--molecules=40", "--fitting=60", "--device=cpu"]


def probed(arguments: list[str], out: Path) -> tuple[Probing, str]:
    code, output = run_program(probe.main, [*arguments, f"--out={out}"])
    assert code == 0, output
    return read_probing(out / PROBE), output


def row(found: Probing, irrep: str, layer: str = NETWORK) -> BlockUtilization:
    (one,) = [r for r in found.utilization.rows if (r.layer, r.irrep) == (layer, irrep)]
    return one


@pytest.fixture(scope="module")
def planted(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("planted")
    return out, probed([f"{NETWORKS}:without_vectors", *SMALL], out)[1]


def test_an_irrep_that_nothing_reads_is_negligible_and_others_are_relied_on(
    planted: tuple[Path, str],
) -> None:
    found = read_probing(planted[0] / PROBE)
    assert found.quantity == "shift"
    for measure in ("reliance", "resampled"):
        assert row(found, "1o").effects[measure].value == 0
        assert row(found, "1o").effects[measure].verdict == "negligible"
        assert row(found, "2e").effects[measure].verdict == "relied on"
        assert row(found, "0e").effects[measure].verdict == "relied on"
    assert row(found, "1o").effects["refitted"].verdict == "negligible"
    assert row(found, "1o", "layer0").power > 0


def test_files_and_words_say_the_same(planted: tuple[Path, str]) -> None:
    out, output = planted
    assert {path.name for path in out.iterdir()} == {PROBE, LINEAR, "heatmap.png", "probe.html"}
    found, page = read_probing(out / PROBE), (out / "probe.html").read_text()
    shift = row(found, "2e").effects["reliance"].value
    assert f"{shift:,.0f} meV" in output.replace("−", "-")
    assert f"{shift:,.0f} meV" in page
    assert "://" not in page  # nothing is fetched
    assert "under inversion, too" in output
    assert {p.target for p in read_linear_probes(out / LINEAR)} >= {"gap", "U0"}


def test_results_depend_on_the_seed_alone(planted: tuple[Path, str], tmp_path: Path) -> None:
    again = tmp_path / "again"
    probed([f"{NETWORKS}:without_vectors", *SMALL, "--batch-size=40"], again)
    before, after = (read_probing(out / PROBE) for out in (planted[0], again))
    for old, new in zip(before.utilization.rows, after.utilization.rows, strict=True):
        for measure, effect in old.effects.items():
            assert new.effects[measure].value == pytest.approx(effect.value, rel=1e-3, abs=1)


def test_labels_that_mean_rotations_only_are_accepted_and_said(
    prepared_qm9: Any, tmp_path: Path
) -> None:
    module = "tests.probing.own_networks:relabelled"
    found, output = probed([module, *SMALL, "--target=U0"], tmp_path)
    assert "but not under inversion" in output
    assert found.quantity == "error"
    assert found.target == "U0"
    # On the scale of the labels, the untrained network's error is that of a fit on elements.
    assert found.scale < 2000


@pytest.fixture(scope="module")
def run(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    options = ["--model.irreps=4x0e+4x1o", "--model.num_layers=2", "--data.graph=radius"]
    sizes = ["--data.train_size=400", "--data.val_size=80", "--data.test_size=20"]
    off = ["--utilization.enabled=false", "--latent.enabled=false", "--trainer.accelerator=cpu"]
    place = [f"--runs_dir={runs}", "--run_name=run", "--trainer.max_epochs=1"]
    code, output = run_train([*options, *sizes, *off, *place], WANDB_MODE="disabled")
    assert code == 0, output
    return runs / "run"


def test_a_run_is_probed_on_its_own_data_and_target(run: Path, tmp_path: Path) -> None:
    found, output = probed([str(run), *SMALL], tmp_path)
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    module = EquivariantRegressor(**checkpoint["hyper_parameters"]).eval()
    module.load_state_dict(checkpoint["state_dict"])
    data = QM9DataModule(**checkpoint["datamodule_hyper_parameters"])
    data.prepare_data()
    data.setup()
    batch = data.batch(data.splits["val_measure"][:40])
    with torch.no_grad():
        error = module.predict_target(batch) - 1000 * batch.y
    assert found.scale == pytest.approx(float(error.abs().mean()), rel=1e-5)
    assert found.quantity == "error"
    assert "own calculator gives the same energies" in output


def test_a_run_is_probed_on_a_file_without_labels(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.extxyz"
    names = ("CH3CH2OH", "CH3OH", "H2O", "C2H6", "NH3", "CH4", "C6H6")
    write(file, [molecule(name) for name in names])
    found, output = probed([str(run), f"--data={file}", *SMALL], tmp_path / "out")
    assert found.quantity == "shift"
    assert "some.extxyz" in output
    assert not (tmp_path / "out" / LINEAR).exists()
    assert all(e.verdict != "relied on" for r in found.utilization.rows for e in r.effects.values())


def test_labels_of_a_file_are_used(tmp_path: Path) -> None:
    file = tmp_path / "labelled.extxyz"
    write(file, ethanol(20))
    arguments = [f"{NETWORKS}:relabelled", f"--data={file}", "--target=energy", *SMALL]
    found, _ = probed(arguments, tmp_path / "out")
    assert (found.quantity, found.target) == ("error", "energy")
    assert {probe.target for probe in read_linear_probes(tmp_path / "out" / LINEAR)} == {"energy"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such_model"], "no_such_model is no model: give the directory of a run"),
        (["sevenn:7net-9"], "holds no weights of '7net-9': choose one of 7net-0"),
        (["sevenn:no.pth"], "there is no file no.pth"),
        (["mace:no.model"], "there is no file no.model"),
        (["mace:probe.py"], "MACE needs an environment of its own: python -m venv ENV"),
        (["mace:probe.py", "--mace-python=python"], "probe.py is a pickle, which may run any code"),
        (
            ["mace:probe.py", "--trust-pickle", "--mace-python=no_python"],
            "no_python cannot be started",
        ),
        (
            ["mace:probe.py", "--trust-pickle", "--mace-python=false"],
            "MACE's process ended with code 1",
        ),
        (["no.py:factory"], "there is no file no.py"),
        (["no_such_module:factory"], "cannot be imported"),
        (["tests"], "tests is not a run"),
        ([f"{NETWORKS}:nothing"], "has no 'nothing'"),
        ([f"{NETWORKS}:broken"], "failed (RuntimeError: the weights are gone)"),
        ([f"{NETWORKS}:NO_NETWORK"], "must give a networks.layered.LayeredNetwork"),
        ([f"{NETWORKS}:without_cutoff"], "no attribute cutoff"),
        ([f"{NETWORKS}:few_elements"], "does not know: it knows H, C"),
        ([f"{NETWORKS}:Swapped"], "do not turn as its irreps declare"),
        ([f"{NETWORKS}:Stubborn"], "does not continue to the prediction"),
        ([f"{NETWORKS}:relabelled", "--target=gap"], "predicts energies, which --target gap"),
        ([f"{NETWORKS}:relabelled", "--data=no.xyz"], "there is no file no.xyz"),
        ([f"{NETWORKS}:relabelled", "--molecules=0"], "--molecules 0 is out of range"),
        ([f"{NETWORKS}:relabelled", "--device=tpu9"], "--device tpu9 cannot be used"),
        ([f"{NETWORKS}:relabelled", "--out=probe.py"], "is a file: give a folder"),
        ([], "arguments are required: model"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    prepared_qm9: Any,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent.parent)
    small = [] if "--molecules=0" in arguments else ["--molecules=4", "--fitting=0"]
    out = [] if any(a.startswith("--out") for a in arguments) else [f"--out={tmp_path / 'out'}"]
    code, output = run_program(probe.main, [*arguments, *small, *out])
    assert code == 2
    assert words in output
    assert output.splitlines()[-1].startswith("error: ")
    assert output.count("\n") == 1
    assert not (tmp_path / "out" / PROBE).exists()


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("3\ncut off\nH 0 0 0\n", "is cut off")]
)
def test_an_unusable_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.xyz"
    file.write_text(text)
    code, output = run_program(probe.main, [f"{NETWORKS}:relabelled", f"--data={file}"])
    assert code == 2
    assert words in output
    assert "bad.xyz" in output


def test_a_file_without_the_label_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plain.xyz"
    write(file, [molecule("H2O"), molecule("CH4")])
    arguments = [f"{NETWORKS}:relabelled", f"--data={file}", "--target=dft"]
    code, output = run_program(probe.main, arguments)
    assert code == 2
    assert "has no 'dft'" in output


def test_a_missing_package_is_named_with_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probing.sevennet.find_spec", lambda name: None)
    code, output = run_program(probe.main, ["sevenn:7net-0"])
    assert code == 2
    assert (
        "sevenn is not installed: run `python -m pip install -r requirements-probe.txt`" in output
    )
