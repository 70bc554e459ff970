from pathlib import Path

from irgen.records import Negative, read_rows
from irgen.settings import CaptionsSettings, NegativesSettings
from irgen.stages import captions, negatives
from tests.raw_frames import raw_frames


def run(tmp_path: Path, settings: NegativesSettings) -> tuple[dict, list[Negative]]:
    frames = raw_frames(tmp_path / "frames", {"train": 5, "val": 3, "test": 2})
    for name in ("captions", "out"):
        (tmp_path / name).mkdir()
    captions.run(CaptionsSettings(train_frames=4), frames, tmp_path / "captions")
    figures = negatives.run(settings, frames, tmp_path / "captions", tmp_path / "out")
    return figures, read_rows(tmp_path / "out" / "negatives.parquet", Negative)


def test_captioned_frames_get_every_kind(tmp_path: Path) -> None:
    figures, rows = run(tmp_path, NegativesSettings())
    assert figures["images"] == {
        "gray": {"test": 2, "train": 4, "val": 3},
        **{kind: {"train": 4, "val": 3} for kind in ("inverted", "agc", "rgb")},
    }
    assert figures["left_out"] == {"gray": 0, "inverted": 0, "agc": 0, "rgb": 0}
    assert len(rows) == 9 + 3 * 7
    assert all((tmp_path / "out" / row.path).is_file() for row in rows)


def test_a_kind_that_is_switched_off_is_not_made(tmp_path: Path) -> None:
    figures, rows = run(tmp_path, NegativesSettings(kinds=("agc",)))
    assert {row.kind for row in rows} == {"agc"} and set(figures["images"]) == {"agc"}


def test_nothing_is_read_from_outside() -> None:
    assert negatives.externals(NegativesSettings()) == {}
