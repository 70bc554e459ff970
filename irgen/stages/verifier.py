"""Stage 04: finetune a CLIP model to score infrared, and calibrate it on held-out frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen import digests, files, miniature
from irgen.errors import SettingsError, WeightsError
from irgen.settings import MINIATURE, VerifierSettings

VERSION = 1


def externals(verifier: VerifierSettings) -> dict[str, str]:
    """Name the initial weights: the digest of a folder's or file's content, or the model and tag."""
    local = _local(verifier)
    if local is None:
        return {"model": f"{verifier.model}:{verifier.pretrained}"}
    if not local.exists():
        raise WeightsError(
            f"verifier.model = {verifier.model}, pretrained = {verifier.pretrained!r}: {local} is not there",
            "Give open_clip weights as `local-dir:FOLDER`, or a .safetensors file for verifier.pretrained.",
        )
    return {"model": digests.digest(local)}


def _local(verifier: VerifierSettings) -> Path | None:
    if verifier.model == MINIATURE:
        return miniature.clip_dir()
    if verifier.model.startswith("local-dir:"):
        return Path(verifier.model.removeprefix("local-dir:"))
    return Path(verifier.pretrained) if verifier.pretrained.endswith(".safetensors") else None


def run(verifier: VerifierSettings, frames: Path, captions: Path, negatives: Path, out: Path) -> dict[str, Any]:
    """Train one verifier a seed, keep the best by validation, and write it as open_clip reads it.

    Returns:
        `auc` by kind of negative and `match`, `before` (the same of the model untrained), `seed` (the chosen one),
        `seeds` (AUCs and step of each), `frames` by split, `captions_cut` (longer than the model's text context).

    Raises:
        WeightsError: the initial weights are missing, or a score is not finite.
        GateError: the calibration is under the bar.
        StoreError: a test frame among the training frames.
    """
    from irgen import devices, sources
    from irgen.records import Caption, Frame, Negative, read_rows
    from irgen.verifiers import calibration, clip, examples, irscore, seed_runs

    model = clip.load(verifier.model, verifier.pretrained, devices.device(), devices.dtype(verifier.precision))
    rows = (
        read_rows(frames / "frames.parquet", Frame),
        read_rows(captions / "captions.parquet", Caption),
        read_rows(negatives / "negatives.parquet", Negative),
    )
    raw = sources.root_of(frames)
    train = examples.read(model, "train", *rows, raw, negatives)
    val = examples.read(model, "val", *rows, raw, negatives)
    if not len(train) or not len(val):
        raise SettingsError(
            f"verifier: {len(train)} captioned train frames and {len(val)} val frames; it needs both",
            "Raise captions.train_frames and captions.val_frames, or frames.val_fraction, with at least two videos.",
        )
    before = calibration.calibrate(irscore.IrScore(model, verifier.alpha), val)
    runs = {
        seed: seed_runs.train_or_read(model, verifier, seed, train, val, out / files.TMP) for seed in verifier.seeds
    }
    chosen = max(runs, key=lambda seed: runs[seed].calibration.objective)
    best = runs[chosen]
    model.model.load_state_dict(best.weights)
    irscore.IrScore(model, verifier.alpha).save(out, verifier.precision)
    document = {"before": before.document(), "after": best.calibration.document(), "seed": chosen}
    files.write_json(out / "calibration.json", document)
    calibration.check_bar(best.calibration.auc, verifier.bar)
    return {
        "auc": best.calibration.auc,
        "before": before.auc,
        "seed": chosen,
        "seeds": {
            str(seed): {"auc": one.calibration.auc, "step": one.step, "losses": one.losses}
            for seed, one in runs.items()
        },
        "frames": {"train": len(train), "val": len(val)},
        "captions_cut": clip.count_cut(model, (*train.captions, *val.captions)),
    }
