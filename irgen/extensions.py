"""What other packages bring: sources, verifiers, search algorithms and model families, as Python entry points.

A package lists what it has in its pyproject.toml, a line each, and is installed beside irgen; docs/extending.md shows
every kind. It is imported when settings name it and never before. So a manifest can choose among what is installed,
and can run nothing else.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from irgen.errors import SettingsError

SOURCES, VERIFIERS, SEARCHES, FAMILIES = "irgen.sources", "irgen.verifiers", "irgen.searches", "irgen.families"
"""Groups of entry points."""


def names(group: str) -> list[str]:
    """Return what installed packages list in a group, sorted; nothing is imported."""
    return sorted({one.name for one in entry_points(group=group)})


def load(group: str, name: str) -> Any:
    """Import what a package lists under a name.

    Raises:
        SettingsError: no installed package lists it, or two do, or it cannot be imported.
    """
    # One package may be seen twice: as installed, and in the folder that the command runs in.
    found = {one.value for one in entry_points(group=group, name=name)}
    if len(found) != 1:
        listed = f"{len(found)} packages list" if found else "no installed package lists"
        raise SettingsError(
            f"{group}: {listed} {name!r}",
            f"Installed are: {', '.join(names(group)) or 'none'}. docs/extending.md tells how to add one.",
        )
    module, _, attribute = found.pop().partition(":")
    try:
        loaded = importlib.import_module(module)
        return getattr(loaded, attribute) if attribute else loaded
    except Exception as error:
        raise SettingsError(
            f"{group}: {name!r} cannot be imported ({type(error).__name__}: {error})", "Mend its package."
        ) from error
