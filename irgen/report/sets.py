"""The image sets that a report compares, read from the stages' outputs; the one place that knows how they lie there."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from irgen import images, negatives, seeds, shards
from irgen.errors import SourceError, StoreError
from irgen.records import Caption, Frame, read_rows
from irgen.report.codecs import NO_CODECS, Codec, Codecs, raw, through
from irgen.shards import reader
from irgen.shards.sample import META
from irgen.sources import root_of

U8 = NDArray[np.uint8]
LEAST_VIDEOS = 5
"""With fewer videos, resampling them says nothing; single images are resampled instead."""

LEAST_GRAYSCALE = 0.5
"""A baseline of fewer images, as a share of the real ones, is left out rather than all of N given up for it."""


@dataclass(frozen=True)
class ImageSet:
    """Images that are read anew each time, so that a set need not fit into memory.

    Attributes:
        name: what the images stand for: "real", "guided", ...
        keys: names of the images, in order.
        captions: bare, of each image.
        videos: of each image, the group it is resampled with; "" for a generated image.
        times: of each image, or of the frame whose caption it was made for: "day", "night" or "" (unknown).
        read: yields the images of the given keys in their order, uint8 [height, width, 3].
    """

    name: str
    keys: tuple[str, ...]
    captions: tuple[str, ...]
    videos: tuple[str, ...]
    times: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[U8]]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[U8]:
        return self.read(self.keys)

    @property
    def by_video(self) -> bool:
        """Whether whole videos are resampled."""
        return len(set(self.videos)) >= LEAST_VIDEOS

    @property
    def groups(self) -> tuple[str, ...]:
        """Of each image, the group it is resampled with."""
        return self.videos if self.by_video else self.keys

    def take(self, rows: Sequence[int]) -> ImageSet:
        """Return the set of the given rows."""
        keys, captions, videos, times = (
            tuple(values[row] for row in rows) for values in (self.keys, self.captions, self.videos, self.times)
        )
        return replace(self, keys=keys, captions=captions, videos=videos, times=times)


@dataclass(frozen=True)
class Equal:
    """Sets of equal size.

    Attributes:
        sets: by name.
        mix: how many images of each time of day every set has; empty where the mixes could not be made equal.
    """

    sets: dict[str, ImageSet]
    mix: dict[str, int]


def equalised(sets: Mapping[str, ImageSet], together: Sequence[str], limit: int, seed: int) -> Equal:
    """Cut all sets to one size, at most `limit`, and to one mix of day and night, by a seeded choice.

    The mix is that of the generated sets. Where it would cost more than half of the images, or a set has none of one
    time, each set keeps its own.

    Args:
        sets: by name.
        together: names of the generated sets, which have the same keys; the same ones of each are chosen.
        limit: largest size.
        seed: decides which images stay.
    """
    count = min(limit, *map(len, sets.values()))
    quotas = _quotas(sets, Counter(sets[together[0]].times), count)
    chosen = {}
    for name, one in sets.items():
        purpose = together[0] if name in together else name
        rng = seeds.generator(seed, purpose, "report/choice")
        rows = [row for time, quota in quotas.items() for row in rng.permutation(_of(one, time))[:quota].tolist()]
        chosen[name] = one.take(sorted(rows if quotas else rng.permutation(len(one))[:count].tolist()))
    return Equal(chosen, quotas)


def _of(one: ImageSet, time: str) -> list[int]:
    return [row for row, each in enumerate(one.times) if each == time]


def _quotas(sets: Mapping[str, ImageSet], mix: Counter[str], count: int) -> dict[str, int]:
    """Share `count` or fewer images out over times in the proportions of `mix`, by largest remainders."""
    whole = sum(mix.values())
    possible = min(len(_of(one, time)) * whole // share for one in sets.values() for time, share in mix.items())
    if possible < count / 2:
        return {}
    count = min(count, possible)
    exact = {time: count * share / whole for time, share in sorted(mix.items())}
    quotas = {time: int(value) for time, value in exact.items()}
    for time in sorted(exact, key=lambda time: quotas[time] - exact[time])[: count - sum(quotas.values())]:
        quotas[time] += 1
    return quotas


def frame_sets(frames_folder: Path, captions_folder: Path, codec: Codec = raw) -> dict[str, ImageSet]:
    """Return the sets of real frames.

    `real`: LWIR of captioned test frames; `floor`: LWIR of train frames; `grayscale`: luma of the visible image of
    captioned test frames, and `inverted` its negative, left out where they would more than halve N.

    Args:
        frames_folder: output of stage frames.
        captions_folder: output of stage captions.
        codec: what the generated images went through and these did not.

    Raises:
        SourceError: fewer than two test or train frames with an LWIR image.
    """
    root = root_of(frames_folder)
    frames = read_rows(frames_folder / "frames.parquet", Frame)
    captions = {row.frame_id: row.caption for row in read_rows(captions_folder / "captions.parquet", Caption)}
    test = [frame for frame in frames if frame.split == "test" and frame.id in captions]
    train = [frame for frame in frames if frame.split == "train"]
    thermal, seen = [frame for frame in test if frame.lwir], [frame for frame in test if frame.visible]
    sets = {
        "real": _of_frames("real", thermal, captions, root, lwir, codec),
        "floor": _of_frames("floor", [frame for frame in train if frame.lwir], captions, root, lwir, codec),
    }
    for name, what in (("real", "captioned test"), ("floor", "train")):
        if len(sets[name]) < 2:
            raise SourceError(
                f"{frames_folder}: {len(sets[name])} {what} frames with an LWIR image; a report needs at least 2",
                "Add frames of that split, or raise frames.test_fraction.",
            )
    if len(seen) >= LEAST_GRAYSCALE * min(len(sets["real"]), len(sets["floor"])):
        sets["grayscale"] = _of_frames("grayscale", seen, captions, root, grayscale, codec)
        sets["inverted"] = _of_frames("inverted", seen, captions, root, inverted, codec)
    return sets


def trained_set(frames_folder: Path, captions_folder: Path, codec: Codec = raw) -> ImageSet:
    """Return the LWIR of captioned train frames, all that the adapter learnt; arguments as of `frame_sets`."""
    captions = {row.frame_id: row.caption for row in read_rows(captions_folder / "captions.parquet", Caption)}
    frames = read_rows(frames_folder / "frames.parquet", Frame)
    learnt = [frame for frame in frames if frame.split == "train" and frame.lwir and frame.id in captions]
    return _of_frames("trained", learnt, captions, root_of(frames_folder), lwir, codec)


def generated_sets(
    samples_folder: Path, captions_folder: Path, frames_folder: Path, codecs: Codecs = NO_CODECS
) -> dict[str, ImageSet]:
    """Return the sets `unguided`, `guided` and `worst` of a samples output, with the same keys in the same order.

    A prompt counts where all three images are there: tombstones do not, nor does a prompt whose first candidate died.

    Args:
        samples_folder: output of stage samples.
        captions_folder: output of stage captions.
        frames_folder: output of stage frames.
        codecs: what the images are to go through before they are compared.

    Raises:
        StoreError: fewer than two such prompts, or the output is damaged.
    """
    captions = {row.frame_id: row.caption for row in read_rows(captions_folder / "captions.parquet", Caption)}
    time_of = {row.id: row.time for row in read_rows(frames_folder / "frames.parquet", Frame)}
    meta = shards.table(samples_folder)
    frame_of = dict(zip(meta["key"], meta["frame_id"], strict=True))
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in _contrast_rows(samples_folder, ["key", "kind"]):
        kinds[row["key"]].add(row["kind"])
    complete = [key for key in meta.loc[meta["status"] == "ok", "key"] if kinds[key] >= {"unguided", "worst"}]
    if len(complete) < 2:
        raise StoreError(
            f"{samples_folder}: {len(complete)} prompts have a kept, an unguided and a worst image; a report needs 2",
            "Generate more images (samples.images).",
        )
    words = tuple(captions[frame_of[key]] for key in complete)
    times = tuple(time_of[frame_of[key]] for key in complete)
    readers = {
        "unguided": through(codecs.contrasts, partial(_contrast, samples_folder, "unguided")),
        "guided": through(codecs.kept, partial(_kept, samples_folder)),
        "worst": through(codecs.contrasts, partial(_contrast, samples_folder, "worst")),
    }
    nowhere = ("",) * len(complete)
    return {name: ImageSet(name, tuple(complete), words, nowhere, times, read) for name, read in readers.items()}


def score_sheets(samples_folder: Path, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return, of each of the given images, the values that the search recorded."""
    meta = shards.table(samples_folder).set_index("key").drop(columns=[name for name in META.names if name != "key"])
    return {key: meta.loc[key].to_dict() for key in keys}


def _kept(samples_folder: Path, keys: Sequence[str]) -> Iterator[U8]:
    records = shards.read(samples_folder)
    for key in keys:
        yield _decode(next(record.image for record in records if record.key == key))


def _contrast(samples_folder: Path, kind: str, keys: Sequence[str]) -> Iterator[U8]:
    if not keys:
        return  # Arrow compares no text with an empty set of no type
    for row in _contrast_rows(samples_folder, ["png"], [("kind", "=", kind), ("key", "in", set(keys))]):
        yield _decode(row["png"])


def _contrast_rows(
    samples_folder: Path, columns: list[str], filters: list[tuple[str, str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield rows of the table of images that were not kept, in memory of one shard's."""
    for path in reader.parts(samples_folder, "contrasts"):
        yield from pq.read_table(path, columns=columns, filters=filters).to_pylist()


def _decode(data: bytes) -> U8:
    """Decode an image of our own store, whose hash was checked."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def lwir(frame: Frame, root: Path) -> U8:
    """Read a frame's LWIR image, uint8 [height, width, 3]."""
    return np.repeat(images.read_gray(root / frame.lwir)[..., None], 3, axis=2)


def grayscale(frame: Frame, root: Path) -> U8:
    """Read a frame's visible image as luma in three channels, uint8 [height, width, 3]."""
    return negatives.gray(images.read_rgb(root / frame.visible))


def inverted(frame: Frame, root: Path) -> U8:
    """Read a frame's visible image as the negative of its luma, uint8 [height, width, 3]."""
    return negatives.inverted(images.read_rgb(root / frame.visible))


def _of_frames(
    name: str,
    frames: Sequence[Frame],
    captions: Mapping[str, str],
    root: Path,
    load: Callable[[Frame, Path], U8],
    codec: Codec,
) -> ImageSet:
    by_id = {frame.id: frame for frame in frames}
    return ImageSet(
        name,
        tuple(by_id),
        tuple(captions.get(key, "") for key in by_id),
        tuple(frame.video for frame in frames),
        tuple(frame.time for frame in frames),
        lambda keys: (codec(load(by_id[key], root)) for key in keys),
    )
