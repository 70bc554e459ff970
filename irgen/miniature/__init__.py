"""The miniature: procedural paired street scenes and small pretrained models, so that irgen runs whole and offline.

Importing this package is cheap: nothing here needs torch.
"""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"


def flux_dir() -> Path:
    """Return the folder of the small FLUX pipeline, as `FluxPipeline.from_pretrained` reads it."""
    return _WEIGHTS / "flux"


def clip_dir() -> Path:
    """Return the folder of the small CLIP; `f"local-dir:{clip_dir()}"` names it to open_clip."""
    return _WEIGHTS / "clip"
