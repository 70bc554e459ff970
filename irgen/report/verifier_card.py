"""A verifier's card: can it tell real infrared from what is not, on videos it never saw, and on another camera?

Its own dataset's test split was neither trained nor calibrated on; another source was not even near. Negatives are made
on the fly. Intervals resample whole videos. The threshold is the one that parts its own validation scores best, so that
what it lets through elsewhere shows whether its scale, and not only its order, holds there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from irgen import files, images, negatives, pipeline, progress, seeds, settings, sources, store
from irgen.errors import SourceError, StoreError
from irgen.metrics import bootstrap
from irgen.metrics.frechet import F64
from irgen.records import Caption, Frame, read_rows
from irgen.report.page import environment
from irgen.report.words import NEGATIVES
from irgen.settings import CaptionsSettings, FramesSettings
from irgen.verifiers.calibration import MATCH, auc, match_auc
from irgen.verifiers.examples import squashed
from irgen.verifiers.irscore import IrScore
from irgen.verifiers.realism import FILE as REALISM_FILE
from irgen.verifiers.realism import Realism

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7)
RESAMPLINGS = 200
AT_ONCE = 32
REAL = "real"
CARD, PAGE = "verifier-card.json", "verifier-card.html"
ALL = 1_000_000

U8 = np.ndarray
Make = Callable[[Frame, Path, int], U8]
MAKERS: dict[str, Make] = {
    "gray": lambda frame, root, seed: negatives.gray(images.read_rgb(root / frame.visible)),
    "inverted": lambda frame, root, seed: negatives.inverted(images.read_rgb(root / frame.visible)),
    "rgb": lambda frame, root, seed: images.read_rgb(root / frame.visible),
    "agc": lambda frame, root, seed: negatives.wrong_agc(
        images.read_gray(root / frame.lwir), seeds.generator(seed, frame.id, "agc")
    ),
}


@dataclass(frozen=True)
class Ground:
    """Where a verifier is tried.

    Attributes:
        name: of the source, and what of it.
        root: folder that the frames' paths are relative to.
        frames: captioned ones with an LWIR image.
        captions: bare, of each.
    """

    name: str
    root: Path
    frames: Sequence[Frame]
    captions: Sequence[str]

    @property
    def groups(self) -> list[str]:
        """Of each frame, what it is resampled with: its video, or itself where there are fewer than five."""
        videos = [frame.video for frame in self.frames]
        return videos if len(set(videos)) >= 5 else [frame.id for frame in self.frames]


@dataclass(frozen=True)
class Scored:
    """Scores of one kind of image.

    Attributes:
        rows: int64 [K], frames that they were made of.
        cosines: float64 [K, 2], with the infrared and the grayscale form of the frame's caption.
        realism: float64 [K], empty without statistics.
    """

    rows: np.ndarray
    cosines: F64
    realism: F64


def make(verifier: Path, second: FramesSettings | None, out: Path, *, limit: int, seed: int) -> dict[str, Any]:
    """Write a card, as JSON and as a page, and return its figures.

    Args:
        verifier: output of stage verifier, within its dataset's folder.
        second: another source to try it on, or None.
        out: folder to write; the other source's frames and captions lie there, too.
        limit: most frames of a ground.
        seed: of the choice of frames, the wrong gain controls and the resamplings.

    Returns:
        verifier, alpha, threshold; grounds: by name, n, videos, by kind auc, accepted and by_alpha, match, correlation.

    Raises:
        StoreError: the verifier is not finished, or its frames and captions are not beside it.
        SourceError: a ground has fewer than two captioned frames.
        WeightsError: its weights are damaged.
    """
    manifest = store.read_manifest(verifier)
    if manifest["stage"] != "verifier":
        raise StoreError(
            f"{verifier}: an output of {manifest['stage']}", "Name one of stage verifier: data/*/05-verifier/*."
        )
    grounds = [_own(verifier, manifest, limit, seed)]
    if second:
        grounds.append(_other(second, out, limit, seed))
    model = IrScore.load(verifier)
    realism = Realism.load(verifier) if (verifier / REALISM_FILE).is_file() else None
    threshold = _threshold(verifier)
    figures = {
        "verifier": manifest["content"],
        "alpha": model.alpha,
        "threshold": threshold,
        "validation": {name: float(value) for name, value in manifest["figures"]["auc"].items()},
        "grounds": {ground.name: _try(model, realism, ground, threshold, seed) for ground in grounds},
    }
    files.write_json(out / CARD, figures)
    page = environment().get_template("verifier_card.html").render(card=figures, names=NEGATIVES, match=MATCH)
    files.write_bytes(out / PAGE, page.encode())
    return figures


def table(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a card's key figures as rows for a terminal."""
    rows: list[tuple[str, ...]] = [("tried on", "real against", "AUC", "95 % interval", "let through")]
    for name, ground in figures["grounds"].items():
        for kind, one in ground["kinds"].items():
            interval = f"{one['auc']['low']:.3f} to {one['auc']['high']:.3f}"
            rows.append((name, kind, f"{one['auc']['value']:.3f}", interval, f"{100 * one['accepted']:.1f} %"))
        rows.append((name, MATCH, f"{ground['match']:.3f}", "", f"real: {100 * ground['accepted']:.1f} %"))
    return rows


def _own(verifier: Path, manifest: Mapping[str, Any], limit: int, seed: int) -> Ground:
    dataset = verifier.absolute().parent.parent
    frames, captions = (_output(dataset, stage, manifest["inputs"][stage]) for stage in ("frames", "captions"))
    return _ground(f"{dataset.name}, test split", frames, captions, ("test",), limit, seed)


def _other(second: FramesSettings, out: Path, limit: int, seed: int) -> Ground:
    """Read another source: all its splits are held out."""
    frames = pipeline.run_in(out / "frames", pipeline.stage_named("frames"), {"frames": second}, {})
    wanted = CaptionsSettings(train_frames=ALL, val_frames=ALL, test_frames=ALL)
    stage = pipeline.stage_named("captions")
    captions = pipeline.run_in(out / "captions", stage, {"captions": wanted}, {"frames": frames.ref})
    return _ground(second.source, frames.ref.folder, captions.ref.folder, ("train", "val", "test"), limit, seed)


def _output(dataset: Path, stage: str, content: str) -> Path:
    for path in sorted(dataset.glob(f"*-{stage}/*/{store.MANIFEST}")):
        if store.read_manifest(path.parent)["content"] == content:
            return path.parent
    raise StoreError(f"{dataset}: the {stage} that the verifier was made of are not there", f"Run stage {stage} again.")


def _ground(name: str, frames: Path, captions: Path, splits: Sequence[str], limit: int, seed: int) -> Ground:
    words = {row.frame_id: row.caption for row in read_rows(captions / "captions.parquet", Caption)}
    rows = read_rows(frames / "frames.parquet", Frame)
    found = [frame for frame in rows if frame.id in words and frame.lwir and frame.split in splits]
    if len(found) < 2:
        raise SourceError(
            f"{frames}: {len(found)} captioned frames with an LWIR image to try the verifier on", "Give more frames."
        )
    chosen = sorted(seeds.generator(seed, name, "verifier-card").permutation(len(found))[:limit].tolist())
    kept = [found[row] for row in chosen]
    return Ground(name, sources.root_of(frames), kept, [words[frame.id] for frame in kept])


def _threshold(verifier: Path) -> float:
    """Return the score that parts real validation frames from all their negatives best (balanced accuracy)."""
    counts = json.loads((verifier / "calibration.json").read_text())["after"]["histograms"]
    edges = np.array(counts["edges"])
    others = [np.array(counts[kind]) for kind in counts if kind in MAKERS]
    if not others:
        return float(edges[0])
    below_real = np.cumsum(counts[REAL]) / np.sum(counts[REAL])
    below_others = np.cumsum(np.sum(others, axis=0)) / np.sum(others)
    return float(edges[1 + int(np.argmax(below_others - below_real))])


def _try(model: IrScore, realism: Realism | None, ground: Ground, threshold: float, seed: int) -> dict[str, Any]:
    scored = {REAL: _score(model, realism, ground, REAL, lambda frame: _lwir(frame, ground.root))}
    for kind, maker in MAKERS.items():
        if kind == "agc" or any(frame.visible for frame in ground.frames):
            scored[kind] = _score(model, realism, ground, kind, _loader(maker, ground.root, seed), kind != "agc")
    scores = {kind: model.combine(one.cosines[:, 0], one.cosines[:, 1]) for kind, one in scored.items()}
    kinds = {}
    for kind, one in scored.items():
        if kind == REAL:
            continue
        by_alpha = {f"{alpha:g}": auc(_combined(scored[REAL], alpha), _combined(one, alpha)) for alpha in ALPHAS}
        kinds[kind] = {
            "n": len(one.rows),
            "auc": _interval(ground, scores[REAL], scores[kind], one.rows, seed),
            "accepted": float((scores[kind] > threshold).mean()),
            "by_alpha": by_alpha,
        }
    return {
        "n": len(ground.frames),
        "videos": len({frame.video for frame in ground.frames}),
        "accepted": float((scores[REAL] > threshold).mean()),
        "kinds": kinds,
        "match": _match(model, ground, scored[REAL]),
        "correlation": _correlations(scored, scores),
    }


def _loader(maker: Make, root: Path, seed: int) -> Callable[[Frame], U8]:
    return lambda frame: maker(frame, root, seed)


def _lwir(frame: Frame, root: Path) -> U8:
    return np.repeat(images.read_gray(root / frame.lwir)[..., None], 3, axis=2)


def _score(
    model: IrScore, realism: Realism | None, ground: Ground, kind: str, load: Callable[[Frame], U8], seen: bool = False
) -> Scored:
    """Score one kind of image; `seen`: only frames with a visible image have it."""
    rows = [row for row, frame in enumerate(ground.frames) if frame.visible or not seen]
    cosines, felt = [], []
    with progress.bar(f"{ground.name}: {kind}", len(rows)) as advance:
        for start in range(0, len(rows), AT_ONCE):
            chunk = rows[start : start + AT_ONCE]
            pictures = [load(ground.frames[row]) for row in chunk]
            stack = _squashed(model, pictures)
            parts = model.score(stack, [ground.captions[row] for row in chunk]).parts
            cosines.append(np.stack([parts["cos_infrared"], parts["cos_grayscale"]], 1))
            if realism:
                felt.append(np.concatenate([realism.score(picture[None], [""]).value for picture in pictures]))
            advance(len(chunk))
    return Scored(np.array(rows), np.concatenate(cosines), np.concatenate(felt) if felt else np.zeros(0))


def _squashed(model: IrScore, pictures: Sequence[U8]) -> U8:
    """Squash images of any sizes to the model's, uint8 [B, h, w, 3], as they were in its training."""
    return np.concatenate([squashed(model.clip, picture[None]).permute(0, 2, 3, 1).numpy() for picture in pictures])


def _combined(one: Scored, alpha: float) -> F64:
    combined: F64 = (1 - alpha) * one.cosines[:, 0] - alpha * one.cosines[:, 1]
    return combined


def _interval(ground: Ground, real: F64, other: F64, rows: np.ndarray, seed: int) -> dict[str, float]:
    """Return an AUC with its interval over videos; both sides are resampled by the same frames."""
    value = auc(real, other)
    place = {int(row): number for number, row in enumerate(rows)}
    draws = []
    for number in range(RESAMPLINGS):
        drawn = bootstrap.resample(ground.groups, seeds.generator(seed, number, "verifier-card/bootstrap"))
        others = [place[row] for row in drawn.tolist() if row in place]
        if others:
            draws.append(auc(real[drawn], other[others]))
    low, high = bootstrap.interval(value, draws)
    return {"value": value, "low": max(0.0, low), "high": min(1.0, high)}


def _match(model: IrScore, ground: Ground, real: Scored) -> float:
    """Return how often a frame's own caption beats another's; 0.5 where all captions are alike."""
    distinct = list(dict.fromkeys(ground.captions))
    columns = np.array([distinct.index(caption) for caption in ground.captions])
    if len(distinct) == 1:
        return 0.5
    table_of_scores = np.empty((len(ground.frames), len(distinct)))
    forms = model.forms(distinct).double()
    for start in range(0, len(ground.frames), AT_ONCE):
        chunk = ground.frames[start : start + AT_ONCE]
        stack = _squashed(model, [_lwir(frame, ground.root) for frame in chunk])
        features = model.clip.image_features(model.clip.resize(stack)).double()
        cosines = (features @ forms.flatten(0, 1).T).reshape(len(chunk), len(distinct), 2).cpu().numpy()
        table_of_scores[start : start + len(chunk)] = model.combine(cosines[..., 0], cosines[..., 1])
    return match_auc(table_of_scores[:, columns], columns[:, None] == columns[None, :])


def _correlations(scored: Mapping[str, Scored], scores: Mapping[str, F64]) -> dict[str, float]:
    """Return Spearman's correlation of IRSCORE with realism: among real frames, and over all kinds together."""
    if not len(scored[REAL].realism):
        return {}
    everything = [
        np.concatenate([part[kind] for kind in scored]) for part in (scores, {k: s.realism for k, s in scored.items()})
    ]
    return {
        REAL: float(stats.spearmanr(scores[REAL], scored[REAL].realism).statistic),
        "all kinds": float(stats.spearmanr(*everything).statistic),
    }


def second_source(source: str, root: str, annotations: str) -> FramesSettings | None:
    """Return the settings of the other source, None where none is named.

    Raises:
        SettingsError: no such source, or one without its folder.
    """
    if not source:
        return None
    document = {"source": source, "root": root, "annotations": annotations}
    return settings.parse(FramesSettings, document, "irgen verifier-card")
