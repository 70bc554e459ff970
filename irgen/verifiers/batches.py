"""Forwards in batches of one fixed, padded shape: then no row's result depends on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from irgen import devices


def in_fixed_batches(forward: Callable[..., torch.Tensor], batch_size: int, *rows: torch.Tensor) -> torch.Tensor:
    """Run tensors of B rows each through `forward`, always `batch_size` rows at once; B may be any number but 0.

    Args:
        forward: takes as many tensors as are given, [batch_size, ...] each, and returns [batch_size, ...].
        batch_size: rows a forward; the last batch is filled up with copies of its last row.
        rows: tensors of B rows.

    Returns:
        [B, ...], in the order of the rows.
    """
    results = []
    for batches in zip(*(tensor.split(batch_size) for tensor in rows), strict=True):
        count = len(batches[0])
        padded = [torch.cat([batch, batch[-1:].expand(batch_size - count, *batch.shape[1:])]) for batch in batches]
        results.append(forward(*padded)[:count])
    return torch.cat(results)


def rows_per_forward(on_gpu: int) -> int:
    """Return how many rows to run at once: `on_gpu` there, one on a CPU.

    A transformer of transformers gives equal rows other last bits by their place in the batch on a CPU, where the
    number of tokens is no multiple of what the CPU adds up at once; and there a batch saves next to nothing.
    """
    return on_gpu if devices.device().type == "cuda" else 1


def dots(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return each row's inner product with each other, [B, K] of [B, D] and [K, D].

    Added up row by row: a matrix product's last bits depend on how many rows there are.
    """
    return torch.stack([(rows * other).sum(1) for other in others], dim=1)


def check_pairs(images: np.ndarray, captions: Sequence[str]) -> None:
    """Refuse images and captions that are not as many.

    Raises:
        ValueError: saying how many there are of each.
    """
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images, but {len(captions)} captions")


def as_scores(values: torch.Tensor) -> np.ndarray:
    """Return a tensor [B] as float64 on the CPU, NaN where it is not finite."""
    value = values.double().cpu().numpy()
    value[~np.isfinite(value)] = np.nan
    return value
