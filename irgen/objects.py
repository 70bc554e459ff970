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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from irgen.errors import SettingsError, StoreError
from irgen.files import CHUNK_BYTES

SCHEME = "s3://"
CONNECTIONS = 16
TRIES = 5
WAIT_S = 0.2
LARGEST_BYTES = 5 * 1024**3
"""Of one put; S3's own limit."""

ABSENT = {"NoSuchKey", "404", "NotFound"}
DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
UNCONDITIONAL = {"NotImplemented", "501"}
NO_CONDITIONS = "Use a storage that honours If-None-Match; without it two writers could mix two datasets in one place."


class Objects:
    """Objects under a prefix.

    Nothing is asked of the storage before the first call, each process has connections of its own, and an instance
    can be sent to another process.

    Attributes:
        bucket: its name.
        prefix: without a slash at either end.
    """

    mend = "`irgen push` it again: what is missing or damaged is put there anew."

    def __init__(self, url: str) -> None:
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

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each object, by name; empty where there is none."""
        with self._told(""):
            pages = _client(os.getpid()).get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
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
        """Read `count` bytes of an object from `offset` on.

        Raises:
            StoreError: as `read`, or it ends before them.
        """
        with self._told(name):
            return self._get(name, Range=f"bytes={offset}-{offset + count - 1}").read()

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
        raise StoreError(f"{self}/{name}: others keep writing it", "Try again.")

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
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"{self}/{name}" if name else str(self)
        try:
            yield
        except ClientError as error:
            raise _refused(where, self.bucket, error.response["Error"]) from error
        except BotoCoreError as error:
            way_out = "Look at AWS_ENDPOINT_URL, AWS_PROFILE or AWS_ACCESS_KEY_ID, AWS_DEFAULT_REGION."
            raise StoreError(f"{where}: {' '.join(str(error).split())}", way_out) from error


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
        from botocore.exceptions import BotoCoreError, FlexibleChecksumError

        with self._objects._told(self._name):
            for left in reversed(range(TRIES)):
                try:
                    data = self._opened().read(len(buffer))
                    break
                except BotoCoreError as error:
                    self._body = None
                    if isinstance(error, FlexibleChecksumError) or not left:
                        raise
                    time.sleep(WAIT_S)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        if self._body is not None:
            self._body.close()
        super().close()

    def _opened(self) -> Any:
        if self._body is None:
            rest = {"Range": f"bytes={self._position}-"} if self._position else {}
            self._body = self._objects._get(self._name, **rest)
        return self._body


def _refused(where: str, bucket: str, answer: dict[str, str]) -> Exception:
    """Turn what S3 answers into an error."""
    code, message = answer["Code"], answer.get("Message", "")
    if code in ABSENT:
        return StoreError(f"{where}: not there", "`irgen push` puts a finished dataset there.")
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
    return StoreError(f"{where}: {code}: {message}", "")


@functools.cache
def _client(process: int) -> Any:
    """Make the client of a process; a fork must not share its parent's connections."""
    import boto3
    from botocore.config import Config

    settings = Config(retries={"mode": "standard", "max_attempts": TRIES}, max_pool_connections=CONNECTIONS)
    return boto3.session.Session().client("s3", config=settings)
