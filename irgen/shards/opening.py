"""Opening a finished dataset for training; torch is loaded when one of these is called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen.shards.dataset import Dataset, Thresholds

if TYPE_CHECKING:
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
        transform: called with image and target; torchvision's v2 transforms know both.

    Raises:
        StoreError: no such dataset, or a damaged one.
        SettingsError: a threshold out of range.
    """
    from irgen.shards.loading import StreamedImages

    return StreamedImages(Dataset.open(path), Thresholds(min_score, min_agreement), shuffle, seed, transform)


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
