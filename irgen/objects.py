"""Object storage that speaks S3: objects under one prefix of a bucket, read and put by name.

An object appears whole or not at all, so what a crash can tear is only the set of them. `put_first` is what `os.link`
is on a disk: a put on the condition that nothing bears the name (If-None-Match: *), of which exactly one succeeds.

Credentials, region and endpoint are boto3's to find: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from irgen.errors import SettingsError, StoreError, UnreachableError
from irgen.files import CHUNK_BYTES

SCHEME = "s3://"
CONNECTIONS = 16
TRIES = 5
WAIT_S = 0.2
LARGEST_BYTES = 5 * 1024**3
"""Of one put; S3's own limit."""
MOST_REMOVED = 1000
"""In one request; S3's own limit."""

ABSENT = {"NoSuchKey", "404", "NotFound"}
DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
UNCONDITIONAL = {"NotImplemented", "501"}
BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "500", "502", "503", "504"}
PUSH = "`irgen push` the output there: what is missing or damaged is put anew."
LATER = "Run the same again when it answers: nothing is lost."
NO_CONDITIONS = "Use a storage that honours If-None-Match; without it two writers could mix two datasets in one place."


class Objects:
    """Objects under a prefix.

    Nothing is asked of the storage before the first call, each process has connections of its own, and an instance
    can be sent to another process.

    Attributes:
        bucket: its name.
        prefix: without a slash at either end.
        mend: the way out where an object is missing or damaged.
    """

    def __init__(self, url: str, mend: str = PUSH) -> None:
        self.mend = mend
        self.bucket, _, self.prefix = url.removeprefix(SCHEME).strip("/").partition("/")
        if not url.startswith(SCHEME) or not self.bucket or not self.prefix:
            raise SettingsError(f"{url}: no address of an output", "Write s3://BUCKET/PREFIX.")
        if importlib.util.find_spec("boto3") is None:
            raise SettingsError(f"{url}: object storage needs the package boto3", "Run `pip install 'irgen[s3]'`.")

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    @property
    def folder(self) -> Path:
        """Refuse: it is none.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"{self}: lies on object storage, and a folder is needed", "`irgen pull` it first.")

    def sizes(self, under: str = "") -> dict[str, int]:
        """Return the bytes of each object whose name begins so, by name; empty where there is none."""
        with self._told(""):
            pages = _client(os.getpid()).get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self.bucket, Prefix=self._key(under))
            rows = [row for page in found for row in page.get("Contents", ())]
        return {row["Key"].removeprefix(f"{self.prefix}/"): row["Size"] for row in rows}

    def read(self, name: str) -> bytes:
        """Read a whole object.

        Raises:
            StoreError: it is not there, or the storage does not give it.
        """
        with self.open(name) as stream:
            return stream.read()

    def read_range(self, name: str, offset: int, count: int) -> bytes:
        """Read `count` bytes of an object from `offset` on, fewer where it ends before.

        Raises:
            StoreError: as `read`.
        """
        with self._told(name):
            return _steadily(lambda: self._get(name, Range=f"bytes={offset}-{offset + count - 1}").read())

    def open(self, name: str) -> IO[bytes]:
        """Open an object to read from its beginning to its end; a connection that is lost is made anew meanwhile.

        Raises:
            StoreError: as `read`; when it is read.
        """
        return io.BufferedReader(_Stream(self, name), CHUNK_BYTES)

    def sha256(self, name: str) -> str:
        """Return the digest of an object's bytes as the storage keeps it, else of what it gives."""
        with self._told(name):
            head = _client(os.getpid()).head_object(Bucket=self.bucket, Key=self._key(name), ChecksumMode="ENABLED")
        checksum = head.get("ChecksumSHA256", "-")
        # Of what another program put in several parts it is a digest of digests.
        return self.hashed(name) if "-" in checksum else base64.b64decode(checksum).hex()

    def hashed(self, name: str) -> str:
        """Read an object and digest it."""
        digest = hashlib.sha256()
        with self.open(name) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def put(self, name: str, source: Path, sha256: str) -> None:
        """Put a file there, replacing what had the name; the storage compares what it gets with the digest.

        Raises:
            StoreError: it is too large for one put, or the storage does not take it.
        """
        self._put(name, source, sha256)

    def put_first(self, name: str, source: Path, sha256: str) -> bool:
        """Put a file there unless something has the name; return whether this one won.

        Raises:
            StoreError: as `put`, or the storage knows no conditions.
        """
        for _ in range(TRIES):
            try:
                self._put(name, source, sha256, IfNoneMatch="*")
            except _LostError:
                return False
            except _BusyError:
                time.sleep(WAIT_S)
            else:
                return True
        raise UnreachableError(f"{self}/{name}: others keep writing it", LATER)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects that may not be there.

        Raises:
            StoreError: the storage keeps one.
        """
        rows = [{"Key": self._key(name)} for name in names]
        for start in range(0, len(rows), MOST_REMOVED):
            wanted = {"Objects": rows[start : start + MOST_REMOVED], "Quiet": True}
            with self._told(""):
                answer = _client(os.getpid()).delete_objects(Bucket=self.bucket, Delete=wanted)
            for error in answer.get("Errors", ()):
                raise _refused(f"{SCHEME}{self.bucket}/{error['Key']}", self.bucket, error, self.mend)

    def _put(self, name: str, source: Path, sha256: str, **condition: str) -> None:
        if source.stat().st_size > LARGEST_BYTES:
            raise StoreError(f"{source}: {source.stat().st_size} bytes, one put takes {LARGEST_BYTES}", "Cut smaller.")
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        with self._told(name), source.open("rb") as stream:
            _client(os.getpid()).put_object(
                Bucket=self.bucket, Key=self._key(name), Body=stream, ChecksumSHA256=checksum, **condition
            )

    def _get(self, name: str, **what: str) -> Any:
        return _client(os.getpid()).get_object(Bucket=self.bucket, Key=self._key(name), **what)["Body"]

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Say in irgen's words what the storage, or the way there, refused."""
        from botocore import exceptions

        where = f"{self}/{name}" if name else str(self)
        try:
            yield
        except exceptions.ClientError as error:
            raise _refused(where, self.bucket, error.response["Error"], self.mend) from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError) as error:
            raise UnreachableError(
                f"{where}: {_line(error)}", f"Look at AWS_ENDPOINT_URL and the network. {LATER}"
            ) from error
        except exceptions.ParamValidationError as error:
            raise StoreError(f"{where}: {_line(error)}", "Name a bucket and a prefix that S3 allows.") from error
        except exceptions.BotoCoreError as error:
            way_out = "Look at AWS_PROFILE or AWS_ACCESS_KEY_ID, AWS_DEFAULT_REGION."
            raise StoreError(f"{where}: {_line(error)}", way_out) from error


class _LostError(Exception):
    """Something has the name already."""


class _BusyError(Exception):
    """Two conditional puts of a name at once: S3 refuses one, and it may be that neither is there yet."""


class _Stream(io.RawIOBase):
    """An object's bytes, which goes on where it was when a connection is lost."""

    def __init__(self, objects: Objects, name: str) -> None:
        super().__init__()
        self._objects = objects
        self._name = name
        self._body: Any = None
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or less."""
        with self._objects._told(self._name):
            data = _steadily(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        if self._body is not None:
            self._body.close()
        super().close()

    def _read(self, count: int) -> bytes:
        rest = {"Range": f"bytes={self._position}-"} if self._position else {}
        # Kept only once it has been read from: a connection that breaks is made anew.
        body, self._body = self._body or self._objects._get(self._name, **rest), None
        data: bytes = body.read(count)
        self._body = body
        return data


def _steadily(read: Callable[[], bytes]) -> bytes:
    """Read, and once more where a connection is lost: boto3 tries requests again, and no bodies."""
    from botocore.exceptions import BotoCoreError, FlexibleChecksumError

    for _ in range(TRIES - 1):
        try:
            return read()
        except FlexibleChecksumError:
            raise
        except BotoCoreError:
            time.sleep(WAIT_S)
    return read()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _refused(where: str, bucket: str, answer: dict[str, str], mend: str) -> Exception:
    """Turn what S3 answers into an error."""
    code, message = answer["Code"], answer.get("Message", "")
    if code in ABSENT:
        return StoreError(f"{where}: not there", mend)
    if code == "NoSuchBucket":
        return StoreError(f"{where}: there is no bucket {bucket!r}", "Make it, or name another.")
    if code in DENIED:
        return StoreError(f"{where}: access denied ({code})", "Look at AWS_PROFILE or AWS_ACCESS_KEY_ID.")
    if code in ("PreconditionFailed", "412"):
        return _LostError()
    if code in ("ConditionalRequestConflict", "409"):
        return _BusyError()
    if code in UNCONDITIONAL:
        return StoreError(f"{where}: the storage cannot put on a condition ({message})", NO_CONDITIONS)
    if code in BUSY:
        return UnreachableError(f"{where}: {code}: {message}", LATER)
    return StoreError(f"{where}: {code}: {message}", "Ask who runs the storage what that means there.")


@functools.cache
def _client(process: int) -> Any:
    """Make the client of a process; a fork must not share its parent's connections."""
    import boto3
    from botocore.config import Config

    settings = Config(retries={"mode": "standard", "max_attempts": TRIES}, max_pool_connections=CONNECTIONS)
    try:
        return boto3.session.Session().client("s3", config=settings)
    except ValueError as error:
        raise SettingsError(f"AWS_ENDPOINT_URL: {error}", "Write http://HOST:PORT or https://HOST:PORT.") from error
