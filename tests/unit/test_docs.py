"""The documentation says what is: links lead somewhere, names are those of the code, code blocks are code."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest

from agentstate.cli.root import cli as agentstate_command
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.jobs.spec import QUEUES
from agentstate.money.effects.verdicts import Guarantee
from agentstate.services.operations.registry import operation_classes
from agentstate.settings import ENV_FILE_VARIABLE, PREFIX, SECRETS_DIR_VARIABLE, Settings
from deploy.local.demo.__main__ import main as demo_command
from deploy.local.stack.cli import cli as stack_command
from workers.cli import cli as workers_command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "deploy/local/sandbox/README.md"])
WRITTEN_BY_HAND = [page for page in PAGES if page.parent.name != "reference"]
MOST_BYTES = 300_000

COMMANDS: dict[str, click.Command] = {
    "agentstate": agentstate_command,
    "python -m deploy.local.demo": demo_command,
    "python -m deploy.local": stack_command,
    "python -m workers": workers_command,
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(
    rf"(?:^|exec [\w-]+ |&& |; |\$\()(?:\.venv/bin/)?({'|'.join(map(re.escape, COMMANDS))})((?: [^#;&|)]+)?)"
)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def code_lines(text: str) -> Iterator[str]:
    """Inline code, and the lines of blocks for a shell."""
    for language, block in BLOCK.findall(text):
        if language == "sh":
            yield from (line.strip() for line in block.splitlines())
    yield from INLINE.findall(prose(text))


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(text: str, page: Path) -> list[str]:
    return [
        target for target in LINK.findall(prose(text)) if "://" not in target and not _leads_somewhere(target, page)
    ]


def _leads_somewhere(target: str, page: Path) -> bool:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    return there.exists() and (not anchor or anchor in anchors(there.read_text("utf-8")))


def unknown_targets(text: str) -> list[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    used = [word for line in code_lines(text) for word in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)\b(?!=)", line)]
    return [target for target in used if target not in known]


def wrong_commands(text: str) -> list[str]:
    found = (match for line in code_lines(text) for match in COMMAND.finditer(line))
    return [problem for match in found for problem in _problems(COMMANDS[match[1]], match[0], _words(match[2]))]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _problems(command: click.Command, shown: str, words: list[str]) -> list[str]:
    """What is wrong with the words of one command line: a verb or an option that does not exist."""
    accepted = {"--help"}
    while True:
        accepted |= {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        following = next((word for word in words if not word.startswith("-")), None)
        if not isinstance(command, click.Group) or following is None:
            break
        if following not in command.commands:
            return [f"{shown}: no command {following}"]
        words = words[words.index(following) + 1 :]
        command = command.commands[following]
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"{shown}: no option {option}" for option in given if option not in accepted]


def unknown_settings(text: str) -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {ENV_FILE_VARIABLE, SECRETS_DIR_VARIABLE}
    return sorted(set(re.findall(rf"{PREFIX}[A-Z][A-Z0-9_]*", text)) - known)


def unknown_kinds(text: str) -> list[str]:
    kinds = re.compile(rf"({'|'.join(QUEUES)}|jobs)\.[a-z]+(_[a-z]+)*")
    known = {*KINDS, *BULK}
    return [code for code in INLINE.findall(prose(text)) if kinds.fullmatch(code) and code not in known]


def broken_blocks(text: str) -> list[str]:
    blocks = [block for language, block in BLOCK.findall(text) if language == "python"]
    return [problem for block in blocks if (problem := _compiled(block)) is not None]


def _compiled(block: str) -> str | None:
    try:
        compile(block, "block", "exec")
    except SyntaxError as error:
        return f"{error.msg}: {error.text}"
    return None


def missing_tests(text: str) -> list[str]:
    codes = INLINE.findall(prose(text))
    files = [code for code in codes if code.startswith("tests/") and not (ROOT / code.split(" ")[0]).exists()]
    return files + [code for code in codes if re.fullmatch(r"test_\w+", code) and code not in _tests()]


@cache
def _tests() -> set[str]:
    return {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_what_the_code_says(generate: ModuleType) -> None:
    assert [named(path) for path in generate.stale(generate.REFERENCE)] == [], "run scripts/docs"


def test_a_reference_page_that_was_edited_is_found(generate: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(generate.REFERENCE, tmp_path, dirs_exist_ok=True)
    page = tmp_path / "settings.md"
    page.write_text(page.read_text("utf-8").replace("AGENTSTATE_LANES", "AGENTSTATE_ALLEYS"), "utf-8")
    assert generate.stale(tmp_path) == [page]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page.read_text("utf-8"), page) == []


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=named)
@pytest.mark.parametrize(
    "problems", [unknown_targets, wrong_commands, unknown_settings, unknown_kinds, broken_blocks, missing_tests]
)
def test_what_is_named_exists(page: Path, problems: Callable[[str], list[str]]) -> None:
    assert problems(page.read_text("utf-8")) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (ROOT / "README.md", DOCS / "README.md")
        for target in LINK.findall(page.read_text("utf-8"))
    }
    assert [named(page) for page in PAGES if page not in linked and page != ROOT / "README.md"] == []


def test_the_classes_of_operations_are_those_of_the_code() -> None:
    rows = re.findall(
        rf"^\| ({'|'.join(Guarantee.__members__)}) \|.*\| ([^|]+) \|$",
        (DOCS / "concepts/promises.md").read_text(),
        re.MULTILINE,
    )
    told = {name: set(INLINE.findall(cell)) for name, cell in rows}
    assert told == {
        guarantee.name: {operation.name for operation in operation_classes() if operation.guarantee is guarantee}
        for guarantee in Guarantee
    }


def test_pictures_are_small_and_used() -> None:
    used = {
        (page.parent / target).resolve() for page in WRITTEN_BY_HAND for target in LINK.findall(page.read_text("utf-8"))
    }
    pictures = sorted((DOCS / "pictures").iterdir())
    assert [picture.name for picture in pictures if picture not in used] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > MOST_BYTES] == []


@pytest.mark.parametrize(
    ("problems", "text"),
    [
        (lambda text: dead_links(text, ROOT / "README.md"), "[there](docs/nowhere.md)"),
        (lambda text: dead_links(text, ROOT / "README.md"), "[there](README.md#nowhere)"),
        (unknown_targets, "`make coffee`"),
        (unknown_targets, "```sh\nmake up && make coffee\n```"),
        (wrong_commands, "`agentstate unlearn ag_7`"),
        (wrong_commands, "```sh\nagentstate jobs bury\n```"),
        (wrong_commands, "`agentstate recall ag_7 what --depth 3`"),
        (wrong_commands, "```sh\ndocker compose exec worker-cache agentstate cure\n```"),
        (wrong_commands, "`python -m deploy.local sideways`"),
        (unknown_settings, "AGENTSTATE_ALLEYS=3"),
        (unknown_kinds, "`cache.warm`"),
        (broken_blocks, "```python\nagent.memory.remember(\n```"),
        (missing_tests, "`test_nothing_at_all`"),
        (missing_tests, "`tests/unit/test_nothing.py`"),
    ],
)
def test_a_planted_fault_is_found(problems: Callable[[str], list[str]], text: str) -> None:
    assert len(problems(text)) == 1
