"""Commands on what is finished, as their user meets them."""

import json
from pathlib import Path

from tests.cli.terminal import irgen


def test_verify_names_what_was_changed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    irgen("frames", "--source", "folder", "--root", photos, "--out", out)
    with (out / "frames.parquet").open("ab") as stream:
        stream.write(b"x")
    done = irgen("verify", out, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert not document["sound"]
    assert "frames.parquet" in document["problems"][0]
