"""Stage 05: finetune a CLIP model to score infrared, and calibrate it on held-out frames."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import digests, files, miniature, progress, store, weights
from irgen.errors import SettingsError, WeightsError
from irgen.settings import MINIATURE, BaseSettings, VerifierSettings

if TYPE_CHECKING:
    from irgen.verifiers.calibration import Calibration
    from irgen.verifiers.clip import Clip
    from irgen.verifiers.examples import Examples
    from irgen.verifiers.training import Trained

VERSION = 3


def externals(verifier: VerifierSettings, base: BaseSettings) -> dict[str, str]:
    """Name the initial weights: the digest of a folder's or file's content, or the model and tag; and the base's."""
    found = {"base": weights.identity_of(base)} if verifier.own_samples else {}
    local = _local(verifier)
    if local is None:
        return {**found, "model": f"{verifier.model}:{verifier.pretrained}"}
    if not local.exists():
        raise WeightsError(
            f"verifier.model = {verifier.model}, pretrained = {verifier.pretrained!r}: {local} is not there",
            "Give open_clip weights as `local-dir:FOLDER`, or a .safetensors file for verifier.pretrained.",
        )
    return {**found, "model": digests.digest(local)}


def _local(verifier: VerifierSettings) -> Path | None:
    if verifier.model == MINIATURE:
        return miniature.clip_dir()
    if verifier.model.startswith("local-dir:"):
        return Path(verifier.model.removeprefix("local-dir:"))
    return Path(verifier.pretrained) if verifier.pretrained.endswith(".safetensors") else None


def run(
    verifier: VerifierSettings,
    base: BaseSettings,
    frames: Path,
    captions: Path,
    negatives: Path,
    out: Path,
    adapter: Path | None = None,
) -> dict[str, Any]:
    """Train one verifier a seed, keep the best by validation, and write it as open_clip reads it.

    Args:
        verifier: how.
        base: the diffusion model; read only where `verifier.own_samples` asks for samples.
        frames: output of stage frames.
        captions: output of stage captions.
        negatives: output of stage negatives.
        out: folder to write.
        adapter: output of stage adapter; None where no own samples are asked for.

    Returns:
        `auc` by kind of negative and `match`, `before` (the same of the model untrained), `seed` (the chosen one),
        `seeds` (AUCs and step of each), `frames` by split, `realism` (whether there were frames enough to learn the
        statistics of real ones), `captions_cut` (longer than the model's text context);
        with own samples their number by split, `own_samples`, and `preview_rank` by step.

    Raises:
        WeightsError: the initial weights are missing, or a score is not finite.
        GateError: the calibration is under the bar.
        StoreError: a test frame among the training frames.
    """
    from irgen.verifiers import calibration, clip, irscore, seed_runs

    model, train, val = _prepared(verifier, base, frames, captions, negatives, out, adapter)
    with progress.bar("calibrating the untrained", len(val)) as advance:
        before = calibration.calibrate(irscore.IrScore(model, verifier.alpha), val)
        advance(len(val))
    runs = {
        seed: seed_runs.train_or_read(model, verifier, seed, train, val, out / files.TMP) for seed in verifier.seeds
    }
    chosen = max(runs, key=lambda seed: runs[seed].calibration.objective)
    best = runs[chosen]
    model.model.load_state_dict(best.weights)
    irscore.IrScore(model, verifier.alpha).save(out, verifier.precision)
    learnt = _learn_realism(frames, captions, out)
    document = {"before": before.document(), "after": best.calibration.document(), "seed": chosen}
    files.write_json(out / "calibration.json", document)
    calibration.check_bar(best.calibration.auc, verifier.bar)
    return {
        **_seed_figures(before, runs, chosen),
        "frames": {"train": len(train), "val": len(val)},
        "realism": learnt,
        "captions_cut": clip.count_cut(model, (*train.captions, *val.captions)),
        **(_own_figures(train, val, best.calibration) if adapter is not None else {}),
    }


def train(
    verifier: VerifierSettings,
    base: BaseSettings,
    frames: Path,
    captions: Path,
    negatives: Path,
    out: Path,
    adapter: Path | None = None,
) -> None:
    """Train one verifier a seed together with other processes (`irgen.ranks`), for `run` to choose from.

    Raises:
        IrgenError: as `run`.
    """
    from irgen import collective
    from irgen.verifiers import seed_runs

    model, train, val = _prepared(verifier, base, frames, captions, negatives, out, adapter)
    with collective.joined() as group:
        for seed in verifier.seeds:
            seed_runs.train_unless_there(model, verifier, seed, train, val, out / files.TMP, group)


def _prepared(
    verifier: VerifierSettings,
    base: BaseSettings,
    frames: Path,
    captions: Path,
    negatives: Path,
    out: Path,
    adapter: Path | None,
) -> tuple[Clip, Examples, Examples]:
    """Return the untrained model, what it learns from and what is held out."""
    from irgen import devices
    from irgen.verifiers import clip

    model = clip.load(verifier.model, verifier.pretrained, devices.device(), devices.dtype(verifier.precision))
    train, val = _examples(model, frames, captions, negatives)
    if adapter is None:
        return model, train, val
    # Processes that train together make own samples once: whoever comes first.
    with store.exclusive(out / files.TMP / "own"):
        return model, *_with_own(model, verifier, base, adapter, train, val, out / files.TMP)


def _examples(model: Clip, frames: Path, captions: Path, negatives: Path) -> tuple[Examples, Examples]:
    """Read what is learnt from and what is held out.

    Raises:
        SettingsError: one of them is empty.
        StoreError: a test frame among the training frames.
    """
    from irgen import sources
    from irgen.records import Caption, Frame, Negative, read_rows
    from irgen.verifiers import examples

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
    return train, val


def _learn_realism(frames: Path, captions: Path, out: Path) -> bool:
    """Learn the statistics of real frames, and return whether there were enough of them."""
    from irgen import sources
    from irgen.records import Caption, Frame, read_rows
    from irgen.verifiers import realism

    learnt = realism.learn(
        read_rows(frames / "frames.parquet", Frame),
        read_rows(captions / "captions.parquet", Caption),
        sources.root_of(frames),
    )
    if learnt:
        learnt.save(out)
    return learnt is not None


def _with_own(
    model: Clip,
    verifier: VerifierSettings,
    base: BaseSettings,
    adapter: Path,
    train: Examples,
    val: Examples,
    scratch: Path,
) -> tuple[Examples, Examples]:
    """Add samples of the adapted base to both splits; on return the base is let go of."""
    from irgen import generators
    from irgen.verifiers import own

    @functools.cache
    def load() -> generators.Engine:
        return generators.load(base, verifier.own_steps, verifier.own_guidance, own.BATCH, adapter)

    count = verifier.own_samples
    return (
        own.with_own(model, train, "train", count, load, scratch, previews=verifier.previews),
        own.with_own(model, val, "val", count, load, scratch, previews=True),
    )


def _seed_figures(before: Calibration, runs: Mapping[int, Trained], chosen: int) -> dict[str, Any]:
    return {
        "auc": runs[chosen].calibration.auc,
        "before": before.auc,
        "seed": chosen,
        "seeds": {
            str(seed): {"auc": one.calibration.auc, "step": one.step, "losses": one.losses}
            for seed, one in runs.items()
        },
    }


def _own_figures(train: Examples, val: Examples, reached: Calibration) -> dict[str, Any]:
    from irgen.verifiers.examples import OWN

    return {
        "own_samples": {"train": len(train.owners[OWN]), "val": len(val.owners[OWN])},
        "preview_rank": reached.preview_rank,
    }
