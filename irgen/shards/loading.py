"""A finished dataset for torch: streamed shard by shard, or any image by its place in the index.

Both give pairs as torchvision's detectors and transforms (v2) take them:

- image: `tv_tensors.Image`, uint8 [channels, height, width];
- target: `boxes` (`tv_tensors.BoundingBoxes`, float32 [n, 4], XYXY in pixels), `labels` (int64 [n]: the class's place
  in `classes`, counted from 1, 0 being the background), `scores` (float32 [n]), `ignored` (boxes that are neither
  object nor background, float32 [m, 4]), `key`, `caption`, `agreement`.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import webdataset as wds
from PIL import Image
from torch.utils.data import Dataset as MapDataset
from torch.utils.data import IterableDataset
from torchvision import tv_tensors
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.utils import pytorch_worker_info

from irgen import seeds
from irgen.errors import SettingsError
from irgen.records import LabelledBox
from irgen.shards.dataset import Dataset, Thresholds, image_of
from irgen.shards.reader import IMAGE_FORMATS

Pair = tuple[tv_tensors.Image, dict[str, Any]]
Transform = Callable[[tv_tensors.Image, dict[str, Any]], Any]


class StreamedImages(IterableDataset[Any]):
    """All images of a dataset, shard by shard, in another order each epoch.

    Nodes (torch.distributed) and DataLoader workers share the shards out: each image comes once an epoch, in one of
    them. Where nodes are to train together (`shuffle`), each gets as many as the one with the fewest, since they wait
    for each other at every step: other images are left out in each epoch. What an epoch's order is depends on `seed`,
    the epoch, and how many nodes and workers there are.

    Attributes:
        classes: names; a label is a place in it, counted from 1.
    """

    def __init__(
        self, dataset: Dataset, thresholds: Thresholds, shuffle: int, seed: int, transform: Transform | None
    ) -> None:
        super().__init__()
        self.classes = dataset.classes
        self._place = dataset.place
        self._tars = dataset.tars()
        self._thresholds = thresholds
        self._shuffle = shuffle
        self._seed = seed
        self._transform = transform
        # Shared, so that workers that stay from epoch to epoch (persistent_workers) see it, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        taken = dataset.index.filter(pc.field("agreement") >= thresholds.min_agreement)["shard"]
        self._images_of = Counter(taken.to_pylist())

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration, before it begins."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's pairs.

        Raises:
            SettingsError: there are more nodes than shards, so that one would have nothing to do.
        """
        rank, nodes, worker, workers = pytorch_worker_info()
        epoch = int(self._epoch)
        if nodes > len(self._tars):
            raise SettingsError(
                f"{nodes} nodes share {len(self._tars)} shards",
                "Make the dataset with a smaller samples.images_per_shard, or read it with `open_indexed`.",
            )
        tars = self._tars
        if self._shuffle:
            # All nodes and workers must agree on it, or an image would come twice.
            order = seeds.generator(self._seed, epoch, "shards/order").permutation(len(tars))
            tars = [tars[place] for place in order]
        stages = [
            wds.SimpleShardList(tars),
            wds.split_by_node,
            wds.split_by_worker,
            self._opened,
            tar_file_expander,
            group_by_keys,
            wds.map(_parsed),
            wds.select(lambda sample: self._thresholds.take(sample["json"]["agreement"])),
        ]
        if self._shuffle:
            own = seeds.derive(self._seed, f"{epoch}/{rank}/{worker}", "shards/shuffle")
            stages.append(wds.shuffle(self._shuffle, initial=self._shuffle, rng=random.Random(own)))
            if nodes > 1:
                stages.append(wds.slice(self._even(tars, rank, nodes, worker, workers)))
        yield from wds.DataPipeline(*stages, wds.map(self._pair))

    def _even(self, tars: Sequence[str], rank: int, nodes: int, worker: int, workers: int) -> int:
        """Return how many images a worker gives, so that all nodes give as many as the one with the fewest has."""
        over = sum(map(self._images_of.__getitem__, tars[rank::nodes])) - min(
            sum(map(self._images_of.__getitem__, tars[node::nodes])) for node in range(nodes)
        )
        for number in range(workers):
            own = sum(map(self._images_of.__getitem__, tars[rank::nodes][number::workers]))
            less = min(own, over)
            if number == worker:
                return own - less
            over -= less
        raise AssertionError(f"worker {worker} of {workers}")

    def _opened(self, sources: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Open shards where they lie: webdataset's own opener takes some names for addresses and commands."""
        for source in sources:
            with self._place.open(source["url"]) as stream:
                yield {**source, "stream": stream}

    def _pair(self, sample: Mapping[str, Any]) -> Any:
        # What has no decoder here is not looked at: some of webdataset's run what they find.
        data = next(sample[name] for name in IMAGE_FORMATS if name in sample)
        caption = sample["txt"].decode()
        made = pair(data, sample["json"] | {"caption": caption}, self.classes, self._thresholds)
        return self._transform(*made) if self._transform else made


class IndexedImages(MapDataset[Any]):
    """All images of a dataset, each read from its shard by the offset that the index gives.

    Attributes:
        classes: names; a label is a place in it, counted from 1.
        index: a row an image that is taken, as `index.parquet` has it.
    """

    def __init__(self, dataset: Dataset, thresholds: Thresholds, transform: Transform | None) -> None:
        dataset.tars()  # refuses shards that are missing or cut
        self.classes = dataset.classes
        self.index: pa.Table = dataset.index.filter(pc.field("agreement") >= thresholds.min_agreement)
        self._place = dataset.place
        self._thresholds = thresholds
        self._transform = transform

    def __len__(self) -> int:
        """Count the images."""
        return len(self.index)

    def __getitem__(self, place: int) -> Any:
        """Return the pair at a place.

        Raises:
            IndexError: there is no such place.
            StoreError: the image was changed.
        """
        if not -len(self) <= place < len(self):
            raise IndexError(f"{place} of {len(self)} images")
        row = self.index.slice(place % len(self), 1).to_pylist()[0]
        data = image_of(self._place, row)
        made = pair(data, row, self.classes, self._thresholds)
        return self._transform(*made) if self._transform else made


def pair(image: bytes, row: Mapping[str, Any], classes: Sequence[str], thresholds: Thresholds) -> Pair:
    """Return an image and its target.

    Args:
        image: the encoded file.
        row: key, caption, agreement and boxes.
        classes: a label is a place in it, counted from 1.
        thresholds: which boxes to learn from.
    """
    with Image.open(io.BytesIO(image)) as opened:
        pixels = np.array(opened)
    tensor = torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()
    trusted, ignored = thresholds.split([LabelledBox(**box) for box in row["boxes"]])
    size = pixels.shape[:2]
    target = {
        "boxes": _corners(trusted, size),
        "labels": torch.tensor([classes.index(box.label) + 1 for box in trusted], dtype=torch.int64),
        "scores": torch.tensor([box.score for box in trusted], dtype=torch.float32),
        "ignored": _corners(ignored, size),
        "key": row["key"],
        "caption": row["caption"],
        "agreement": row["agreement"],
    }
    return tv_tensors.Image(tensor), target


def _corners(boxes: Sequence[LabelledBox], size_px: tuple[int, ...]) -> tv_tensors.BoundingBoxes:
    corners = [[box.x_px, box.y_px, box.x_px + box.w_px, box.y_px + box.h_px] for box in boxes]
    values = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return tv_tensors.BoundingBoxes(
        values, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=(size_px[0], size_px[1])
    )


def _parsed(sample: dict[str, Any]) -> dict[str, Any]:
    return sample | {"json": json.loads(sample["json"])}
