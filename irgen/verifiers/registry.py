"""Verifiers by name: settings in, the verifier out. A verifier's libraries are imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import settings
from irgen.settings import AgreementChoice, EnsembleChoice, ExtensionChoice, Settings, SingleChoice, VerifierChoice

if TYPE_CHECKING:
    from irgen.metrics.frechet import F64
    from irgen.search.interface import Verifier
    from irgen.verifiers.ensemble import Voice

CLASSES = {
    "irscore": "irscore.IrScore",
    "clipscore": "clipscore.ClipScore",
    "aesthetic": "aesthetic.Aesthetic",
    "imagereward": "imagereward.ImageReward",
    "pickscore": "pickscore.PickScore",
    "zero_shot": "zero_shot.ZeroShot",
    "dino_class": "dino_class.DinoClass",
    "grader": "grader.Grader",
    "realism": "realism.Realism",
    "agreement": "agreement.Agreement",
}
"""Module and class of each, in this package."""

OWN = frozenset({"irscore", "realism"})
"""Those that the verifier stage made, and that lie in its output."""


class _Document(Settings):
    verifier: VerifierChoice


def choice(document: Mapping[str, Any]) -> VerifierChoice:
    """Read a verifier's settings from a mapping with its `name`.

    Raises:
        SettingsError: an unknown name, with those that there are, or a field that is unknown, missing or out of range.
    """
    return settings.parse(_Document, {"verifier": dict(document)}, "settings").verifier


def load(
    chosen: VerifierChoice,
    trained: Path,
    measure: Callable[[Sequence[Voice]], Mapping[str, F64]],
    teachers: Path | None = None,
) -> Verifier:
    """Load a verifier and all that it needs.

    Args:
        chosen: its settings.
        trained: output of stage verifier, where IRSCORE's model lies and what realism learnt.
        measure: called for an ensemble with its members: returns their scores of unguided images, float64
            [prompts, candidates] each, by name (`irgen.verifiers.ensemble.measure`).
        teachers: output of stage teachers, where agreement is with them.

    Raises:
        WeightsError: weights that are missing, pickled, damaged, or of another architecture.
        SettingsError: a grader's endpoint that does not answer, or refuses.
        IrgenError: a member of an ensemble that cannot tell candidates apart.
    """
    if not isinstance(chosen, EnsembleChoice):
        return _single(chosen, trained, teachers)
    from irgen.verifiers.ensemble import Ensemble, Voice

    voices = [
        Voice(settings.verifier_of(member.verifier), _single(member.verifier, trained, teachers), member.weight)
        for member in chosen.members
    ]
    return Ensemble(voices, measure(voices))


def _single(chosen: SingleChoice, trained: Path, teachers: Path | None) -> Verifier:
    if isinstance(chosen, ExtensionChoice):
        verifier: Verifier = chosen.made().load(trained)
        return verifier
    if teachers and isinstance(chosen, AgreementChoice) and chosen.detector == settings.TEACHERS:
        from irgen.labels.teachers import Teachers
        from irgen.verifiers.agreement import TeachersAgreement

        return TeachersAgreement(Teachers.load(teachers), chosen.doubt)
    module, name = CLASSES[chosen.name].split(".")
    kind: Any = getattr(importlib.import_module(f"irgen.verifiers.{module}"), name)
    return kind.load(trained if chosen.name in OWN else chosen)
