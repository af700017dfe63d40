import json
from pathlib import Path

import pytest

from benchmarks import gpu
from qm9.cache import PreparedData


def test_the_script_measures_on_a_cpu_and_goes_on_with_what_is_missing(
    prepared_qm9: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "gpu.jsonl"
    before = {"irreps": "2x0e+2x1o", "variant": "e3nn", "name": "CPU", "memory_mb": float("nan")}
    before |= {"molecules_per_s": 1e-3, "steps": 1}
    known = [before, before | {"irreps": "no irreps"}]
    report.write_text("".join(f"{json.dumps(line)}\n" for line in known))
    variants = ("fast, CUDA graph", "e3nn")
    rows = ["--rows", "2x0e+2x1o", "no irreps", "--variants", *variants, "--seconds", "0.01"]
    gpu.main(["--device", "cpu", *rows, "--json", str(report)])
    out = capsys.readouterr().out
    assert "| irreps | epoch s | molecules/s | memory MB | × e3nn |" in out
    assert "2x0e+2x1o, e3nn" not in out  # it was measured before
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["irreps"], line["variant"]) for line in lines] == [
        ("2x0e+2x1o", "e3nn"), ("no irreps", "e3nn"),
        ("2x0e+2x1o", "fast, CUDA graph"), ("no irreps", "fast, CUDA graph"),
    ]  # fmt: skip
    assert lines[2]["molecules_per_s"] > 0
    assert "no irreps" in lines[3]["error"]  # which ends no other measurement
    (row,) = [line for line in out.splitlines() if line.startswith("| 2x0e")]
    ratio = float(row.split("|")[-2].replace(",", ""))
    assert ratio == pytest.approx(lines[2]["molecules_per_s"] / 1e-3, rel=1e-6)
    assert "| no irreps | – | – | – | – |" in out


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
