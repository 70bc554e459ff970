"""The audit's server: for this machine and the one who has the address."""

import http.client
import json
import socket

import pytest

from irgen.audit import AuditServer
from irgen.errors import SettingsError
from tests.audit.conftest import ask
from tests.audit.test_session import answer, with_boxes
from tests.finished import encoded


def test_it_serves_the_page_the_session_and_images(server):
    for name, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        status, body, headers = ask(server.url + name)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, kind)
        assert len(body) > 500
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
    session = json.loads(ask(server.url + "session")[1])
    assert [image["key"] for image in session["images"]] == list(server.session.subjects)
    image = session["images"][0]["key"]
    status, body, headers = ask(f"{server.url}images/{image}")
    assert (status, body, headers["Content-Type"]) == (200, encoded(int(image)), "image/png")


def test_an_answer_is_saved_and_counted(server):
    image = with_boxes(server.session)
    status, body, _ = ask(f"{server.url}answers/{image}", answer(server.session, image))
    assert (status, json.loads(body)) == (200, {"saved": True})
    assert json.loads(ask(server.url + "figures")[1])["images"] == 1
    session = json.loads(ask(server.url + "session")[1])
    answers = {each["key"]: each["answer"] for each in session["images"]}
    assert answers[image]["done"] is True
    assert [key for key, said in answers.items() if said] == [image]


def test_a_bad_answer_is_refused_with_the_reason(server):
    image = with_boxes(server.session)
    status, body, _ = ask(f"{server.url}answers/{image}", {"verdicts": []})
    assert status == 400
    assert "0 verdicts on 2 boxes" in json.loads(body)["error"]
    assert ask(f"{server.url}answers/nothing", {})[0] == 400
    assert not server.session.folder.exists()


def test_it_listens_on_loopback_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_without_the_token_there_is_nothing(server):
    root = f"http://{server.netloc}"
    image = with_boxes(server.session)
    for path in ("/", "/session", "/x/session", f"/{server.token[:-1]}/session", f"/images/{image}"):
        assert ask(root + path)[0] == 403
    assert ask(f"{root}/x/answers/{image}", answer(server.session, image))[0] == 403
    assert not server.session.folder.exists()


def test_a_foreign_name_or_page_is_refused(server):
    image = with_boxes(server.session)
    assert ask(server.url + "session", Host=f"evil.example:{server.server_port}")[0] == 403
    said = answer(server.session, image)
    assert ask(f"{server.url}answers/{image}", said, Origin="http://evil.example")[0] == 403
    assert ask(f"{server.url}answers/{image}", said, Origin=f"http://{server.netloc}")[0] == 200


@pytest.mark.parametrize("path", ["images/../answers.json", "images/000000099", "..%2f..%2fetc/passwd", "page.py"])
def test_it_serves_no_other_file(path, server):
    assert ask(server.url + path)[0] == 404


@pytest.mark.parametrize("length", ["", "-1", "x", str(2 << 20)])
def test_an_answer_without_end_is_not_read(length, server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest("PUT", f"/{server.token}/answers/{with_boxes(server.session)}")
    if length:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_full_disk_is_told_and_the_answer_not_called_saved(server, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("irgen.audit.session.files.write_json", full)
    image = with_boxes(server.session)
    status, body, _ = ask(f"{server.url}answers/{image}", answer(server.session, image))
    assert status == 507
    assert "No space left" in json.loads(body)["error"]


def test_a_taken_port_is_said(server):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SettingsError, match="Address already in use"):
            AuditServer(server.session, other.getsockname()[1])
