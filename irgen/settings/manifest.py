"""A manifest: all sections of one dataset, read from YAML."""

from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, model_validator

from irgen.errors import SettingsError
from irgen.settings.adapter import AdapterSettings
from irgen.settings.base import BaseSettings
from irgen.settings.captions import CaptionsSettings
from irgen.settings.common import Settings
from irgen.settings.frames import LWIR_ALONE, WITHOUT_BOXES, FramesSettings
from irgen.settings.labels import LabelsSettings
from irgen.settings.negatives import NegativesSettings
from irgen.settings.parsing import parse
from irgen.settings.report import ReportSettings
from irgen.settings.samples import SamplesSettings
from irgen.settings.shards import ShardsSettings
from irgen.settings.teachers import TeachersSettings
from irgen.settings.verifier import VerifierSettings

MAX_MANIFEST_BYTES = 1 << 20


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

    @model_validator(mode="after")
    def _source_has_what_the_bar_asks_for(self) -> Self:
        # Else the verifier fails at its end, hours after the frames were read.
        source, bar = self.frames.source, self.verifier.bar
        for kind in ("gray", "inverted", "rgb"):
            if source in LWIR_ALONE and getattr(bar, kind) > 0:
                raise ValueError(
                    f"verifier.bar.{kind} asks for an AUC against {kind}, but frames.source = {source} has no visible "
                    f"images to make it of: set verifier.bar.{kind} to 0"
                )
        if source in WITHOUT_BOXES and self.captions.captioner == "rules" and bar.match > 0:
            raise ValueError(
                f"verifier.bar.match asks for captions that tell images apart, but frames.source = {source} has no "
                "boxes to make such of: set verifier.bar.match to 0, or captions.captioner to vlm"
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
