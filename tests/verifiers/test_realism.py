from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import gennorm

from irgen import images as image_files
from irgen import sources
from irgen.errors import StoreError, WeightsError
from irgen.miniature import dataset
from irgen.records import Caption, Frame, read_rows
from irgen.search import Scores
from irgen.verifiers import lwir_statistics as statistics
from irgen.verifiers.realism import ASPECTS, FILE, Realism, learn
from tests.raw_frames import raw_frames

Fault = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def sharpened(sigma_of_height: float, gain: float) -> Fault:
    def spoil(lwir: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        blurred = ndimage.gaussian_filter(lwir, sigma_of_height * len(lwir))
        return lwir + gain * (lwir - blurred)

    return spoil


def blocky(lwir: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = lwir.shape
    means = lwir.reshape(height // 8, 8, width // 8, 8).mean((1, 3))
    return (lwir + np.kron(means, np.ones((8, 8)))) / 2


def repeated(lwir: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.tile(lwir[: len(lwir) // 2, : lwir.shape[1] // 2], (2, 2))


FAULTS: dict[str, Fault] = {
    "inverted": lambda lwir, rng: 255 - lwir,
    "halo": sharpened(1 / 20, 2.0),
    "over-sharpened": sharpened(1 / 80, 2.0),
    "blocky": blocky,
    "repeated": repeated,
    "row noise": lambda lwir, rng: lwir + rng.normal(0, 6, (len(lwir), 1)),
    "column noise": lambda lwir, rng: lwir + rng.normal(0, 6, (1, lwir.shape[1])),
    "blurred": lambda lwir, rng: ndimage.gaussian_filter(lwir, 1.5),
    "stretched": lambda lwir, rng: lwir * 2.5 + 30,
}


def colour(lwir_u8: np.ndarray) -> np.ndarray:
    return np.repeat(lwir_u8[..., None], 3, axis=-1)


def scenes(count: int, sets: range) -> tuple[np.ndarray, list[str]]:
    places = dataset.plan(count, sets)
    return np.stack([dataset.scene_at(0, place).lwir_u8 for place in places]), [place.video_name for place in places]


@pytest.fixture(scope="module")
def realism() -> Realism:
    frames, videos = scenes(150, dataset.TRAIN_SETS)
    return Realism.fit(frames, videos, frames.shape[2], frames.shape[1])


@pytest.fixture(scope="module")
def held_out() -> np.ndarray:
    return scenes(30, dataset.TEST_SETS)[0]


@pytest.fixture(scope="module")
def clean(realism: Realism, held_out: np.ndarray) -> Scores:
    return realism.score(colour(held_out), captions(held_out))


def auc(better: np.ndarray, worse: np.ndarray) -> float:
    return float(np.mean((better[:, None] > worse) + 0.5 * (better[:, None] == worse)))


def spoil(lwir: np.ndarray, fault: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    spoilt = [FAULTS[fault](image.astype(np.float64), rng) for image in lwir]
    return colour(np.stack(spoilt).round().clip(0, 255).astype(np.uint8))


def captions(images: np.ndarray) -> list[str]:
    return [""] * len(images)


@pytest.mark.parametrize(
    ("fault", "aspect", "least"),
    [
        ("inverted", "histogram", 0.95),
        ("inverted", "edges", 0.9),
        ("inverted", "bodies", 0.85),
        ("halo", "edges", 0.85),
        ("over-sharpened", "natural_scene", 0.95),
        ("over-sharpened", "edges", 0.9),
        ("blocky", "pattern", 0.95),
        ("repeated", "pattern", 0.95),
        ("row noise", "noise", 0.95),
        ("column noise", "noise", 0.95),
        ("blurred", "spectrum", 0.95),
        ("stretched", "histogram", 0.9),
    ],
)
def test_each_fault_is_seen_by_the_aspect_that_is_there_for_it(realism, held_out, clean, fault, aspect, least) -> None:
    spoilt = realism.score(spoil(held_out, fault), captions(held_out))
    name = f"realism_{aspect}"
    assert auc(clean.parts[name], spoilt.parts[name]) >= least
    assert auc(clean.value, spoilt.value) >= 0.95


@pytest.mark.parametrize("fault", ["inverted", "halo", "over-sharpened", "blocky", "repeated"])
def test_more_of_a_fault_ranks_lower(realism, held_out, clean, fault: str) -> None:
    whole = spoil(held_out, fault)
    half = ((colour(held_out).astype(np.uint16) + whole) // 2).astype(np.uint8)
    means = [clean.value.mean(), *(realism.score(images, captions(images)).value.mean() for images in (half, whole))]
    if fault == "inverted":
        assert means[0] > max(means[1:]), "half inverted is flat grey, which is no less wrong"
    else:
        assert means == sorted(means, reverse=True)


def test_held_out_real_frames_look_as_usual_as_the_fitted_ones(clean) -> None:
    beyond = -np.log1p(np.log(2) / 4)  # the score at the end of the usual
    shares = {name: float((values > beyond).mean()) for name, values in clean.parts.items()}
    assert set(shares) == {f"realism_{name}" for name in ASPECTS}
    assert all(share > 0.6 for share in shares.values()), shares


def test_within_the_usual_there_is_next_to_nothing_to_gain(realism) -> None:
    aspect = realism.aspects["noise"]
    centre = aspect.frames[np.argmin((aspect.frames**2).sum(1))]
    usual = aspect.mean + centre @ np.linalg.inv(aspect.whitening)
    far = aspect.mean + 40 * np.ones(3) @ np.linalg.inv(aspect.whitening)
    assert -0.1 < aspect.score(usual) < 0
    assert aspect.score(far) < -1


def test_a_score_does_not_depend_on_the_other_images_or_their_captions(realism, held_out) -> None:
    images = colour(held_out[:9])
    together = realism.score(images, captions(images))
    for k in (0, 4, 8):
        alone = realism.score(images[k : k + 1], ["nobody on a road"])
        assert alone.value[0] == together.value[k]
    np.testing.assert_allclose(together.value, np.mean(list(together.parts.values()), axis=0), rtol=0, atol=1e-15)


def test_what_is_saved_scores_the_same_and_is_no_pickle(realism, held_out, tmp_path: Path) -> None:
    realism.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    images = colour(held_out[:3])
    before, after = (each.score(images, captions(images)) for each in (realism, Realism.load(tmp_path)))
    np.testing.assert_array_equal(before.value, after.value)


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 64])
def test_a_missing_or_damaged_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(WeightsError, match=FILE):
        Realism.load(tmp_path)


def test_images_of_another_size_are_compared_at_the_frames_size(realism, held_out) -> None:
    doubled = colour(held_out[:2]).repeat(2, axis=1).repeat(2, axis=2)
    value = realism.score(doubled, captions(doubled)).value
    assert np.isfinite(value).all() and (value > -1.5).all()


def test_too_few_frames_are_refused() -> None:
    frames, videos = scenes(12, dataset.TRAIN_SETS)
    with pytest.raises(StoreError, match="12 real training frames, but it needs 16"):
        Realism.fit(frames, videos, 96, 80)


def test_a_single_video_is_compared_within_itself_but_never_a_frame_with_itself() -> None:
    frames, _ = scenes(20, dataset.TRAIN_SETS)
    realism = Realism.fit(frames, ["one"] * 20, 96, 80)
    assert all(aspect.middle > 1e-3 for aspect in realism.aspects.values())


def test_neighbours_in_a_video_do_not_make_the_usual_narrow() -> None:
    frames, videos = scenes(20, dataset.TRAIN_SETS)
    twice = np.concatenate([frames, frames])
    by_video = Realism.fit(twice, videos * 2, 96, 80)
    by_frame = Realism.fit(twice, [str(k) for k in range(40)], 96, 80)
    assert by_video.aspects["histogram"].middle > by_frame.aspects["histogram"].middle


def test_only_captioned_train_frames_are_learned_from_and_16_at_least(tmp_path: Path) -> None:
    folder = raw_frames(tmp_path / "frames", {"train": 18, "val": 4, "test": 3})
    frames = read_rows(folder / "frames.parquet", Frame)
    captions = [Caption(frame.id, frame.split, "a road", "", "", "rules", 3, False) for frame in frames]
    train = [caption for caption in captions if caption.split == "train"]
    learnt = learn(frames, [one for one in captions if one is not train[0]], sources.root_of(folder))
    assert learnt is not None
    assert (learnt.width_px, learnt.height_px) == (frames[0].width_px, frames[0].height_px)
    assert len(learnt.aspects["noise"].frames) == 17
    assert learn(frames, [one for one in captions if one not in train[:3]], sources.root_of(folder)) is None


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0])
def test_the_shape_of_a_generalised_gaussian_is_recovered(shape: float) -> None:
    values = gennorm.rvs(shape, size=200_000, random_state=0)
    found, log_variance = statistics._generalised_gaussian(values)
    assert found == pytest.approx(shape, rel=0.03)
    assert log_variance == pytest.approx(np.log(values.var()), abs=0.01)


def test_an_asymmetric_gaussian_has_two_variances() -> None:
    half = np.abs(np.random.default_rng(0).normal(size=100_000))
    # The density has no step at 0: the side that is three times as wide has three times as many values.
    values = np.concatenate([-half, 3 * np.tile(half, 3)])
    shape, mean, left, right = statistics._asymmetric_generalised_gaussian(values)
    assert np.exp(right - left) == pytest.approx(9, rel=1e-6)
    assert left == pytest.approx(0, abs=0.02)
    assert mean == pytest.approx(2 * np.sqrt(2 / np.pi), rel=0.02)
    assert shape == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("sd", [0.01, 0.05])
def test_planted_noise_is_measured(sd: float) -> None:
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0, 0.3, 256), np.linspace(0, 0.2, 320))
    rows = statistics.noise(ramp + rng.normal(0, sd, (256, 1)))
    columns = statistics.noise(ramp + rng.normal(0, sd, (1, 320)))
    pixels = statistics.noise(ramp + rng.normal(0, sd, (256, 320)))
    assert np.exp(rows[0]) == pytest.approx(sd, rel=0.15) and rows[1] < np.log(sd / 50)
    assert np.exp(columns[1]) == pytest.approx(sd, rel=0.15) and columns[0] < np.log(sd / 50)
    assert np.exp(pixels[2]) == pytest.approx(sd, rel=0.05)


@pytest.mark.parametrize("slope", [0.0, -2.0])
def test_the_spectrum_falls_as_the_noise_was_made_to(slope: float) -> None:
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(256, 256))) * frequency ** (slope / 2)
    measured = statistics.spectrum(np.fft.ifft2(spectrum).real)
    edges = np.geomspace(2 / 256, 0.5, statistics.RADIAL_BINS + 1)
    fitted = np.polyfit(np.log10(np.sqrt(edges[1:] * edges[:-1])), measured, 1)[0]
    assert fitted == pytest.approx(slope, abs=0.2)


def test_a_tiled_image_fits_itself_wholly_and_noise_does_not() -> None:
    tile = np.random.default_rng(0).random((32, 32))
    assert statistics._repetition(np.tile(tile, (2, 2))) == pytest.approx(1)
    assert statistics._repetition(np.random.default_rng(0).random((64, 64))) < 0.2


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(ASPECTS)), st.integers(24, 70), st.integers(24, 70))
@settings(max_examples=40, deadline=None)
def test_every_statistic_is_finite_and_of_one_length(seed: int, aspect: str, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    flat, noisy = np.full((height, width), rng.random()), rng.random((height, width))
    lengths = {len(ASPECTS[aspect](image)) for image in (flat, noisy, np.round(noisy))}
    assert len(lengths) == 1
    assert all(np.isfinite(ASPECTS[aspect](image)).all() for image in (flat, noisy, np.round(noisy)))


@pytest.mark.shared
def test_faults_are_seen_in_real_kaist_frames(shared: Path) -> None:
    files = sorted((shared / "kaist" / "images").glob("*/*/lwir/*.jpg"))
    videos = [path.parts[-4] + path.parts[-3] for path in files]
    frames = np.stack([image_files.read_gray(path)[::2, ::2] for path in files])
    chosen = np.arange(len(files)) % 8 == 0
    fitted, others = frames[~chosen], frames[chosen]
    kept = [video for video, other in zip(videos, chosen, strict=True) if not other]
    realism = Realism.fit(fitted, kept, fitted.shape[2], fitted.shape[1])
    clean = realism.score(colour(others), captions(others))
    for fault in FAULTS:
        assert auc(clean.value, realism.score(spoil(others, fault), captions(others)).value) > 0.95, fault
