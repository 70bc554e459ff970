"""Encoded prompts, and the fixed batches in which all of a generator's networks run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from irgen import devices
from irgen.generators import loading

log = logging.getLogger(__name__)

TEXTS_AT_ONCE = 4
"""Rows of every text encoder's forward, where the device takes them at once."""

Rows = Mapping[str, torch.Tensor]
"""What a network reads beside latents and time, by name; a row each along the first dimension."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Encoded prompts.

    Attributes:
        rows: of the prompts, in order.
        null: one row, of no prompt at all: what classifier-free guidance leads away from; empty without guidance.
    """

    rows: Rows
    null: Rows = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(next(iter(self.rows.values())))

    def take(self, rows: Sequence[int]) -> Self:
        """Return the conditions of the given rows, which may repeat."""
        index = torch.as_tensor(rows, dtype=torch.long, device=next(iter(self.rows.values())).device)
        return type(self)({name: one[index] for name, one in self.rows.items()}, self.null)

    def to(self, device: torch.device) -> Self:
        """Return them on a device."""
        return type(self)(*({name: one.to(device) for name, one in part.items()} for part in (self.rows, self.null)))


def encode_rows(
    texts: Sequence[str],
    encode: Callable[[list[str]], Rows],
) -> Rows:
    """Encode each different text once, in batches of one fixed shape.

    Args:
        texts: prompts, at least one; repeats are encoded once.
        encode: encodes some texts, always as many, a row each.

    Returns:
        A row each text, on the CPU.
    """
    different = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    unlike = list(different)
    parts: list[dict[str, torch.Tensor]] = []
    with torch.no_grad(), loading.quiet():
        for batch in fixed_batches(len(unlike), devices.rows_at_once(TEXTS_AT_ONCE)):
            encoded = encode([unlike[row] for row in batch])
            parts.append({name: one[: len(set(batch))].cpu() for name, one in encoded.items()})
    index = torch.tensor([different[text] for text in texts])
    return {name: torch.cat([part[name] for part in parts])[index] for name in parts[0]}


def warn_of_cut_texts(tokenizer: Any, texts: Sequence[str], tokens: int, name: str) -> None:
    """Log how many prompts are longer than the encoder reads."""
    long = sum(len(ids) > tokens for ids in tokenizer(list(texts), verbose=False).input_ids)
    if long:
        log.warning(
            "%d of %d prompts have more than %d %s tokens: their ends are not read", long, len(texts), tokens, name
        )


def fixed_batches(count: int, size: int) -> Iterator[list[int]]:
    """Yield the rows 0 .. count - 1 in batches of one size, the last filled up with the last row."""
    for start in range(0, count, size):
        yield [min(row, count - 1) for row in range(start, start + size)]
