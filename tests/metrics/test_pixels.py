from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from irgen.errors import IrgenError
from irgen.metrics.pixels import box_contrast, histogram, histogram_distance, pixels
from irgen.miniature import dataset


def grey(level: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def box(x: float, y: float, w: float, h: float) -> SimpleNamespace:
    return SimpleNamespace(x_px=x, y_px=y, w_px=w, h_px=h)


def test_a_grey_image_has_no_colour_and_a_red_pixel_is_seen() -> None:
    image = grey(90)
    assert pixels(image) == (90, 0, 0, 0)
    image[3, 4, 0] = 120
    assert pixels(image).colour == 30


def test_saturated_pixels_are_those_at_both_ends() -> None:
    image = grey(90)
    image[:5], image[5:8] = 0, 255
    assert pixels(image).saturated == pytest.approx(8 / 20)


@given(st.lists(st.integers(0, 255), min_size=4, max_size=40), st.lists(st.integers(0, 255), min_size=4, max_size=40))
def test_the_histogram_distance_is_wassersteins(one: list[int], other: list[int]) -> None:
    a, b = (np.array(values, np.uint8)[None] for values in (one, other))
    assert histogram_distance(histogram(a), histogram(b)) == pytest.approx(wasserstein_distance(one, other), abs=1e-9)


def test_inversion_is_as_far_as_the_levels_move() -> None:
    assert histogram_distance(histogram(grey(10)), histogram(grey(245))) == pytest.approx(235)
    with pytest.raises(IrgenError, match="adds up to 2"):
        histogram_distance(np.full(256, 2 / 256), histogram(grey(1)))


@pytest.mark.parametrize(("level", "contrast"), [(200, 150), (50, 0), (10, -40)])
def test_a_warm_body_stands_out_and_a_cold_one_below(level: int, contrast: float) -> None:
    image = grey(50)
    image[6:12, 10:14] = level
    assert box_contrast(image, box(10, 6, 4, 6)) == contrast


def test_a_box_at_the_border_is_compared_with_what_there_is() -> None:
    image = grey(50)
    image[:6, :4] = 90
    assert box_contrast(image, box(0, 0, 4, 6)) == 40
    assert np.isnan(box_contrast(image, box(40, 40, 4, 6))), "outside"
    assert np.isnan(box_contrast(image, box(0, 0, 30, 20))), "nothing is around it"


def people_contrast(strength: float) -> float:
    """Mean contrast of drawn people, nearer to the grey around them by `strength`; 2 is as cold as they were warm."""
    values = []
    for place in dataset.plan(40, dataset.TEST_SETS):
        scene = dataset.scene_at(0, place)
        for one in scene.boxes:
            if one.label == "person" and one.h_px >= 20 and not one.occlusion:
                image = scene.lwir_u8.astype(np.float64)
                rows, columns = (
                    slice(int(start), int(start + size)) for start, size in ((one.y_px, one.h_px), (one.x_px, one.w_px))
                )
                image[rows, columns] += strength * (np.median(image[rows]) - image[rows, columns])
                values.append(box_contrast(image.round().clip(0, 255).astype(np.uint8), one))
    assert len(values) > 10
    return float(np.mean(values))


def test_cold_people_are_ranked_below_faint_ones_and_these_below_warm_ones() -> None:
    warm, faint, cold = (people_contrast(strength) for strength in (0.0, 0.5, 2.0))
    assert warm > faint > 5 and cold < 0
