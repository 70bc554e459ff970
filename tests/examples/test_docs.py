"""What the docs name is there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from irgen import cli

NAMED = re.compile(r"`((?:irgen|flows|tasks|tests|benchmarks)/[\w/]+\.py):([\w.]+)`")
FILE = re.compile(r"`((?:irgen|flows|tasks|tests|benchmarks|examples|manifests)/[\w./-]+\.(?:py|yaml))`")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`(irgen [^`\n]+)`")
LINK = re.compile(r"\]\(((?!https?:)[^)#\s]+)(?:#[\w-]+)?\)")
STAGES = ("frames", "captions", "negatives", "teachers", "adapter", "verifier", "samples", "labels", "shards", "report")


def defined(path: Path) -> set[str]:
    """Functions, classes and methods ("Class.method") of a module, its own alone and not what it imports."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


def test_the_walk_names_functions_that_exist(repository: Path) -> None:
    named = NAMED.findall((repository / "docs" / "walk.md").read_text())
    assert len(named) > 50
    gone = [f"{path}:{name}" for path, name in named if name not in defined(repository / path)]
    assert not gone


def test_the_walk_enters_every_stage_once(repository: Path) -> None:
    walked = [path for path, _ in NAMED.findall((repository / "docs" / "walk.md").read_text())]
    rooms = [path.removeprefix("irgen/stages/").removesuffix(".py") for path in walked if "/stages/" in path]
    assert tuple(dict.fromkeys(rooms)) == STAGES
    assert set(STAGES) == {path.stem for path in (repository / "irgen" / "stages").glob("*.py")} - {"__init__"}


def pages() -> list[str]:
    root = Path(__file__).resolve().parents[2]
    return sorted(str(path.relative_to(root)) for path in [*root.glob("*.md"), *root.glob("docs/*.md")])


@pytest.mark.parametrize("page", pages())
def test_files_and_links_of_a_page_lead_somewhere(repository: Path, page: str) -> None:
    text = (repository / page).read_text()
    links = [(repository / page).parent / link for link in LINK.findall(text)]
    named = [repository / name for name in FILE.findall(text)]
    assert not [str(path) for path in [*links, *named] if not path.exists()]


@pytest.mark.parametrize("page", pages())
def test_python_on_a_page_is_python(repository: Path, page: str) -> None:
    blocks = [code for language, code in BLOCK.findall((repository / page).read_text()) if language == "python"]
    assert all(ast.parse(code).body for code in blocks)


def commands(text: str) -> Iterator[list[str]]:
    """The words after `irgen` on each command line of a page: in its shell blocks, and between backticks."""
    lines = [line for language, code in BLOCK.findall(text) if language == "sh" for line in code.splitlines()]
    for line in [*lines, *INLINE.findall(BLOCK.sub("", text))]:
        words = shlex.split(line, comments=True)
        if words and words[0] in ("irgen", ".venv/bin/irgen"):
            yield words[1:]


@pytest.mark.parametrize("page", pages())
def test_command_lines_on_a_page_are_understood(repository: Path, page: str) -> None:
    known = typer.main.get_command(cli.app)
    for words in commands((repository / page).read_text()):
        place = next((place for place, word in enumerate(words) if not word.startswith("--")), len(words))
        assert set(words[:place]) <= spellings(known), f"irgen has no {words[:place]} before a command"
        for name in words[place : place + 1]:
            command = known.commands.get(name)
            assert command, f"irgen has no command {name}"
            asked = {word.partition("=")[0] for word in words[place:] if word.startswith("--")}
            assert asked <= spellings(command), f"irgen {name} has no {asked - spellings(command)}"


def spellings(command: TyperCommand | TyperGroup) -> set[str]:
    return {"--help"} | {spelling for one in command.params for spelling in one.opts}
