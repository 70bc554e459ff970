"""Which networks are on the GPU while texts are encoded, told by networks that only remember where they were sent."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from irgen import devices
from irgen.generators import placing

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class Network(torch.nn.Module):
    """Of one GiB, without taking it."""

    def __init__(self, home: torch.device, went: list[tuple[str, str]], name: str) -> None:
        super().__init__()
        self.home, self.went, self.name = home, went, name

    def parameters(self, recurse: bool = True) -> Any:
        return iter([SimpleNamespace(device=self.home, numel=lambda: 2**30, element_size=lambda: 1)])

    def to(self, device: Any) -> Any:
        self.home = torch.device(device)
        self.went.append((self.name, self.home.type))
        return self


def moves(monkeypatch: pytest.MonkeyPatch, free_gib: int, home: torch.device) -> list[tuple[str, str]]:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_gib * 2**30, 0))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    went: list[tuple[str, str]] = []
    encoder, denoiser = Network(home, went, "encoder"), Network(GPU, went, "denoiser")
    with pytest.raises(KeyError), placing.room_for([encoder], denoiser, GPU):
        went.append(("encode", encoder.home.type))
        raise KeyError
    return went


def test_encoders_come_for_as_long_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moves(monkeypatch, 2, CPU) == [("encoder", "cuda"), ("encode", "cuda"), ("encoder", "cpu")]


def test_where_both_do_not_fit_the_denoiser_leaves_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    there, back = [("denoiser", "cpu"), ("encoder", "cuda")], [("encoder", "cpu"), ("denoiser", "cuda")]
    assert moves(monkeypatch, 1, CPU) == [*there, ("encode", "cuda"), *back]


def test_memory_that_pytorch_keeps_for_itself_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [2]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((3 - kept[-1]) * 2**30, 0))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: kept.append(0))
    assert devices.free_bytes(GPU) == 3 * 2**30


def test_encoders_that_live_there_need_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("denoiser", "cpu") not in moves(monkeypatch, 1, GPU)
