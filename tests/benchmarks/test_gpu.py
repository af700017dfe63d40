import json
from pathlib import Path

import pytest

from benchmarks import gpu
from qm9.cache import PreparedData


def test_the_script_measures_on_a_cpu(
    prepared_qm9: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "gpu.json"
    variants = ("fast, CUDA graph", "fast", "e3nn")
    rows = ["--rows", "2x0e+2x1o", "--variants", *variants, "--seconds", "0.01"]
    gpu.main(["--device", "cpu", *rows, "--json", str(report)])
    out = capsys.readouterr().out
    assert "| irreps | epoch s | molecules/s | memory MB | × fast | × e3nn |" in out
    (result,) = json.loads(report.read_text())
    assert result["irreps"] == "2x0e+2x1o"
    assert all(result[variant]["molecules_per_s"] > 0 for variant in variants)


def test_the_published_runs_are_those_of_the_sweep_files() -> None:
    epochs = gpu.published()
    assert len(epochs) == 9
    assert epochs["32x0e+32x1o+32x2e"] == 100
    assert epochs["16x0e+16x1o+16x2e+16x3o+16x4e"] == 30 + 100


def test_a_machine_without_cuda_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "give --device cpu" in capsys.readouterr().err
