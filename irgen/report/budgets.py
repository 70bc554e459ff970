"""What a smaller budget would have kept: the best of the first n candidates, of one search that had more.

A random search draws its noises one after another from streams of their own, so its first n candidates are exactly
those of a search for n. Their scores are recorded; the images that were let go of are made again from their recipes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from irgen import settings, shards, store
from irgen.errors import SettingsError, StoreError
from irgen.report.alarm import Point
from irgen.report.codecs import Codec
from irgen.report.sets import U8, ImageSet
from irgen.settings import BaseSettings, PathsSearch, SamplesSettings

if TYPE_CHECKING:
    from irgen.search import Generator

AT_ONCE = 48


def settings_of(samples: Path) -> SamplesSettings:
    """Return the settings that a samples output was made with."""
    where = str(samples / store.MANIFEST)
    return settings.parse(SamplesSettings, store.read_manifest(samples)["settings"]["samples"], where)


def points(samples: Path, budgets: Sequence[int]) -> list[Point]:
    """Return the budgets to measure at: one candidate, those asked for, and all.

    Raises:
        SettingsError: a budget is asked for that this search has no candidates for, or whose first ones are no search.
    """
    rows = shards.candidates(samples)
    wanted = settings_of(samples)
    most = int(rows["candidate"].max()) + 1
    whole = float(rows.groupby("key")["nfe"].sum().mean())
    between = sorted({count for count in budgets if count not in (1, most)})
    if between and (reason := _no_search_within(wanted)):
        raise SettingsError(
            f"report.budgets = {list(budgets)}, but {reason}",
            "Only a random search from noise, without selection, has smaller ones within; leave report.budgets empty.",
        )
    if between and between[-1] > most:
        raise SettingsError(
            f"report.budgets asks for {between[-1]} candidates, but the search had {most}",
            "Raise samples.search.candidates, or lower report.budgets.",
        )
    each = whole / most
    middle = [Point(name_of(count), count, each * count) for count in between]
    first = float(wanted.steps * _forwards(rows, wanted, whole))
    return (
        [Point("unguided", 1, first), *middle, Point("guided", most, whole)]
        if most > 1
        else [Point("unguided", 1, first)]
    )


def _no_search_within(wanted: SamplesSettings) -> str:
    """Say why the first candidates of a search are not those of a smaller one; "" where they are."""
    if wanted.search.algorithm != "random":
        return f"the first candidates of {wanted.search.algorithm} are no search"
    if wanted.selection.net:
        return "samples.selection did not keep each prompt's best"
    return "samples.start begins some images from frames" if wanted.start.used else ""


def name_of(count: int) -> str:
    """Name the set of the best of the first so many candidates."""
    return f"best_of_{count}"


def sets_of(
    samples: Path, dataset: Path, like: ImageSet, unguided: ImageSet, budgets: Sequence[Point], codec: Codec
) -> list[ImageSet]:
    """Return a set for each budget between one candidate and all, with the keys of `like`, the kept images.

    Args:
        samples: the samples output.
        dataset: its dataset's folder, in which the adapter is found.
        like: the kept images.
        unguided: the first candidates.
        budgets: as `points` gives them.
        codec: what images that are made again go through; the other two sets have been through theirs.
    """
    between = [point for point in budgets if point.images.startswith("best_of_")]
    if not between:
        return []
    rows = _last_attempt(shards.candidates(samples))
    engine = _Once(lambda: load(samples, dataset))
    texts = shards.table(samples).set_index("key")["prompt"]
    found = []
    for point in between:
        best = best_of(rows, point.candidates)

        def read(keys: Sequence[str], best: pd.DataFrame = best) -> Iterator[U8]:
            chosen = best.loc[list(keys)]
            waiting = iter(keys)
            while chunk := list(islice(waiting, AT_ONCE)):
                yield from _images(chosen.loc[chunk], chunk, (unguided, like), engine, texts, codec)

        found.append(replace(like, name=point.images, read=read))
    return found


def guide_scores(samples: Path, keys: Sequence[str], budgets: Sequence[Point]) -> dict[str, NDArray[np.float64]]:
    """Return what the search's guide said of each budget's images, float64 [N] by set, as it was recorded."""
    table = shards.table(samples).set_index("key").loc[list(keys)]
    rows = _last_attempt(shards.candidates(samples))
    recorded = {"unguided": "unguided_score", "guided": "score"}
    return {
        point.images: table[recorded[point.images]].to_numpy()
        if point.images in recorded
        else best_of(rows, point.candidates).loc[list(keys), "score"].to_numpy()
        for point in budgets
    }


def _last_attempt(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["attempt"] == rows.groupby("key")["attempt"].transform("max")]


def best_of(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return, by key, the row of the best of the first so many candidates; of equal ones the earlier.

    Args:
        rows: of one attempt a key: key, candidate, score, ...
        count: how many.
    """
    first = rows[(rows["candidate"] < count) & rows["score"].notna()]
    return (
        first.sort_values(["key", "score", "candidate"], ascending=[True, False, True])
        .groupby("key")
        .head(1)
        .set_index("key")
    )


def load(samples: Path, dataset: Path) -> Generator[Any]:
    """Load the generator that made a samples output.

    Raises:
        StoreError: its adapter is no longer there.
    """
    from irgen import generators

    manifest, wanted = store.read_manifest(samples), settings_of(samples)
    base = settings.parse(BaseSettings, manifest["settings"]["base"], str(samples / store.MANIFEST))
    for path in sorted(dataset.glob(f"*-adapter/*/{store.MANIFEST}")):
        if _content(path.parent) == manifest["inputs"]["adapter"]:
            return generators.load(base, wanted.steps, wanted.guidance, wanted.batch_size, path.parent)
    raise StoreError(f"{dataset}: the adapter that made {samples} is not there", "Run the adapter stage again.")


def _content(output: Path) -> str:
    try:
        return str(store.read_manifest(output)["content"])
    except StoreError:
        return ""  # damaged, and perhaps another run's


class _Once:
    """Loads the generator when the first image must be made again."""

    def __init__(self, make: Callable[[], Generator[Any]]) -> None:
        self._make = make
        self._made: Generator[Any] | None = None

    def __call__(self) -> Generator[Any]:
        self._made = self._made or self._make()
        return self._made


def _images(
    best: pd.DataFrame,
    keys: Sequence[str],
    stored_sets: tuple[ImageSet, ImageSet],
    engine: _Once,
    texts: pd.Series,
    codec: Codec,
) -> Iterator[U8]:
    """Yield the images of some keys, those that were kept from where they lie, the others made again."""
    from irgen.search import Recipe, noises

    stored: dict[str, U8] = {}
    for source, own in zip(stored_sets, (best["candidate"] == 0, best["kept"]), strict=True):
        there = [key for key in keys if own[key]]
        stored |= dict(zip(there, source.read(there), strict=True))
    if lost := [key for key in keys if key not in stored]:
        generator = engine()
        recipes = [Recipe.from_json(json.loads(best.loc[key, "noise"])) for key in lost]
        latents = torch.from_numpy(np.stack([noises.make(recipe, generator.latent_shape) for recipe in recipes]))
        conditions = generator.encode([texts[key] for key in lost])
        made = generator.decode(generator.denoise(latents, conditions, 0, generator.steps).latents)
        stored |= dict(zip(lost, map(codec, made), strict=True))
    yield from (stored[key] for key in keys)


def _forwards(rows: pd.DataFrame, wanted: SamplesSettings, whole: float) -> float:
    """Return evaluations a step: 2 with classifier-free guidance."""
    from irgen.search import nfe_per_image

    if isinstance(wanted.search, PathsSearch):  # none of its candidates goes all the way on its own
        return max(1.0, round(whole / nfe_per_image(wanted.search, wanted.steps)))
    done = rows[(rows["step"] == wanted.steps) & (rows["nfe"] > 0)]
    return float((done["nfe"] / wanted.steps).min()) if len(done) else 1.0
