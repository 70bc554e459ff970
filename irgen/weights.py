"""Base models on disk: where they are, what is missing of them, and what names their content. Needs no torch.

A base is a pipeline of one of the `PIPELINES` in the diffusers folder format: `model_index.json` and a folder for each
component, weights as safetensors only (pickled ones are never read). It is a folder, a hub id, or `miniature`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from irgen import digests, extensions, miniature
from irgen.errors import WeightsError
from irgen.settings import MINIATURE, BaseSettings

INDEX = "model_index.json"
FLUX = "FluxPipeline"
PIPELINES = {
    FLUX: ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    "StableDiffusionXLPipeline": (
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    ),
    "PixArtSigmaPipeline": ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"),
    "DiTPipeline": ("transformer", "vae", "scheduler"),
}
"""diffusers' classes that irgen has a family for, and the components that each needs; the denoiser is the first.

Packages may bring others; see `components`.
"""
FILES: dict[str, tuple[tuple[str, ...], ...]] = {
    "scheduler": (("scheduler_config.json",),),
    "text_encoder": (("config.json",), ("model.safetensors",)),
    "tokenizer": (("tokenizer.json", "vocab.json", "spiece.model"),),
    "transformer": (("config.json",), ("diffusion_pytorch_model.safetensors",)),
    "unet": (("config.json",), ("diffusion_pytorch_model.safetensors",)),
    "vae": (("config.json",), ("diffusion_pytorch_model.safetensors",)),
}
"""Of each kind of component the files it needs; of names in one tuple any will do, and a weight file may be sharded."""

SHARDS_INDEX = ".index.json"
DOWNLOADED = [INDEX, "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model"]
"""Not the single-file copies of the same weights that lie beside the folders."""
IGNORED = ["*.fp16.safetensors"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_TIMEOUT_S = 10.0


def identity(model: str, revision: str = "") -> str:
    """Name a base by its content, for fingerprints; nothing is downloaded.

    Args:
        model: folder, hub id or `miniature`.
        revision: of the hub repository; empty takes the commit that is cached, or else asks the hub for the newest.

    Returns:
        The digest of a folder's files, or "id@revision"; "id@main" where neither cache nor hub know the commit.

    Raises:
        WeightsError: no such folder and no hub id, or a folder that lacks files.
    """
    folder = _local_folder(model)
    if folder is not None:
        _require_whole(folder)
        return digests.digest(folder)
    return f"{model}@{revision or _cached_commit(model, revision) or _newest_commit(model) or 'main'}"


def resolve(model: str, revision: str = "") -> Path:
    """Return the folder of a base, downloading a hub id that is not in the cache (once; later runs are offline).

    Raises:
        WeightsError: naming the missing file or the repository, and how to get it.
    """
    folder = _local_folder(model)
    if folder is not None:
        _require_whole(folder)
        return folder
    cached = _cached_snapshot(model, revision)
    if cached is not None and not _absent(cached):
        return cached
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                model, revision=revision or None, allow_patterns=DOWNLOADED, ignore_patterns=IGNORED
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        raise WeightsError(f"{model}: {_why(error)}", how_to_get(model, revision)) from error
    _require_whole(folder)
    return folder


def identity_of(base: BaseSettings) -> str:
    """Name a base with all that its settings put into it: a denoiser and a LoRA of its own.

    Raises:
        WeightsError: see `identity`; or no such folder of a denoiser or a LoRA.
    """
    parts = [identity(base.model, base.revision)]
    for name in ("denoiser", "lora"):
        if getattr(base, name):
            parts.append(f"{name}={digests.digest(part_folder(base, name))}")
    return " ".join(parts)


def part_folder(base: BaseSettings, name: str) -> Path:
    """Return the folder of `base.denoiser` or `base.lora`.

    Raises:
        WeightsError: there is none.
    """
    folder = Path(getattr(base, name)).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"base.{name} = {str(folder)!r}: no such folder", "Give a local folder: `hf download` it.")
    return folder


def pipeline_class(folder: Path) -> str:
    """Return the name of the diffusers class that a folder's index is of.

    Raises:
        WeightsError: the index cannot be read, or names a class that irgen has no family for.
    """
    try:
        name = json.loads((folder / INDEX).read_bytes())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / INDEX}: not an index of a pipeline ({error})", "Download it again.") from error
    known = [*PIPELINES, *(() if name in PIPELINES else extensions.names(extensions.FAMILIES))]
    if name not in known:
        raise WeightsError(f"{folder}: a {name}, for which irgen has no family", f"There are: {', '.join(known)}.")
    return str(name)


def components(pipeline: str) -> tuple[str, ...]:
    """Return the components that a pipeline of diffusers' class needs; the denoiser is the first."""
    if pipeline in PIPELINES:
        return PIPELINES[pipeline]
    brought: tuple[str, ...] = extensions.load(extensions.FAMILIES, pipeline).components
    return brought


def missing(model: str, revision: str = "") -> list[str]:
    """Say what of a base is not on this machine, a line each; nothing is downloaded or asked.

    Raises:
        WeightsError: no such folder and no hub id.
    """
    folder = _local_folder(model)
    if folder is None:
        folder = _cached_snapshot(model, revision)
        if folder is None:
            token = "" if huggingface_hub.get_token() else ", and there is no hub token, which a gated model needs"
            return [f"{model}{f' @ {revision}' if revision else ''}: not in the hub cache{token}"]
    return [f"{folder / name}: missing" for name in _absent(folder)]


def require_finite(tensors: Mapping[str, Any], where: object, fix: str) -> None:
    """Refuse weights with NaN or infinity in them: all that is made with them would be.

    Args:
        tensors: of torch, by name.
        where: the file or setting they come from.
        fix: the way out.

    Raises:
        WeightsError: naming the tensor.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"{where}: {name} is not finite", fix)


def folder_here(model: str, revision: str = "") -> Path | None:
    """Return where a base is on this machine, whole or in part; None where it is not.

    Raises:
        WeightsError: no such folder and no hub id.
    """
    return _local_folder(model) or _cached_snapshot(model, revision)


def how_to_get(model: str, revision: str = "") -> str:
    """Return the way to a hub model's weights, in words and as a command."""
    pinned = f" --revision {revision}" if revision else ""
    return (
        f"Accept its licence at https://huggingface.co/{model} if it is gated, log in with `hf auth login`, and run "
        f"`hf download {model}{pinned} {' '.join(f'--include {chr(39)}{one}{chr(39)}' for one in DOWNLOADED)} "
        f"{' '.join(f'--exclude {chr(39)}{one}{chr(39)}' for one in IGNORED)}`; or "
        "set base.model to a local folder in the diffusers format."
    )


def _local_folder(model: str) -> Path | None:
    """Return the folder that a model names, or None for a hub id."""
    if model == MINIATURE:
        return miniature.flux_dir()
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        return folder
    if _HUB_ID.fullmatch(model) and not model.startswith("."):
        return None
    raise WeightsError(
        f"model = {model!r}: no such folder, and not a hub id (owner/name)",
        "Give a folder in the diffusers format, a hub id such as black-forest-labs/FLUX.1-dev, or `miniature`.",
    )


def _require_whole(folder: Path) -> None:
    absent = _absent(folder)
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise WeightsError(
            f"{folder / absent[0]}: missing{more}",
            f"{folder} must hold a pipeline in the diffusers format ({', '.join(PIPELINES)}), weights as safetensors: "
            f"copy or download it again.",
        )


def _absent(folder: Path) -> list[str]:
    """Return the names of a pipeline's files that are not in its folder."""
    if not (folder / INDEX).is_file():
        return [INDEX]
    absent = []
    for component in components(pipeline_class(folder)):
        for names in FILES[component.removesuffix("_2")]:
            absent += _absent_choice(folder / component, names, component)
    return absent


def _absent_choice(folder: Path, names: tuple[str, ...], component: str) -> list[str]:
    if any((folder / name).is_file() for name in names):
        return []
    index = folder / (names[0] + SHARDS_INDEX)
    if not index.is_file():
        return [f"{component}/{names[0]}"]
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: not an index of weight files ({error})", "Download it again.") from error
    return [f"{component}/{shard}" for shard in shards if not (folder / shard).is_file()]


def _cached_snapshot(model: str, revision: str) -> Path | None:
    """Return where the hub's cache has a repository, whole or in part."""
    try:
        return Path(huggingface_hub.snapshot_download(model, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def _cached_commit(model: str, revision: str) -> str:
    """Return the commit of the cached snapshot, which is its folder's name."""
    snapshot = _cached_snapshot(model, revision)
    return snapshot.name if snapshot is not None else ""


def _newest_commit(model: str) -> str:
    """Ask the hub which commit a download would bring, so that a stage has the same name before and after it."""
    try:
        return huggingface_hub.HfApi().model_info(model, timeout=_HUB_TIMEOUT_S).sha or ""
    except Exception:
        # Whatever keeps the hub from answering (offline, no route, no such model) is for `resolve` to report.
        return ""


def _why(error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return "gated: its licence is not accepted, or no valid token is set"
    if isinstance(error, RepositoryNotFoundError):
        return "no such repository on the hub, or it needs a token"
    return f"not in the hub cache, and cannot be downloaded ({type(error).__name__})"
