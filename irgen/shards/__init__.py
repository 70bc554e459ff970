"""Sharded outputs: WebDataset tars and Parquet tables that appear whole or not at all."""

from irgen.shards.commit import ShardedOutput
from irgen.shards.exchanged import begin
from irgen.shards.gc import gc
from irgen.shards.opening import collate, open_dataset, open_indexed, paint_ignored
from irgen.shards.reader import Record, candidates, image, parts, read, read_shard, table
from irgen.shards.sample import Sample
from irgen.shards.verify import outputs, unfinished, verify

__all__ = [
    "Record",
    "Sample",
    "ShardedOutput",
    "begin",
    "candidates",
    "collate",
    "gc",
    "image",
    "open_dataset",
    "open_indexed",
    "outputs",
    "paint_ignored",
    "parts",
    "read",
    "read_shard",
    "table",
    "unfinished",
    "verify",
]
