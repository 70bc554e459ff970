"""What a searched image leaves behind: its score sheet, all its candidates, and the images to compare it with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from irgen import images
from irgen.images import ImageFormat
from irgen.shards import Sample
from irgen.shards.sample import key
from irgen.starting import FROM_NOISE, Start

if TYPE_CHECKING:
    from irgen.search import Candidate, Found, Prompt

COLUMNS = pa.schema(
    [
        ("frame_id", pa.string()),
        ("prompt", pa.string()),
        ("score", pa.float64()),
        ("cos_infrared", pa.float64()),
        ("cos_grayscale", pa.float64()),
        ("unguided_score", pa.float64()),
        ("spread", pa.float64()),
        ("candidate", pa.int32()),
        ("nfe", pa.int32()),
        ("previews", pa.int32()),
        ("unguided_nfe", pa.int32()),
        ("attempt", pa.int32()),
        ("start", pa.string()),
        ("start_frame", pa.string()),
        ("start_boxes", pa.string()),
    ]
)
"""Of the meta table, beside `shards.sample.META`; scores of a tombstone are NaN, as are a guide's without cosines.

`nfe` is the search's, `unguided_nfe` was spent on the first candidate after the search had cut it, and `previews` are
those that were decoded and scored on the way.
"""
CANDIDATES = pa.schema(
    [
        ("key", pa.string()),
        ("attempt", pa.int32()),
        ("candidate", pa.int32()),
        ("rank", pa.int32()),
        ("kept", pa.bool_()),
        ("step", pa.int32()),
        ("score", pa.float64()),
        ("preview", pa.float64()),
        ("cos_infrared", pa.float64()),
        ("cos_grayscale", pa.float64()),
        ("nfe", pa.int32()),
        ("dead", pa.string()),
        ("noise", pa.string()),
    ]
)
"""A row a candidate; rank 1 is the best of its attempt, 0 one that is dead or was cut.

`step` is how far it came. Only finished images have a `score`; `preview` is the last one on the way there.
"""
CONTRASTS = pa.schema([("key", pa.string()), ("kind", pa.string()), ("score", pa.float64()), ("png", pa.binary())])
"""Images to compare with: `unguided`, the first candidate, and `worst`, the finished one with the lowest score."""


@dataclass(frozen=True)
class Plan:
    """One image to make: what it shall show, the frame whose caption that is, and what it starts from."""

    prompt: Prompt
    frame_id: str
    start: Start = FROM_NOISE


def kept_of(tries: Sequence[Found]) -> Candidate | None:
    """Return what the last attempt kept."""
    return tries[-1].kept if tries else None


def sample(each: Plan, tries: Sequence[Found], image_format: ImageFormat, constants: Mapping[str, Any]) -> Sample:
    """Make a prompt's record of what was found for it.

    Args:
        each: what was asked for.
        tries: of all attempts; a tombstone where the last kept nothing.
        image_format: of the image.
        constants: what every score sheet says of the run.
    """
    last, kept = tries[-1], kept_of(tries)
    attempt = len(tries) - 1
    alive = last.alive()
    nan = float("nan")
    unguided = last.unguided
    measured = {
        "score": kept.score if kept else nan,
        "cos_infrared": kept.parts.get("cos_infrared", nan) if kept else nan,
        "cos_grayscale": kept.parts.get("cos_grayscale", nan) if kept else nan,
        "unguided_score": unguided.score if unguided else nan,
        "spread": alive[0].score - alive[-1].score if alive else nan,
    }
    row = {
        **measured,
        "frame_id": each.frame_id,
        "prompt": each.prompt.text,
        "candidate": kept.number if kept else -1,
        "nfe": sum(found.nfe for found in tries),
        "previews": sum(found.previews for found in tries),
        "unguided_nfe": unguided.nfe if unguided else 0,
        "attempt": attempt,
        **each.start.columns(),
    }
    tables = {"candidates": _candidate_rows(tries), "contrasts": _contrast_rows(last) if kept else []}
    if kept is None:
        reasons = sorted({one.dead for one in last.candidates} - {""})
        reason = f"all candidates dead in {len(tries)} attempts: {', '.join(reasons)}"
        return Sample(each.prompt.index, b"", image_format, {}, "", row, tables, reason)
    sheet = {
        **constants,
        **{name: value for name, value in row.items() if not name.startswith("cos_")},
        **kept.parts,
        # The sheet knows no NaN: where the first candidate is dead, the kept one is all there is to compare with.
        "unguided_score": unguided.score if unguided else kept.score,
        "key": key(each.prompt.index),
        "caption": each.prompt.caption,
        "candidates": len(last.candidates),
        "rank": [one.number for one in alive].index(kept.number) + 1,
        # In words: a list of perturbations, empty in most samples, has no type that readers could infer.
        "noise": json.dumps(kept.recipe.to_json(), sort_keys=True),
    }
    image = images.encode(last.images[kept.number], image_format)
    return Sample(each.prompt.index, image, image_format, sheet, each.prompt.caption, row, tables)


def _candidate_rows(tries: Sequence[Found]) -> list[dict[str, Any]]:
    rows = []
    for attempt, found in enumerate(tries):
        kept = found.kept
        ranks = {one.number: rank for rank, one in enumerate(found.alive(), start=1)}
        for one in found.candidates:
            rows.append(
                {
                    "key": key(found.prompt.index),
                    "attempt": attempt,
                    "candidate": one.number,
                    "rank": ranks.get(one.number, 0),
                    "kept": kept is not None and one.number == kept.number,
                    "step": one.step,
                    "score": one.score,
                    "preview": one.preview,
                    "cos_infrared": one.parts.get("cos_infrared", float("nan")),
                    "cos_grayscale": one.parts.get("cos_grayscale", float("nan")),
                    "nfe": one.nfe,
                    "dead": one.dead,
                    "noise": json.dumps(one.recipe.to_json(), sort_keys=True),
                }
            )
    return rows


def _contrast_rows(found: Found) -> list[dict[str, Any]]:
    chosen = {}
    if found.unguided:
        chosen["unguided"] = (found.unguided.score, found.unguided.image)
    if found.worst:
        chosen["worst"] = (found.worst.score, found.images[found.worst.number])
    return [
        {"key": key(found.prompt.index), "kind": kind, "score": score, "png": images.encode(image, "png")}
        for kind, (score, image) in chosen.items()
    ]
