"""Objects on a real S3-compatible server: whole or not at all, and the first of several writers wins."""

import hashlib
import importlib.util
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from irgen import objects
from irgen.errors import SettingsError, StoreError, UnreachableError
from irgen.objects import Objects
from tests.storage import bucket, client, s3_server

__all__ = ["bucket", "s3_server"]
pytestmark = pytest.mark.s3


@pytest.fixture
def place(bucket: str) -> Objects:
    return Objects(f"s3://{bucket}/some/place")


def file(folder: Path, data: bytes) -> tuple[Path, str]:
    path = folder / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    return path, path.name


def test_what_was_put_is_read_whole_in_parts_and_by_digest(place: Objects, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    path, digest = file(tmp_path, data)
    place.put("a/b.tar", path, digest)
    assert place.sizes() == {"a/b.tar": len(data)}
    assert place.read("a/b.tar") == data
    assert place.read_range("a/b.tar", 250, 12) == data[250:262]
    assert place.sha256("a/b.tar") == place.hashed("a/b.tar") == digest
    with place.open("a/b.tar") as stream:
        assert stream.read(1000) + stream.read() == data


def test_the_digest_of_what_others_put_is_told_by_its_bytes(place: Objects, bucket: str) -> None:
    client().put_object(Bucket=bucket, Key="some/place/x", Body=b"data")
    assert place.sha256("x") == hashlib.sha256(b"data").hexdigest()


def test_of_several_writers_exactly_one_wins(place: Objects, bucket: str, tmp_path: Path) -> None:
    writers = [file(tmp_path, f"writer {number}".encode()) for number in range(12)]
    with ThreadPoolExecutor(len(writers)) as pool:
        won = list(pool.map(lambda each: place.put_first("commit/0.json", *each), writers))
    assert sum(won) == 1
    assert place.read("commit/0.json") == writers[won.index(True)][0].read_bytes()
    assert not place.put_first("commit/0.json", *writers[0])


def test_two_conditional_puts_that_meet_are_tried_again(
    place: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [{"Code": "ConditionalRequestConflict", "Message": "at once"}]
    real = client().put_object

    def meet(**what):
        from botocore.exceptions import ClientError

        if answers:
            raise ClientError({"Error": answers.pop()}, "PutObject")
        return real(**what)

    monkeypatch.setattr(objects, "WAIT_S", 0)
    monkeypatch.setattr(client(), "put_object", meet)
    assert place.put_first("x", *file(tmp_path, b"data")) and not answers


def test_conditional_puts_that_meet_every_time_end_with_the_way_out(
    place: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = []

    def meet(**what):
        from botocore.exceptions import ClientError

        met.append(what["Key"])
        raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": "at once"}}, "PutObject")

    monkeypatch.setattr(objects, "WAIT_S", 0)
    monkeypatch.setattr(client(), "put_object", meet)
    with pytest.raises(StoreError, match=r"(?s)x: others keep writing it.*Run the same again"):
        place.put_first("x", *file(tmp_path, b"data"))
    assert met == ["some/place/x"] * objects.TRIES


def test_a_lost_connection_costs_no_byte_of_what_is_read(
    place: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(100_000)
    place.put("x", *file(tmp_path, data))
    real, opened = place._get, []

    class Breaking:
        """Gives a part, then breaks."""

        def __init__(self, body):
            self._body, self._left = body, 30_000

        def read(self, count):
            if not self._left:
                _time_out()
            count, self._left = min(count, self._left), max(0, self._left - count)
            return self._body.read(count)

        def close(self):
            self._body.close()

    def broken(name, **what):
        opened.append(what.get("Range", ""))
        return Breaking(real(name, **what))

    monkeypatch.setattr(place, "_get", broken)
    monkeypatch.setattr(objects, "WAIT_S", 0)
    assert place.read("x") == data
    assert opened == ["", "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    breaks = [True, False]
    with monkeypatch.context() as once:
        once.setattr(Breaking, "read", lambda self: _time_out() if breaks.pop(0) else self._body.read())
        assert place.read_range("x", 250, 12) == data[250:262] and not breaks
    monkeypatch.setattr(Breaking, "read", lambda self, count: _time_out())
    with pytest.raises(UnreachableError, match="loopback"):
        place.read("x")


def _time_out():
    from botocore.exceptions import ReadTimeoutError

    raise ReadTimeoutError(endpoint_url="loopback")


def test_it_can_be_sent_to_another_process_and_read_after_a_fork(place: Objects, tmp_path: Path) -> None:
    place.put("x", *file(tmp_path, b"data"))
    assert pickle.loads(pickle.dumps(place)).read("x") == b"data"
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if place.read("x") == b"data" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("url", ["s3://", "s3://bucket", "s3://bucket/", "bucket/prefix", "https://bucket/prefix"])
def test_an_address_without_bucket_or_prefix_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="s3://BUCKET/PREFIX"):
        Objects(url)


def test_where_the_package_is_absent_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'irgen\[s3\]'"):
        Objects("s3://bucket/prefix")


def test_what_is_wrong_is_said_with_the_address(
    place: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"some/place/nothing: not there"):
        place.read("nothing")
    with pytest.raises(StoreError, match="there is no bucket 'irgen-nowhere'"):
        Objects("s3://irgen-nowhere/x").sizes()
    path, digest = file(tmp_path, b"data")
    monkeypatch.setattr(objects, "LARGEST_BYTES", 3)
    with pytest.raises(StoreError, match="4 bytes, one put takes 3"):
        place.put("x", path, digest)
    assert place.sizes() == {}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(objects, "TRIES", 1)
    objects._client.cache_clear()
    with pytest.raises(UnreachableError, match=r"(?s)Could not connect.*AWS_ENDPOINT_URL"):
        place.sizes()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9")
    objects._client.cache_clear()
    with pytest.raises(SettingsError, match=r"(?s)AWS_ENDPOINT_URL: .*127.0.0.1:9.*http://"):
        place.sizes()


def test_a_bucket_that_cannot_be_is_refused_by_name(bucket: str) -> None:
    with pytest.raises(StoreError, match=r"(?s)s3://No Bucket/x: .*Name a bucket"):
        Objects("s3://No Bucket/x").sizes()


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("AccessDenied", StoreError, "access denied"),
        ("SlowDown", UnreachableError, "(?s)SlowDown.*Run the same again"),
        ("NotImplemented", StoreError, "condition"),
        ("BadDigest", StoreError, "(?s)BadDigest.*Ask who runs the storage"),
    ],
)
def test_what_the_storage_refuses_is_told(
    place: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[StoreError], said: str
) -> None:
    from botocore.exceptions import ClientError

    def refuse(**what):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "PutObject")

    monkeypatch.setattr(client(), "put_object", refuse)
    with pytest.raises(kind, match=said):
        place.put_first("x", *file(tmp_path, b"data"))
