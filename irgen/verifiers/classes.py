"""Which class a caption names: for verifiers that score an image's class."""

from __future__ import annotations

import re
from collections.abc import Sequence


class ClassNames:
    """Finds the class that a caption names.

    Args:
        names: of the classes; a name may list synonyms, separated by commas, as ImageNet's do.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._index: dict[str, int] = {}
        for index, name in enumerate(names):
            for synonym in name.split(","):
                # Of two classes with one name ("crane", "maillot") the first has it, as its own full name may tell.
                self._index.setdefault(_plain(synonym), index)
        self._longest_first = sorted(self._index, key=lambda name: (-len(name), name))

    def __len__(self) -> int:
        return len(set(self._index.values()))

    def of(self, caption: str) -> int | None:
        """Return the number of the class whose name stands in a caption, the longest one; None where there is none."""
        text = _plain(caption)
        if text in self._index:
            return self._index[text]
        for name in self._longest_first:
            if re.search(rf"\b{re.escape(name)}\b", text):
                return self._index[name]
        return None

    def of_all(self, captions: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
        """Return each caption's class (0 where there is none) and "" or the reason why it has none."""
        found = [self.of(caption) for caption in captions]
        missing = f"the caption names none of the {len(self)} classes"
        return [index or 0 for index in found], tuple("" if index is not None else missing for index in found)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
