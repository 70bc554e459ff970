"""What the processes that train one model together do in common: each computes a share, and sums make it whole.

All draw the same batch from the same seeds. Of a step's loss and gradients each computes a part, and the parts are
added up, by gloo between CPUs and by NCCL between GPUs. So a step is that of one process with the whole batch but for
the order of sums, and all hold the same weights, which are never sent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from irgen.hosts import RENDEZVOUS


@dataclass(frozen=True)
class Group:
    """The processes of a training; by default this one alone.

    Attributes:
        rank: this process, 0 .. size - 1.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> range:
        """Return which of `count` items are this process's: neighbours, and of all processes as many but for one."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def total(self, value: float) -> float:
        """Return the sum of all processes' values."""
        return value if self.size == 1 else float(self._sum(torch.tensor(value, dtype=torch.float64)))

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give the parameters the sum of all processes' gradients; where one has none, it counts as 0."""
        if self.size == 1:
            return
        ours = list(parameters)
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in ours]
        summed = self._sum(torch.cat([each.flatten() for each in gradients]))
        for one, part in zip(ours, summed.split([each.numel() for each in gradients]), strict=True):
            one.grad = part.view_as(one)

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """Return `function` of all rows, of which each process computes its share.

        Args:
            function: from some rows [b, ...] to as many [b, D].
            rows: [B, ...], the same in all processes.

        Returns:
            [B, D]. Its gradient flows back to this process's share alone: for a loss of the whole that all processes
            compute, gradients are to be added (`add_gradients`).
        """
        if self.size == 1:
            return function(rows)
        mine = self.share(len(rows))
        # Who has no share computes a row in vain, so that the same parameters have gradients everywhere.
        part = function(rows[mine.start : mine.stop] if mine else rows[:1])[: len(mine)]
        whole = part.new_zeros(len(rows), *part.shape[1:])
        whole[mine.start : mine.stop] = part.detach()
        whole = self._sum(whole)
        return torch.cat([whole[: mine.start], part, whole[mine.stop :]])

    def counted_once(self, value: torch.Tensor) -> torch.Tensor:
        """Return a value that all processes have whole, so that its gradients, too, are to be added."""
        if self.size > 1 and value.requires_grad:
            value.register_hook(lambda gradient: gradient / self.size)
        return value

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        from accelerate import PartialState
        from accelerate.utils import reduce

        return reduce(tensor.to(PartialState().device), "sum").to(tensor.device)


ALONE = Group()


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """Join the processes that were started together with this one (`irgen.ranks`)."""
    from accelerate import PartialState

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    meeting = {"init_method": f"file://{os.environ[RENDEZVOUS]}", "rank": rank, "world_size": size}
    state = PartialState(cpu=not torch.cuda.is_available(), **meeting)
    yield Group(rank, size)
    # Not after an error: the others may wait in a sum, and this process could not end.
    state.destroy_process_group()
