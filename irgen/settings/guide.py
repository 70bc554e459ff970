"""Section `samples.guide`: the verifier, or several, that a search obeys."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from irgen import extensions
from irgen.settings.common import Settings, any_of
from irgen.settings.extension import Extension

TEACHERS = "teachers"
"""As a detector: the two of stage teachers."""


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
    doubt: float = Field(
        0.0,
        ge=0,
        description="Taken off for each object that teachers would give a box to be ignored, times how likely it is "
        "one.",
    )

    @model_validator(mode="after")
    def _only_teachers_doubt(self) -> Self:
        if self.doubt and self.detector != TEACHERS:
            raise ValueError(f"doubt = {self.doubt:g} is known of teachers alone: detector must be {TEACHERS}")
        return self


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
    Field(discriminator="name", json_schema_extra=any_of),
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


VerifierChoice = Annotated[SingleChoice | EnsembleChoice, Field(discriminator="name", json_schema_extra=any_of)]


def verifier_of(guide: VerifierChoice) -> str:
    """Return what a verifier is called on score sheets."""
    return guide.extension if isinstance(guide, ExtensionChoice) else guide.name


def verifiers_of(guide: VerifierChoice) -> tuple[str, ...]:
    """Return what it, or each member of it, is called on score sheets."""
    if isinstance(guide, EnsembleChoice):
        return tuple(verifier_of(member.verifier) for member in guide.members)
    return (verifier_of(guide),)


def asks_teachers(guide: VerifierChoice) -> bool:
    """Whether it, or a member of it, counts what the teachers find."""
    if isinstance(guide, EnsembleChoice):
        return any(asks_teachers(member.verifier) for member in guide.members)
    return isinstance(guide, AgreementChoice) and guide.detector == TEACHERS
