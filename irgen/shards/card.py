"""The dataset's card: a README.md as the Hugging Face hub reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from irgen import files, records, store
from irgen.settings import ShardsSettings
from irgen.shards.commit import RUN
from irgen.shards.commit import records as commit_records

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

LICENCES = {"kaist": "cc-by-nc-sa-4.0", "hit-uav": "cc-by-4.0"}
"""Of the card where the settings name none: what is made of such frames is shared under their licence."""

TEXT = """\
# Synthetic infrared images

{description}

{images} images in {shards} shards; {failed} more of the {rows} planned could not be made and are listed with the
reason. Made by irgen: a diffusion model adapted to infrared, and a search over noises for the image that a verifier of
infrared believes most.

## A record

| member | what |
|---|---|
| `<key>.{image_format}` | the image |
| `<key>.txt` | its caption |
| `<key>.json` | its score sheet: `{fields}` |

`score` is IRSCORE, of the cosines `cos_infrared` and `cos_grayscale`; `unguided_score` is that of the image that no
search would have given; `spread` lies between the best and the worst candidate; `noise` is the recipe by which the
noise can be made again; `base`, `adapter` and `verifier` are fingerprints. `index.parquet` has a row a key, with the
image's shard, `offset`, `bytes` and `sha256`; of what could not be made the `status` is `failed`. `manifest.json` lists
every file with its sha256; `irgen verify` compares them.

```python
import glob, webdataset  # with WDS_SECURE=1 in the environment it runs nothing that it finds in a tar
for sample in webdataset.WebDataset(sorted(glob.glob("shards/*.tar")), shardshuffle=False).decode("pil"):
    print(sample["__key__"], sample["{image_format}"].size, sample["json"]["score"], sample["txt"])
```

```python
import datasets
for row in datasets.load_dataset("webdataset", data_files="shards/*.tar", split="train"):
    print(row["__key__"], row["{image_format}"].size, row["json"]["score"], row["txt"])
```

```python
import io, pandas, PIL.Image
for row in pandas.read_parquet("index.parquet").query("status == 'ok'").itertuples():
    with open(row.shard, "rb") as tar:  # a plain tar: `tar xf` and Python's tarfile read it, too
        tar.seek(row.offset)
        print(row.key, PIL.Image.open(io.BytesIO(tar.read(row.bytes))).size, row.score)
```

## How it was made

| | |
|---|---|
| frames | {source} |
| captions | {captions} |
| base | {model}, `{base}` |
| adapter | `{adapter}` |
| verifier | `{verifier}` |
| search | {algorithm}, {steps} steps |
| samples | `{samples}` |

## Sources and licences

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
        figures: rows, images, failed and shards.

    Raises:
        StoreError: one of the outputs is damaged.
    """
    source = store.read_manifest(frames)["settings"]["frames"]["source"]
    made = store.read_manifest(samples)
    run = files.read_sealed(samples / RUN)
    origins = Counter(row.origin for row in records.read_rows(captions / "captions.parquet", records.Caption))
    sheet: Mapping[str, str] = next((record["sheet"] for record in commit_records(samples) if record["sheet"]), {})
    model = made["settings"]["base"]["model"]
    data = DatasetCardData(
        license=settings.licence or LICENCES.get(source, "other"),
        task_categories=["text-to-image"],
        tags=["infrared", "lwir", "thermal", "synthetic", "webdataset"],
        configs=[{"config_name": "default", "data_files": "shards/*.tar"}],
    )
    text = TEXT.format(
        description=settings.description or "Long-wave infrared street scenes.",
        image_format=made["settings"]["samples"]["image_format"],
        fields="`, `".join(sheet),
        source=source,
        captions=", ".join(f"{count} by {origin}" for origin, count in sorted(origins.items())),
        model="/".join(Path(model).parts[-2:]),
        base=run["base"],
        adapter=run["adapter"],
        verifier=run["verifier"],
        samples=made["fingerprint"],
        algorithm=run["algorithm"],
        steps=run["steps"],
        source_licence=SOURCES[source],
        base_licence=next(
            (terms for name, terms in BASES.items() if name in model.lower()), "see the model's own card"
        ),
        **figures,
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))
