"""The files that run the system in containers, as data, and what of them the code has to know."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml

from agentstate.cli.root import cli as agentstate_command
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.settings import ENV_FILE_VARIABLE, PREFIX, SECRETS_DIR_VARIABLE, Settings
from workers.cli import cli
from workers.heartbeat import FILE_VARIABLE

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy/Dockerfile"
K8S = ROOT / "deploy/k8s"

WAITING = {"embedding", "summarization", "cache"}
"""Queues whose work waits for others: threads. The rest is served by solo processes."""
GRACE_MARGIN_S = 20
"""How much longer than the longest deadline a worker gets to stop: writing down how a job ended takes a moment."""

Document = dict[str, Any]


@cache
def _as_json(path: Path) -> str:
    return json.dumps([document for document in yaml.safe_load_all(path.read_text("utf-8")) if document])


def documents(path: Path) -> list[Document]:
    """The documents of a YAML file; what aliases share there is several here, so one can be changed alone."""
    found: list[Document] = json.loads(_as_json(path))
    return found


def compose() -> Document:
    (document,) = documents(COMPOSE)
    return document


def longest_deadline(queue: str) -> float:
    return max(spec.deadline_s for spec in [*KINDS.values(), *BULK.values()] if spec.queue == queue)


def known_names() -> set[str]:
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    return settings | {ENV_FILE_VARIABLE, SECRETS_DIR_VARIABLE, FILE_VARIABLE}


def unknown_names(text: str) -> set[str]:
    """Names in `text` that look like settings of ours and are none."""
    found = re.findall(rf"\b(?:{PREFIX}|WORKERS_)[A-Z0-9_]+", text)
    return set(found) - known_names()


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """What `python -m workers` makes of `words`: the command and its options; raises what it refuses with."""
    command = cli.commands.get(words[0])
    if command is None:
        raise click.UsageError(f"there is no command {words[0]}")
    return words[0], command.make_context(words[0], list(words[1:])).params


def refusal(words: list[str]) -> str | None:
    """Why `python -m workers` would refuse `words`; None when it takes them."""
    try:
        parsed(words)
    except click.ClickException as error:
        return f"{words}: {error.format_message()}"
    return None


def migration_problems(words: list[str], address: str) -> list[str]:
    """What is wrong with the words after `agentstate`, where `address` is the file with the application's address."""
    command = agentstate_command.commands["migrate"]
    known = {name for option in command.params for name in option.opts}
    problems = [f"agentstate migrate has no {word}" for word in words if word.startswith("--") and word not in known]
    if words != ["migrate", "--app-url-file", address]:
        problems.append("the migration does not make the role that the others connect as")
    return problems


def health_words(check: list[str]) -> list[str] | None:
    """The words after `python -m workers` of a health check in exec form, None when it is another one."""
    without_form = check[1:] if check[:1] == ["CMD"] else check
    return without_form[3:] if without_form[:3] == ["python", "-m", "workers"] else None


def queue_problems(served: dict[str, tuple[list[str], str]]) -> list[str]:
    """What is wrong with who serves what: name of a worker -> its queues and its pool."""
    queues = [queue for served_queues, _ in served.values() for queue in served_queues]
    known = {spec.queue for spec in [*KINDS.values(), *BULK.values()]}
    problems = [f"{queue} is served by {queues.count(queue)}" for queue in sorted(known) if queues.count(queue) != 1]
    problems += [f"there is no queue {queue}" for queue in sorted(set(queues) - known)]
    for name, (served_queues, pool) in served.items():
        wanted = "threads" if set(served_queues) <= WAITING else "solo"
        if pool != wanted:
            problems.append(f"{name} runs {pool}, not {wanted}")
    return problems


def seconds(duration: str) -> float:
    """A duration of Compose, `150s` or `1m30s`."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found, duration
    return int(found[1] or 0) * 60 + int(found[2] or 0)


def floating(image: str) -> bool:
    """Whether an image has no tag, or one that moves."""
    name = image.rsplit("/", 1)[-1]
    return ":" not in name or name.endswith(":latest") or not re.search(r":v?\d+\.\d+", name)
