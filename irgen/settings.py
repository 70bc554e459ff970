"""Settings: one small frozen model a stage; a whole dataset is one manifest.

A field that is unknown, out of range or in contradiction with another is refused when the manifest is read. Every
description is what the Prefect form and `--help` show.
"""

import difflib
import reprlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeGuard, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from irgen import extensions
from irgen.errors import SettingsError

NegativeKind = Literal["gray", "inverted", "agc", "rgb"]
Precision = Literal["auto", "bf16", "fp32"]
Quantize = Literal["none", "int8", "nf4"]
IGNORE = "ignore"
"""As a class: boxes of it are neither objects to learn nor background."""
TEACHERS = "teachers"
"""As a detector: the two of stage teachers."""
MINIATURE = "miniature"
"""As a base or a verifier's model: the small one that comes with irgen."""
SOURCES = ("kaist", "roadscene", "hit-uav", "folder", MINIATURE)
"""What comes with irgen; packages may bring others."""

MAX_MANIFEST_BYTES = 1 << 20
_BRIEF = reprlib.Repr()
"""Shows the outer part of a value: a few lines of YAML with aliases can be a billion words when written out."""
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 200, 200

S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class MiniatureScenes(Settings):
    """How many procedural scenes the miniature source draws."""

    train: int = Field(1200, ge=8, description="Scenes in sets 00 to 05.")
    test: int = Field(512, ge=8, description="Scenes in sets 06 to 11.")
    seed: int = Field(0, ge=0, description="Another seed, other scenes.")


def _sources(schema: dict[str, Any]) -> None:
    """List the sources, of which Prefect's form then offers one to choose."""
    schema["enum"] = [*SOURCES, *extensions.names(extensions.SOURCES)]


class FramesSettings(Settings):
    """Where frames come from."""

    source: str = Field(
        description=f"Adapter that reads the raw data: {', '.join(SOURCES)}, or one that an installed package brings.",
        json_schema_extra=_sources,
    )
    root: str = Field("", description="Folder of the raw data; empty for the miniature, which draws its own.")
    annotations: str = Field(
        "", description="Folder or .tar.gz of annotations; empty takes what lies beside the images (improved first)."
    )
    image_sets: tuple[str, ...] = Field(
        (), description="List files of frame ids (KAIST's imageSets); only those frames are taken."
    )
    annotations_only: bool = Field(False, description="Read annotations alone, without images.")
    val_fraction: float = Field(0.15, ge=0, lt=0.5, description="Share of the training videos kept for calibration.")
    test_fraction: float = Field(
        0.25, ge=0, lt=1, description="Share of videos kept for testing, in sources without an official split."
    )
    ignore_labels: tuple[str, ...] = Field(("people", "person?"), description="Classes whose boxes are marked ignore.")
    scenes: MiniatureScenes = Field(MiniatureScenes(), description="Only for the miniature source.")

    @field_validator("source")
    @classmethod
    def _source_is_there(cls, source: str) -> str:
        if source not in SOURCES and source not in (more := extensions.names(extensions.SOURCES)):
            raise ValueError(f"no such source; there are {', '.join([*SOURCES, *more])}")
        return source

    @model_validator(mode="after")
    def _root_fits_source(self) -> Self:
        if self.source == "miniature" and (self.root or self.annotations or self.image_sets or self.annotations_only):
            raise ValueError("source miniature draws its own frames: leave root, annotations and image_sets empty")
        if self.source != "miniature" and not (self.root or (self.annotations_only and self.annotations)):
            raise ValueError(f"source {self.source} needs `root`, the folder of its raw data")
        if self.source != "miniature" and self.scenes != MiniatureScenes():
            raise ValueError(f"`scenes` is for the miniature source, not for {self.source}")
        return self


class CaptionsSettings(Settings):
    """How frames are described."""

    train_frames: int = Field(1000, ge=1, description="Frames of the train split to caption; all when there are fewer.")
    val_frames: int = Field(500, ge=1, description="Frames of the val split to caption.")
    test_frames: int = Field(2252, ge=1, description="Frames of the test split to caption.")
    captioner: Literal["rules", "vlm"] = Field(
        "rules", description="rules: from set and boxes. vlm: a vision-language model by day, merged with the rules."
    )
    vlm_model: str = Field("", description="Hub id or folder of the vision-language model; only with captioner vlm.")
    max_tokens: int = Field(77, ge=16, le=77, description="CLIP tokens a formatted caption may have.")
    seed: int = Field(0, ge=0, description="Varies the wording and the choice of frames.")

    @model_validator(mode="after")
    def _vlm_has_model(self) -> Self:
        if (self.captioner == "vlm") != bool(self.vlm_model):
            raise ValueError("captioner vlm needs vlm_model (a hub id or folder), and vlm_model needs captioner vlm")
        return self


class NegativesSettings(Settings):
    """Which not-infrared images the verifier learns from."""

    kinds: tuple[NegativeKind, ...] = Field(
        ("gray", "inverted", "agc", "rgb"),
        description="gray: luma of the visible frame; inverted: its negative; agc: LWIR with a wrong gain control; "
        "rgb: the visible frame itself. Leave some out for an ablation.",
    )
    seed: int = Field(0, ge=0, description="Of the wrong gain controls.")

    @model_validator(mode="after")
    def _kinds_differ(self) -> Self:
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds has a kind twice: {list(self.kinds)}")
        return self


class VerifierBar(Settings):
    """The least the verifier must reach on held-out frames; the stage fails under it."""

    gray: float = Field(0.98, ge=0, le=1, description="AUC of real infrared against grayscale of the visible frame.")
    inverted: float = Field(0.0, ge=0, le=1, description="AUC against inverted grayscale.")
    agc: float = Field(0.0, ge=0, le=1, description="AUC against infrared with a wrong gain control.")
    rgb: float = Field(0.0, ge=0, le=1, description="AUC against the visible frame.")
    own: float = Field(0.0, ge=0, le=1, description="AUC against the adapted base's own samples.")
    match: float = Field(0.65, ge=0, le=1, description="AUC of the true caption against a shuffled one.")


class VerifierSettings(Settings):
    """The CLIP model that scores images, and its finetuning."""

    model: str = Field(
        "ViT-B-32",
        description="open_clip architecture, `hf-hub:` id, `local-dir:` folder, or `miniature`.",
    )
    pretrained: str = Field("openai", description="open_clip's tag of the weights; empty where `model` brings its own.")
    alpha: float = Field(
        0.5, gt=0, lt=1, description="IRSCORE = (1 - alpha) cos(T(infrared), I) - alpha cos(T(grayscale), I)."
    )
    steps: int = Field(400, ge=1, description="Optimiser steps of each training.")
    batch_size: int = Field(64, ge=2, description="Images a step: real and negative, and own samples, in equal parts.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak of the cosine schedule.")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's.")
    warmup_steps: int = Field(40, ge=0, description="Linear warm-up.")
    validate_every: int = Field(50, ge=1, description="Steps between validations; the best checkpoint is kept.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="One training a seed; the best by validation stays.")
    own_samples: int = Field(
        0, ge=0, description="Images that the adapted base makes of train captions, learned as negatives; 0: none."
    )
    own_steps: int = Field(28, ge=1, description="Denoising steps of own samples: as in samples.steps.")
    own_guidance: float = Field(3.5, ge=0, description="Guidance of own samples: as in samples.guidance.")
    previews: bool = Field(
        False, description="Learn to rank own samples by their previews, too, for a search that judges them early."
    )
    precision: Precision = Field("auto", description="auto: bf16 where the device multiplies in it, else fp32.")
    bar: VerifierBar = Field(VerifierBar(), description="Calibration under this fails the stage.")

    @model_validator(mode="after")
    def _own_samples_are_made(self) -> Self:
        if self.previews and not self.own_samples:
            raise ValueError("previews are of own samples: set own_samples, or previews to false")
        if self.previews and self.own_steps < 2:
            raise ValueError(f"previews lie between the first step and the last, but own_steps = {self.own_steps}")
        if self.bar.own and not self.own_samples:
            raise ValueError("bar.own asks for an AUC against own samples: set own_samples, or bar.own to 0")
        return self


class BaseSettings(Settings):
    """The diffusion model that is adapted and searched."""

    model: str = Field(
        "black-forest-labs/FLUX.1-dev", description="Hub id, folder in the diffusers format, or `miniature`."
    )
    revision: str = Field("", description="Commit of the hub repository; pin it for a dataset that must last.")
    height_px: int = Field(512, ge=16, description="Height of the images.")
    width_px: int = Field(640, ge=16, description="Width of the images.")
    max_sequence_length: int = Field(
        512,
        ge=8,
        le=512,
        description="T5 tokens: 256 for FLUX.1-schnell, 300 for PixArt-Sigma; SDXL and DiT have none.",
    )
    precision: Precision = Field("auto", description="auto: bf16 where the device multiplies in it, else fp32.")
    denoiser: str = Field(
        "",
        description="Folder (config.json, weights) of a transformer or U-Net in place of the base's, e.g. SDXL-DPO's.",
    )
    lora: str = Field(
        "", description="Folder with a pytorch_lora_weights.safetensors of the base's own (DPO's), before any adapter."
    )
    quantize: Quantize = Field(
        "none", description="Weights of the transformer or U-Net while sampling: int8 by torchao, nf4 by bitsandbytes."
    )
    compile: bool = Field(False, description="torch.compile the repeated blocks: worth it for long runs on a GPU.")
    decode_batch: int = Field(1, ge=1, description="Images decoded at once, in one fixed shape.")

    @model_validator(mode="after")
    def _size_fits_patches(self) -> Self:
        for name in ("height_px", "width_px"):
            if getattr(self, name) % 8:
                raise ValueError(f"{name} = {getattr(self, name)} must be a multiple of 8")
        return self


class AdapterSettings(Settings):
    """The LoRA that turns the base to infrared."""

    train: bool = Field(
        True,
        description="false takes the base as it is: one that is no FLUX, or that draws infrared already (base.lora).",
    )
    rank: int = Field(16, ge=1, description="LoRA rank.")
    alpha: float = Field(16, gt=0, description="LoRA alpha; the update is scaled by alpha / rank.")
    target_modules: tuple[str, ...] = Field(
        ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        min_length=1,
        description="Suffixes of the transformer's linear layers that get an adapter.",
    )
    steps: int = Field(2000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(1, ge=1, description="Images in one forward.")
    gradient_accumulation: int = Field(4, ge=1, description="Forwards an optimiser step.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak of the schedule.")
    warmup_steps: int = Field(100, ge=0, description="Linear warm-up, then constant.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    guidance: float = Field(1.0, ge=0, description="Embedded guidance while training a guidance-distilled base.")
    gradient_checkpointing: bool = Field(True, description="Trade time for memory.")
    checkpoint_every: int = Field(250, ge=1, description="Steps between checkpoints that a killed run resumes from.")
    grid_images: int = Field(16, ge=1, description="Images in the sample grid of the finished adapter.")
    seed: int = Field(0, ge=0, description="Of initial weights, data order, noises and timesteps.")


class RandomSearch(Settings):
    """Best of N noises. NFE = candidates x steps."""

    algorithm: Literal["random"] = "random"
    candidates: int = Field(12, ge=1, description="Noises a prompt.")


class ZeroOrderSearch(Settings):
    """Hill climbing among a pivot's neighbours. NFE = steps x (warm_start + neighbours x iterations)."""

    algorithm: Literal["zero_order"] = "zero_order"
    warm_start: int = Field(4, ge=1, description="Random noises at first; the best is the first pivot.")
    neighbours: int = Field(4, ge=1, description="Noises around the pivot, each iteration.")
    iterations: int = Field(2, ge=1, description="Times the pivot moves to the best noise so far.")
    cosine: float = Field(0.7, ge=0, lt=1, description="Between pivot and neighbour; larger is a smaller step.")


class PathsSearch(Settings):
    """Search over paths: noise what is nearly an image afresh, go down again, keep the best previews.

    Noise levels, 1 noise to 0 image, stand for shares of the steps: sigma is step round(steps x (1 - sigma)). The
    defaults spend 328 NFE at 28 steps.
    """

    algorithm: Literal["paths"] = "paths"
    paths: int = Field(2, ge=1, description="N: paths that are kept.")
    renoisings: int = Field(3, ge=1, description="M: fresh noises on each path, each round.")
    length: int = Field(2, ge=1, description="Rounds, at most: a path that arrives at the image ends.")
    sigma: float = Field(0.11, gt=0, lt=1, description="Noise level down to which the first noises go.")
    forward: float = Field(0.78, gt=0, lt=1, description="Noise level added each round.")
    backward: float = Field(0.81, gt=0, lt=1, description="Noise level taken away again each round.")

    @model_validator(mode="after")
    def _rounds_lead_down(self) -> Self:
        if self.sigma + self.forward >= 1:
            raise ValueError(f"sigma + forward = {self.sigma + self.forward:g} must be under 1, which is pure noise")
        if self.backward <= self.forward:
            raise ValueError(f"backward = {self.backward} must be above forward = {self.forward}, or no path ends")
        return self


class FirstOrderSearch(Settings):
    """Gradient ascent on the noise. NFE <= steps x (warm_start + iterations) + 4 x gradient_steps x iterations."""

    algorithm: Literal["first_order"] = "first_order"
    warm_start: int = Field(4, ge=1, description="Random noises at first; the best is the first pivot.")
    iterations: int = Field(7, ge=1, description="Steps uphill, each from the best noise so far.")
    gradient_steps: int = Field(
        1,
        ge=1,
        description="Last denoising steps the gradient goes through; each costs a forward and 3 for the way back.",
    )
    rate: float = Field(
        0.3, gt=0, description="Length of a step as a share of the noise's; halved where it did not lead uphill."
    )


class HalvingSearch(Settings):
    """Many candidates at first; those with the worst previews are cut. NFE = sum of candidates x steps they go on."""

    algorithm: Literal["halving"] = "halving"
    schedule: tuple[tuple[int, int], ...] = Field(
        ((20, 10), (12, 18), (4, 28)),
        min_length=1,
        description="[candidates, until_step], ...: fewer candidates and later steps each time, the last at the end.",
    )

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        counts, steps = zip(*self.schedule, strict=True)
        if counts[-1] < 1 or any(after >= before for before, after in pairwise(counts)):
            raise ValueError(f"candidates must fall from stage to stage, to 1 or more, not {list(counts)}")
        if steps[0] < 1 or any(after <= before for before, after in pairwise(steps)):
            raise ValueError(f"until_step must rise from stage to stage, from 1 or more, not {list(steps)}")
        return self


class CalibratedSearch(Settings):
    """Halving by a schedule that is chosen on previews of this generator under this verifier, or else best of N."""

    algorithm: Literal["calibrated"] = "calibrated"
    nfe: int = Field(336, ge=1, description="Budget of an image.")
    prompts: int = Field(20, ge=2, description="Prompts whose previews the choice is made on.")
    noises: int = Field(32, ge=2, description="Noises of each of them; calibration costs prompts x noises x steps NFE.")


class Extension(Settings):
    """What an installed package brings, by the name that the package gives it."""

    GROUP: ClassVar[str]
    extension: str = Field(description="Its name; see docs/extending.md.")
    options: dict[str, Any] = Field({}, description="Its own settings.")

    @field_validator("options")
    @classmethod
    def _options_are_its_own(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Fill in its defaults, so that a change of them is a change of settings."""
        if "extension" not in info.data:  # which is reported already
            return options
        return _made(cls.GROUP, info.data["extension"], options).model_dump(mode="json")

    def made(self) -> Any:
        """Return its own settings object, which does the work."""
        return _made(self.GROUP, self.extension, self.options)

    @property
    def identity(self) -> str:
        """Its name and the version of its code, for fingerprints."""
        return f"{self.extension} {self.made().VERSION}"


def _made(group: str, name: str, options: dict[str, Any]) -> Any:
    kind = extensions.load(group, name)
    if not (isinstance(kind, type) and issubclass(kind, Settings) and hasattr(kind, "VERSION")):
        raise SettingsError(f"{group}: {name!r} is no Settings with a VERSION", "See docs/extending.md.")
    return parse(kind, options, f"options of {name}", f"See the documentation of {name}.")


class ExtensionSearch(Extension):
    """An algorithm that an installed package brings; NFE is what it says."""

    GROUP: ClassVar[str] = extensions.SEARCHES
    algorithm: Literal["extension"] = "extension"


def _choices(schema: dict[str, Any]) -> None:
    """Say `any of`: Prefect's form then offers the models to choose from; for `one of` it shows bare JSON."""
    schema["anyOf"] = schema.pop("oneOf")


SettledSearch = RandomSearch | ZeroOrderSearch | PathsSearch | FirstOrderSearch | HalvingSearch | ExtensionSearch
"""Searches whose schedule is known."""

Search = Annotated[SettledSearch | CalibratedSearch, Field(discriminator="algorithm", json_schema_extra=_choices)]


def algorithm_of(search: Search) -> str:
    """Return what a search is called on score sheets."""
    return search.extension if isinstance(search, ExtensionSearch) else search.algorithm


class IrscoreChoice(Settings):
    """IRSCORE of the verifier stage's own model."""

    name: Literal["irscore"] = "irscore"


class ClipscoreChoice(Settings):
    """CLIPScore: how well an image fits its caption."""

    name: Literal["clipscore"] = "clipscore"
    model: str = Field(
        "ViT-B-32", description="open_clip architecture, `hf-hub:` id, `local-dir:` folder, `miniature`."
    )
    pretrained: str = Field("openai", description="open_clip's tag; empty where `model` brings its own weights.")


class AestheticChoice(Settings):
    """LAION's aesthetic predictor on CLIP features."""

    name: Literal["aesthetic"] = "aesthetic"
    head: str = Field(description="The predictor's layers, as .safetensors.")
    model: str = Field("ViT-L-14", description="The open_clip model that the head was trained on.")
    pretrained: str = Field("openai", description="open_clip's tag; empty where `model` brings its own weights.")


class ImageRewardChoice(Settings):
    """ImageReward: learnt from human preferences, on BLIP."""

    name: Literal["imagereward"] = "imagereward"
    weights: str = Field(description="ImageReward.pt's tensors under their own names, as .safetensors.")
    tokenizer: str = Field("bert-base-uncased", description="Hub id or folder.")


class PickScoreChoice(Settings):
    """PickScore: learnt from human preferences, on CLIP ViT-H."""

    name: Literal["pickscore"] = "pickscore"
    model: str = Field("yuvalkirstain/PickScore_v1", description="Hub id or folder of the model.")
    processor: str = Field(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", description="Hub id or folder of tokenizer and image processor."
    )


class ZeroShotChoice(Settings):
    """CLIP's zero-shot logit of the class that the caption names."""

    name: Literal["zero_shot"] = "zero_shot"
    classes: tuple[str, ...] = Field(min_length=2, description="Captions name one of them.")
    template: str = Field("a photo of a {}", pattern=r"\{\}", description="What CLIP reads; {} is the class.")
    model: str = Field(
        "ViT-B-32", description="open_clip architecture, `hf-hub:` id, `local-dir:` folder, `miniature`."
    )
    pretrained: str = Field("openai", description="open_clip's tag; empty where `model` brings its own weights.")


class DinoClassChoice(Settings):
    """A classifier's logit of the class that the caption names; DINOv2's ImageNet head by default."""

    name: Literal["dino_class"] = "dino_class"
    model: str = Field("facebook/dinov2-small-imagenet1k-1-layer", description="Hub id or folder of the classifier.")


class GraderChoice(Settings):
    """A vision-language model behind an OpenAI-compatible endpoint, asked for a grade."""

    name: Literal["grader"] = "grader"
    url: str = Field(pattern=r"^https?://", description="The endpoint up to and with its version, e.g. http://host/v1.")
    model: str = Field(description="The model's name there.")
    question: str = Field(
        "How well does this long-wave infrared (thermal) photo show: {caption}? Judge realism and content.",
        pattern=r"\{caption\}",
        description="What it is asked about each image; {caption} is the bare caption.",
    )
    api_key_env: str = Field("", description="Environment variable that holds the key; empty for none.")
    concurrency: int = Field(8, ge=1, description="Calls under way at once.")
    retries: int = Field(4, ge=0, description="Repeats of a call that found the server busy, failing or silent.")
    timeout_s: float = Field(60, gt=0, description="Until an answer must have come.")


class RealismChoice(Settings):
    """Statistics of real LWIR frames, fitted by the verifier stage: no network, no CLIP."""

    name: Literal["realism"] = "realism"


class AgreementChoice(Settings):
    """How well a detector's count and places fit the caption."""

    name: Literal["agreement"] = "agreement"
    detector: str = Field(
        TEACHERS,
        description="teachers: what the dataset's own two agree on. Or hub id or folder of a transformers object "
        "detector with irgen's class names.",
    )
    confidence: float = Field(
        0.5, gt=0, lt=1, description="Detections under it are not counted; teachers have thresholds of their own."
    )


class ExtensionChoice(Extension):
    """A verifier that an installed package brings."""

    GROUP: ClassVar[str] = extensions.VERIFIERS
    name: Literal["extension"] = "extension"


SingleChoice = Annotated[
    IrscoreChoice
    | ClipscoreChoice
    | AestheticChoice
    | ImageRewardChoice
    | PickScoreChoice
    | ZeroShotChoice
    | DinoClassChoice
    | GraderChoice
    | RealismChoice
    | AgreementChoice
    | ExtensionChoice,
    Field(discriminator="name", json_schema_extra=_choices),
]


class Member(Settings):
    """One voice of an ensemble."""

    verifier: SingleChoice = Field(description="Who judges.")
    weight: float = Field(1.0, gt=0, description="How much it counts.")


class EnsembleChoice(Settings):
    """Weighted mean rank of several verifiers, ranked among unguided images that are made and scored once."""

    name: Literal["ensemble"] = "ensemble"
    members: tuple[Member, ...] = Field(min_length=2, description="Verifiers and their weights.")
    prompts: int = Field(
        24, ge=2, description="Prompts of the images to rank among; each costs candidates x steps NFE."
    )
    candidates: int = Field(4, ge=2, description="Unguided images of each of them.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [verifier_of(member.verifier) for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"members has a verifier twice: {names}")
        return self


VerifierChoice = Annotated[SingleChoice | EnsembleChoice, Field(discriminator="name", json_schema_extra=_choices)]


def verifier_of(guide: VerifierChoice) -> str:
    """Return what a verifier is called on score sheets."""
    return guide.extension if isinstance(guide, ExtensionChoice) else guide.name


class StartSettings(Settings):
    """What images start from: noise, or a real train frame that gives them its layout and its boxes."""

    inherit: float = Field(
        0.0, ge=0, le=1, description="Share of images that start from the frame of their caption, partly noised."
    )
    strength: float = Field(
        0.6, gt=0, lt=1, description="How much noise such a frame gets, 0 none: what is left of the steps is run."
    )
    insert: float = Field(
        0.0, ge=0, le=1, description="Share of images for which a person or cyclist is drawn into an empty frame."
    )
    insert_strength: float = Field(0.9, gt=0, lt=1, description="How much noise the place of an insertion gets.")

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.inherit + self.insert > 1:
            raise ValueError(f"inherit + insert = {self.inherit + self.insert:g} is more than all images")
        return self

    @property
    def used(self) -> bool:
        """Whether any image starts from a frame."""
        return self.inherit + self.insert > 0


class SelectionSettings(Settings):
    """Which candidates are kept: of a shard, those that together look most like real train frames."""

    net: str = Field(
        "",
        description="Feature net in which a shard's images shall match real train frames: a name of report.feature_net "
        "that the report does not use, or `proxy`, taught on the train frames first. Empty keeps each prompt's best.",
    )
    share: float = Field(
        0.5, gt=0, le=1, description="The part of a prompt's finished images, best scores first, to choose among."
    )


def _asks_teachers(guide: VerifierChoice) -> bool:
    if isinstance(guide, EnsembleChoice):
        return any(_asks_teachers(member.verifier) for member in guide.members)
    return isinstance(guide, AgreementChoice) and guide.detector == TEACHERS


class SamplesSettings(Settings):
    """What is generated, and how it is searched."""

    images: int = Field(10_000, ge=1, description="Images in the dataset.")
    steps: int = Field(28, ge=1, description="Denoising steps.")
    guidance: float = Field(3.5, ge=0, description="Embedded guidance of a guidance-distilled base.")
    search: Search = Field(RandomSearch(), description="The algorithm and its budget.")
    guide: VerifierChoice = Field(IrscoreChoice(), description="The verifier, or several, that the search obeys.")
    selection: SelectionSettings = Field(SelectionSettings(), description="Which of the candidates are kept.")
    start: StartSettings = Field(StartSettings(), description="What images start from.")
    mix: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {},
        description="Share of images that shall show something, by what captions tell: day, night, campus, road, "
        "downtown, nobody, person, cyclist, car, many (3 people or more), near, midway, far. What is not named comes "
        "as it does in the source's captions.",
    )
    batch_size: int = Field(4, ge=1, description="Images in one forward: the one fixed, padded shape.")
    prompts_at_once: int = Field(4, ge=1, description="Prompts searched side by side.")
    images_per_shard: int = Field(256, ge=1, description="A shard is the unit of work that a crash can lose.")
    image_format: Literal["png", "jpg"] = Field("png", description="jpg is written at quality 95, 4:4:4.")
    seed: int = Field(0, ge=0, description="Another seed, other images.")

    @model_validator(mode="after")
    def _search_fits_steps(self) -> Self:
        search, steps = self.search, self.steps
        if isinstance(search, HalvingSearch) and search.schedule[-1][1] != steps:
            raise ValueError(f"search.schedule ends at step {search.schedule[-1][1]}, but steps = {steps}")
        if isinstance(search, CalibratedSearch) and search.nfe < steps:
            raise ValueError(f"search.nfe = {search.nfe} is less than one image needs: at least {steps} (steps)")
        if isinstance(search, FirstOrderSearch) and search.gradient_steps > steps:
            raise ValueError(f"search.gradient_steps = {search.gradient_steps} are more than steps = {steps}")
        if isinstance(search, FirstOrderSearch) and self.guide.name != "irscore":
            raise ValueError(f"first_order needs a guide with a gradient: irscore, not {self.guide.name}")
        if self.start.used and isinstance(search, PathsSearch | FirstOrderSearch | HalvingSearch | CalibratedSearch):
            raise ValueError(
                f"images that start from frames have fewer steps than {search.algorithm} is made for: "
                "search.algorithm must be random or zero_order, or start.inherit and start.insert 0"
            )
        if isinstance(search, PathsSearch) and steps < 2:
            raise ValueError("paths needs at least 2 steps")
        return self

    @property
    def asks_teachers(self) -> bool:
        """Whether the guide counts what the teachers find."""
        return _asks_teachers(self.guide)


class DetectorSettings(Settings):
    """A detector that is trained from nothing on gray images."""

    architecture: Literal["fcos", "faster_rcnn", "rt_detr"] = Field(
        "fcos",
        description="fcos: one stage, without anchors. faster_rcnn: regions are proposed, then classified. rt_detr: a "
        "transformer, which needs many more steps.",
    )
    backbone: str = Field(
        "small", description="small, or a convolutional backbone of timm: resnet18, ...; rt_detr has its own."
    )
    channels: int = Field(64, ge=32, multiple_of=32, description="Of the feature pyramid, or of the transformer.")
    scale: float = Field(1.0, gt=0, le=8, description="Images are enlarged by it before the detector sees them.")
    steps: int = Field(3000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(16, ge=2, description="Images a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak of the one-cycle schedule.")
    seed: int = Field(0, ge=0, description="Of weights, order and variation of the images.")


class TeachersSettings(Settings):
    """Two detectors that learn on the source's real LWIR frames, and how far they are trusted."""

    detectors: tuple[DetectorSettings, DetectorSettings] = Field(
        (DetectorSettings(), DetectorSettings(architecture="faster_rcnn")),
        description="The two; of different architectures, so that they do not err alike.",
    )
    train_frames: int = Field(10_000, ge=1, description="Frames of the train split to learn from; all when fewer.")
    val_frames: int = Field(1_000, ge=1, description="Frames of the val split to calibrate on.")
    classes: dict[str, str] = Field(
        {"people": IGNORE, "person?": IGNORE},
        description="The source's class -> the name that is learnt, or `ignore`; others keep their names.",
    )
    precision: float = Field(
        0.96, gt=0, lt=1, description="Share of the boxes of a class that must be right on held-out frames."
    )
    ignore_from: float = Field(
        0.15, ge=0, lt=1, description="What is less likely right than that is not even an ignore box."
    )
    seed: int = Field(0, ge=0, description="Of the choice of frames.")

    @model_validator(mode="after")
    def _architectures_differ(self) -> Self:
        first, second = (one.architecture for one in self.detectors)
        if first == second:
            raise ValueError(f"both detectors are {first}: two of one architecture err alike")
        return self


class LabelsSettings(Settings):
    """Boxes of the generated images."""

    mode: Literal["auto", "teacher", "none"] = Field(
        "auto",
        description="auto: by the teachers, and from the frame where an image was started from one (samples.start); "
        "none where the source has no boxes. teacher: by the teachers alone. none: no boxes.",
    )


class ShardsSettings(Settings):
    """The finished dataset."""

    licence: str = Field("", description="Licence named in the dataset's card.")
    description: str = Field("", description="One paragraph for the card.")


class ReportSettings(Settings):
    """The validation report."""

    feature_net: str = Field(
        "auto",
        description="auto: clean-fid's Inception where its weights are there, else scenenet, which is shipped. Or "
        "inception, dinov2[:MODEL], clip[:MODEL], scenenet, random-conv, proxy:FOLDER.",
    )
    judges: tuple[str, ...] = Field(
        ("random-conv", "verifier"),
        description="Feature nets beside it, by the same names, and `verifier`: its own, marked as not independent.",
    )
    images: int = Field(2252, ge=2, description="N on both sides of every distance, at most; the report prints it.")
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="Candidates at which all is measured, too, beside one and all, e.g. [2, 4]: what is not stored is "
        "rendered again. Only for a random search.",
    )
    bootstrap: int = Field(100, ge=0, description="Resamplings for intervals; 0 leaves them out.")
    grid_images: int = Field(16, ge=1, description="Images of each kind in the page's grids.")
    seed: int = Field(0, ge=0, description="Of the choice of images and resamplings.")


class Manifest(Settings):
    """What to build: one dataset."""

    dataset: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Its name, and its folder under the data folder."
    )
    base: BaseSettings = BaseSettings()
    frames: FramesSettings
    captions: CaptionsSettings = CaptionsSettings()
    negatives: NegativesSettings = NegativesSettings()
    verifier: VerifierSettings = VerifierSettings()
    adapter: AdapterSettings = AdapterSettings()
    samples: SamplesSettings = SamplesSettings()
    teachers: TeachersSettings = TeachersSettings()
    labels: LabelsSettings = LabelsSettings()
    shards: ShardsSettings = ShardsSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _selection_is_not_its_own_judge(self) -> Self:
        judges = {self.report.feature_net, *self.report.judges}
        if "auto" in judges:
            judges |= {"inception", "scenenet"}
        if self.samples.selection.net in judges:
            raise ValueError(
                f"samples.selection.net = {self.samples.selection.net} judges in the report, too, which would measure "
                "the selection and not the images: select with `proxy`, or take it out of report"
            )
        return self

    @model_validator(mode="after")
    def _bar_has_negatives(self) -> Self:
        for kind in ("gray", "inverted", "agc", "rgb"):
            if kind not in self.negatives.kinds and getattr(self.verifier.bar, kind) > 0:
                raise ValueError(
                    f"verifier.bar.{kind} asks for an AUC against {kind}, but negatives.kinds leaves {kind} out: "
                    f"add it there or set verifier.bar.{kind} to 0"
                )
        return self


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    `frames.root`, `frames.annotations` and `frames.image_sets` may use `~`; relative ones are taken from the folder
    in which the command runs.

    Raises:
        SettingsError: no such file, not YAML, or a field that is unknown, missing, out of range or contradictory;
            the message names the file and the field.
    """
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise SettingsError(f"{path}: over {MAX_MANIFEST_BYTES} bytes", "See manifests/ for examples.")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})", "See manifests/ for examples.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Of a date on February 30th, or brackets nested too deep, PyYAML says so in Python's own errors.
        raise SettingsError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(field, str) for field in document):
        raise SettingsError(f"{path}: must be a mapping with `dataset:` and `frames:`", "See manifests/ for examples.")
    return parse(Manifest, document, str(path))


def parse(model: type[S], document: dict[str, Any], where: str, fix: str = "`irgen settings` lists every field.") -> S:
    """Build settings from a mapping; `where` names the file or option in errors, `fix` says where to look.

    Raises:
        SettingsError: naming every offending field, its value and what is allowed.
    """
    try:
        return model.model_validate(document)
    except SettingsError as error:  # of an extension
        raise SettingsError(f"{where}: {error.what}", error.fix) from error
    except ValidationError as error:
        lines = [_problem(model, problem) for problem in error.errors(include_url=False)]
        raise SettingsError(f"{where}: " + "; ".join(lines), fix) from error


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """List a model's fields, those of nested models after it: dotted name, type, default, description."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        nested = list(_models(field.annotation))
        if not nested:
            default = "required" if field.is_required() else repr(field.default)
            kind = getattr(field.annotation, "__name__", "") if not get_args(field.annotation) else ""
            rows.append((prefix + name, kind or _spelled(field.annotation), default, field.description or ""))
        for part in nested:
            rows.extend(fields(part, f"{prefix}{name}."))
    return rows


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings models in an annotation, however deep in unions and tuples."""
    if _is_model(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _spelled(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return str(annotation).replace("typing.", "")


def _problem(model: type[BaseModel], problem: Any) -> str:
    """Word one of pydantic's errors, naming the field as the manifest spells it."""
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(problem["loc"][-1]), _field_names(model), n=1)
        return f"unknown field `{field}`" + (f" (did you mean `{close[0]}`?)" if close else "")
    if problem["type"] == "missing":
        return f"field `{field}` is missing"
    text = problem["msg"].removeprefix("Value error, ")
    if not field or isinstance(problem["input"], dict):
        return f"{field}: {text}" if field else text
    return f"`{field}` = {_BRIEF.repr(problem['input'])}: {text}"


def _field_names(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        if _is_model(field.annotation):
            names.extend(_field_names(field.annotation))
    return names
