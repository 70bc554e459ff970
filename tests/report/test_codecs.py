from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen.records import Frame
from irgen.report.codecs import Codec, as_ours, matched, raw, through


def field() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def frame(path: Path, suffix: str, **options: int) -> Frame:
    Image.fromarray(field()).save(path / f"real.{suffix}", **options)
    return Frame("real", "folder", "test", "", "v0", "", "", "", f"real.{suffix}", "", "", 40, 32)


def changes(codec: Codec) -> bool:
    return not np.array_equal(codec(field()), field())


@pytest.mark.parametrize(
    ("suffix", "kept", "expected"),
    [("png", "png", (False, False, False)), ("png", "jpg", (True, False, True)), ("jpg", "png", (False, True, True))],
)
def test_the_side_that_is_lossless_is_coded_as_the_other(
    tmp_path: Path, suffix: str, kept: str, expected: tuple[bool, ...]
) -> None:
    codecs = matched([frame(tmp_path, suffix)], tmp_path, kept)
    assert (changes(codecs.real), changes(codecs.kept), changes(codecs.contrasts)) == expected


def test_the_tables_of_the_real_files_are_taken(tmp_path: Path) -> None:
    codec = matched([frame(tmp_path, "jpg", quality=40, subsampling=2)], tmp_path, "png").kept
    with Image.open(tmp_path / "real.jpg") as image:
        np.testing.assert_array_equal(codec(field()), np.array(image.convert("RGB")))


def test_two_jpegs_are_left_as_they_are_but_for_what_was_kept_as_png(tmp_path: Path) -> None:
    codecs = matched([frame(tmp_path, "jpg")], tmp_path, "jpg")
    assert codecs.real is codecs.kept is raw and codecs.contrasts is as_ours


def test_a_png_with_a_jpegs_name_is_a_png(tmp_path: Path) -> None:
    Image.fromarray(field()).save(tmp_path / "real.jpg", "PNG")
    one = Frame("real", "folder", "test", "", "v0", "", "", "", "real.jpg", "", "", 40, 32)
    assert not changes(matched([one], tmp_path, "png").kept)


def test_a_reader_goes_through_a_codec() -> None:
    read = through(lambda image: 255 - image, lambda keys: (field() for _ in keys))
    np.testing.assert_array_equal(list(read(["a", "b"]))[1], 255 - field())
