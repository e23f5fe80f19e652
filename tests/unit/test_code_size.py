"""The code stays small: function and module sizes are measured, so that what grows is split."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("shared/agentstate", "tasks", "schedules", "workers", "deploy")

FUNCTION_MEDIAN, FUNCTION_P90, FUNCTION_MAX = 7, 25, 60
MODULE_P90, MODULE_MAX = 350, 500


def modules() -> list[Path]:
    found = [path for source in SOURCES for path in sorted((ROOT / source).rglob("*.py"))]
    return [path for path in found if "migrations/versions" not in path.as_posix()]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, its docstring left out."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def percentile(sizes: list[int], share: float) -> int:
    return sorted(sizes)[min(len(sizes) - 1, int(len(sizes) * share))]


def too_long(source: str, limit: int) -> list[str]:
    return [function.name for function in functions(ast.parse(source)) if body_lines(function) > limit]


@pytest.fixture(scope="module")
def sizes() -> list[int]:
    return [body_lines(item) for path in modules() for item in functions(ast.parse(path.read_text("utf-8")))]


def test_no_function_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): names for path in modules() if (names := too_long(path.read_text("utf-8"), 60))
    }
    assert long == {}


def test_most_functions_are_a_few_lines(sizes: list[int]) -> None:
    assert statistics.median(sizes) <= FUNCTION_MEDIAN
    assert percentile(sizes, 0.9) <= FUNCTION_P90


def test_no_module_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_MAX} == {}
    assert percentile(list(lengths.values()), 0.9) <= MODULE_P90


def test_every_module_says_what_it_holds() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_the_measure_sees_a_long_function() -> None:
    source = 'def long() -> None:\n    """Doc."""\n' + "    x = 1\n" * (FUNCTION_MAX + 1)
    assert too_long(source, FUNCTION_MAX) == ["long"]
    assert too_long(source.replace("    x = 1\n", "", 1), FUNCTION_MAX) == []
