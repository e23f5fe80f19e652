#!/usr/bin/env python3
"""Write `shared/agentstate/aio/`: for each part of an agent a class with the same verbs, awaited.

    scripts/generate_async.py            write the modules
    scripts/generate_async.py --check    exit with 1 when they are not what would be written

Names, arguments, defaults and result types are copied from the synchronous classes, so that a type checker knows both
alike. A verb with a form of its own for asyncio (`execute_once_async`) is taken in that form.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, get_overloads

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "shared"))
TARGET = ROOT / "shared/agentstate/aio"


@dataclass(frozen=True)
class Part:
    """One synchronous class and the asynchronous one that is written for it."""

    source: str
    """`module:Class`."""
    name: str
    left_out: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    """Verbs that do no I/O and stay as they are."""


MODULES: dict[str, tuple[str, tuple[Part, ...]]] = {
    "memory": (
        "Memories, episodes and conversations of an agent, awaited.",
        (
            Part("agentstate.memory.facts.service:AgentMemory", "AsyncMemory"),
            Part("agentstate.memory.facts.namespaces:AgentNamespaces", "AsyncNamespaces"),
            Part("agentstate.memory.episodes.store:EpisodicStore", "AsyncEpisodes"),
            Part("agentstate.memory.conversation.history:ConversationHistory", "AsyncConversation"),
            Part("agentstate.agent_context:AgentContext", "AsyncContext"),
        ),
    ),
    "money": (
        "Books, effects and guards of an agent, awaited.",
        (
            Part("agentstate.money.ledger.ledger:TransactionLedger", "AsyncLedger"),
            Part("agentstate.money.effects.engine:AgentEffects", "AsyncEffects"),
            Part("agentstate.money.reconciliation.breaks:Breaks", "AsyncBreaks"),
            Part("agentstate.money.guards.guards:Guards", "AsyncGuards", plain=("guard", "use_async")),
            Part("agentstate.services.agent_services:AgentServices", "AsyncServices"),
            Part("agentstate.services.adapter:Adapter", "AsyncService"),
        ),
    ),
    "state": (
        "State, profile, live updates and jobs of an agent, awaited.",
        (
            Part("agentstate.state.agent_db:AgentStateStore", "AsyncStateStore"),
            Part("agentstate.state.profile:AgentProfile", "AsyncProfile"),
            Part("agentstate.state.updates:StateSync", "AsyncUpdates"),
            Part("agentstate.state.subscription:Subscription", "AsyncSubscription"),
            Part("agentstate.state.update_group:UpdateGroup", "AsyncUpdateGroup"),
            Part("agentstate.jobs.agent_jobs:AgentJobs", "AsyncJobs"),
        ),
    ),
}
WRAPPED = {part.source.rpartition(":")[2]: part.name for _, parts in MODULES.values() for part in parts}


@dataclass
class Imports:
    """The imports that a written module needs: for annotations alone, and for default values."""

    annotations: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def lines(self) -> tuple[list[str], list[str]]:
        """Statements for run time, and statements for type checking alone."""
        checking = {name: line for name, line in self.annotations.items() if name not in self.values}
        return sorted(set(self.values.values())), sorted(set(checking.values()))


def names_of(module: Any) -> dict[str, str]:
    """Each name that `module` imports or defines, with the statement that imports it elsewhere."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"from {node.module} import {alias.name}{renamed}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"import {alias.name}{renamed}"
        elif isinstance(node, ast.ClassDef):
            found.setdefault(node.name, f"from {module.__name__} import {node.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, f"from {module.__name__} import {target.id}")
    return found


def names_in(node: ast.AST | None) -> set[str]:
    """The names that an expression uses."""
    return set() if node is None else {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def passed_on(arguments: ast.arguments) -> str:
    """The arguments of a call that hands on what a function with `arguments` was given."""
    given = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args][1:]]
    if arguments.vararg:
        given.append(f"*{arguments.vararg.arg}")
    given += [f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs]
    if arguments.kwarg:
        given.append(f"**{arguments.kwarg.arg}")
    return ", ".join(given)


def write_verb(owner: type, name: str, function: FunctionType, part: Part, imports: Imports) -> str | None:
    """The source of one awaited verb; None for what needs none."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        raise TypeError(f"{owner.__name__}.{name} is no plain function")
    decorators = {ast.unparse(node) for node in tree.decorator_list}
    if decorators & {"staticmethod", "classmethod", "overload"}:
        return None
    known = names_of(sys.modules[function.__module__])
    returns = ast.unparse(tree.returns) if tree.returns else "None"
    every = [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs, tree.args.vararg, tree.args.kwarg]
    annotated = names_in(tree.returns).union(*(names_in(each.annotation) for each in every if each))
    defaults = set().union(*(names_in(each) for each in [*tree.args.defaults, *tree.args.kw_defaults]))
    for used, store in ((annotated, imports.annotations), (defaults, imports.values)):
        store.update({each: known[each] for each in used if each in known})
    summary = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    awaited = returns
    call = f"part.{name}({passed_on(tree.args)})"
    head = "async def"
    if name in part.plain:
        return textwrap.indent(
            f'def {name.removesuffix("_async")}({ast.unparse(tree.args)}) -> {returns}:\n    """{summary}"""\n'
            f"    return self._open_part().{name}({passed_on(tree.args)})\n",
            "    ",
        )
    if "contextmanager" in decorators or returns.startswith("AbstractContextManager["):
        awaited = f"AbstractAsyncContextManager[{returns.partition('[')[2].rpartition(']')[0]}]"
        imports.annotations["AbstractAsyncContextManager"] = "from contextlib import AbstractAsyncContextManager"
        head, body = "def", f"return self._enter_verb(lambda part: {call})"
    elif isinstance(tree, ast.AsyncFunctionDef):
        body = f"part = await self._runner.run(self._open_part)\nreturn await {call}"
        if returns.startswith(("AsyncIterator[", "AsyncGenerator[")):
            body = f"part = await self._runner.run(self._open_part)\nasync for item in {call}:\n    yield item"
    elif returns.startswith(("Iterator[", "Generator[")):
        awaited = f"AsyncIterator[{returns.partition('[')[2].rpartition(']')[0].split(', None')[0]}]"
        imports.annotations["AsyncIterator"] = "from collections.abc import AsyncIterator"
        body = f"async for item in self._iterate_verb(lambda part: {call}):\n    yield item"
    elif returns in {"Self", owner.__name__}:
        awaited = "Self"
        imports.annotations["Self"] = "from typing import Self"
        body = f"await self._run_verb(lambda part: {call})\nreturn self"
    elif returns in WRAPPED:
        awaited = WRAPPED[returns]
        body = f"opened = await self._run_verb(lambda part: {call})\nreturn {awaited}(self._runner, lambda: opened)"
    else:
        body = f"{'' if returns == 'None' else 'return '}await self._run_verb(lambda part: {call})"
    public = name.removesuffix("_async")
    arguments = ast.unparse(tree.args)
    forms = [ast.parse(textwrap.dedent(inspect.getsource(each))).body[0] for each in get_overloads(function)]
    source = "".join(
        f"@overload\n{head} {public}({ast.unparse(form.args)}) -> {awaited}: ...\n"
        for form in forms
        if isinstance(form, ast.FunctionDef)
    )
    if forms:  # the forms are the signature; what hands any of them on takes all
        imports.values["overload"] = "from typing import overload"
        imports.annotations["Any"] = "from typing import Any"
        arguments, body = "self, *args: Any, **kwargs: Any", body.replace(call, f"part.{name}(*args, **kwargs)")
    source += f'{head} {public}({arguments}) -> {awaited}:\n    """{summary}"""\n{textwrap.indent(body, "    ")}\n'
    return textwrap.indent(source, "    ")


def write_property(name: str, found: property, part: Part, imports: Imports) -> str | None:
    """The source of a property that gives another part; None for others."""
    del part, imports
    returns = inspect.get_annotations(found.fget).get("return") if found.fget else None
    if returns not in WRAPPED:
        return None
    summary = (inspect.getdoc(found.fget) or "").split("\n\n")[0].replace("\n", " ")
    return (
        f"    @property\n    def {name}(self) -> {WRAPPED[returns]}:\n"
        f'        """{summary}"""\n'
        f"        return {WRAPPED[returns]}(self._runner, lambda: self._open_part().{name})\n"
    )


def write_class(part: Part, imports: Imports) -> str:
    """The source of one asynchronous class."""
    module_name, _, class_name = part.source.partition(":")
    owner = getattr(importlib.import_module(module_name), class_name)
    imports.annotations[class_name] = f"from {module_name} import {class_name}"
    verbs: list[str] = []
    members = [(name, found) for base in owner.__mro__[:-1][::-1] for name, found in vars(base).items()]
    merged = dict(members)
    for name, found in merged.items():
        if name.startswith("_") or name in part.left_out or f"{name}_async" in merged:
            continue
        written = None
        if isinstance(found, FunctionType):
            written = write_verb(owner, name, found, part, imports)
        elif isinstance(found, property):
            written = write_property(name, found, part, imports)
        if written:
            verbs.append(written)
    summary = f"`{class_name}`, awaited: the same verbs with the same arguments, results and errors."
    return f'class {part.name}(AsyncPart["{class_name}"]):\n    """{summary}"""\n\n' + "\n".join(verbs)


def write_module(name: str) -> str:
    """The source of one module, formatted."""
    summary, parts = MODULES[name]
    imports = Imports()
    imports.values["AsyncPart"] = "from agentstate.aio.threads import AsyncPart"
    classes = [write_class(part, imports) for part in parts]
    own = {part.name for part in parts}
    for other, (_, others) in MODULES.items():
        for part in others:
            if part.name not in own and any(part.name in each for each in classes):
                imports.values[part.name] = f"from agentstate.aio.{other} import {part.name}"
    running, checking = imports.lines()
    guarded = "".join(f"    {line}\n" for line in checking)
    needs = f"\nif TYPE_CHECKING:\n{guarded}" if checking else ""
    if checking:
        running.append("from typing import TYPE_CHECKING")
    source = (
        f'"""{summary}\n\nWritten by `scripts/generate_async.py` from the synchronous classes; change those.\n"""\n\n'
        "from __future__ import annotations\n\n" + "\n".join(running) + "\n" + needs + "\n\n" + "\n\n".join(classes)
    )
    for command in (["check", "--fix-only", "--quiet", "--ignore", "F401,E501"], ["format", "--quiet"]):
        source = subprocess.run(
            [str(ROOT / ".venv/bin/ruff"), *command, "--stdin-filename", str(TARGET / f"{name}.py"), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        ).stdout
    return source


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the asynchronous parts from the synchronous ones.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something would change")
    check = parser.parse_args().check
    outdated = []
    for name in MODULES:
        path, source = TARGET / f"{name}.py", write_module(name)
        if not path.exists() or path.read_text("utf-8") != source:
            outdated.append(path.name)
            if not check:
                path.write_text(source, encoding="utf-8")
    if check and outdated:
        print(f"outdated: {', '.join(outdated)}; run scripts/generate_async.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
