"""What a study varies: a manifest, changes to it, and seeds."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from irgen import settings
from irgen.errors import SettingsError
from irgen.settings import Manifest, Settings

KEY = "study"
"""The field that makes a YAML file a study's manifest."""

FEWEST_SEEDS = 3


class Study(Settings):
    """One question, asked with several settings."""

    study: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Its name, and its folder under the data folder."
    )
    question: str = Field(description="What it is to answer; stands above the figures.")
    base: str = Field(description="Manifest that it varies, beside this file or from the folder of the command.")
    set: dict[str, Any] = Field({}, description="Changes in every run: dotted field of the manifest -> value.")
    variants: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Name -> further changes. An empty one is the base as it is."
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=FEWEST_SEEDS, description="Every variant runs with each.")
    seeded: tuple[str, ...] = Field(
        ("samples.seed",),
        min_length=1,
        description="Fields that get the seed; a list gets it as its only member. What comes before them is made once.",
    )


@dataclass(frozen=True)
class Run:
    """One dataset of a study.

    Attributes:
        variant: its name.
        seed: which.
        manifest: what to build; all runs share the study's folder, so that equal stages are made once.
    """

    variant: str
    seed: int
    manifest: Manifest

    @property
    def name(self) -> str:
        """As logs show it."""
        return f"{self.variant}, seed {self.seed}"


def is_study(path: Path) -> bool:
    """Whether a file is a study's manifest; a file that cannot be read is not."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(document, dict) and KEY in document


def check(path: Path, redo: str) -> Study:
    """Read a study's manifest and all it leads to.

    Args:
        path: of the manifest.
        redo: the stage that is to be made anew, "" for none.

    Raises:
        SettingsError: it is not right, or a stage is to be made anew.
    """
    study, _ = load(path)
    if redo:
        raise SettingsError(
            f"{path}: a study has many runs, and {redo} cannot be made anew in all of them",
            f"Remove {redo}'s folder below data/{study.study}, and run the study again.",
        )
    return study


def load(path: Path) -> tuple[Study, list[Run]]:
    """Read and check a study and all its manifests, before anything long starts.

    Raises:
        SettingsError: names the file, the variant and the field.
    """
    document = _yaml(path)
    study = settings.parse(Study, document, str(path))
    beside = path.parent / study.base
    base = _yaml(beside if beside.is_file() else Path(study.base))
    runs = []
    for variant, changes in study.variants.items():
        for seed in study.seeds:
            wanted = copy.deepcopy(base) | {"dataset": study.study}
            for field, value in {**study.set, **changes}.items():
                _assign(wanted, field, value, f"{path}: {variant}")
            for field in study.seeded:
                _assign(wanted, field, [seed] if field.endswith("seeds") else seed, f"{path}: seeded")
            runs.append(Run(variant, seed, settings.parse(Manifest, wanted, f"{path}: variant {variant}")))
    return study, runs


def _yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})", "See manifests/ for examples.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must be a mapping", "See manifests/study-nfe-miniature.yaml.")
    return document


def _assign(document: dict[str, Any], field: str, value: Any, where: str) -> None:
    *sections, last = field.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise SettingsError(f"{where}: {field}: {section} is no section", "`irgen settings` lists every field.")
    document[last] = value
