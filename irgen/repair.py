"""Making again what `verify` finds damaged, and nothing else, from what the outputs say of themselves.

A finished output records its settings and the contents of all it read. Where those are there still, its stage makes
it anew: of shards only the damaged ones, and with the same bytes, since nothing in them depends on where or when they
were made. Where they are not, that is said, and nothing is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from irgen import files, pipeline, settings, shards, store
from irgen.errors import IrgenError, StoreError
from irgen.pipeline import Stage
from irgen.settings import Manifest, Settings
from irgen.store import Ref

TRAINED = ("teachers", "adapter", "verifier")
"""Stages whose bytes a GPU does not give twice: made again beside what is damaged, which may hold sound weights."""

RUN_AGAIN = "`irgen run` its manifest makes it again."


@dataclass(frozen=True)
class Repair:
    """What became of one damaged output.

    Attributes:
        path: the output, or a dataset's summary.
        damage: what `verify` found.
        mended: sound again, with the contents it had.
        why_not: "" where it is mended.
    """

    path: str
    damage: list[str]
    mended: bool
    why_not: str = ""


class CannotError(Exception):
    """An output cannot be made again; the text says why."""


def repair(path: Path) -> list[Repair]:
    """Mend the finished outputs at or below a folder, those first from which others are made.

    Args:
        path: an output, a dataset or a data folder.

    Returns:
        One entry for each damaged output, none where all is sound.

    Raises:
        StoreError: there is no output.
    """
    done = [_mended(folder, damage) for folder, damage in _damaged(path)]
    told = {line for each in done for line in each.damage}
    left = [line for line in shards.verify(path) if line not in told]
    why = f"no output's: {RUN_AGAIN}"
    return done + [Repair(line.partition(": ")[0], [line], False, why) for line in left]


def _damaged(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield damaged finished outputs; stages' folders are numbered in the order in which they are made."""
    for folder in shards.outputs(path):
        if (folder / store.MANIFEST).exists() and (found := shards.verify(folder)):
            yield folder, found


def _mended(folder: Path, damage: list[str]) -> Repair:
    try:
        _remake(folder)
    except (CannotError, IrgenError) as error:
        return Repair(str(folder), damage, False, str(error))
    if left := shards.verify(folder):
        return Repair(str(folder), damage, False, left[0])
    return Repair(str(folder), damage, True)


def _remake(folder: Path) -> None:
    """Run the stage that made an output, on what it made it of.

    Raises:
        CannotError: that is not to be had, or it makes something else now.
        IrgenError: whatever the stage raises.
    """
    try:
        before = store.read_manifest(folder)
    except StoreError as error:
        raise CannotError(f"what it was made of is not known: {error.what}. {RUN_AGAIN}") from error
    if not store.problems(folder):
        raise CannotError(f"{store.COST} tells what the run took, which cannot be measured again; remove it.")
    stage = pipeline.stage_named(before["stage"])
    if before["version"] != stage.module().VERSION:
        versions = f"{before['version']}, this irgen has {stage.module().VERSION}"
        raise CannotError(f"made by version {versions} of its stage. Use the irgen that made it, or: {RUN_AGAIN}")
    sections = _sections(stage, before["settings"], str(folder / store.MANIFEST))
    root = folder.absolute().parent.parent
    inputs = {name: _input(root, name, before["inputs"][name]) for name in stage.reads(sections)}
    fingerprint, _, contents = pipeline.identify(stage, sections, inputs)
    if root / stage.folder_name / fingerprint != folder.absolute():
        changed = [name for name in contents if contents[name] != before["inputs"].get(name)]
        reason = f"{', '.join(changed)} changed since" if changed else "it does not lie where its stage would put it"
        raise CannotError(f"{reason}. {RUN_AGAIN}")
    if stage.name in TRAINED:
        _replace(folder, root / files.TMP / f"repair-{fingerprint}", stage, sections, inputs, before["content"])
        return
    outcome = pipeline.run_stage(stage, root, sections, inputs)
    if outcome.ref.content != before["content"]:
        raise CannotError(
            "made again and sound, but not with the bytes it had: another device or another version of a library. "
            "`irgen run` makes again what was made of it."
        )


def _replace(
    folder: Path,
    beside: Path,
    stage: Stage,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    content: str,
) -> None:
    """Make an output beside a damaged one, and put it there if it is the same.

    Raises:
        CannotError: it is not.
    """
    same = pipeline.run_in(beside, stage, sections, inputs).ref.content == content
    if same:
        files.remove_tree(folder)
        beside.rename(folder)
    files.remove_tree(beside)
    if not same:
        raise CannotError(
            "made again beside it, to see, it has other bytes: another device or another version of a library. It was "
            "left as it is; `irgen run` makes it again, and all that was made of it."
        )


def _sections(stage: Stage, recorded: Mapping[str, object], where: str) -> dict[str, Settings]:
    """Return a stage's settings as they were; a section that had no say then is not recorded, and has none now."""
    sections: dict[str, Settings] = {}
    for name in stage.sections:
        field = Manifest.model_fields[name]
        document = recorded.get(name, {})
        if not isinstance(document, dict) or not isinstance(field.annotation, type):
            raise CannotError(f"its settings {name} are none.")
        sections[name] = settings.parse(field.annotation, document, where)
    return sections


def _input(root: Path, stage: str, content: str) -> Ref:
    """Return an earlier stage's output by its content."""
    for path in sorted(root.glob(f"[0-9][0-9]-{stage}/*/{store.MANIFEST}")):
        try:
            found = store.ref(path.parent)
        except StoreError:
            continue
        if found.content == content:
            return found
    raise CannotError(f"the {stage} it was made of is not there (content {content}).")
