import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows import automation


class Busy(BaseHTTPRequestHandler):
    """Refuses as often as it is told to, then answers."""

    refusals = 0

    def do_POST(self) -> None:
        refuse, type(self).refusals = self.refusals > 0, self.refusals - 1
        self.send_response(503 if refuse else 200)
        self.end_headers()
        self.wfile.write(b"" if refuse else b"[1]")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(automation, "PAUSE_S", 0)
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_busy_server_is_asked_again_but_not_for_ever(url: str) -> None:
    Busy.refusals = automation.TRIES - 1
    assert automation.call("POST", url, {}) == [1]
    Busy.refusals = automation.TRIES
    with pytest.raises(urllib.error.HTTPError, match="503"):
        automation.call("POST", url, {})
