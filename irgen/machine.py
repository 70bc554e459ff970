"""Which machine this is, so that times measured on another are not taken for its own. Needs no torch."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

NVIDIA = Path("/proc/driver/nvidia/gpus")


def gpus() -> list[str]:
    """Return the models of its NVIDIA GPUs, as the driver tells them."""
    models = []
    for path in sorted(NVIDIA.glob("*/information")):
        fields = dict(line.partition(":")[::2] for line in path.read_text().splitlines())
        models.append(fields.get("Model", "").strip())
    return models


def here() -> dict[str, Any]:
    """Return what tells this machine from others: `host` and `gpus`."""
    return {"host": platform.node(), "gpus": gpus()}
