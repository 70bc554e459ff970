"""A vision-language model asked for a grade, over an OpenAI-compatible endpoint (POST /chat/completions)."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from irgen import images as image_files
from irgen.errors import SettingsError
from irgen.search.interface import Scores
from irgen.settings import GraderChoice
from irgen.verifiers.batches import check_pairs

LOWEST, HIGHEST = 0.0, 10.0
FORM = ' Answer with JSON alone: {"grade": N}, where N is a number from 0 (worst) to 10 (best).'
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP states that may pass when one waits."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


class FailedCallError(Exception):
    """A call that brought no grade; its text is the reason."""


class Grader:
    """Scores 0 to 10 by what a served model answers; a call without a grade is NaN with its reason, never a number.

    Grades come in the order of the images, however the calls overtake each other. They are as reproducible as the
    server is: temperature 0 is asked for.

    Args:
        choice: endpoint, model, question, and how often and how many at once.
        transport: httpx's; None for the network.
        sleep: waits seconds.

    Raises:
        SettingsError: the key's environment variable is not set.
    """

    def __init__(
        self,
        choice: GraderChoice,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {}
        if choice.api_key_env:
            key = os.environ.get(choice.api_key_env, "")
            if not key:
                raise SettingsError(
                    f"grader.api_key_env = {choice.api_key_env}: this environment variable is not set",
                    "Set it to the endpoint's key, or leave api_key_env empty for an endpoint without one.",
                )
            headers["Authorization"] = f"Bearer {key}"
        self._choice = choice
        self._sleep = sleep
        limits = httpx.Limits(max_connections=choice.concurrency)
        self._client = httpx.Client(headers=headers, timeout=choice.timeout_s, limits=limits, transport=transport)

    @classmethod
    def load(cls, choice: GraderChoice) -> Grader:
        """Make a grader and see that its endpoint answers, before anything costly starts.

        Raises:
            SettingsError: no key, no answer, or the key is refused.
        """
        grader = cls(choice)
        url = f"{choice.url.rstrip('/')}/models"
        try:
            answer = grader._client.get(url)
        except httpx.HTTPError as error:
            raise SettingsError(
                f"grader.url = {choice.url}: no answer ({type(error).__name__})", "Start the server, or mend the URL."
            ) from error
        # Some servers do not list their models; only a refusal says that grading cannot work.
        if answer.status_code in (401, 403):
            raise SettingsError(
                f"grader.url = {choice.url}: access refused (HTTP {answer.status_code})",
                "Name the environment variable of a valid key in grader.api_key_env.",
            )
        return grader

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Grade uint8 [B, H, W, 3] with their captions, at most `concurrency` calls at once."""
        check_pairs(images, captions)
        with ThreadPoolExecutor(self._choice.concurrency) as pool:
            answers = list(pool.map(self._grade_or_reason, images, captions))
        value = np.array([grade for grade, _ in answers], dtype=np.float64)
        return Scores(value, {}, tuple(reason for _, reason in answers))

    def _grade_or_reason(self, image_u8: np.ndarray, caption: str) -> tuple[float, str]:
        try:
            return self._grade(image_u8, caption), ""
        except FailedCallError as failure:
            return float("nan"), f"grader: {failure}"

    def _grade(self, image_u8: np.ndarray, caption: str) -> float:
        picture = base64.b64encode(image_files.encode(image_u8, "png")).decode()
        content = [
            {"type": "text", "text": self._choice.question.replace("{caption}", caption) + FORM},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
        body = {"model": self._choice.model, "temperature": 0, "messages": [{"role": "user", "content": content}]}
        answer = self._post(body)
        try:
            text = answer.json()["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FailedCallError("the answer is not a chat completion") from error
        return parse(text)

    def _post(self, body: dict[str, object]) -> httpx.Response:
        """Post, and again while the server is busy, failing or silent, waiting twice as long each time."""
        reason = ""
        wait_s = FIRST_WAIT_S
        for attempt in range(self._choice.retries + 1):
            if attempt:
                self._sleep(min(wait_s, LONGEST_WAIT_S))
            wait_s = FIRST_WAIT_S * 2**attempt
            try:
                answer = self._client.post(f"{self._choice.url.rstrip('/')}/chat/completions", json=body)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if answer.is_success:
                return answer
            reason = f"HTTP {answer.status_code}"
            if answer.status_code not in BUSY:
                raise FailedCallError(reason)
            wait_s = max(wait_s, _asked_wait_s(answer))
        raise FailedCallError(f"{reason}, after {self._choice.retries + 1} calls")


def parse(text: object) -> float:
    """Read the grade out of a model's answer: JSON with `grade`, or nothing but a number.

    Raises:
        FailedCallError: there is none, more than one, or it is not from 0 to 10.
    """
    words = text if isinstance(text, str) else json.dumps(text)
    stated = re.findall(r'"grade"\s*:\s*"?(-?\d+(?:\.\d+)?)', words)
    bare = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*", words)
    grades = {float(grade) for grade in (*stated, *(bare.groups() if bare else ()))}
    if len(grades) != 1:
        raise FailedCallError(f"no grade in the answer {words[:80]!r}")
    grade = grades.pop()
    if not LOWEST <= grade <= HIGHEST:
        raise FailedCallError(f"grade {grade:g} is not from {LOWEST:g} to {HIGHEST:g}")
    return grade


def _asked_wait_s(answer: httpx.Response) -> float:
    """Return the seconds for which the server asks to be left alone; 0 where it says none, or gives a date."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
