"""A run says what it is trained on, and that it is not what the environment names."""

import pytest
import torch

from runtime.device import describe_device, missing_gpu

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_a_device_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert describe_device(CPU, 1) == "cpu, 1 thread"
    assert describe_device(CPU, 2) == "2 x cpu, 1 thread"
    assert describe_device(GPU, 1) == "NVIDIA H200"
    assert describe_device(GPU, 4) == "4 x NVIDIA H200"


@pytest.mark.parametrize("visible", [None, "", "-1", "NoDevFiles"])
def test_a_cpu_that_is_wanted_is_no_news(visible: str | None) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert missing_gpu(CPU, environ) == ""


def test_a_gpu_that_is_not_there_is_missed() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "7"}
    assert "CUDA_VISIBLE_DEVICES=7 names no GPU" in missing_gpu(CPU, environ)
    assert missing_gpu(GPU, environ) == ""
