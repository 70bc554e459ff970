"""Refusing a run for which the disk has no room, before it starts and not after days."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from irgen import doctor, files, store
from irgen.errors import StoreError
from irgen.pipeline import PlanLine, dataset_root
from irgen.settings import Manifest

log = logging.getLogger(__name__)

SURELY = 0.5
"""The estimate is on the safe side: images compress better than it takes them to."""


def require(manifest: Manifest, data: Path, lines: Iterable[PlanLine]) -> None:
    """Compare the free space under the data folder with what a run has still to write.

    Args:
        manifest: what is built.
        data: the data folder.
        lines: what the run would do.

    Raises:
        StoreError: there is too little; says how much there is, and how much it takes.
    """
    if all(line.action == "reuse" for line in lines):
        return
    place = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.is_dir())
    free_bytes = shutil.disk_usage(place).free
    # What is there of it already is not written again: what is reused, and what was begun.
    begun = (each for each in dataset_root(data, manifest.dataset).glob("[0-9][0-9]-*/*") if each.is_dir())
    folders = {line.ref.folder for line in lines if line.ref and line.action == "reuse"}
    folders |= {each for each in begun if not (each / store.MANIFEST).exists()}
    there = (file for folder in folders for file in files.below(folder))
    wanted_bytes = doctor.dataset_bytes(manifest) - sum(each.stat().st_size for each in there if each.is_file())
    found = (
        f"{place}: {free_bytes / doctor.GIB:.2f} GiB free, and about {wanted_bytes / doctor.GIB:.2f} GiB are still to "
        f"be written for {manifest.dataset}"
    )
    if free_bytes < SURELY * wanted_bytes:
        raise StoreError(
            found,
            "Free some space (`irgen gc` removes what crashes left), name another --data, or lower samples.images.",
        )
    if free_bytes < wanted_bytes:
        log.warning("%s; it may not be enough", found)
