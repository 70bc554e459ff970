"""Pascal VOC: `JPEGImages/`, `Annotations/` and `ImageSets/Main/train.txt`.

VOC counts pixels from 1 and includes both ends: x, w becomes xmin = x + 1, xmax = x + w. An ignore box is `difficult`,
which VOC's evaluation counts neither as hit nor as miss.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from irgen.records import LabelledBox
from irgen.shards.dataset import Dataset, Labelled

NOTES = """\
Pascal VOC: an XML file an image in `Annotations/`, ignore boxes as `difficult`. Each names its image's file, which
keeps its own format. torchvision's `VOCDetection` finds it where this folder is called `VOCdevkit/VOC2012` and the
images are JPEG (`samples.image_format: jpg`).
"""


def write(dataset: Dataset, images: Iterable[Labelled], folder: Path) -> None:
    """Write images, annotations and the image set.

    Args:
        dataset: for its name.
        images: what to write.
        folder: empty.
    """
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    keys = []
    for each in images:
        (folder / "JPEGImages" / each.file_name).write_bytes(each.record.image)
        tree = annotation(each, dataset.name)
        ElementTree.indent(tree)
        (folder / "Annotations" / f"{each.key}.xml").write_bytes(ElementTree.tostring(tree, "utf-8") + b"\n")
        keys.append(f"{each.key}\n")
    (folder / "ImageSets/Main/train.txt").write_text("".join(keys))


def annotation(each: Labelled, database: str) -> ElementTree.Element:
    """Return an image's annotation."""
    root = ElementTree.Element("annotation")
    _texts(root, {"folder": "JPEGImages", "filename": each.file_name})
    _texts(ElementTree.SubElement(root, "source"), {"database": database, "annotation": each.mode})
    size = {"width": str(each.width_px), "height": str(each.height_px), "depth": str(each.channels)}
    _texts(ElementTree.SubElement(root, "size"), size)
    _texts(root, {"segmented": "0"})
    for difficult, boxes in (("0", each.boxes), ("1", each.ignored)):
        for box in boxes:
            _object(root, box, difficult)
    return root


def _object(root: ElementTree.Element, box: LabelledBox, difficult: str) -> None:
    node = ElementTree.SubElement(root, "object")
    _texts(node, {"name": box.label, "pose": "Unspecified", "truncated": "0", "difficult": difficult})
    corners = (box.x_px + 1, box.y_px + 1, box.x_px + box.w_px, box.y_px + box.h_px)
    names = ("xmin", "ymin", "xmax", "ymax")
    texts = {name: f"{corner:.2f}" for name, corner in zip(names, corners, strict=True)}
    _texts(ElementTree.SubElement(node, "bndbox"), texts)


def _texts(parent: ElementTree.Element, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = text
