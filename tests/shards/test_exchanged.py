"""A sharded output whose writers share no folder, on a real S3-compatible server."""

import itertools
import json
import threading
from pathlib import Path

import pytest

from irgen import files
from irgen.errors import StoreError
from irgen.objects import Objects
from irgen.shards import exchanged
from irgen.shards.exchanged import Exchange, ExchangedOutput
from tests.shards import outputs
from tests.storage import bucket, client, contents, s3_server

__all__ = ["bucket", "s3_server"]
pytestmark = pytest.mark.s3

SHARDS = -(-outputs.ITEMS // outputs.PER_SHARD)


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/tiny/samples/0123"


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    outputs.fill(tmp_path / "undisturbed")
    return outputs.contents(tmp_path / "undisturbed")


def lying(url: str) -> dict[str, bytes]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return contents(bucket, prefix)


def finished(url: str, folder: Path) -> dict[str, bytes]:
    """What comes of it on the machine that wants it."""
    Exchange(url).sync(folder)
    outputs.opened(folder).finish()
    outputs.seal(folder)
    return outputs.contents(folder)


def make(output, numbers) -> list[int]:
    """Make the shards that a writer comes to, and say which those were."""
    made = []
    for number in numbers:
        outputs.add(output, number)
        made.append(number)
    return made


def test_writers_without_a_common_folder_make_each_shard_once_and_the_same_bytes(
    url: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    writers = [outputs.opened(tmp_path / name, url) for name in "ab"]
    first, second = writers[0].pending(), writers[1].pending()
    begun = [next(first), next(second)]
    made = make(writers[0], begun[:1]) + make(writers[1], begun[1:])
    made += make(writers[0], first)
    assert sorted(made) == list(range(SHARDS))
    assert make(writers[1], second) == [] and writers[1].missing() == []
    assert finished(url, tmp_path / "wanted") == undisturbed
    assert set(outputs.contents(tmp_path / "a")) == {"run.json"}


def test_a_shard_whose_writer_is_lost_is_made_last_by_who_has_nothing_else_to_do(
    url: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    lost = next(outputs.opened(tmp_path / "lost", url).pending())
    output = outputs.opened(tmp_path / "a", url)
    made = make(output, output.pending())
    assert sorted(made) == list(range(SHARDS)) and made[-1] == lost
    assert finished(url, tmp_path / "wanted") == undisturbed


def test_of_two_who_made_a_shard_the_first_counts_and_no_image_is_there_twice(
    url: str, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = outputs.opened(tmp_path / "slow", url), outputs.opened(tmp_path / "fast", url)
    number = next(slow.pending())
    make(fast, fast.pending())
    monkeypatch.setattr(outputs, "png", lambda index: b"another machine's rounding")
    make(slow, [number])
    assert len([name for name in lying(url) if name.startswith(f"shards/{number:06d}")]) == 2
    assert finished(url, tmp_path / "wanted") == undisturbed


def test_many_writers_at_once_take_different_shards(url: str, tmp_path: Path) -> None:
    taken: list[int] = []
    at_once = threading.Barrier(SHARDS)

    def take(number: int) -> None:
        output = outputs.opened(tmp_path / str(number), url)
        at_once.wait()
        taken.append(next(output.pending()))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(SHARDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(SHARDS))


def test_what_the_folder_had_is_not_made_again(url: str, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    here = outputs.opened(tmp_path / "wanted")
    make(here, [1, 3])
    Exchange(url).sync(tmp_path / "wanted")
    output = outputs.opened(tmp_path / "a", url)
    assert sorted(make(output, output.pending())) == [0, 2]
    assert finished(url, tmp_path / "wanted") == undisturbed


@pytest.mark.parametrize("harm", ["tar lost", "tar changed", "record damaged"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_shard_that_was_damaged_in_the_folder_is_fetched_or_made_again(
    url: str, tmp_path: Path, undisturbed: dict[str, bytes], harm: str, kept: bool
) -> None:
    wanted = tmp_path / "wanted"
    make(outputs.opened(wanted), range(SHARDS))
    if kept:
        Exchange(url).sync(wanted)
    [tar] = wanted.glob("shards/000001-*")
    if harm == "tar lost":
        tar.unlink()
    elif harm == "record damaged":
        (wanted / "commit" / "000001.json").write_bytes(b"{}")
    else:
        # Of what lies on the storage, too, sizes are compared and no bytes: `finish` reads all of them.
        tar.write_bytes(tar.read_bytes()[:-1] + (b"" if kept else b"?"))
    Exchange(url).sync(wanted)
    output = outputs.opened(tmp_path / "a", url)
    assert make(output, output.pending()) == ([] if kept else [1])
    assert finished(url, wanted) == undisturbed


def test_a_shard_is_fetched_once_and_whole_even_after_an_interruption(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(outputs.opened(tmp_path / "a", url), [2])
    exchange, real, fetched = Exchange(url), exchanged.fetch, []

    def fetch(there, folder, row):
        if len(fetched) == 2:
            raise KeyboardInterrupt
        fetched.append(row["path"])
        real(there, folder, row)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(exchanged, "fetch", fetch)
        exchange.take(2, tmp_path / "wanted")
    assert not list((tmp_path / "wanted").glob("commit/*"))
    assert exchange.take(2, tmp_path / "wanted")
    assert not exchange.take(2, tmp_path / "wanted")
    assert outputs.opened(tmp_path / "wanted").missing() == [0, 1, 3]


@pytest.mark.parametrize("name", ["commit/000002.json", "shards/"])
def test_what_was_changed_there_is_refused_by_name(url: str, bucket: str, tmp_path: Path, name: str) -> None:
    make(outputs.opened(tmp_path / "a", url), [2])
    [changed] = [each for each in lying(url) if each.startswith(name)]
    client().put_object(Bucket=bucket, Key=f"tiny/samples/0123/{changed}", Body=lying(url)[changed][:-2] + b"??")
    with pytest.raises(StoreError, match=rf"{changed}: (damaged|was changed)"):
        Exchange(url).take(2, tmp_path / "wanted")
    assert not list((tmp_path / "wanted").glob("commit/*"))


class GoneError(Exception):
    """What a machine that fails does not say."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_writer_that_is_lost_at_any_put_leaves_what_another_ends_with_the_same_bytes(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    few = {"items": 5}
    outputs.fill(tmp_path / "undisturbed", **few)
    undisturbed, real = outputs.contents(tmp_path / "undisturbed"), Objects._put

    def lost(left: int):
        def put(self, *what, **how):
            nonlocal left
            left -= 1
            if not left and moment == "before":
                raise GoneError
            try:
                real(self, *what, **how)
            finally:
                if not left:
                    raise GoneError

        return put

    for puts in itertools.count(1):
        url = f"s3://{bucket}/{puts}"
        with monkeypatch.context() as broken:
            broken.setattr(Objects, "_put", lost(puts))
            try:
                output = outputs.opened(tmp_path / f"a{puts}", url, **few)
                make(output, output.pending())
                break
            except GoneError:
                pass
        output = outputs.opened(tmp_path / f"b{puts}", url, **few)
        make(output, output.pending())
        wanted = tmp_path / f"wanted{puts}"
        Exchange(url).sync(wanted)
        outputs.opened(wanted, **few).finish()
        outputs.seal(wanted)
        assert outputs.contents(wanted) == undisturbed, puts
    assert puts > 2 * 5


def test_shards_of_something_else_are_refused(url: str, tmp_path: Path) -> None:
    outputs.opened(tmp_path / "a", url)
    with pytest.raises(StoreError, match=r"run.json: is of another dataset"):
        outputs.opened(tmp_path / "b", url, run={"of": "another"})


def test_a_storage_without_conditions_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objects, "put_first", lambda *_: True)
    with pytest.raises(StoreError, match="ignores the condition"):
        outputs.opened(tmp_path / "a", url)


def test_all_machines_go_by_what_the_first_measured(url: str, tmp_path: Path) -> None:
    first, second = (outputs.opened(tmp_path / name, url) for name in "ab")

    def measure(output: ExchangedOutput, value: int, meanwhile=lambda: None) -> int:
        def measured() -> int:
            path = output.folder / "policy.json"
            if not path.exists():
                meanwhile()
                files.write_json(path, value)
            return json.loads(path.read_bytes())

        return output.measured(measured)

    # The second one begins, and ends, while the first is measuring.
    assert measure(first, 7, lambda: measure(second, 8)) == 8
    assert measure(outputs.opened(tmp_path / "c", url), 9) == 8
    Exchange(url).sync(tmp_path / "wanted")
    assert json.loads((tmp_path / "wanted" / "policy.json").read_bytes()) == 8


def test_what_the_folder_had_measured_counts_on_other_machines(url: str, tmp_path: Path) -> None:
    outputs.opened(tmp_path / "wanted")
    files.write_json(tmp_path / "wanted" / "policy.json", 7)
    Exchange(url).sync(tmp_path / "wanted")
    elsewhere = outputs.opened(tmp_path / "a", url)
    assert elsewhere.measured(lambda: json.loads((tmp_path / "a" / "policy.json").read_bytes())) == 7


def test_nothing_is_left_there_but_what_others_have(url: str, bucket: str, tmp_path: Path) -> None:
    output = outputs.opened(tmp_path / "a", url)
    make(output, output.pending())
    client().put_object(Bucket=bucket, Key="tiny/samples/01234", Body=b"another's")
    client().put_object(Bucket=bucket, Key="tiny/samples/0123/commit/notes.txt", Body=b"somebody's")
    assert output.missing() == []
    Exchange(url).clear()
    assert lying(url) == {}
    assert set(contents(bucket, "tiny")) == {"samples/01234"}
