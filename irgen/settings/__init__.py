"""Settings: one small frozen model a stage; a whole dataset is one manifest.

A section of the manifest is a module of its name here; those of `samples.search` and `samples.guide` have one each. A
field that is unknown, out of range or in contradiction with another is refused when the manifest is read. Every
description is what the Prefect form and `--help` show.
"""

from irgen.settings.adapter import AdapterSettings
from irgen.settings.base import BaseSettings
from irgen.settings.captions import CaptionsSettings
from irgen.settings.common import MINIATURE, Precision, Settings
from irgen.settings.frames import FramesSettings, MiniatureScenes
from irgen.settings.guide import (
    TEACHERS,
    AestheticChoice,
    AgreementChoice,
    ClipscoreChoice,
    DinoClassChoice,
    EnsembleChoice,
    ExtensionChoice,
    GraderChoice,
    ImageRewardChoice,
    IrscoreChoice,
    Member,
    PickScoreChoice,
    RealismChoice,
    SingleChoice,
    VerifierChoice,
    ZeroShotChoice,
    verifier_of,
    verifiers_of,
)
from irgen.settings.labels import LabelsSettings
from irgen.settings.manifest import Manifest, load_manifest
from irgen.settings.negatives import NegativeKind, NegativesSettings
from irgen.settings.parsing import fields, parse
from irgen.settings.report import ReportSettings
from irgen.settings.samples import SamplesSettings, SelectionSettings, StartSettings
from irgen.settings.search import (
    CalibratedSearch,
    ExtensionSearch,
    FirstOrderSearch,
    HalvingSearch,
    PathsSearch,
    RandomSearch,
    Search,
    SettledSearch,
    ZeroOrderSearch,
    algorithm_of,
)
from irgen.settings.shards import ShardsSettings
from irgen.settings.teachers import IGNORE, DetectorSettings, TeachersSettings
from irgen.settings.verifier import VerifierBar, VerifierSettings

__all__ = [
    "IGNORE",
    "MINIATURE",
    "TEACHERS",
    "AdapterSettings",
    "AestheticChoice",
    "AgreementChoice",
    "BaseSettings",
    "CalibratedSearch",
    "CaptionsSettings",
    "ClipscoreChoice",
    "DetectorSettings",
    "DinoClassChoice",
    "EnsembleChoice",
    "ExtensionChoice",
    "ExtensionSearch",
    "FirstOrderSearch",
    "FramesSettings",
    "GraderChoice",
    "HalvingSearch",
    "ImageRewardChoice",
    "IrscoreChoice",
    "LabelsSettings",
    "Manifest",
    "Member",
    "MiniatureScenes",
    "NegativeKind",
    "NegativesSettings",
    "PathsSearch",
    "PickScoreChoice",
    "Precision",
    "RandomSearch",
    "RealismChoice",
    "ReportSettings",
    "SamplesSettings",
    "Search",
    "SelectionSettings",
    "Settings",
    "SettledSearch",
    "ShardsSettings",
    "SingleChoice",
    "StartSettings",
    "TeachersSettings",
    "VerifierBar",
    "VerifierChoice",
    "VerifierSettings",
    "ZeroOrderSearch",
    "ZeroShotChoice",
    "algorithm_of",
    "fields",
    "load_manifest",
    "parse",
    "verifier_of",
    "verifiers_of",
]
