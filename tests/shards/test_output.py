"""Writing a sharded output, reading it back, and going on with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen import files, shards
from irgen.errors import StoreError
from irgen.shards import ShardedOutput
from irgen.shards.sample import shape
from tests.shards.outputs import FAILED, ITEMS, add, contents, fill, opened, sample, seal, tars


def test_every_item_is_read_back_as_it_was_written(pristine):
    records = list(shards.read(pristine))
    assert [record.key for record in records] == [f"{n:09d}" for n in range(ITEMS) if n != FAILED]
    for record in records:
        expected = sample(int(record.key))
        assert (record.image, record.sheet, record.caption) == (expected.image, expected.sheet, expected.caption)
        assert shards.image(pristine, record.key) == expected.image


@pytest.mark.parametrize("key", [f"{FAILED:09d}", f"{ITEMS:09d}", "nonsense"])
def test_an_image_that_is_not_there_is_named(pristine, key):
    with pytest.raises(StoreError, match=f"has no image {key}"):
        shards.image(pristine, key)


def test_tables_have_a_row_an_item_and_a_tombstone_says_why(pristine):
    table = shards.table(pristine)
    assert len(table) == ITEMS and list(table["score"]) == [n / 4 for n in range(ITEMS)]
    assert list(table.loc[table["status"] == "failed", "reason"]) == ["all candidates dead"]
    assert list(shards.table(pristine, "notes")["key"]) == [f"{n:09d}" for n in range(ITEMS)]


def test_equal_work_is_equal_bytes_and_hides_where_and_when_it_was_done(pristine, tmp_path):
    fill(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(pristine)
    assert set(json.loads((pristine / "run.json").read_bytes())) == {"of", "items", "items_per_shard", "digest"}


def test_names_bear_the_hash_of_their_content(pristine):
    for part in ("shards", "meta", "notes"):
        for path in (pristine / part).iterdir():
            assert path.stem.partition("-")[2] == files.sha256_file(path)[:12]


@given(st.integers(1, 200), st.integers(1, 50))
def test_shards_cover_every_item_once(items, per_shard):
    output = ShardedOutput(Path(), items, per_shard, {})
    assert [index for number in range(output.count) for index in output.items(number)] == list(range(items))


def test_an_exception_leaves_nothing_of_the_shard_and_the_next_run_carries_on(pristine, tmp_path):
    broken = opened(tmp_path)
    add(broken, 0)
    with pytest.raises(RuntimeError), broken.shard(1) as shard:
        shard.add(sample(3))
        raise RuntimeError("power")
    assert opened(tmp_path).missing() == [1, 2, 3]
    assert len(tars(tmp_path)) == 1 and not list((tmp_path / "_tmp").iterdir())
    fill(tmp_path)
    assert contents(tmp_path) == contents(pristine)


@pytest.mark.parametrize("bad", [[0, 2], [1], [0, 1], [0, 1, 2, 3]])
def test_a_shard_with_wrong_items_is_not_committed(tmp_path, bad):
    output = opened(tmp_path)
    with pytest.raises(ValueError, match="item"), output.shard(0) as shard:
        for index in bad:
            shard.add(sample(index))
    assert 0 in output.missing() and not tars(tmp_path)


SHEET = sample(0).sheet


@pytest.mark.parametrize(
    ("sheet", "told"),
    [
        (SHEET | {"extra": 1.0}, "extra"),
        ({"score": 1.0, "noise": {"cosine": 0.5}}, "seed"),
        (SHEET | {"score": 1}, "score"),
        (SHEET | {"noise": {"cosine": 1}}, "noise"),
        (SHEET | {"seed": None}, "sheet.seed = None"),
        (SHEET | {"noise": []}, r"sheet.noise = \[\]"),
        (SHEET | {"noise": [1, 1.5]}, "all of one type"),
        (SHEET | {"score": float("nan")}, "JSON"),
    ],
)
def test_a_sheet_that_would_break_a_readers_schema_is_refused(tmp_path, sheet, told):
    output = opened(tmp_path)
    with pytest.raises(ValueError, match=told), output.shard(0) as shard:
        shard.add(sample(0))
        shard.add(replace(sample(1), sheet=sheet))
    assert output.missing()[0] == 0


def test_sheets_that_differ_between_shards_are_refused_at_the_end(tmp_path):
    output = opened(tmp_path, items=2, per_shard=1)
    add(output, 0)
    with output.shard(1) as shard:
        shard.add(replace(sample(1), sheet={"other": 1.0}))
    with pytest.raises(StoreError, match="score sheets differ"):
        output.finish()


def test_the_shape_of_a_sheet_is_its_fields_and_types():
    sheet = {"b": True, "a": [{"i": 1}, {"i": 2}], "f": 1.0, "s": ""}
    assert shape(sheet) == {"a": [{"i": "int"}], "b": "bool", "f": "float", "s": "str"}


@pytest.mark.parametrize("row", [{"score": 1.0}, {"score": 1.0, "seed": "1", "more": 2}, {"score": None, "seed": "1"}])
def test_a_row_that_does_not_fill_its_table_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match="table meta: a row with"), opened(tmp_path).shard(0) as shard:
        shard.add(replace(sample(0), row=row))


def test_a_further_tables_row_is_checked_too(tmp_path):
    with pytest.raises(ValueError, match=r"table notes: a row with .* note"), opened(tmp_path).shard(0) as shard:
        shard.add(replace(sample(0), tables={"notes": [{"key": "000000000"}]}))


def test_a_folder_of_another_run_is_refused_with_the_difference(pristine):
    with pytest.raises(StoreError, match="items_per_shard: 3 there, 5 now"):
        opened(pristine, per_shard=5)
    # A reader of JSON takes 1 and True and 1.0 for the same; a hash does not.
    with pytest.raises(StoreError, match="belongs to another run"):
        opened(pristine, items=float(ITEMS))


def test_a_damaged_run_is_refused(output):
    path = output / "run.json"
    path.write_bytes(path.read_bytes().replace(b"test", b"best"))
    with pytest.raises(StoreError, match=r"run.json: was changed"):
        opened(output)


def test_a_shard_written_twice_is_there_once(pristine, tmp_path):
    one, other = opened(tmp_path), opened(tmp_path)
    with one.shard(0) as first, other.shard(0) as second:
        for index in one.items(0):
            first.add(sample(index))
            second.add(sample(index))
    fill(tmp_path)
    assert contents(tmp_path) == contents(pristine)


def test_the_first_of_two_different_versions_of_a_shard_stays(tmp_path):
    one, other = opened(tmp_path, items=1), opened(tmp_path, items=1)
    with one.shard(0) as first, other.shard(0) as second:  # the inner block, hence `second`, ends first
        first.add(replace(sample(0), caption="late"))
        second.add(sample(0))
    assert [record.caption for record in shards.read(tmp_path)] == ["caption 0"]
    assert len(tars(tmp_path)) == 2
    assert one.finish() == {"rows": 1, "shards": 1}
    assert len(tars(tmp_path)) == 1


def test_finishing_is_refused_while_a_shard_is_missing(tmp_path):
    output = opened(tmp_path)
    for number in (0, 1, 3):
        add(output, number)
    with pytest.raises(StoreError, match="1 of 4 shards missing or damaged, the first is 2"):
        output.finish()


def test_finishing_returns_the_totals_and_leaves_committed_files_only(pristine, tmp_path):
    output = opened(tmp_path)
    for number in range(4):
        add(output, number)
    for stray in ("shards/000001-aaaaaaaaaaaa.tar", "notes/000009-aaaaaaaaaaaa.parquet", "commit/000009.json"):
        (tmp_path / stray).write_bytes(b"{}")
    assert output.finish() == {"rows": ITEMS, "shards": 4}
    seal(tmp_path)
    assert contents(tmp_path) == contents(pristine)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["shards", "meta", "notes", "commit"])
@pytest.mark.parametrize("how", [Path.unlink, damage, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_shard_damaged_before_the_end_is_made_again_and_no_other(pristine, output, part, how):
    (output / "manifest.json").unlink()
    how(next((output / part).glob("000002*")))
    made = []
    for _ in range(2):  # a changed byte is noticed at the end of a run, the rest at its beginning
        again = opened(output)
        for number in again.pending():
            made.append(number)
            add(again, number)
        try:
            again.finish()
            break
        except StoreError as error:
            assert "the first is 2" in str(error)
    seal(output)
    assert made == [2]
    assert contents(output) == contents(pristine)


def test_a_shard_that_another_writer_makes_is_left_to_it_and_taken_over_when_it_fails(tmp_path):
    mine, theirs = opened(tmp_path), opened(tmp_path)
    others = theirs.pending()
    assert next(others) == 0  # they are at it
    order = []
    for number in mine.pending():
        order.append(number)
        add(mine, number)
        if number == 3:
            others.close()  # they died without a commit
    assert order == [1, 2, 3, 0]
    assert mine.finish() == {"rows": ITEMS, "shards": 4}


def test_an_abandoned_shard_is_made_before_one_that_is_being_made_is_waited_for(tmp_path):
    slow, dead, mine = (opened(tmp_path / "out").pending() for _ in range(3))
    assert (next(slow), next(dead), next(mine), next(mine)) == (0, 1, 2, 3)
    dead.close()
    assert next(mine) == 1


def test_a_shard_that_was_committed_meanwhile_is_passed_over_without_being_read(tmp_path):
    out = tmp_path / "out"
    mine = opened(out).pending()
    assert next(mine) == 0
    add(opened(out), 1)
    read = []
    with files.watched(lambda moment, operation: read.append(operation.path.name)):
        assert next(mine) == 2
    assert "000001.json" not in read and "000001.lock" not in read
