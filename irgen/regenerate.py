"""Any kept image made again from its score sheet, with its dataset's base and adapter, and compared by hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from irgen import images, settings, starting, store, weights
from irgen.errors import SettingsError, StoreError, WeightsError
from irgen.settings import BaseSettings, SamplesSettings
from irgen.shards import Record, parts, read_shard
from irgen.shards import sample as shard_sample
from irgen.stages import samples

REMAKE = "Regenerate from the data folder that built it."


@dataclass(frozen=True)
class Remade:
    """An image made again.

    Attributes:
        key: of the image.
        recorded, made: sha256 of the encoded file, then and now.
    """

    key: str
    recorded: str
    made: str

    @property
    def same(self) -> bool:
        """Whether every byte is."""
        return self.recorded == self.made

    @property
    def message(self) -> str:
        """The verdict in a line."""
        if self.same:
            return f"{self.key}: made again, every byte the same (sha256 {self.made})"
        return (
            f"{self.key}: DIFFERS: sha256 {self.made} now, {self.recorded} in the dataset; another device, precision "
            "or version of torch, or first_order on a GPU, if nobody changed the weights"
        )


def regenerate(dataset: Path, key: str) -> Remade:
    """Make a kept image again.

    Args:
        dataset: a dataset's folder (its newest samples are taken), or one output of stage samples or shards in it.
        key: of the image; leading zeros may be left out.

    Raises:
        StoreError: no such dataset, output or image, a damaged one, or one of another version of irgen.
        SettingsError: a key that is no number.
        WeightsError: the base is not the one that made it, or is not there.
    """
    if not key.isdecimal():
        raise SettingsError(f"KEY = {key!r} is not a number", "Keys are the names of a shard's members: 000000123.")
    samples_folder = _samples(dataset)
    manifest = store.read_manifest(samples_folder)
    if manifest["version"] != samples.VERSION:
        raise StoreError(
            f"{samples_folder}: made by version {manifest['version']} of stage samples, this is {samples.VERSION}",
            "Use the irgen that made it, or `irgen run` its manifest again.",
        )
    record, sha256 = _record(samples_folder, int(key))
    wanted = settings.parse(SamplesSettings, manifest["settings"]["samples"], str(samples_folder / store.MANIFEST))
    base = settings.parse(BaseSettings, manifest["settings"]["base"], str(samples_folder / store.MANIFEST))
    if (now := weights.identity_of(base)) != record.sheet["base"]:
        raise WeightsError(
            f"{base.model}: its weights are not those that made {record.key} ({now}, not {record.sheet['base']})",
            "Bring back the base that the dataset was built with.",
        )
    image = _make(samples_folder.parent.parent, record, wanted, base)
    return Remade(record.key, sha256, hashlib.sha256(image).hexdigest())


def _make(root: Path, record: Record, wanted: SamplesSettings, base: BaseSettings) -> bytes:
    from irgen import devices, generators
    from irgen.search import Generator, Prompt, Recipe, remake
    from irgen.verifiers import IrScore

    sheet = record.sheet
    adapter = _output(root, "adapter", sheet["adapter"])
    # Its batch size, too: bits depend on the one shape of all forwards.
    generator = generators.load(base, wanted.steps, wanted.guidance, wanted.batch_size, adapter)
    verifier = IrScore.load(_output(root, "verifier", sheet["verifier"]))
    prompt = Prompt(int(record.key), sheet["prompt"], sheet["caption"])
    start = starting.Start.from_sheet(sheet)
    begun: Generator[Any] = generator
    if start.mode != starting.NONE:
        starts = starting.Starts(wanted.start, wanted.seed, _output(root, "frames", sheet["frames"]))
        begun = starts.generator(generator, [start])
    with devices.one_thread():
        made = remake(begun, verifier, prompt, Recipe.from_json(json.loads(sheet["noise"])))
    return images.encode(made, wanted.image_format)


def _samples(dataset: Path) -> Path:
    """Return the output of stage samples that a path names or lies behind."""
    if not dataset.is_dir():
        raise StoreError(f"{dataset}: no such folder", "Name a dataset: data/miniature.")
    if (dataset / store.MANIFEST).exists():
        manifest = store.read_manifest(dataset)
        if manifest["stage"] == "samples":
            return dataset
        if manifest["stage"] == "shards":
            return _output(dataset.absolute().parent.parent, "samples", manifest["inputs"]["samples"])
        raise StoreError(f"{dataset}: an output of {manifest['stage']}, which has no images", "Name the dataset.")
    for folder in sorted(dataset.glob("[0-9][0-9]-samples")):
        if latest := store.latest(folder):
            return latest.folder
    raise StoreError(f"{dataset}: has no finished samples", "`irgen run` its manifest first.")


def _output(root: Path, stage: str, content: str) -> Path:
    """Return the output of a stage whose content is known.

    Raises:
        StoreError: it is not there, or damaged.
    """
    for path in sorted(root.glob(f"[0-9][0-9]-{stage}/*/{store.MANIFEST}")):
        if store.read_manifest(path.parent)["content"] == content:
            if found := store.problems(path.parent):
                raise StoreError(found[0], f"`irgen run` makes {stage} again.")
            return path.parent
    raise StoreError(f"{root}: the {stage} that the image was made with is not there (content {content})", REMAKE)


def _record(folder: Path, index: int) -> tuple[Record, str]:
    """Return an image's record, and the digest that its table has of it."""
    key = shard_sample.key(index)
    for meta, tar in zip(parts(folder, "meta"), parts(folder, "shards"), strict=True):
        rows: list[dict[str, Any]] = pq.read_table(meta, filters=[("key", "=", key)]).to_pylist()
        for row in rows:
            if row["status"] != "ok":
                raise StoreError(f"{folder}: image {row['key']} was never made: {row['reason']}")
            return next(one for one in read_shard(tar) if one.key == row["key"]), row["sha256"]
    raise StoreError(f"{folder}: has no image {key}", "`index.parquet` of the finished dataset lists all keys.")
