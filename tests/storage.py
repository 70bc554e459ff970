"""An S3-compatible server on loopback, and buckets in it."""

import os
import uuid
from collections.abc import Iterator

import pytest

from irgen import objects


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of moto's server, in threads of this process."""
    server = pytest.importorskip("moto.server", reason="needs moto's server: `pip install .[dev]`")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


def environment(server: str) -> dict[str, str]:
    """Variables by which irgen finds a server."""
    return {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "a key",
        "AWS_SECRET_ACCESS_KEY": "a secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new bucket, and an environment in which irgen finds it."""
    for name, value in environment(s3_server).items():
        monkeypatch.setenv(name, value)
    objects._client.cache_clear()
    name = f"irgen-{uuid.uuid4().hex[:8]}"
    client().create_bucket(Bucket=name)
    yield name
    objects._client.cache_clear()


def client():
    return objects._client(os.getpid())


def contents(bucket: str, prefix: str) -> dict[str, bytes]:
    """What lies under a prefix, by name."""
    rows = client().list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", ())
    return {row["Key"].removeprefix(f"{prefix}/"): read(bucket, row["Key"]) for row in rows}


def read(bucket: str, key: str) -> bytes:
    return client().get_object(Bucket=bucket, Key=key)["Body"].read()
