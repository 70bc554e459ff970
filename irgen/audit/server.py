"""The audit's page: loopback only, and only for who knows the token in its address.

Another page in the same browser can neither guess the token nor read answers across origins; the Host header is
checked, so that no foreign name can be pointed at this server either.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from irgen.audit.session import BadAnswerError, Session
from irgen.errors import SettingsError, StoreError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BYTES = 1 << 20
TOKEN_BYTES = 24
PAGES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AuditServer(ThreadingHTTPServer):
    """Serves one session.

    Attributes:
        session: what is looked at.
        url: the page's address, token included.
    """

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise SettingsError(f"port {port} on {HOST}: {error.strerror}", "Choose another, or 0 for any.") from error
        self.session = session
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.netloc = f"{HOST}:{self.server_port}"
        self.url = f"http://{self.netloc}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in a line what went wrong; a browser that hung up is nothing."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            log.error("a request failed: %s: %s", type(error).__name__, error)


def serve(session: Session, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted.

    Args:
        session: what is looked at.
        port: on loopback; 0 takes any that is free.
        say: called with the address once it answers.

    Raises:
        SettingsError: the port is taken.
        KeyboardInterrupt: the user ended it.
    """
    with AuditServer(session, port) as server:
        say(server.url)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    server: AuditServer
    server_version, sys_version = "irgen", ""

    def do_GET(self) -> None:
        """Answer with a page, an image, the session or its figures."""
        where = self._where()
        if where is None:
            return
        session = self.server.session
        if where in PAGES:
            name, kind = PAGES[where]
            self._send(HTTPStatus.OK, resources.files("irgen.audit").joinpath(name).read_bytes(), kind)
        elif where == "session":
            self._send_json(HTTPStatus.OK, _document(session))
        elif where == "figures":
            self._send_json(HTTPStatus.OK, session.figures())
        elif where.startswith("images/") and where.removeprefix("images/") in session.subjects:
            self._send_image(where.removeprefix("images/"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_PUT(self) -> None:
        """Take the answer to an image."""
        where = self._where()
        if where is None:
            return
        if self.headers.get("Origin", f"http://{self.server.netloc}") != f"http://{self.server.netloc}":
            self._refuse(HTTPStatus.FORBIDDEN, "not from the audit's own page")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an answer has a length of {MAX_BYTES} bytes at most")
            return
        try:
            document = json.loads(self.rfile.read(int(length)))
            self.server.session.answer(where.removeprefix("answers/"), document)
        except (ValueError, BadAnswerError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            log.error("the answer could not be saved: %s", error)
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"could not be saved: {error.strerror}")
        else:
            self._send_json(HTTPStatus.OK, {"saved": True})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep requests, and the token in them, out of logs."""

    def _where(self) -> str | None:
        """Return the path behind the token; None after refusing who has no business here."""
        token, _, where = self.path.removeprefix("/").partition("/")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if self.headers.get("Host") != self.server.netloc or not known:
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that irgen audit printed")
            return None
        return where

    def _send_image(self, key: str) -> None:
        try:
            data = self.server.session.image(key)
        except StoreError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        self._send(HTTPStatus.OK, data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg")

    def _send_json(self, status: HTTPStatus, document: Any) -> None:
        self._send(status, json.dumps(document, allow_nan=False).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        # What of the request was not read would be taken for the next one.
        self.close_connection = True
        self._send_json(status, {"error": why})

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _document(session: Session) -> dict[str, Any]:
    """Return all that the page shows, images apart."""
    return {
        "dataset": session.dataset.name,
        "classes": session.dataset.classes,
        "images": [
            {
                **asdict(subject),
                "answer": session.answers[key].model_dump(mode="json") if key in session.answers else None,
            }
            for key, subject in session.subjects.items()
        ],
    }
