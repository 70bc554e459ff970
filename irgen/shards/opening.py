"""Opening a finished dataset for training; torch is loaded when one of these is called."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen.shards.dataset import Dataset, Thresholds

if TYPE_CHECKING:
    from torchvision.tv_tensors import Image

    from irgen.shards.loading import IndexedImages, StreamedImages, Transform


def open_dataset(
    path: Path | str,
    *,
    min_score: float = 0.0,
    min_agreement: float = 0.0,
    shuffle: int = 1000,
    seed: int = 0,
    transform: Transform | None = None,
) -> StreamedImages:
    """Stream a dataset: a torch IterableDataset, split by node and by DataLoader worker, each image once an epoch.

    ```python
    images = irgen.shards.open_dataset("data/miniature", min_score=0.5)
    loader = torch.utils.data.DataLoader(images, batch_size=8, num_workers=4, collate_fn=irgen.shards.collate)
    for epoch in range(10):
        images.set_epoch(epoch)
        for batch, targets in loader: ...
    ```

    Args:
        path: a dataset's folder, one output of stage shards, or the address (s3://BUCKET/PREFIX) it was pushed to.
        min_score: boxes under it are neither objects nor background (`ignored`).
        min_agreement: images whose labels agree less with their caption are left out.
        shuffle: images in the buffer from which one is drawn; 0 keeps shards and images in their order.
        seed: of the order.
        transform: called with image and target; torchvision's v2 transforms know both (`paint_ignored` comes first).

    Raises:
        StoreError: no such dataset, or a damaged one.
        SettingsError: a threshold out of range.
    """
    from irgen.shards.loading import StreamedImages

    return StreamedImages(Dataset.open(path), Thresholds(min_score, min_agreement), shuffle, seed, transform)


def paint_ignored(image: Image, target: dict[str, Any]) -> tuple[Image, dict[str, Any]]:
    """Paint what is neither object nor background with the image's mean, for a detector to learn nothing from it.

    A transform, to be the first of several: those of torchvision that drop boxes (`RandomIoUCrop`,
    `SanitizeBoundingBoxes`) take all boxes of a target for its objects.

    Args:
        image: uint8 [channels, height, width].
        target: as of `open_dataset`.

    Returns:
        The image, where no ignored box was left but what lies in an object's box, too; the target without `ignored` and
        `scores`.
    """
    import torch
    from torchvision import tv_tensors

    covered = torch.zeros(2, *image.shape[-2:], dtype=torch.bool)
    for mask, name in zip(covered, ("ignored", "boxes"), strict=True):
        for left, top, right, bottom in target[name].tolist():
            mask[max(0, math.floor(top)) : math.ceil(bottom), max(0, math.floor(left)) : math.ceil(right)] = True
    kept = {name: value for name, value in target.items() if name not in ("ignored", "scores")}
    painted = image.masked_fill(covered[0] & ~covered[1], round(image.float().mean().item()))
    return tv_tensors.wrap(painted, like=image), kept


def open_indexed(
    path: Path | str, *, min_score: float = 0.0, min_agreement: float = 0.0, transform: Transform | None = None
) -> IndexedImages:
    """Open a dataset for random access: a torch Dataset that reads each image by its offset, without its shard.

    Args:
        path: a dataset's folder, one output of stage shards, or the address (s3://BUCKET/PREFIX) it was pushed to.
        min_score: boxes under it are neither objects nor background (`ignored`).
        min_agreement: images whose labels agree less with their caption are left out.
        transform: called with image and target.

    Raises:
        StoreError: no such dataset, or a damaged one.
        SettingsError: a threshold out of range.
    """
    from irgen.shards.loading import IndexedImages

    return IndexedImages(Dataset.open(path), Thresholds(min_score, min_agreement), transform)


def collate(batch: Iterable[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Make a batch of pairs with any number of boxes: a list of images and a list of targets."""
    return tuple(map(list, zip(*batch, strict=True)))
