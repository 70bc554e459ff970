import hashlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torchvision.io import decode_png

from irgen import images


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC))


def saved(path, image, **options):
    image.save(path, **options)
    return path


def reason(path):
    with pytest.raises(images.BadImageError) as caught:
        images.check(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_a_sound_image_gives_its_hash_and_size(tmp_path, picture):
    path = tmp_path / "a.PNG"
    path.write_bytes(images.encode(picture, "png"))
    assert images.check(path) == images.Checked(hashlib.sha256(path.read_bytes()).hexdigest(), 80, 60)
    assert (images.read_rgb(path) == picture).all()


@pytest.mark.parametrize("form", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_cut_image_is_truncated_wherever_the_cut_is(tmp_path, picture, form, kept):
    data = images.encode(picture, form)
    path = tmp_path / f"cut.{form}"
    path.write_bytes(data[: int(len(data) * kept)])
    assert reason(path) == "truncated_image"


def test_a_jpeg_without_its_last_two_bytes_is_truncated_though_decoders_accept_it(tmp_path, picture):
    data = images.encode(picture, "jpg")
    Image.open(io.BytesIO(data[:-2])).load()
    (tmp_path / "a.jpg").write_bytes(data[:-2])
    assert reason(tmp_path / "a.jpg") == "truncated_image"


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path, picture):
    (tmp_path / "a.jpg").write_bytes(images.encode(picture, "jpg") + bytes(300))
    assert images.check(tmp_path / "a.jpg").width_px == 80


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"<html>not found</html>")
    assert reason(tmp_path / "empty.jpg") == "empty_image"
    assert reason(tmp_path / "text.jpg") == "unreadable_image"
    assert reason(tmp_path / "absent.jpg") == "unreadable_image"
    assert reason(tmp_path) == "unreadable_image"


def test_a_damaged_png_is_refused(tmp_path, picture):
    data = bytearray(images.encode(picture, "png"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    assert reason(tmp_path / "a.png") == "unreadable_image"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = saved(tmp_path / "bomb.png", Image.new("1", (20_000, 4_000)))
    assert path.stat().st_size < 100_000
    assert reason(path) == "oversized_image"
    path = saved(tmp_path / "bigger.png", Image.new("1", (20_000, 20_000)))
    assert reason(path) == "oversized_image"


def test_16_bit_images_keep_their_brightness(tmp_path):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = saved(tmp_path / "full.png", Image.fromarray(ramp * 257))
    assert (images.read_gray(path) == ramp).all()
    assert (images.read_rgb(path)[..., 1] == ramp).all()


def test_14_bit_sensor_counts_are_stretched_to_the_whole_range(tmp_path):
    counts = (7000 + 10 * np.arange(256, dtype=np.uint16)).reshape(16, 16)
    path = saved(tmp_path / "counts.tiff", Image.fromarray(counts))
    assert (images.read_gray(path) == np.arange(256).reshape(16, 16)).all()


def test_hundredths_of_a_kelvin_are_stretched_to_the_whole_range(tmp_path):
    counts = (29000 + 8 * np.arange(256, dtype=np.uint16)).reshape(16, 16)
    path = saved(tmp_path / "kelvin.png", Image.fromarray(counts))
    assert (images.read_gray(path) == np.arange(256).reshape(16, 16)).all()


def test_a_dead_and_a_hot_pixel_do_not_squeeze_the_scene(tmp_path):
    counts = np.random.default_rng(0).integers(7000, 7500, (64, 80)).astype(np.uint16)
    counts[3, 4], counts[5, 6] = 0, 16383
    levels = images.read_gray(saved(tmp_path / "dead.tiff", Image.fromarray(counts)))
    assert (levels[3, 4], levels[5, 6]) == (0, 255)
    assert np.percentile(levels, 5) < 20 and np.percentile(levels, 95) > 235


def test_images_whose_levels_cannot_be_read_are_refused_when_they_are_checked(tmp_path):
    values = np.zeros((8, 8), np.float32)
    values[2, 2] = np.nan
    assert reason(saved(tmp_path / "nan.tiff", Image.fromarray(values))) == "unreadable_image"


def test_flat_sensor_counts_are_black_and_infinite_ones_refused(tmp_path):
    flat = saved(tmp_path / "flat.tiff", Image.fromarray(np.full((4, 4), 7000, np.uint16)))
    assert (images.read_gray(flat) == 0).all()
    bad = saved(tmp_path / "bad.tiff", Image.fromarray(np.full((4, 4), np.inf, np.float32)))
    with pytest.raises(images.BadImageError):
        images.read_gray(bad)


def test_a_rotated_photo_is_read_upright(tmp_path, picture):
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", image, exif=exif)
    assert (images.check(path).width_px, images.check(path).height_px) == (60, 80)
    assert (images.read_rgb(path) == np.rot90(picture, -1)).all()


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "LA", "1", "YCbCr"])
def test_odd_modes_become_rgb_and_gray(tmp_path, picture, mode):
    suffix = "tiff" if mode in ("CMYK", "YCbCr") else "png"
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(picture).convert(mode))
    assert images.read_rgb(path).shape == (60, 80, 3)
    assert images.read_gray(path).shape == (60, 80)
    assert images.read_gray(path).dtype == np.uint8


def test_gray_and_its_three_channel_copy_read_alike(tmp_path, picture):
    gray = picture[..., 0]
    one = saved(tmp_path / "one.png", Image.fromarray(gray))
    three = saved(tmp_path / "three.png", Image.fromarray(np.repeat(gray[..., None], 3, -1)))
    assert (images.read_gray(one) == images.read_gray(three)).all()
    assert (images.read_rgb(one) == images.read_rgb(three)).all()


def test_encoding_is_deterministic_and_close(picture):
    assert images.encode(picture, "jpg") == images.encode(picture.copy(), "jpg")
    decoded = np.array(Image.open(io.BytesIO(images.encode(picture, "jpg"))))
    assert np.abs(decoded.astype(int) - picture).mean() < 2
    gray = np.array(Image.open(io.BytesIO(images.encode(picture[..., 0], "png"))))
    assert (gray == picture[..., 0]).all()


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = images.resize(stripes, 16, 8)
    assert small.shape == (8, 16)
    assert np.abs(small.astype(int) - 127).max() < 20
    assert (images.resize(stripes, 64, 64) == stripes).all()


@given(
    arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))
        ),
    )
)
def test_a_png_gives_every_pixel_back_to_two_decoders(image):
    data = images.encode(image, "png")
    read = Image.open(io.BytesIO(data))
    assert read.mode == ("L" if image.ndim == 2 else "RGB")
    assert (np.asarray(read) == image).all()
    decoded = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8)).permute(1, 2, 0).numpy()
    assert (decoded.squeeze() == image.squeeze()).all()


def test_a_png_does_not_depend_on_how_its_pixels_lie_in_memory(picture):
    flipped = picture[:, ::-1]
    assert images.encode(flipped, "png") == images.encode(np.ascontiguousarray(flipped), "png")
