#!/usr/bin/env python3
"""Measure how the code reads: names, docstrings, sizes, imports. `make style` prints the table and applies the bars.

    scripts/style.py                                   measure this project and apply the bars
    scripts/style.py --list one_word shared/agentstate/money    name the offenders of one measure below a folder
    scripts/style.py --beside procrastinate dbos       measure installed packages with the same rules, for comparison

The rules, each the same for every code base:

- one word: a function or method (dunder methods left out) whose name has no underscore inside, such as `get`.
- participle first: its first word is a past or present participle, such as `settled_rows`. Booleans that begin with
  `is`, `has`, `can` and the like do not count, as they do not begin with the participle.
- riddle: the summary line of a docstring begins with, or contains, what, who, whoever, nobody and the like.
- used once: a private function or method that its own module names exactly once.
- one importer: a module that exactly one other module imports, packages' `__init__` and entry points left out.
- circle: modules that import each other, also by imports inside functions or for type checking alone.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("shared/agentstate", "tasks", "schedules", "workers", "deploy", "bench")
SOURCE_ROOTS = ("shared", ".")
LEFT_OUT = ("/_migrations/", "/alembic_migrations/")
"""Generated history of the packages that are measured beside ours."""

BARS = {
    "one_word": 0.25,
    "participle_first": 0.02,
    "riddle": 0.02,
    "used_once": 0.10,
    "one_importer": 0.10,
    "circles": 0,
    "code_lines": 32_000,
}
FUNCTION_MAX_LINES = 60
MODULE_LINES = (40, 500)
SHORTEST_PARTICIPLE = 4

_RIDDLE = re.compile(
    r"\b(?:what|whatever|who|whom|whoever|whose|nobody|somebody|anybody|everybody|no one)\b", re.IGNORECASE
)
_ALSO_RIDDLE_FIRST = re.compile(r"(?:Nothing|Where|How|As|Of|It|Those|These)\b")
_IRREGULAR = frozenset(
    [
        "begun",
        "bound",
        "brought",
        "built",
        "done",
        "drawn",
        "found",
        "given",
        "gone",
        "got",
        "grown",
        "held",
        "kept",
        "known",
        "left",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "said",
        "seen",
        "sent",
        "shown",
        "spent",
        "spoken",
        "taken",
        "told",
        "torn",
        "understood",
        "woken",
        "won",
        "written",
    ]
)
_NO_PARTICIPLE = frozenset(
    [
        "bring",
        "embed",
        "exceed",
        "feed",
        "fed",
        "need",
        "ping",
        "proceed",
        "red",
        "ring",
        "seed",
        "setting",
        "settings",
        "sharding",
        "spring",
        "string",
        "thing",
    ]
)


@dataclass(slots=True)
class Measures:
    """Counts over one code base; each offender as `path:line name`."""

    functions: int = 0
    docstrings: int = 0
    modules: int = 0
    lines: int = 0
    code_lines: int = 0
    offenders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def count_of(self, measure: str) -> int:
        """How many offenders `measure` has."""
        return len(self.offenders[measure])

    def share_of(self, measure: str) -> float:
        """The offenders of `measure` per function, docstring or module, whichever it is about."""
        whole = {"riddle": self.docstrings, "one_importer": self.modules}.get(measure, self.functions)
        return self.count_of(measure) / max(whole, 1)

    def value_of(self, measure: str) -> float:
        """The number that the bar of `measure` is about."""
        if measure == "code_lines":
            return self.code_lines
        return self.count_of(measure) if measure == "circles" else self.share_of(measure)


def measure(files: Sequence[Path], import_roots: Sequence[Path], shown_from: Path) -> Measures:
    """Measure `files`; module names are relative to `import_roots`, paths in the result to `shown_from`."""
    measures = Measures()
    trees: dict[str, tuple[Path, ast.Module]] = {}
    for path in files:
        source = path.read_text("utf-8")
        tree = ast.parse(source)
        place = path.relative_to(shown_from).as_posix() if path.is_relative_to(shown_from) else path.as_posix()
        trees[module_name(path, import_roots)] = (Path(place), tree)
        measures.modules += 1
        measures.lines += len(source.splitlines())
        measures.code_lines += count_code_lines(source, tree)
        _measure_functions(measures, place, tree)
        _measure_size(measures, place, source)
    _measure_imports(measures, trees)
    return measures


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method below `tree`."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def is_one_word(name: str) -> bool:
    """True if the name has one word: `get`, `_row`."""
    return "_" not in name.strip("_")


def is_participle_first(name: str) -> bool:
    """True if the first word is a participle: `settled_rows`, `waiting`."""
    word = name.strip("_").split("_")[0].lower()
    if word in _NO_PARTICIPLE or len(word) < SHORTEST_PARTICIPLE:
        return False
    return word in _IRREGULAR or word.endswith("ing") or (word.endswith("ed") and not word.endswith("eed"))


def is_riddle(docstring: str) -> bool:
    """True if the summary line explains by pronouns instead of naming the thing."""
    summary = docstring.strip().splitlines()[0]
    prose = re.sub(r"`[^`]*`|\"[^\"]*\"", "", summary)
    return bool(_RIDDLE.search(prose) or _ALSO_RIDDLE_FIRST.match(prose))


def count_body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def count_code_lines(source: str, tree: ast.AST) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(source.splitlines(), 1)
        if number not in documented and line.strip() and not line.strip().startswith("#")
    )


def module_name(path: Path, import_roots: Sequence[Path]) -> str:
    """The dotted name under which `path` is imported."""
    root = max((root for root in import_roots if path.is_relative_to(root)), key=lambda root: len(root.parts))
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _measure_functions(measures: Measures, place: str, tree: ast.Module) -> None:
    named = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    named.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for function in functions_in(tree):
        name = function.name
        if name.startswith("__"):
            continue
        measures.functions += 1
        where = f"{place}:{function.lineno} {name}"
        if is_one_word(name):
            measures.offenders["one_word"].append(where)
            if name.startswith("_"):
                measures.offenders["one_word_private"].append(where)
        if is_participle_first(name):
            measures.offenders["participle_first"].append(where)
        if name.startswith("_") and named[name] == 1:
            measures.offenders["used_once"].append(where)
        if count_body_lines(function) > FUNCTION_MAX_LINES:
            measures.offenders["long_function"].append(where)
    _measure_docstrings(measures, place, tree)


def _measure_docstrings(measures: Measures, place: str, tree: ast.Module) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            measures.docstrings += 1
            if is_riddle(docstring):
                line = getattr(node, "lineno", 1)
                measures.offenders["riddle"].append(f"{place}:{line} {docstring.splitlines()[0]}")


def _measure_size(measures: Measures, place: str, source: str) -> None:
    lines = len(source.splitlines())
    if lines > MODULE_LINES[1]:
        measures.offenders["long_module"].append(f"{place}:1 {lines} lines")
    entry = place.endswith(("__init__.py", "__main__.py"))
    if lines < MODULE_LINES[0] and not entry:
        measures.offenders["short_module"].append(f"{place}:1 {lines} lines")


def _measure_imports(measures: Measures, trees: dict[str, tuple[Path, ast.Module]]) -> None:
    imports = {name: set(_imports_of(name, place, tree, trees)) for name, (place, tree) in trees.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, found in imports.items():
        for imported in found:
            importers[imported].add(name)
    for name, (place, _) in sorted(trees.items()):
        if len(importers[name]) == 1 and place.name not in {"__init__.py", "__main__.py"}:
            measures.offenders["one_importer"].append(f"{place.as_posix()}:1 only by {next(iter(importers[name]))}")
    for circle in find_circles(imports):
        measures.offenders["circles"].append(" <-> ".join(sorted(circle)))


def _imports_of(name: str, place: Path, tree: ast.Module, trees: dict[str, tuple[Path, ast.Module]]) -> Iterator[str]:
    package = name if place.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in trees and alias.name != name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found = inner if inner in trees else base
                if found in trees and found != name:
                    yield found


def find_circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other (Tarjan's strongly connected components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in imports.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                circles.append(set(stack[at:]))
            del stack[at:]

    sys.setrecursionlimit(10_000)
    for name in sorted(imports):
        if name not in index:
            visit(name)
    return circles


def measure_project() -> Measures:
    """Measure this project's code outside its tests."""
    files = [path for source in SOURCES for path in sorted((ROOT / source).rglob("*.py"))]
    return measure(files, [ROOT / root for root in SOURCE_ROOTS], ROOT)


def measure_package(name: str) -> Measures:
    """Measure an installed package; raises SystemExit when it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"style: the package {name} is not installed; `scripts/setup --bench` installs it.")
    folder = Path(spec.submodule_search_locations[0])
    kept = [path for path in sorted(folder.rglob("*.py")) if not any(part in path.as_posix() for part in LEFT_OUT)]
    return measure(kept, [folder.parent], folder.parent)


def list_missed(measures: Measures) -> list[str]:
    """The bars that `measures` misses, as sentences."""
    missed = [
        f"{name}: {measures.value_of(name):.4g}, the bar is {bar:g}"
        for name, bar in BARS.items()
        if measures.value_of(name) > bar
    ]
    exact = ("long_function", "long_module", "short_module")
    return missed + [f"{name}: {measures.count_of(name)}, the bar is 0" for name in exact if measures.count_of(name)]


def print_table(columns: dict[str, Measures]) -> None:
    """Print every measure of every code base, its bar beside it."""
    rows = ["one_word", "one_word_private", "participle_first", "riddle", "used_once", "one_importer"]
    print(f"{'measure':<20}{'bar':>8}" + "".join(f"{name:>22}" for name in columns))
    for row in ("modules", "functions", "docstrings", "code_lines"):
        bar = f"{BARS[row]:,.0f}" if row in BARS else ""
        print(f"{row:<20}{bar:>8}" + "".join(f"{getattr(found, row):>22,}" for found in columns.values()))
    for row in rows:
        bar = f"{BARS[row]:.0%}" if row in BARS else ""
        cells = (f"{found.share_of(row):.1%} ({found.count_of(row)})" for found in columns.values())
        print(f"{row:<20}{bar:>8}" + "".join(f"{cell:>22}" for cell in cells))
    for row in ("circles", "long_function", "long_module", "short_module"):
        print(f"{row:<20}{0:>8}" + "".join(f"{found.count_of(row):>22}" for found in columns.values()))


def main() -> int:
    """Run the command; the exit code is 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure how the code reads, and apply the bars.")
    parser.add_argument("--list", metavar="MEASURE", help="name the offenders of one measure")
    parser.add_argument("--beside", nargs="+", default=[], metavar="PACKAGE", help="installed packages to compare with")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    parser.add_argument("below", nargs="*", help="only offenders whose path begins with one of these")
    given = parser.parse_args()
    ours = measure_project()
    if given.list:
        for offender in ours.offenders[given.list]:
            if not given.below or offender.startswith(tuple(given.below)):
                print(offender)
        return 0
    columns = {"agentstate": ours, **{name: measure_package(name) for name in given.beside}}
    print_table(columns)
    missed = list_missed(ours)
    if given.json:
        rows = [
            {"name": name, "value": ours.value_of(name), "bar": bar, "met": ours.value_of(name) <= bar}
            for name, bar in BARS.items()
        ]
        Path(given.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for line in missed:
        print(f"missed  {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
