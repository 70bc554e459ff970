"""A finished frames stage of small drawn pairs, such as the stages after it read."""

from pathlib import Path

import numpy as np
from PIL import Image

from irgen import store
from irgen.records import Box, Frame, write_rows
from irgen.settings import FramesSettings
from tests.tiny_clip import HEIGHT_PX, WIDTH_PX, scene

DARKER = 90


def raw_frames(folder: Path, counts: dict[str, int], night_every: int = 0) -> Path:
    """Draw pairs and write the stage's output.

    A frame shows one to three people as warm spots; its visible image is another picture, striped and bright.

    Args:
        folder: the stage's output; raw images lie beside it.
        counts: frames by split.
        night_every: every so many frames it is night; never if 0.

    Returns:
        `folder`.
    """
    raw = folder.parent / "raw"
    (raw / "images").mkdir(parents=True)
    frames, rng = [], np.random.default_rng(11)
    for split, count in counts.items():
        for number in range(count):
            name = f"{split}/{number:03d}"
            people = int(rng.integers(3))
            lwir = scene(people, rng)
            visible = np.clip(lwir[..., :1] * [0.5, 0.8, 1.0] + DARKER, 0, 255)
            visible[::2] += 30
            paths = {}
            for modality, image in (("visible", visible.clip(0, 255).astype(np.uint8)), ("lwir", lwir)):
                paths[modality] = f"images/{split}{number:03d}-{modality}.png"
                Image.fromarray(image).save(raw / paths[modality])
            frames.append(
                Frame(
                    id=name,
                    source="folder",
                    split=split,  # type: ignore[arg-type]
                    set="",
                    video=split,
                    time="night" if night_every and number % night_every == 0 else "day",
                    place="road",
                    **paths,
                    visible_sha256="",
                    lwir_sha256="",
                    width_px=WIDTH_PX,
                    height_px=HEIGHT_PX,
                    boxes=tuple(Box("person", 8.0 * k + 1, 2, 6, 12) for k in range(people + 1)),
                )
            )
    folder.mkdir(parents=True)
    write_rows(folder / "frames.parquet", sorted(frames, key=lambda frame: frame.id), Frame.SCHEMA)
    settings = {"frames": FramesSettings(source="folder", root=str(raw)).model_dump(mode="json")}
    document = {"stage": "frames", "version": 1, "fingerprint": "f", "settings": settings, "inputs": {}, "figures": {}}
    store.write_manifest(folder, document, store.listing(folder))
    return folder
