"""Procedural scenes written as KAIST's files: same folders, same annotation text, times and places a set as KAIST's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from irgen import seeds
from irgen.errors import SettingsError
from irgen.miniature.scenes import Scene, Spec, render
from irgen.miniature.world import sample_world

TRAIN_SETS, TEST_SETS = range(0, 6), range(6, 12)
TIMES_PLACES = (
    ("day", "campus"),
    ("day", "road"),
    ("day", "downtown"),
    ("night", "campus"),
    ("night", "road"),
    ("night", "downtown"),
)
"""Time and place of sets 00 to 05, and again of 06 to 11."""

VIDEO_SCENES = 30
JPEG_QUALITY = 95
HEADER = "% bbGt version=3"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one scene belongs: set 0..11, video and frame within it."""

    set: int
    video: int
    frame: int

    @property
    def video_name(self) -> str:
        """E.g. "set04/V002"."""
        return f"set{self.set:02d}/V{self.video:03d}"

    @property
    def name(self) -> str:
        """E.g. "set04/V002/I00017"."""
        return f"{self.video_name}/I{self.frame:05d}"


def write(
    root: Path, train_scenes: int, test_scenes: int, seed: int, progress: Callable[[int], None] | None = None
) -> None:
    """Render scenes and write them below `root` in KAIST's layout.

    A video's frames share its world (weather, camera, gain control); their people are independent.

    Args:
        root: made if missing; files of the same name are replaced.
        train_scenes: frames in sets 00-05, spread evenly over the six.
        test_scenes: frames in sets 06-11.
        seed: of every random choice; the same seed writes the same bytes.
        progress: called with 1 after each frame.
    """
    if train_scenes < 0 or test_scenes < 0:
        raise SettingsError(
            f"cannot write {train_scenes} train and {test_scenes} test scenes", "give counts of 0 or more"
        )
    for place in [*plan(train_scenes, TRAIN_SETS), *plan(test_scenes, TEST_SETS)]:
        _write_scene(root, place, scene_at(seed, place))
        if progress:
            progress(1)


def plan(count: int, sets: range) -> list[Place]:
    """Spread `count` frames over sets and their videos of about 30 frames (20 to 40 where there are enough)."""
    places = []
    for k, number in enumerate(sets):
        frames = count * (k + 1) // len(sets) - count * k // len(sets)
        videos = max(1, round(frames / VIDEO_SCENES))
        for video in range(videos):
            size = frames * (video + 1) // videos - frames * video // videos
            places += [Place(number, video, frame) for frame in range(size)]
    return places


def scene_at(seed: int, place: Place) -> Scene:
    """Render the scene of one place; every frame of a video has the same world."""
    time, kind = TIMES_PLACES[place.set % len(TIMES_PLACES)]
    world = sample_world(seeds.generator(seed, place.video_name, "world"), time, kind)
    return render(seed, place.name, Spec(world=world))


def annotation(scene: Scene) -> str:
    """Return a scene's boxes as Caltech text: label x y w h occluded vx vy vw vh ignore angle."""
    lines = [HEADER]
    for box, seen in zip(scene.boxes, scene.seen_px, strict=True):
        rect = (int(v) for v in (box.x_px, box.y_px, box.w_px, box.h_px))
        visible = seen if box.occlusion else (0, 0, 0, 0)
        lines.append(" ".join(str(v) for v in (box.label, *rect, box.occlusion, *visible, int(box.ignore), 0)))
    return "\n".join(lines) + "\n"


def _write_scene(root: Path, place: Place, scene: Scene) -> None:
    folder, name = root / place.video_name, f"I{place.frame:05d}"
    labels = root / "annotations" / place.video_name
    for directory in (folder / "visible", folder / "lwir", labels):
        directory.mkdir(parents=True, exist_ok=True)
    lwir = np.repeat(scene.lwir_u8[..., None], 3, -1)
    Image.fromarray(scene.visible_u8).save(folder / "visible" / f"{name}.jpg", quality=JPEG_QUALITY)
    Image.fromarray(lwir).save(folder / "lwir" / f"{name}.jpg", quality=JPEG_QUALITY)
    (labels / f"{name}.txt").write_text(annotation(scene))
