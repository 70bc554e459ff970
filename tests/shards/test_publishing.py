"""A dataset on a real S3-compatible server: pushed, interrupted, raced, damaged, read and fetched there."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest
from typer.testing import CliRunner

from irgen import cli, files, shards, store
from irgen.errors import StoreError
from irgen.objects import Objects
from irgen.shards import publishing
from irgen.shards.dataset import Dataset, find
from tests.finished import finished
from tests.storage import bucket, client, contents, s3_server

__all__ = ["bucket", "s3_server"]
pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("finished") / "tiny")


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/tiny/1"


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of an output that are part of it."""
    names = [row["path"] for row in store.read_manifest(folder)["files"]] + [store.MANIFEST]
    return {name: (folder / name).read_bytes() for name in names}


def lying(url: str) -> dict[str, bytes]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return contents(bucket, prefix)


def put(url: str, name: str, data: bytes) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


class GoneError(Exception):
    """What a machine that fails does not say."""


def interrupt(monkeypatch: pytest.MonkeyPatch, puts: int) -> None:
    """Have all puts after the first ones fail."""
    real, done, lock = Objects._put, [], Lock()

    def fail(self, name, *what, **how):
        with lock:
            if len(done) >= puts:
                raise GoneError
            real(self, name, *what, **how)
            done.append(name)

    monkeypatch.setattr(Objects, "_put", fail)


def test_it_lies_there_as_in_its_folder_and_comes_back_so(dataset: Path, url: str, tmp_path: Path) -> None:
    pushed = publishing.push(dataset, url)
    wanted = files_of(find(dataset))
    assert lying(url) == wanted
    assert (pushed.files, pushed.moved) == (len(wanted), len(wanted))
    assert publishing.verify(url) == []
    pulled = publishing.pull(url, tmp_path / "pulled")
    assert pulled.moved == len(wanted) - 1
    assert files_of(tmp_path / "pulled") == wanted
    assert shards.verify(tmp_path / "pulled") == []
    assert (publishing.push(dataset, url).moved, publishing.pull(url, tmp_path / "pulled").moved) == (0, 0)


def test_a_shards_record_comes_after_its_parts_and_the_manifest_last(
    dataset: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, order = Objects._put, []

    def note(self, name, *what, **how):
        real(self, name, *what, **how)
        order.append(name)

    monkeypatch.setattr(Objects, "_put", note)
    publishing.push(dataset, url)
    assert (order[0], order[-1]) == ("run.json", "manifest.json")
    for name in order:
        folder, _, rest = name.partition("/")
        if folder in ("shards", "meta", "rejects"):
            assert order.index(name) < order.index(f"commit/{rest[:6]}.json")


@pytest.mark.parametrize("puts", [0, 1, 7, 28])
def test_an_interrupted_push_shows_nothing_and_goes_on_where_it_was(
    dataset: Path, url: str, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    wanted = files_of(find(dataset))
    with monkeypatch.context() as broken, pytest.raises(GoneError):
        interrupt(broken, puts)
        publishing.push(dataset, url)
    before = lying(url)
    assert len(before) == puts < len(wanted)
    with pytest.raises(StoreError, match="holds no finished dataset"):
        Dataset.open(url)
    with pytest.raises(StoreError, match=r"manifest.json: not there"):
        publishing.verify(url)
    assert publishing.push(dataset, url).moved == len(wanted) - len(before)
    assert lying(url) == wanted


def test_two_who_push_the_same_at_once_both_end_well(dataset: Path, url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: publishing.push(dataset, url), range(2)))
    assert lying(url) == files_of(find(dataset))
    assert sum(each.moved for each in both) >= both[0].files


@pytest.mark.parametrize("puts", [3, None])
def test_another_datasets_place_is_refused_and_left_alone(
    dataset: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puts: int | None
) -> None:
    other = finished(tmp_path / "other", image_format="jpg")
    if puts:
        with monkeypatch.context() as broken, pytest.raises(GoneError):
            interrupt(broken, puts)
            publishing.push(other, url)
    else:
        publishing.push(other, url)
    before = lying(url)
    with pytest.raises(StoreError, match="is of another dataset"):
        publishing.push(dataset, url)
    assert lying(url) == before


def test_a_damaged_dataset_is_not_pushed(dataset: Path, url: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    tar = next((own / "shards").glob("000003*"))
    tar.write_bytes(tar.read_bytes().replace(b"scene", b"scenE"))
    with pytest.raises(StoreError, match=r"000003.*contents changed"):
        publishing.push(own, url)
    assert lying(url) == {}


def test_without_every_file_in_its_length_no_manifest_is_put(
    dataset: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Objects.sizes
    monkeypatch.setattr(Objects, "sizes", lambda self: {name: size - 1 for name, size in real(self).items()})
    with pytest.raises(StoreError, match="not there in its full length after it was put"):
        publishing.push(dataset, url)
    assert store.MANIFEST not in lying(url)


def test_a_storage_that_knows_no_conditions_is_refused_before_the_first_shard(
    dataset: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = client().put_object
    monkeypatch.setattr(client(), "put_object", lambda IfNoneMatch="", **what: real(**what))  # noqa: N803
    with pytest.raises(StoreError, match=r"(?s)ignores the condition.*honours If-None-Match"):
        publishing.push(dataset, url)
    assert [*lying(url)] == ["run.json"]


def test_every_change_is_found_there_and_pushing_again_mends_it(dataset: Path, url: str, tmp_path: Path) -> None:
    publishing.push(dataset, url)
    wanted = lying(url)
    tar = next(name for name in wanted if name.startswith("shards/000002"))
    for name, data in ((tar, wanted[tar].replace(b"scene", b"scenE")), ("index.parquet", b"PAR1"), ("odd", b"")):
        put(url, name, data)
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client().delete_object(Bucket=bucket, Key=f"{prefix}/commit/000001.json")
    found = publishing.verify(url)
    assert [line.removeprefix(f"{url}/").partition(": ")[0] for line in found] == [
        "commit/000001.json",
        "index.parquet",
        tar,
        "odd",
    ]
    assert [line.rpartition(": ")[2] for line in found] == [
        "missing",
        f"4 bytes, the manifest says {len(wanted['index.parquet'])}",
        "contents changed (sha256 differs)",
        "not in the manifest",
    ]
    with pytest.raises(StoreError, match=r"index.parquet: missing or damaged"):
        shards.open_indexed(url)
    with pytest.raises(StoreError, match=r"was changed|not there"):
        publishing.pull(url, tmp_path / "pulled")
    assert not (tmp_path / "pulled" / store.MANIFEST).exists()
    assert publishing.push(dataset, url).moved == 3
    assert lying(url) == wanted | {"odd": b""}
    put(url, store.MANIFEST, wanted[store.MANIFEST].replace(b"shards", b"shardz", 1))
    with pytest.raises(StoreError, match="damaged"):
        publishing.verify(url)


def test_a_pull_goes_on_where_it_was_and_spares_other_folders(
    dataset: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing.push(dataset, url)
    wanted = files_of(find(dataset))
    real, fetched = publishing.fetch, []

    def fetch(there, folder, row):
        if len(fetched) >= 9:
            raise GoneError
        fetched.append(row["path"])
        real(there, folder, row)

    with monkeypatch.context() as broken, pytest.raises(GoneError):
        broken.setattr(publishing, "fetch", fetch)
        publishing.pull(url, tmp_path / "pulled")
    assert not (tmp_path / "pulled" / store.MANIFEST).exists()
    assert publishing.pull(url, tmp_path / "pulled").moved == len(wanted) - 1 - 9
    assert files_of(tmp_path / "pulled") == wanted
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("chapter 1")
    with pytest.raises(StoreError, match=r"holds thesis.tex"):
        publishing.pull(url, tmp_path / "mine")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "shards/../../secret", ""])
def test_a_manifest_there_that_leads_out_of_its_folder_is_refused(url: str, tmp_path: Path, name: str) -> None:
    rows = [{"path": name, "sha256": hashlib.sha256(b"mine").hexdigest(), "bytes": 4}]
    hostile = {"stage": "shards", "files": rows, "content": store.content_of(rows)}
    put(url, store.MANIFEST, files.sealed(hostile))
    if name:
        put(url, name, b"mine")
    for read in (publishing.verify, lambda url: publishing.pull(url, tmp_path / "in" / "pulled")):
        with pytest.raises(StoreError, match="leads out"):
            read(url)
    assert not list(tmp_path.iterdir())


def test_it_is_read_there_as_from_its_folder(dataset: Path, url: str) -> None:
    publishing.push(dataset, url)
    here, there = (shards.open_dataset(place, shuffle=3, seed=5) for place in (dataset, url))
    assert there.classes == here.classes
    pairs = list(zip(here, there, strict=True))
    assert len(pairs) == 22
    for (image, target), (image_there, target_there) in pairs:
        assert (image == image_there).all() and str(target) == str(target_there)
    indexed, indexed_there = shards.open_indexed(dataset), shards.open_indexed(url)
    for place in (0, 13, len(indexed) - 1):
        assert (indexed[place][0] == indexed_there[place][0]).all()
        assert str(indexed[place][1]) == str(indexed_there[place][1])
    with pytest.raises(StoreError, match=r"(?s)lies on object storage.*irgen pull"):
        Dataset.open(url).folder  # noqa: B018


def test_a_shard_that_is_missing_or_cut_there_is_refused_before_training(dataset: Path, url: str) -> None:
    publishing.push(dataset, url)
    tar = next(name for name in lying(url) if name.startswith("shards/000004"))
    put(url, tar, b"short")
    for opened in (shards.open_dataset, shards.open_indexed):
        with pytest.raises(StoreError, match=r"000004.*is not of its"):
            opened(url)


def test_the_command_line_pushes_verifies_and_pulls(dataset: Path, url: str, tmp_path: Path) -> None:
    def irgen(*arguments: object):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    count = len(files_of(find(dataset)))
    pushed = json.loads(irgen("push", dataset, url, "--json").stdout)
    assert (pushed["target"], pushed["files"], pushed["moved"]) == (url, count, count)
    assert f"{count} files" in irgen("push", dataset, url).stdout
    assert irgen("verify", url).stdout == f"{url}: sound\n"
    assert irgen("pull", url, tmp_path / "pulled").exit_code == 0
    assert files_of(tmp_path / "pulled") == files_of(find(dataset))
    put(url, "README.md", b"")
    found = irgen("verify", url, "--json")
    assert found.exit_code == 1 and "README.md" in json.loads(found.stdout)["problems"][0]
    refused = irgen("push", dataset, "bucket/tiny")
    assert refused.exit_code == 2 and "s3://BUCKET/PREFIX" in refused.stderr
