"""The reference pages, written from the code: settings, kinds of job, commands, operations, tables and metrics.

What the code says of itself (fields, the registry, Click's help, the schema) is the page, so a page cannot say
something else. `scripts/docs` writes them; with `--check` it only compares, as a test does.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import sqlalchemy as sa
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from sqlalchemy.dialects import postgresql

from agentstate.cli.jobs import kinds_document
from agentstate.cli.root import cli as agentstate_command
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.jobs.spec import QUEUES, JobSpec
from agentstate.metrics.measures import MEASURES, STORE_UP
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.receipts import Receipt
from agentstate.services.operations.registry import operation_classes
from agentstate.settings import PREFIX, Settings
from agentstate.store.tables import metadata
from deploy.local.demo.__main__ import main as demo_command
from deploy.local.stack.cli import cli as stack_command
from workers.cli import cli as workers_command

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/docs from the code. Do not edit: change the code and run scripts/docs. -->"

QUEUES_DO = {
    "embedding": ("remember; the sweep", "makes memories searchable"),
    "summarization": ("a long conversation", "summarizes conversations"),
    "cache": ("agents", "reads an agent's state at a service ahead of need"),
    "reconciliation": ("the sweep; agents", "compares the books with the services"),
    "effects": ("a call in doubt; the sweep", "finds out what became of calls in doubt"),
    "snapshots": ("beat", "takes portfolio snapshots of the fleet"),
    "housekeeping": (
        "beat",
        "the sweep, the schedules, submissions by the broker, attesting the ledger, removal of old jobs",
    ),
}
"""What wakes each queue, and what its workers do."""

TABLES_HOLD = {
    "jobs": "One row is one job: its payload, attempts, lease, due time, result and cause of death.",
    "memories": "What agents remember; the truth behind the index.",
    "memory_vectors": "Vectors that were made, so that an index can be filled again without asking the provider.",
    "memory_namespaces": "Namespaces that several agents share, each with its owner.",
    "forgotten_memories": "Ids of memories that were forgotten one by one: no import or worker brings one back.",
    "memory_shares": "Which agent may read or write which namespace, and since when it has said yes to it.",
    "provider_circuits": "Which embedding provider is left alone, until when and why; all workers keep to it.",
    "embedding_batches": "Batches of texts that a provider embeds within a day, for filling an index anew.",
    "embedding_batch_items": "Which memories wait for which text of such a batch.",
    "index_builds": "Which collections hold the index, and how far one that is being filled has come.",
    "conversations": "Where each conversation stands: number of turns, and how far a summary covers them.",
    "turns": "What was said, word by word.",
    "summary_calls": "What was asked of a model for a summary: what came of it, and the tokens and money it took.",
    "summaries": "Summaries of conversations, each with the turns that it covers.",
    "currencies": "Currencies with the number of digits after the point.",
    "accounts": "The accounts of each agent with their present balance. Nothing goes below the floor.",
    "ledger_transactions": "Ledger transactions, each under the key of its caller. Never changed, never removed.",
    "episodes": "What happened to agents, until an agent is forgotten; Redis has a copy of the newest.",
    "episode_tombstones": "Which agents were forgotten when, with all their episodes up to then. Never changed.",
    "episode_lessons": "Up to which episode lessons were drawn, by agent.",
    "entries": "The lines of ledger transactions, chained by hash. Never changed, never removed.",
    "account_snapshots": "Points up to which an account was recomputed, with balance and seal. Never changed.",
    "attestations": "Attestations of the whole ledger: one root each, chained, and the damage found. Never changed.",
    "effects": "Calls to the outside: what was meant, and what came of it.",
    "effect_evidence": "What was seen on the way: late answers, looks, decisions.",
    "guard_rules": "The limits of each agent. A row is also the lock under which its limit is asked.",
    "freezes": "Services at which an agent's money moves are stopped, and were: by whom, and why.",
    "guard_uses": "What agents' own code did under their limits without an effect.",
    "breaks": "Differences between books and services that nobody has explained yet.",
    "recon_cursors": "Which account is compared when, and who is at it.",
    "recon_runs": "Every comparison with what it found.",
    "service_accounts": "Which agent has which account at which service.",
    "portfolio_snapshots": "What each agent owned when.",
    "agent_states": "Which version of each agent's state is the newest.",
    "agent_state_versions": "Every save of every agent's state. Never changed, never removed.",
    "profile_fields": "The fields of each agent's profile; the truth behind the copy in Redis.",
    "update_heads": "How many updates each agent has published, and which are gone.",
    "updates": "Each agent's updates, numbered without gaps; the newest are in a stream in Redis too.",
    "tallies": "Sums over the fleet of what is too frequent to be a row each, for the metrics.",
    "update_groups": "How far each group of readers has come with an agent's updates.",
}
"""One line for each table, in the order of the page."""


def settings_page() -> str:
    """Every setting with its type, default and meaning."""
    rows = [_setting(name, field) for name, field in Settings.model_fields.items()]
    return _page(
        "Settings",
        "Every setting is an environment variable. It can also stand in the settings file (the one that "
        f"`{PREFIX}ENV_FILE` names, else `.agentstate/env` in the working directory), or as a file of its own in the "
        f"folder that `{PREFIX}SECRETS_DIR` names, in small letters, as container engines mount secrets. The "
        "environment wins over the settings file, and that over the secrets. A name that is no setting, and a value "
        "out of its range, is refused at start. `agentstate doctor --settings` shows the values in force.",
        _table(("setting", "values", "default", "what it is for"), rows),
    )


def jobs_page() -> str:
    """Every queue and every kind of job with its payload."""
    kinds = [
        (f"`{spec.kind}`", spec.queue, _submitter(spec), f"{spec.deadline_s:g} s", _retries(spec), spec.summary)
        for spec in KINDS.values()
    ]
    bulk = [(f"`{spec.kind}`", spec.queue, f"{spec.deadline_s:g} s", spec.summary) for spec in BULK.values()]
    return _page(
        "Jobs",
        "A job is a row in the durable store. Agents submit the kinds that are marked so, with the library "
        "(`agent.jobs.submit`) or [by the broker](../how-to/submit-by-the-broker.md). `agentstate jobs kinds` prints "
        "the kinds too, with `--json` and the JSON Schema of each payload.",
        "## Queues",
        "Each queue has `AGENTSTATE_LANES` lanes, called `<queue>.<n>` on the broker. The jobs of one agent stay in "
        "one lane, so that its flood does not delay others.",
        _table(("queue", "woken by", "its workers"), [(queue, *QUEUES_DO[queue]) for queue in QUEUES]),
        "## Kinds of job",
        "A failed attempt is tried again after a random wait whose bound doubles up to the one shown. After the last "
        "attempt the job becomes `dead` and stays with its cause, or is `discarded` where the next one does its work.",
        _table(("kind", "queue", "submitted by", "deadline", "attempts", "what it does"), kinds),
        "## Payloads",
        "Fields that are not listed are refused; nothing is stored then.",
        _table(("kind", "field", "type", "needed"), _payload_rows()),
        "## Bulk work",
        "Work that claims rows of its own in batches, under one wake-up however much waits. Nobody submits it, except "
        "`jobs.submit`, which is the message of [submitting by the broker](../how-to/submit-by-the-broker.md).",
        _table(("kind", "queue", "deadline", "what it does"), bulk),
    )


def commands_page() -> str:
    """Every target of make and every command with its options."""
    return _page(
        "Commands",
        "All of them run from the root of the repository. `agentstate` is installed with the library; in a checkout "
        "it is `.venv/bin/agentstate`.",
        "## make",
        _table(("target", "what it does"), _make_targets((ROOT / "Makefile").read_text("utf-8"))),
        "## agentstate",
        *_commands("agentstate", agentstate_command),
        "## python -m deploy.local",
        *_commands("python -m deploy.local", stack_command),
        *_commands("python -m deploy.local.demo", demo_command),
        "## python -m workers",
        *_commands("python -m workers", workers_command),
    )


SANDBOX_ONLY = frozenset(
    {
        "casino.register", "casino.deposit", "trading.deposit", "domains.deposit", "wallet.deposit", "domains.renew",
        "faucet.claim",
    }
)  # fmt: skip
"""Operations that no real server has been asked for; `tests/contract/recorded` has an answer to each of the others."""


def operations_page() -> str:
    """Every operation of the financial services with its guarantee, its fields and its receipt."""
    rows = [
        (
            f"`{each.name}`",
            each.guarantee.name,
            "sandbox" if each.name in SANDBOX_ONLY else "real server",
            _about(each),
            _describe_fields(each),
            _describe_receipt(each),
        )
        for each in operation_classes()
    ]
    return _page(
        "Operations",
        'The operations that `agent.effects.execute_once` takes, such as `casino.bet(amount=Decimal("2.50"), '
        'side="heads")` from `agentstate.services.operations.casino`. [Effects](../concepts/effects.md) explains the '
        "guarantees. Amounts are Decimal, int, Money or plain decimal text, in dollars; a float is refused. Every "
        "receipt has `reference`, `debited`, `credited`, `fee` and `raw`, the service's answer.",
        "The third column says where an operation has been run: at the service's own public server, on loopback with "
        "its chain, venue, registrar and exchange replaced by stand-ins, or only at the sandbox. The faucet's server "
        "could not be had, test deposits and the unified gateway's routes exist at the sandbox alone, and no real "
        "service renews a domain on request. The answers of the real servers are kept by their shapes, and the sandbox "
        "is held to them. No operation has been run with real money.",
        _table(("operation", "guarantee", "run at", "what it does", "fields", "receipt also has"), rows),
    )


def tables_page() -> str:
    """Every table of the durable store with its columns."""
    parts = [_table_section(metadata.tables[name], about) for name, about in TABLES_HOLD.items()]
    missing = sorted(metadata.tables.keys() - TABLES_HOLD.keys())
    if missing:
        raise SystemExit(f"docs/generate.py describes no {', '.join(missing)}; add a line to TABLES_HOLD.")
    return _page(
        "Tables",
        "The durable store, on Postgres and on SQLite from one schema. Types are shown as Postgres has them. Amounts "
        "are whole minor units: the millionth of a dollar for USDC. Read what you like; write through the library.",
        *parts,
    )


def metrics_page() -> str:
    """Every metric with its labels."""
    rows = [
        (
            f"`{measure.name}`",
            measure.kind,
            ", ".join(f"`{label}`" for label in measure.labels) or "none",
            measure.about,
        )
        for measure in (STORE_UP, *MEASURES)
    ]
    return _page(
        "Metrics",
        "What `agentstate metrics` prints and serves for Prometheus, read from the durable store at each scrape; "
        "[how to](../how-to/watch-with-prometheus.md). A metric without rows has no sample: nothing waits, nothing is "
        "open.",
        _table(("metric", "kind", "labels", "what it tells"), rows),
    )


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "jobs.md": jobs_page,
    "commands.md": commands_page,
    "operations.md": operations_page,
    "tables.md": tables_page,
    "metrics.md": metrics_page,
}


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([NOTE, f"# {title}", *parts]) + "\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _setting(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    description = " ".join((field.description or "").split())
    return f"`{PREFIX}{name.upper()}`", _values(field), _default(field), description


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    types = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    named = {
        SecretStr: "secret",  # pragma: allowlist secret
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true`, `false`",
        Path: "path",
    }
    bounds = " ".join(f"{word} {limit:,}" for name, word in _BOUNDS for limit in _limits(field, name))
    return f"{named[types[0]]}, {bounds}" if bounds else named[types[0]]


_BOUNDS = (("gt", "above"), ("ge", "from"), ("le", "to"))


def _limits(field: FieldInfo, name: str) -> list[Any]:
    return [getattr(item, name) for item in field.metadata if getattr(item, name, None) is not None]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none, must be set"
    if field.default is None:
        return "unset"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _submitter(spec: JobSpec) -> str:
    if not spec.by_agents:
        return "the system"
    return "agents, for themselves" if spec.per_agent else "anyone"


def _retries(spec: JobSpec) -> str:
    waits = f", waits up to {spec.retry.cap_s:g} s" if spec.retry.max_attempts > 1 else ""
    return f"{spec.retry.max_attempts}{waits}, then {spec.last_action}"


def _payload_rows() -> list[tuple[str, str, str, str]]:
    rows = []
    for kind in kinds_document()["kinds"]:
        schema = kind["payload"] or {}
        for name, field in schema.get("properties", {}).items():
            needed = "yes" if name in schema.get("required", ()) else "no"
            rows.append((f"`{kind['kind']}`", f"`{name}`", _json_type(field), needed))
        if kind["payload"] and not schema.get("properties"):
            rows.append((f"`{kind['kind']}`", "none", "", ""))
    return rows


def _json_type(field: dict[str, Any]) -> str:
    return " or ".join(item["type"] for item in field.get("anyOf", [field]))


def _about(operation: type[ServiceOperation[Any]]) -> str:
    """The docstring of an operation, in one line."""
    return " ".join(inspect.cleandoc(operation.__doc__ or "").split())


def _describe_fields(operation: type[ServiceOperation[Any]]) -> str:
    """The fields of an operation with their limits; one that may be left out has its default or `optional`."""
    described = operation.json_schema()
    return "; ".join(
        f"`{name}`: {_describe_values(schema)}{_describe_default(name, schema, described['required'])}"
        for name, schema in described["properties"].items()
    )


def _describe_values(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    if schema["type"] == "integer":
        return f"{schema['minimum']} to {schema['maximum']}"
    return str(schema.get("description", "text"))


def _describe_default(name: str, schema: Mapping[str, Any], required: Sequence[str]) -> str:
    if name in required:
        return ""
    return f" (default `{schema['default']}`)" if "default" in schema else " (optional)"


def _describe_receipt(operation: type[ServiceOperation[Any]]) -> str:
    common = {field.name for field in dataclasses.fields(Receipt)}
    return ", ".join(
        f"`{field.name}`" for field in dataclasses.fields(operation.receipt_class) if field.name not in common
    )


def _make_targets(makefile: str) -> list[tuple[str, str]]:
    return [(f"`make {name}`", text) for name, text in re.findall(r"^([a-z]+):.*?## (.+)$", makefile, re.MULTILINE)]


def _commands(name: str, command: click.Command) -> list[str]:
    """The sections of a command and of all below it, each with usage, help and options."""
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"### {name}", f"`{name} {usage}`", _help(command)]
    options = [record for option in command.params if (record := option.get_help_record(context)) and record[1]]
    if options:
        parts.append(_table(("option", "what it does"), [(f"`{names}`", text) for names, text in options]))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            parts += _commands(f"{name} {below.name}", below)
    return parts


def _help(command: click.Command) -> str:
    """Click's help as Markdown; what is set off by Click's mark for lines as they are becomes a code block."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        f"```sh\n{text[2:].strip()}\n```" if text.startswith("\b\n") else " ".join(text.split()) for text in paragraphs
    )


def _table_section(table: sa.Table, about: str) -> str:
    columns = [
        (f"`{column.name}`", _type(column), "yes" if column.nullable else "no", _role(column))
        for column in table.columns
    ]
    return f"## {table.name}\n\n{about}\n\n" + _table(("column", "type", "may be null", "role"), columns)


def _type(column: sa.Column[Any]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect())).lower()  # type: ignore[no-untyped-call]


def _role(column: sa.Column[Any]) -> str:
    keys = [f"references `{key.target_fullname}`" for key in column.foreign_keys]
    return ", ".join((["key"] if column.primary_key else []) + keys)


def stale(folder: Path) -> list[Path]:
    """The pages in `folder` that do not say what the code says."""
    made = {folder / name: write() for name, write in PAGES.items()}
    return [path for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]


def main(words: Sequence[str]) -> int:
    """Write the pages that are not up to date; with `--check` name them and exit with 1."""
    for path in (found := stale(REFERENCE)):
        print(f"{path.relative_to(ROOT)} is not what the code says")
        if "--check" not in words:
            path.write_text(PAGES[path.name](), "utf-8")
            print("... written anew")
    return 1 if found and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
