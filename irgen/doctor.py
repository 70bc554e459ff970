"""What a dataset's making needs and this machine may lack, found out before anything long starts.

Nothing is downloaded and nothing is written. Sizes are rough, on the safe side.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
from packaging.requirements import Requirement

from irgen import miniature, pipeline, running, sources, store, weights
from irgen.errors import IrgenError
from irgen.settings import MINIATURE, BaseSettings, FramesSettings, Manifest, VerifierSettings

Verdict = Literal["ok", "warning", "missing"]

GIB = 2**30
FLUX_BYTES = 34 * GIB
"""FLUX.1-dev on disk: transformer 24, T5 10, the rest."""
FLUX_TRANSFORMER_BYTES = 24 * GIB
FLUX_TRAINING_BYTES = 12.4 * GIB
"""Activations of a sample at 512x640 without gradient checkpointing, measured on an H200."""
CHECKPOINTED = 0.35
"""Share of the activations that stays with gradient checkpointing."""
BYTES_A_PIXEL = {"png": 1.2, "jpg": 0.4}
COPIES = 4
"""Of an image on disk: kept, unguided and lowest-scored in samples, kept again in shards."""
CLIP_TOKEN_BYTES = 4096 * 2
"""A token's T5 embedding, in half precision."""


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        verdict: a run cannot do without what is `missing`; a `warning` is for its user to judge.
        what: e.g. "base weights".
        found: what is there, or not.
        fix: the way out, "" where none is needed.
    """

    verdict: Verdict
    what: str
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of a table: verdict, what, found; and below it the way out."""
        return [(self.verdict, self.what, self.found), *([("", "", f"-> {self.fix}")] if self.fix else [])]


def examine(manifests: Sequence[Manifest], data: Path) -> list[Check]:
    """Look at everything that building datasets needs; what several of them need is told once."""
    found = [*packages()]
    for manifest in manifests:
        found += [
            raw_data(manifest.frames),
            *base_weights(manifest.base),
            verifier_weights(manifest.verifier),
            gpu(manifest),
            disk(manifest, data),
            *unfinished(pipeline.dataset_root(data, manifest.dataset)),
        ]
    # Reckoning takes seconds, and the runs of a study sample alike.
    for each in dict.fromkeys((one.base, one.samples.batch_size, one.samples.guidance) for one in manifests):
        found += sampling_memory(*each)
    return list(dict.fromkeys(found))


def packages() -> Iterator[Check]:
    """Compare the installed packages with what irgen requires; one line where all is well."""
    wrong = [found for text in importlib.metadata.requires("irgen") or [] for found in _package(Requirement(text))]
    yield from wrong or [Check("ok", "packages", "all that irgen requires is installed")]


def _package(wanted: Requirement) -> Iterator[Check]:
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return
    fix = "Run `make setup`, or `pip install --constraint constraints.txt --editable .`."
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        yield Check("missing", f"package {wanted.name}", "not installed", fix)
        return
    if not wanted.specifier.contains(version, prereleases=True):
        yield Check("warning", f"package {wanted.name}", f"{version}, irgen asks for {wanted.specifier}", fix)


def raw_data(settings: FramesSettings) -> Check:
    """Look for the source's folder and its first image or its annotations."""
    if settings.source == MINIATURE:
        return Check("ok", "raw data", "the miniature draws its own")
    try:
        inputs = sources.adapter(settings.source).inputs(settings, sources.raw_root(settings, Path()))
        first = inputs.annotations if inputs.images is None else next(iter(inputs.images), None)
    except IrgenError as error:
        return Check("missing", "raw data", error.what, error.fix)
    if first is None:
        return Check("missing", "raw data", f"{inputs.folder}: no images", "Put the data there, or mend frames.root.")
    return Check("ok", "raw data", f"{settings.source} in {inputs.folder}, annotations: {inputs.annotations or 'none'}")


def base_weights(base: BaseSettings) -> Iterator[Check]:
    """Look for the diffusion model's files and, where they must come from the hub, for a token."""
    try:
        absent = weights.missing(base.model, base.revision)
    except IrgenError as error:
        yield Check("missing", "base weights", error.what, error.fix)
        return
    if not absent:
        yield Check("ok", "base weights", base.model)
        return
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    if not _from_hub(base):
        yield Check("missing", "base weights", absent[0] + more, "Copy or download the folder again.")
        return
    token = huggingface_hub.get_token()
    way = weights.how_to_get(base.model, base.revision)
    yield Check("warning" if token else "missing", "base weights", absent[0] + more, way)
    if token:
        yield Check("ok", "hub token", "set; that it may read the model is seen at the download")
    else:
        yield Check("missing", "hub token", "neither HF_TOKEN nor a cached login", "Run `hf auth login`.")


def _from_hub(base: BaseSettings) -> bool:
    return base.model != MINIATURE and not Path(base.model).expanduser().is_dir()


def verifier_weights(verifier: VerifierSettings) -> Check:
    """Look for the CLIP model's weights in the package, in a folder, or in the hub's cache."""
    what = "verifier weights"
    folder = miniature.clip_dir() if verifier.model == MINIATURE else None
    if verifier.model.startswith("local-dir:"):
        folder = Path(verifier.model.removeprefix("local-dir:")).expanduser()
    if folder is not None:
        if any(folder.glob("*.safetensors")):
            return Check("ok", what, str(folder))
        return Check("missing", what, f"{folder}: no .safetensors in it", "Mend verifier.model.")
    if verifier.pretrained.endswith(".safetensors"):
        path = Path(verifier.pretrained).expanduser()
        if path.is_file():
            return Check("ok", what, str(path))
        return Check("missing", what, f"{path}: no such file", "Mend verifier.pretrained.")
    repository = verifier.model.removeprefix("hf-hub:")
    if repository == verifier.model:
        import open_clip  # takes seconds: it loads torch

        if verifier.model not in open_clip.list_models():
            return Check("missing", what, f"open_clip has no model {verifier.model!r}", "See open_clip.list_models().")
        tags = open_clip.list_pretrained_tags_by_model(verifier.model)
        if verifier.pretrained not in tags:
            found = f"{verifier.model} has no weights tagged {verifier.pretrained!r}"
            return Check("missing", what, found, f"Set verifier.pretrained to one of {', '.join(tags)}.")
        repository = open_clip.get_pretrained_cfg(verifier.model, verifier.pretrained).get("hf_hub", "").rstrip("/")
    names = ("open_clip_model.safetensors", "model.safetensors")
    if any(isinstance(huggingface_hub.try_to_load_from_cache(repository, name), str) for name in names):
        return Check("ok", what, f"{repository}, in the hub cache")
    return Check("warning", what, f"{repository}: not in the hub cache", "A run fetches it.")


def gpu(manifest: Manifest) -> Check:
    """Compare the GPU's memory with what training the adapter needs."""
    import torch

    need_bytes = _training_bytes(manifest)
    small = need_bytes < GIB
    if not torch.cuda.is_available():
        if small:
            return Check("ok", "GPU", "none; this model runs on the CPU")
        fix = "Run on a machine with one, or take a smaller base."
        return Check("missing", "GPU", f"none; the base needs about {need_bytes / GIB:.0f} GiB", fix)
    properties = torch.cuda.get_device_properties(0)
    found = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB; about {need_bytes / GIB:.1f} GiB needed"
    if properties.total_memory >= need_bytes:
        return Check("ok", "GPU", found)
    return Check("missing", "GPU", found, "Lower adapter.batch_size, or set adapter.gradient_checkpointing.")


def sampling_memory(base: BaseSettings, batch_size: int, guidance: float) -> Iterator[Check]:
    """Tell the memory plan of sampling, and compare it with the GPU's memory where there is one."""
    import torch

    from irgen.generators import memory

    try:
        plan = memory.plan(base, batch_size, guidance)
    except IrgenError as error:
        yield Check("missing", "sampling memory", error.what, error.fix)
        return
    if plan is None:
        yield Check("ok", "sampling memory", f"not known: {base.model} is not here")
        return
    fix = ""
    if torch.cuda.is_available():
        total_bytes = torch.cuda.get_device_properties(0).total_memory
        if plan.least > total_bytes:
            fix = "Lower samples.batch_size or base.decode_batch, or set base.quantize."
        elif plan.peak > total_bytes:
            yield Check("ok", "sampling memory", f"{plan}; text encoders and denoiser take turns on the GPU")
            return
    yield Check("missing" if fix else "ok", "sampling memory", str(plan), fix)


def disk(manifest: Manifest, data: Path) -> Check:
    """Compare the free space under the data folder with what the dataset takes."""
    place = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.is_dir())
    free_bytes = shutil.disk_usage(place).free
    download = FLUX_BYTES if _from_hub(manifest.base) and weights.missing(manifest.base.model) else 0
    need_bytes = dataset_bytes(manifest) + download
    found = f"{free_bytes / GIB:.1f} GiB free in {place}; about {need_bytes / GIB:.1f} GiB needed"
    if free_bytes >= need_bytes:
        return Check("ok", "disk", found)
    return Check("missing", "disk", found, "Free some space, name another --data, or lower samples.images.")


def unfinished(root: Path) -> Iterator[Check]:
    """Look for outputs of a dataset that were begun and not finished, and for who is at work on them."""
    for folder in sorted(each for each in root.glob("[0-9][0-9]-*/*") if each.is_dir()):
        if (folder / store.MANIFEST).exists():
            continue
        what, state = "unfinished output", f"{folder}: begun{_committed(folder)}"
        if running.is_held(store.lock_path(folder)):
            yield Check("ok", what, f"{state}; a run is at work there")
        else:
            fix = f"Run the same manifest again: it carries on. `irgen gc {root}` removes what no run would go on with."
            yield Check("warning", what, f"{state}; its run is gone", fix)


def _committed(folder: Path) -> str:
    """Say how many shards of a sharded output are there."""
    from irgen.shards import committed  # not at the top: it loads the table libraries

    if not (folder / committed.RUN).exists():
        return ""
    try:
        return f", {len(committed.records(folder))} of {len(committed.read_run(folder))} shards"
    except IrgenError as error:
        return f", {error.what}"


def dataset_bytes(manifest: Manifest) -> float:
    """Estimate what a dataset takes on disk with all that it is made of, on the safe side."""
    pixels = manifest.base.height_px * manifest.base.width_px
    images = COPIES * manifest.samples.images * pixels * BYTES_A_PIXEL[manifest.samples.image_format]
    captions = manifest.captions
    negatives = (captions.train_frames + captions.val_frames + captions.test_frames) * len(manifest.negatives.kinds)
    # An 8x autoencoder's latents of 16 channels in half precision, and the text's embeddings.
    latents = captions.train_frames * (pixels / 64 * 32 + manifest.base.max_sequence_length * CLIP_TOKEN_BYTES)
    return images + negatives * pixels * BYTES_A_PIXEL["png"] + latents


def _training_bytes(manifest: Manifest) -> float:
    transformer = FLUX_TRANSFORMER_BYTES if _from_hub(manifest.base) else _transformer_bytes(manifest.base)
    size = manifest.base.height_px * manifest.base.width_px / (512 * 640)
    activations = FLUX_TRAINING_BYTES * size * manifest.adapter.batch_size * transformer / FLUX_TRANSFORMER_BYTES
    return transformer + activations * (CHECKPOINTED if manifest.adapter.gradient_checkpointing else 1)


def _transformer_bytes(base: BaseSettings) -> int:
    folder = miniature.flux_dir() if base.model == MINIATURE else Path(base.model).expanduser()
    return sum(path.stat().st_size for path in (folder / "transformer").glob("*.safetensors"))
