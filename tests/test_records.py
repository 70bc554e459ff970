import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irgen.records import Box, Caption, Frame, Negative, Reject, read_rows, write_rows

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
pixels = st.floats(0, 1e4)
boxes = st.builds(Box, text, pixels, pixels, pixels, pixels, st.integers(0, 2), st.booleans())
split = st.sampled_from(["train", "val", "test"])
frames = st.builds(
    Frame,
    id=text,
    source=text,
    split=split,
    set=text,
    video=text,
    time=st.sampled_from(["day", "night", ""]),
    place=text,
    visible=text,
    lwir=text,
    visible_sha256=text,
    lwir_sha256=text,
    width_px=st.integers(0, 10_000),
    height_px=st.integers(0, 10_000),
    boxes=st.lists(boxes, max_size=3).map(tuple),
)
captions = st.builds(Caption, text, split, text, text, text, text, st.integers(0, 77), st.booleans())
negatives = st.builds(Negative, text, split, text, text, text)
rejects = st.builds(Reject, text, text, text, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.one_of(
        st.tuples(st.just(Frame), st.lists(frames, max_size=5)),
        st.tuples(st.just(Caption), st.lists(captions, max_size=5)),
        st.tuples(st.just(Negative), st.lists(negatives, max_size=5)),
        st.tuples(st.just(Reject), st.lists(rejects, max_size=5)),
    ),
    st.integers(1, 4),
)
def test_rows_come_back_as_they_were_written(tmp_path, kind_and_rows, chunk):
    kind, rows = kind_and_rows
    assert write_rows(tmp_path / "rows.parquet", rows, kind.SCHEMA, chunk) == len(rows)
    assert read_rows(tmp_path / "rows.parquet", kind) == rows
    assert not [path for path in tmp_path.iterdir() if path.name != "rows.parquet"]


def test_equal_rows_are_equal_bytes(tmp_path):
    rows = [Reject("a", "b", "c", "d")] * 3
    for name in ("one", "two"):
        write_rows(tmp_path / name, rows, Reject.SCHEMA)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_failure_midway_leaves_no_file(tmp_path):
    def broken():
        yield Reject("a", "b", "c", "d")
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_rows(tmp_path / "rows.parquet", broken(), Reject.SCHEMA)
    assert list(tmp_path.iterdir()) == []
