"""Random numbers keyed by what they are for, never by rank, shard or batch.

A stream is numpy's Philox keyed by a hash of (dataset seed, item, purpose, attempt), so that any image can be made
again alone, on any number of workers. Torch's own CPU generator keeps only the low 32 bits of its seed: a million
hashed 64-bit seeds gave 122 pairs of equal noise.
"""

import hashlib

import numpy as np

SEED_HEX_DIGITS = 32


def derive(dataset_seed: int, item: int | str, purpose: str, attempt: int = 0) -> str:
    """Return the 128-bit seed of one stream as 32 hex digits (records keep seeds as strings).

    Args:
        dataset_seed: the manifest's seed.
        item: what the numbers are for: an image index, a frame id.
        purpose: which of the item's streams: "noise", "caption", ...
        attempt: 0, then 1, 2 after a failed image.
    """
    text = f"{int(dataset_seed)}\x1f{item}\x1f{purpose}\x1f{int(attempt)}"
    return hashlib.sha256(text.encode()).hexdigest()[:SEED_HEX_DIGITS]


def stream(seed: str) -> np.random.Generator:
    """Return the generator of a seed made by `derive`."""
    return np.random.Generator(np.random.Philox(key=int(seed, 16)))


def generator(dataset_seed: int, item: int | str, purpose: str, attempt: int = 0) -> np.random.Generator:
    """Return the random generator of one item and purpose."""
    return stream(derive(dataset_seed, item, purpose, attempt))
