"""Threads in place of the processes that train together."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from irgen.collective import Group


@dataclass
class Meeting:
    """Where threads add up their tensors."""

    size: int
    parts: dict[int, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=120)


@dataclass(frozen=True)
class Threads(Group):
    """A group of threads."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        self.meeting.parts[self.rank] = tensor
        self.meeting.barrier.wait()
        summed = torch.stack([self.meeting.parts[rank] for rank in range(self.size)]).sum(0)
        self.meeting.barrier.wait()
        return summed


def together(size: int, work: Callable[[Group], Any]) -> list[Any]:
    """Do the same in all members of a group; return what each has of it."""
    meeting = Meeting(size)

    def member(rank: int) -> Any:
        try:
            return work(Threads(rank, size, meeting))
        except BaseException:
            meeting.barrier.abort()  # the others are not to wait for this one
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(member, range(size)))
