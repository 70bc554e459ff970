"""The automations of a Prefect server, from the file that `prefect automation create --from-file` reads, too.

Over HTTP and without Prefect, which reads its settings when it is imported.
"""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

TIMEOUT_S = 30
BUSY, TRIES, PAUSE_S = 503, 6, 2.0
"""What a server answers whose SQLite is being written to; it has then done nothing."""


def ensure(api_url: str, path: Path) -> None:
    """Create the automations of a file, replacing those of the same names."""
    for wanted in yaml.safe_load(path.read_text())["automations"]:
        same_name = {"automations": {"name": {"any_": [wanted["name"]]}}}
        for there in call("POST", f"{api_url}/automations/filter", same_name):
            call("DELETE", f"{api_url}/automations/{there['id']}")
        call("POST", f"{api_url}/automations/", wanted)


def call(method: str, url: str, body: Any = None) -> Any:
    """Ask a Prefect server and return its answer.

    Raises:
        OSError: it does not answer, or refuses.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answer = response.read()
            break
        except urllib.error.HTTPError as error:
            if error.code != BUSY or not left:
                raise
            time.sleep(PAUSE_S)
    return json.loads(answer) if answer else None
