"""The dataset's card: a README.md as the Hugging Face hub reads it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from irgen import records, store
from irgen.settings import ShardsSettings

SOURCES = {
    "kaist": "KAIST Multispectral Pedestrian, CC BY-NC-SA 4.0",
    "roadscene": "RoadScene, no licence stated; derived from FLIR video",
    "hit-uav": "HIT-UAV, CC BY 4.0",
    "folder": "a folder of images; see its owner's licence",
    "miniature": "irgen's built-in drawn scenes, Apache-2.0",
}
BASES = {
    "flux.1-dev": "FLUX.1-dev: its licence is non-commercial and speaks of outputs, too",
    "flux.1-schnell": "FLUX.1-schnell: Apache-2.0",
    "miniature": "irgen's built-in miniature, Apache-2.0",
}

TEXT = """\
# Synthetic infrared images

{description}

{images} images, {shards} shards, {failed} tombstones. Made by irgen: a diffusion model adapted to infrared, and a
search over noises for the image that a verifier of infrared believes most.

## A record

`<key>.{image_format}` the image, `<key>.txt` its caption, `<key>.json` its score sheet: score (IRSCORE) and both cosines,
`unguided_score` (of the image that no search would have given), spread among the candidates, NFE, algorithm, prompt,
source frame, how the noise was made, and the fingerprints of base, adapter and verifier. `index.parquet` holds the same
by row, with each image's shard, offset, bytes and sha256.

```python
import webdataset as wds
for sample in wds.WebDataset("shards/{first}", shardshuffle=False).decode("pil"):
    sample["{image_format}"], sample["json"]["score"], sample["txt"]
```

```python
import datasets
datasets.load_dataset("webdataset", data_files="shards/*.tar", split="train")
```

`manifest.json` lists every file with its sha256; `irgen verify` checks them.

## How it was made

| | |
|---|---|
| frames | {source} |
| captions | {captions} |
| base | `{base}` |
| adapter | `{adapter}` |
| verifier | `{verifier}` |
| search | {algorithm}, {steps} steps |

## Licences

- frames: {source_licence}
- base model: {base_licence}

## Known limits

The images carry captions, not boxes. The verifier that chose them also scored them: read IRSCORE beside the report's
distances, which it has not seen. What the base has never drawn, the search cannot find.
"""


def write(settings: ShardsSettings, frames: Path, captions: Path, samples: Path, figures: Mapping[str, Any]) -> str:
    """Return the card's text.

    Args:
        settings: licence and description.
        frames: output of stage frames.
        captions: output of stage captions.
        samples: output of stage samples.
        figures: images, failed and shards.
    """
    source = store.read_manifest(frames)["settings"]["frames"]["source"]
    made = store.read_manifest(samples)["settings"]
    run = json.loads((samples / "run.json").read_bytes())
    origins = Counter(row.origin for row in records.read_rows(captions / "captions.parquet", records.Caption))
    data = DatasetCardData(
        license=settings.licence or "other",
        task_categories=["object-detection", "unconditional-image-generation"],
        tags=["infrared", "lwir", "thermal", "synthetic", "webdataset"],
        configs=[{"config_name": "default", "data_files": "shards/*.tar"}],
    )
    text = TEXT.format(
        description=settings.description or "Long-wave infrared street scenes.",
        image_format=made["samples"]["image_format"],
        first="000000-*.tar",
        source=source,
        captions=", ".join(f"{count} by {origin}" for origin, count in sorted(origins.items())),
        base=made["base"]["model"],
        adapter=run["adapter"],
        verifier=run["verifier"],
        algorithm=run["algorithm"],
        steps=run["steps"],
        source_licence=SOURCES[source],
        base_licence=next(
            (terms for name, terms in BASES.items() if name in made["base"]["model"].lower()),
            "see the model's own card",
        ),
        **figures,
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))
