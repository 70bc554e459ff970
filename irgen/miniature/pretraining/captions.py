"""Captions of the pretraining scenes."""

from __future__ import annotations

from collections.abc import Sequence

from irgen.captions import rules
from irgen.miniature.models import T5_TOKENS
from irgen.records import Frame

SEED = 11


def plain_captions(frames: Sequence[Frame], seed: int = SEED) -> list[str]:
    """Return a caption a frame, by rule, short enough for the miniature's T5 (which adds no start token)."""
    return [rules.caption(frame, seed, word_tokens, T5_TOKENS + 1).caption for frame in frames]


def word_tokens(text: str) -> int:
    """Return how many CLIP tokens a text of known words takes: a word or a comma each, start and end included."""
    return len(text.replace(",", " ,").split()) + 2
