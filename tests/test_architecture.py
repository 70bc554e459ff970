"""Imports point one way: flows -> tasks -> irgen."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "diffusers", "transformers", "open_clip", "peft", "cleanfid"}

LOADERS = {"irgen.metrics.nets", "irgen.metrics.features", "irgen.metrics.proxy"}
"""Where the feature nets' weights are found and read; all else in metrics is arrays in, numbers out."""


@functools.cache
def modules(repository: Path, package: str) -> dict[str, ast.Module]:
    """Every module of a package, parsed, by dotted name; packages by the name of the package."""
    found = {}
    for path in sorted((repository / package).rglob("*.py")):
        parts = path.relative_to(repository).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(), str(path))
    assert found
    return found


def imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    """Dotted names that a module imports; at top level, only those that importing it loads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        of_functions = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not (top_level and (of_functions or is_for_type_checkers(node))):
            yield from imports(node, top_level=top_level)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def roots(names: Iterator[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_irgen_never_imports_prefect_or_tasks(repository: Path) -> None:
    for name, tree in modules(repository, "irgen").items():
        assert not roots(imports(tree)) & {"prefect", "tasks"}, name


def test_only_the_command_line_imports_flows_and_only_inside_its_functions(repository: Path) -> None:
    for name, tree in modules(repository, "irgen").items():
        assert "flows" not in roots(imports(tree, top_level=True)), name
        assert name.startswith("irgen.cli") or "flows" not in roots(imports(tree)), name


def test_tasks_never_import_flows(repository: Path) -> None:
    for name, tree in modules(repository, "tasks").items():
        assert "flows" not in roots(imports(tree)), name


@pytest.mark.parametrize("package", ["flows", "tasks"])
def test_flows_and_tasks_load_no_model_library_when_imported(repository: Path, package: str) -> None:
    for name, tree in modules(repository, package).items():
        assert not roots(imports(tree, top_level=True)) & HEAVY, name


@pytest.mark.parametrize("package", ["search", "metrics"])
def test_search_and_metrics_know_neither_diffusers_nor_paths(repository: Path, package: str) -> None:
    for name, tree in modules(repository, "irgen").items():
        if name.startswith(f"irgen.{package}") and name not in LOADERS:
            assert not roots(imports(tree)) & {"diffusers", "pathlib", "os"}, name


def test_stages_load_no_model_library_when_imported(repository: Path) -> None:
    for name, tree in modules(repository, "irgen").items():
        if name.startswith("irgen.stages"):
            assert not roots(imports(tree, top_level=True)) & HEAVY, name


@functools.cache
def edges_of(repository: Path, package: str) -> dict[str, set[str]]:
    """What each module of a package imports of it, even inside functions."""
    trees = modules(repository, package)
    # A package's own modules may name it in `from irgen.x import y` where y is a module: the edge goes to y.
    edges = {
        name: {target for target in imports(tree) if target in trees and target != package} - {name}
        for name, tree in trees.items()
    }
    return {
        name: {target for target in targets if not name.startswith(f"{target}.")} for name, targets in edges.items()
    }


def circle(edges: Mapping[str, set[str]]) -> str:
    """Return a way that comes back to where it was, or nothing."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> str:
        if name in way:
            return " -> ".join((*way, name))
        if name in done:
            return ""
        done.add(name)
        return next(filter(None, (visit(target, (*way, name)) for target in sorted(edges[name]))), "")

    return next(filter(None, (visit(name, ()) for name in edges)), "")


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == "a -> b -> d -> b"
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ""


@pytest.mark.parametrize("package", ["irgen", "tasks", "flows"])
def test_imports_have_no_circles_not_even_inside_functions_or_for_type_checkers(repository: Path, package: str) -> None:
    assert circle(edges_of(repository, package)) == ""


def test_packages_have_no_circles_either(repository: Path) -> None:
    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    rooms: dict[str, set[str]] = {}
    for name, targets in edges_of(repository, "irgen").items():
        rooms.setdefault(room(name), set()).update({room(target) for target in targets} - {room(name)})
    assert circle(rooms) == ""


@pytest.mark.parametrize("module", ["flows.build_dataset", "irgen.cli", "irgen.pipeline"])
def test_importing_it_loads_no_model_library(repository: Path, module: str) -> None:
    code = f"import {module}, sys; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
