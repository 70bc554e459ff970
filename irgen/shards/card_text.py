"""What the cards of a dataset say, but for the figures."""

from irgen.shards.dataset import UNLABELLED

TEXT = """\
# Synthetic infrared images

{description}

{images} images in {shards} shards; {failed} more of the {rows} planned could not be made and are listed with the
reason. Made by irgen: a diffusion model adapted to infrared, and a search over noises for the image that a verifier of
infrared believes most.

{records}

## Labels

{labels}

{teachers}

### Plan against outcome

What the captions asked for, and what the boxes show; *under ignore boxes* is what those would add.

{outcome}

## Audit

{audit}

## Validation

{validation}

## How it was made

{made}

To make it again: write the settings below into a manifest with a `dataset:`, its name, and `irgen run` it; `irgen plan`
says beforehand what would be made. `irgen regenerate DATASET KEY` makes any single image again from its score sheet and
compares every byte. The same settings, inputs and weights give the same fingerprint; bits may differ on another device.

```yaml
{settings}
```

## Sources and licences

- frames: {source_licence}
- base model: {base_licence}

## Known limits

{limits}
"""

RECORDS = """\
## A record

| member | what |
|---|---|
| `<key>.{image_format}` | the image |
| `<key>.txt` | its caption |
| `<key>.json` | its score sheet: `{fields}` |

`score` is IRSCORE, of the cosines `cos_infrared` and `cos_grayscale`; `unguided_score` is that of the image that no
search would have given; `spread` lies between the best and the worst candidate; `noise` is the recipe by which the
noise can be made again; `base`, `adapter` and `verifier` are fingerprints. A box in `boxes` has `label`, `x_px`,
`y_px`, `w_px`, `h_px` (left and top edge, extent), `score`, `source`, `teacher_iou`, and `ignore` where it is neither
object nor background; `agreement` is that of the boxes with the caption. `index.parquet` has a row a key, with the
image's shard, `offset`, `bytes` and `sha256`; of what could not be made the `status` is `failed`. `manifest.json` lists
every file with its sha256; `irgen verify` compares them. `irgen export` writes COCO, YOLO, Pascal VOC and Hugging Face.

```python
import irgen.shards  # pairs for torchvision's detectors; stricter: min_score=0.8, min_agreement=0.9
for image, target in irgen.shards.open_dataset(".", shuffle=0):
    print(target["key"], tuple(image.shape[:0:-1]), len(target["boxes"]), target["caption"])
```

```python
import glob, webdataset  # without `only` it runs what it finds in members of other kinds
shards = webdataset.WebDataset(sorted(glob.glob("shards/*.tar")), shardshuffle=False)
for sample in shards.decode("pil", only=["{image_format}", "json", "txt"]):
    print(sample["__key__"], sample["{image_format}"].size, sample["json"]["score"], sample["txt"])
```

```python
import os, datasets  # the folder, not its tars alone: the types of all columns are in this card's header
for row in datasets.load_dataset(os.getcwd(), split="train"):
    print(row["__key__"], row["{image_format}"].size, row["json"]["score"], row["txt"])
```

```python
import io, pandas, PIL.Image
for row in pandas.read_parquet("index.parquet").query("status == 'ok'").itertuples():
    with open(row.shard, "rb") as tar:  # a plain tar: `tar xf` and Python's tarfile read it, too
        tar.seek(row.offset)
        print(row.key, PIL.Image.open(io.BytesIO(tar.read(row.bytes))).size, row.score)
```
"""

EXPORT = """\
## This export

Form `{form}`, made by `irgen export --min-score {min_score:g} --min-agreement {min_agreement:g}`: {images} images
({images_left_out} left out for their agreement), {images_without_boxes} of them without boxes; {boxes} boxes and
{ignored} to be ignored, among them those with a score under {min_score:g}.

{warnings}

{notes}
"""

MODES = {
    "teacher": "two detectors of different architecture, trained on the real training frames, agree on the box (IoU of "
    "at least .5); what one of them alone sees, or both with middling scores, is an ignore box",
    "inherit": "the box of the annotated frame that the image was made from, confirmed, moved or turned to ignore by "
    "the teachers",
    "insert": "an object was painted into an empty stretch; its mask gives the box, the teachers refine it",
    UNLABELLED: "nobody labelled these images: they have captions only",
}
LIMITS = """\
The verifier that chose the images also scored them: read IRSCORE beside the report's distances, which it has not seen.
What the base has never drawn, the search cannot find. {labels}"""
LABELLED_LIMITS = """\
The boxes are found by detectors, not by people: what both overlook is not in them, and they are the surer the more an
object looks like the training frames'. Ignore boxes must neither be learned as objects nor as background."""
UNLABELLED_LIMITS = "The images carry captions, not boxes: an image without boxes may well show people."
