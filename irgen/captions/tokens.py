"""How long a caption is for CLIP's text encoder."""

import functools

from open_clip import SimpleTokenizer


@functools.cache
def _tokenizer() -> SimpleTokenizer:
    # Its byte-pair vocabulary ships with open_clip: nothing is downloaded.
    return SimpleTokenizer()


def count_tokens(text: str) -> int:
    """Return how many CLIP tokens a text has, start and end included; the encoder reads at most 77."""
    return len(_tokenizer().encode(text)) + 2
