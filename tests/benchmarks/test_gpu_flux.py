import importlib
import json
from typing import Any

import pytest
import torch


@pytest.fixture
def gpu_flux() -> Any:
    return importlib.import_module("gpu_flux")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_that_it_is_skipped(
    gpu_flux: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_flux.py", "--json"])
    gpu_flux.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"skipped": "no GPU"}


def test_a_forward_of_the_true_size_takes_25_tflop(gpu_flux: Any) -> None:
    rig = gpu_flux.Rig(gpu_flux.true_size(), torch.device("meta"))
    assert sum(one.numel() for one in rig.pipeline.transformer.parameters()) == pytest.approx(11.9e9, rel=0.01)
    assert gpu_flux.forward_tflop(rig) == pytest.approx(25.4, rel=0.02)


def test_the_schedule_of_halving_costs_as_much_as_best_of_12(gpu_flux: Any) -> None:
    spent, step = 0, 0
    for candidates, until in gpu_flux.HALVING:
        spent, step = spent + candidates * (until - step), until
    assert (spent, step) == (gpu_flux.NFE, gpu_flux.STEPS)


def test_every_part_runs_on_a_small_model_on_a_cpu(gpu_flux: Any) -> None:
    case = gpu_flux.small_size()
    rig = gpu_flux.Rig(case, torch.device("cpu"))
    times = [gpu_flux.product_tflops(rig), gpu_flux.stock(rig), *(gpu_flux.forwards(rig, one) for one in case.batches)]
    gpu_flux.lora.add(rig.pipeline.transformer, gpu_flux.AdapterSettings(rank=4, alpha=4))
    times += [gpu_flux.lora_step(rig, checkpointing)["seconds"] for checkpointing in (True, False)]
    assert all(one > 0 for one in times)
