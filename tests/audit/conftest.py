import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib import error, request

import pytest

from irgen.audit import AuditServer, open_session
from tests.finished import finished


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """A finished dataset that no test changes."""
    return finished(tmp_path_factory.mktemp("pristine") / "tiny")


@pytest.fixture
def dataset(pristine, tmp_path) -> Path:
    """A finished dataset of one's own."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def server(dataset) -> Iterator[AuditServer]:
    """An audit of all images, served."""
    with AuditServer(open_session(dataset, 100, 0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(url: str, document: object = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Get a page, or put a document there; return status, body, headers."""
    data = None if document is None else json.dumps(document).encode()
    wanted = request.Request(url, data, {**headers}, method="GET" if data is None else "PUT")
    try:
        with request.urlopen(wanted, timeout=10) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except error.HTTPError as refusal:
        return refusal.code, refusal.read(), dict(refusal.headers)
