"""Would the tests notice? `python -m tests.mutation` changes one operator or number of a core function at a time.

Each change (a mutant) runs against the tests of its function, in a process of its own, and is killed when one of them
fails. A mutant that survives is a test that is missing, or means the same as the original: those are in SAME, with
the reason. `python -m tests.mutation irgen.metrics` takes the functions of some modules only.
"""

import ast
import copy
import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest

TIMEOUT_S = 300
PASSED, FAILED, BROKEN = 0, 1, 2


@dataclass(frozen=True)
class Target:
    """Functions ("name" or "Class.name") of a module, and the test files that must notice a change of them."""

    module: str
    functions: tuple[str, ...]
    tests: tuple[str, ...]


SEARCH = ("tests/search/test_search.py",)
TARGETS = (
    Target("irgen.search.noises", ("neighbour", "ascended"), ("tests/search/test_noises.py",)),
    Target("irgen.search.candidates", ("Found.alive", "Found.kept", "Found.unguided", "Found.finish"), SEARCH),
    Target("irgen.search.bench", ("Bench.advance", "Bench.best", "Bench.done", "_shows_nothing", "_why_dead"), SEARCH),
    Target("irgen.search.halving", ("halving", "halving_nfe"), SEARCH),
    Target("irgen.search.zero_order", ("_neighbours",), SEARCH),
    Target(
        "irgen.store",
        ("listing", "parse_manifest", "examine", "salvage", "latest", "read_cost"),
        ("tests/test_store.py",),
    ),
    Target(
        "irgen.metrics.frechet",
        ("Statistics.__add__", "Statistics.covariance", "Statistics.factor", "frechet_distance"),
        ("tests/metrics/test_frechet.py",),
    ),
    Target("irgen.metrics.manifold", ("squared", "_radii"), ("tests/metrics/test_manifold.py",)),
    Target("irgen.metrics.copying", ("nearer",), ("tests/metrics/test_copying.py",)),
    Target("irgen.metrics.bootstrap", ("resample", "interval"), ("tests/metrics/test_bootstrap.py",)),
    Target(
        "irgen.metrics.missrate",
        ("match", "to_ignore", "overlap", "curve", "log_average"),
        ("tests/metrics/test_missrate.py",),
    ),
)

SAME = {("Statistics.factor", "False", "True"): "of astype's copy: the same numbers either way"}
"""Mutants that mean the same as the original, by function, before and after: why."""

FLIPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Attributes:
        function: "module:name".
        line: of the change.
        before: the expression.
        after: the same, changed.
        code: of the changed function.
    """

    function: str
    line: int
    before: str
    after: str
    code: CodeType


def mutants(module: str, name: str) -> Iterator[Mutant]:
    """Yield every mutant of a function."""
    source = Path(inspect.getsourcefile(importlib.import_module(module)) or "")
    tree = ast.parse(source.read_text(), str(source))
    count = sum(1 for _ in changes(found(tree, name)))
    for number in range(count):
        changed = copy.deepcopy(tree)
        node, change = list(changes(found(changed, name)))[number]
        before = ast.unparse(node)
        change()
        code = code_of(compile(ast.fix_missing_locations(changed), str(source), "exec"), name)
        yield Mutant(f"{module}:{name}", node.lineno, before, ast.unparse(node), code)


def found(tree: ast.Module, name: str) -> ast.FunctionDef:
    """Return the node of a function."""
    node: ast.AST = tree
    for part in name.split("."):
        node = next(one for one in ast.iter_child_nodes(node) if getattr(one, "name", "") == part)
    assert isinstance(node, ast.FunctionDef)
    return node


def changes(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, functools.partial[None]]]:
    """Yield the expressions in a function's body that can be changed, and for each what changes it."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    # Whether zip is strict says nothing about what a function does.
    checks = {one.value for one in nodes if isinstance(one, ast.keyword) and one.arg == "strict"}
    for node in nodes:
        if node in checks:
            continue
        if isinstance(node, ast.Compare):
            for place, one in enumerate(node.ops):
                yield node, functools.partial(node.ops.__setitem__, place, FLIPS[type(one)]())
        elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in FLIPS:
            yield node, functools.partial(setattr, node, "op", FLIPS[type(node.op)]())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, functools.partial(setattr, node, "op", ast.UAdd())
        elif isinstance(node, ast.UnaryOp):  # twice "not" is none
            yield node, functools.partial(setattr, node, "operand", ast.UnaryOp(node.op, node.operand))
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, functools.partial(setattr, node, "value", not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, functools.partial(setattr, node, "value", node.value + 1)


def code_of(code: CodeType, name: str) -> CodeType:
    """Return the code of a function in that of its module."""
    for part in name.split("."):
        code = next(one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == part)
    return code


def function_of(module: str, name: str) -> FunctionType:
    """Return a module's function or method itself, without what it is wrapped in."""
    *classes, last = name.split(".")
    owner = functools.reduce(getattr, classes, importlib.import_module(module))
    one = inspect.getattr_static(owner, last)
    for wrapped in ("fget", "func", "__func__"):
        one = getattr(one, wrapped, one)
    assert isinstance(one, FunctionType), name
    return one


def outcome(tests: Sequence[str], mutant: Mutant | None) -> int:
    """Run tests in a process of their own, with a function changed, and return whether they pass."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(TIMEOUT_S)
    if mutant:
        function_of(*mutant.function.split(":")).__code__ = mutant.code
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    os._exit({pytest.ExitCode.OK: PASSED, pytest.ExitCode.TESTS_FAILED: FAILED}.get(pytest.ExitCode(code), BROKEN))


def main(wanted: Sequence[str]) -> int:
    """Print each function's figures and the survivors; return 1 where there are any."""
    total = killed = 0
    survivors: list[Mutant] = []
    for target in TARGETS:
        if wanted and not target.module.startswith(tuple(wanted)):
            continue
        pytest.main(["--collect-only", "-qq", *target.tests])  # so that each child finds them imported
        if outcome(target.tests, None) != PASSED:
            raise SystemExit(f"{' '.join(target.tests)}: fail without any change")
        for name in target.functions:
            tried = [one for one in mutants(target.module, name) if (name, one.before, one.after) not in SAME]
            left = [one for one in tried if outcome(target.tests, one) == PASSED]
            print(f"{target.module}:{name}: {len(tried)} mutants, {len(left)} survive", flush=True)
            for one in left:
                print(f"  line {one.line}: {one.before}  ->  {one.after}", flush=True)
            total, killed, survivors = total + len(tried), killed + len(tried) - len(left), [*survivors, *left]
    print(f"{killed} of {total} killed; {len(SAME)} known to mean the same are left out")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
