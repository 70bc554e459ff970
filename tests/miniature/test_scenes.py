"""The procedural scenes: repeatable, labelled within the frame, and thermal in a way that grayscale is not."""

import numpy as np
import pytest

from irgen.miniature import scenes
from irgen.miniature.scenes import Scene, Spec, render
from irgen.miniature.world import sample_world
from irgen.seeds import generator


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [render(5, k) for k in range(80)]


def of(time: str, place: str = "road", **counts: int) -> Spec:
    return Spec(sample_world(generator(1, place, "world"), time, place), **counts)


def test_the_same_seed_and_item_draw_the_same_pixels_and_others_do_not() -> None:
    first, again, other = render(5, "a"), render(5, "a"), render(5, "b")
    assert np.array_equal(first.visible_u8, again.visible_u8) and np.array_equal(first.lwir_u8, again.lwir_u8)
    assert first.boxes == again.boxes
    assert not np.array_equal(first.lwir_u8, other.lwir_u8)


def test_shapes_and_types(drawn: list[Scene]) -> None:
    for scene in drawn:
        assert scene.visible_u8.shape == (80, 96, 3) and scene.lwir_u8.shape == (80, 96)
        assert scene.visible_u8.dtype == scene.lwir_u8.dtype == np.uint8


def test_boxes_lie_inside_the_frame_and_contain_what_is_seen(drawn: list[Scene]) -> None:
    boxes = [(box, seen) for scene in drawn for box, seen in zip(scene.boxes, scene.seen_px, strict=True)]
    assert len(boxes) > 100
    for box, (x, y, w, h) in boxes:
        assert box.label in ("person", "cyclist", "car")
        assert box.x_px >= 0 and box.y_px >= 0 and box.x_px + box.w_px <= 96 and box.y_px + box.h_px <= 80
        assert min(box.w_px, box.h_px, w, h) >= 2
        assert x >= box.x_px - 1 and y >= box.y_px - 1
        assert x + w <= box.x_px + box.w_px + 1 and y + h <= box.y_px + box.h_px + 1


def test_a_spec_is_kept() -> None:
    scene = render(2, 0, of("night", "downtown", persons=0, cyclists=0, cars=1))
    assert (scene.time, scene.place) == ("night", "downtown")
    assert [box.label for box in scene.boxes] == ["car"]


def test_some_objects_are_occluded_and_most_are_not(drawn: list[Scene]) -> None:
    occluded = np.mean([box.occlusion > 0 for scene in drawn for box in scene.boxes])
    assert 0.02 < occluded < 0.5


def test_people_are_large_enough_to_be_seen(drawn: list[Scene]) -> None:
    heights = [box.h_px for scene in drawn for box in scene.boxes if box.label == "person"]
    assert np.mean(np.array(heights) >= 14) > 0.6 and min(heights) >= 4 and max(heights) <= 48


def test_thermal_images_are_dark_and_are_not_grayscale_ones(drawn: list[Scene]) -> None:
    assert 0.12 < np.mean([scene.lwir_u8.mean() / 255 for scene in drawn]) < 0.32
    likeness = [np.corrcoef(scenes.grayscale(s.visible_u8).ravel(), s.lwir_u8.ravel())[0, 1] for s in drawn]
    assert np.mean(likeness) < 0.3 and np.max(likeness) < 0.85


def test_people_are_warmer_than_their_surroundings_at_night() -> None:
    seen = 0
    for k in range(20):
        scene = render(3, k, of("night", persons=1, cyclists=0, cars=0))
        for x, y, w, h in scene.seen_px:
            body = scene.lwir_u8[y : y + h, x + w // 3 : x + w - w // 3]
            around = np.concatenate(
                [scene.lwir_u8[y : y + h, max(0, x - 4) : x], scene.lwir_u8[y : y + h, x + w : x + w + 4]], 1
            )
            assert body.mean() > around.mean() + 25
            seen += 1
    assert seen >= 15


def test_lane_markings_hardly_show_in_the_thermal_image() -> None:
    pictures = [render(4, k, of("day", persons=0, cyclists=0, cars=0)) for k in range(6)]
    for scene in pictures:
        bright = scenes.grayscale(scene.visible_u8)[50:] > 180
        assert bright.sum() > 10
        thermal = scene.lwir_u8[50:].astype(float)
        assert abs(thermal[bright].mean() - thermal[~bright].mean()) < 40
