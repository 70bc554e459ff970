import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from irgen.miniature.pretraining import loop
from irgen.miniature.pretraining.loop import Losses, Schedule, train

SCHEDULE = Schedule(steps=7, lr=0.05, warmup=2)


@pytest.fixture(autouse=True)
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(loop, "LOG_EVERY", 3)


def learner() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def run(model: nn.Module, work: Path, dies_at: int = -1, **options) -> dict[str, torch.Tensor]:
    def losses(step: int, rng: np.random.Generator) -> Losses:
        if step == dies_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float32))
        return {"loss": (model(x) - 1).square().mean()}

    return train("stage", model, losses, SCHEDULE, work, **options).state_dict()


def test_a_killed_training_carries_on_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(learner(), tmp_path / "killed", dies_at=5)
    resumed = run(nn.Linear(3, 2), tmp_path / "killed")
    undisturbed = run(learner(), tmp_path / "whole")
    for name, weights in undisturbed.items():
        torch.testing.assert_close(resumed[name], weights, rtol=0, atol=0)


def test_the_log_has_a_row_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    run(learner(), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "stage.log").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_who_asks_sees_the_averaged_model_at_every_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []
    run(learner(), tmp_path, on_checkpoint=lambda averaged, step: seen.append(step))
    assert seen == [2, 4, 6, 7]


def test_the_rate_warms_up_and_falls_to_a_fiftieth() -> None:
    rates = [Schedule(steps=100, lr=1.0, warmup=10).lr_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[100] == pytest.approx(0.02)
