import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from PIL import Image

from irgen.errors import SettingsError
from irgen.settings import GraderChoice
from irgen.verifiers.grader import FailedCallError, Grader, parse

Answer = Callable[[dict, int], tuple[int, str, dict[str, str]]]


class Server:
    """An OpenAI-compatible endpoint on this machine, whose answers a test gives."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body, call: grade(brightness(body))
        self.calls: list[dict] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.models_status = 200
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(server.models_status, "{}", {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.calls.append(body)
                    server.keys.append(self.headers.get("authorization"))
                    call = len(server.calls)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                assert self.path == "/v1/chat/completions"
                try:
                    status, text, headers = server.answer(body, call)
                finally:
                    with lock:
                        server.at_once -= 1
                self._reply(status, text, headers)

            def _reply(self, status: int, text: str, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in (headers | {"content-length": str(len(text))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def grader(server: Server, **settings: object) -> Grader:
    choice = GraderChoice(**({"url": server.url, "model": "judge", "timeout_s": 10} | settings))
    return Grader(choice, sleep=lambda seconds: None)


def grade(number: float) -> tuple[int, str, dict[str, str]]:
    return chat(json.dumps({"grade": number}))


def chat(text: str) -> tuple[int, str, dict[str, str]]:
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}), {}


def brightness(body: dict) -> int:
    url = body["messages"][0]["content"][1]["image_url"]["url"]
    return int(np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))).mean())


def images(count: int) -> np.ndarray:
    """The k-th image has brightness k."""
    return np.stack([np.full((4, 6, 3), k, np.uint8) for k in range(count)])


def test_grades_come_in_the_order_of_the_images_though_later_calls_are_answered_first(server: Server) -> None:
    def answer(body: dict, call: int) -> tuple[int, str, dict[str, str]]:
        time.sleep(0.01 * (8 - brightness(body)))
        return grade(brightness(body))

    server.answer = answer
    scores = grader(server, concurrency=8).score(images(8), ["x"] * 8)
    np.testing.assert_array_equal(scores.value, np.arange(8.0))
    assert scores.reasons == ("",) * 8


def test_the_question_names_the_caption_the_model_and_the_image(server: Server) -> None:
    grader(server, question="Is it {caption}?").score(images(1), ["a {road} by night"])
    body = server.calls[0]
    assert body["model"] == "judge" and body["temperature"] == 0
    assert body["messages"][0]["content"][0]["text"].startswith("Is it a {road} by night? Answer with JSON")
    assert brightness(body) == 0
    assert server.keys == [None]


def test_never_more_calls_at_once_than_allowed(server: Server) -> None:
    meeting = threading.Barrier(3, timeout=8)

    def answer(body: dict, call: int) -> tuple[int, str, dict[str, str]]:
        meeting.wait()
        time.sleep(0.02)  # for a fourth to come
        return grade(1)

    server.answer = answer
    grader(server, concurrency=3).score(images(9), ["x"] * 9)
    assert server.most_at_once == 3


def test_a_busy_server_is_asked_again_with_growing_waits_or_as_long_as_it_says(server: Server) -> None:
    waits: list[float] = []
    replies = [
        (503, "", {}),
        (429, "", {"retry-after": "7"}),
        (500, "", {}),
        (429, "", {"retry-after": "900"}),
        grade(6),
    ]
    server.answer = lambda body, call: replies[call - 1]
    choice = GraderChoice(url=server.url, model="judge", retries=4)
    scores = Grader(choice, sleep=waits.append).score(images(1), ["x"])
    assert scores.value[0] == 6
    assert waits == [0.5, 7.0, 2.0, 30.0]


def test_a_call_that_stays_without_grade_is_nan_with_the_reason_and_the_others_stand(server: Server) -> None:
    replies = {0: (503, "", {}), 1: (401, "", {}), 2: chat("I cannot see it."), 3: (200, "not json", {}), 4: grade(11)}
    server.answer = lambda body, call: replies.get(brightness(body), grade(5))
    scores = grader(server, retries=2).score(images(6), ["x"] * 6)
    np.testing.assert_array_equal(np.isnan(scores.value), [True] * 5 + [False])
    assert scores.reasons == (
        "grader: HTTP 503, after 3 calls",
        "grader: HTTP 401",
        "grader: no grade in the answer 'I cannot see it.'",
        "grader: the answer is not a chat completion",
        "grader: grade 11 is not from 0 to 10",
        "",
    )
    assert len(server.calls) == 3 + 5


def test_a_silent_server_is_a_failed_call() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence", request=request)

    choice = GraderChoice(url="http://grader.invalid/v1", model="judge", retries=1)
    scores = Grader(choice, httpx.MockTransport(broken), sleep=lambda seconds: None).score(images(1), ["x"])
    assert np.isnan(scores.value[0])
    assert scores.reasons == ("grader: ReadTimeout, after 2 calls",)


def test_the_key_comes_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADER_KEY", "secret")
    grader(server, api_key_env="GRADER_KEY").score(images(1), ["x"])
    assert server.keys == ["Bearer secret"]
    monkeypatch.delenv("GRADER_KEY")
    with pytest.raises(SettingsError, match="GRADER_KEY: this environment variable is not set"):
        grader(server, api_key_env="GRADER_KEY")


@pytest.mark.parametrize("status", [200, 404])
def test_loading_sees_that_the_endpoint_answers(server: Server, status: int) -> None:
    server.models_status = status
    assert Grader.load(GraderChoice(url=server.url, model="judge")).score(images(2), ["x"] * 2).value[1] == 1


def test_loading_fails_where_the_key_is_refused_or_nobody_answers(server: Server) -> None:
    server.models_status = 401
    with pytest.raises(SettingsError, match="access refused"):
        Grader.load(GraderChoice(url=server.url, model="judge"))
    with pytest.raises(SettingsError, match="no answer"):
        Grader.load(GraderChoice(url="http://127.0.0.1:9/v1", model="judge", timeout_s=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"grade": 7}', 7), ('```json\n{"grade": 6.5}\n```', 6.5), (" 3 ", 3), ('{"grade": "8"}', 8), ("0", 0)],
)
def test_a_grade_is_read(text: str, expected: float) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "7 or 8", "grade 7/10", '{"grade": 3} {"grade": 4}', "-1", "NaN", None, ["7"]])
def test_what_is_not_one_grade_is_none(text: object) -> None:
    with pytest.raises(FailedCallError):
        parse(text)
