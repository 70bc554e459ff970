"""Plan against outcome: what captions ask for and boxes show."""

import pyarrow as pa

from irgen.shards.outcome import outcome
from irgen.stages.shards import COLUMNS
from tests.finished import box

FIELDS = ("status", "caption", "boxes")
SCHEMA = pa.schema([("status", pa.string()), *(COLUMNS.field(name) for name in FIELDS[1:])])


def counted(*rows: tuple[str, list[dict]], status: str = "ok") -> dict[str, tuple[int, int, int]]:
    table = pa.Table.from_pylist([dict(zip(FIELDS, (status, *row), strict=True)) for row in rows], schema=SCHEMA)
    return {row["what"]: (row["asked"], row["found"], row["ignored"]) for row in outcome(table)}


def test_what_was_asked_stands_beside_what_was_found():
    found = counted(
        ("a road at night with two people near on the left and one cyclist near on the right", [box(), box("cyclist")]),
        ("a campus by day with nobody", [box(x=1)]),
        ("a road by day with one car near at the left", []),
    )
    assert found["images at night"] == (1, -1, -1)
    assert found["images by day"] == (2, -1, -1)
    assert found["images with a person"] == (1, 2, 0)
    assert found["images with a cyclist"] == (1, 1, 0)
    assert found["images with nobody"] == (1, 1, 0)
    assert found["persons"] == (2, 2, 0)
    assert found["cyclists"] == (1, 1, 0)


def test_ignore_boxes_stand_apart():
    found = counted(("a road at night with one person near on the left", [box(ignore=True)]))
    assert found["persons"] == (1, 0, 1)
    assert found["images with nobody"] == (0, 1, -1)


def test_heights_are_counted_in_kaists_ranges():
    heights = [34.9, 35, 54.9, 55, 74, 75, 200]
    found = counted(("a road", [box(h=height) for height in heights] + [box("car", h=60)]))
    assert [found[f"people {name}"] for name in ("0 to 35 px high", "35 to 55 px high")] == [(-1, 1, 0), (-1, 2, 0)]
    assert [found[f"people {name}"] for name in ("55 to 75 px high", "75 px high or more")] == [(-1, 2, 0), (-1, 2, 0)]


def test_what_could_not_be_made_does_not_count():
    found = counted(("a road at night with one person near on the left", []), status="failed")
    assert set(found.values()) <= {(0, 0, 0), (0, -1, -1), (-1, 0, 0)}
