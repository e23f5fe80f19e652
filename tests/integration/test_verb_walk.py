"""Every verb of an agent with a store that fails in each way, at each of its statements: every error is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from agentstate.agent import Agent, Fleet
from agentstate.errors import AgentStateError
from agentstate.money.amounts import Money
from agentstate.runtime import Runtime
from agentstate.settings import Settings

STATES = {
    "deadlock": "40P01", "serialization": "40001", "lock": "55P03", "statement timeout": "57014",
    "too many connections": "53300", "disk full": "53100", "out of memory": "53200", "read-only standby": "25006",
    "connection lost": "08006", "shutdown": "57P01", "prepared elsewhere": "26000", "prepared twice": "42P05",
    "internal": "XX000", "out of range": "22003", "no right": "42501", "no table": "42P01", "no column": "42703",
    "not supported": "0A000",
}  # fmt: skip
SINCE = datetime.now(UTC) - timedelta(days=1)


def post_in_a_transaction(agent: Agent) -> None:
    with agent.transaction():
        agent.memory.remember("Both or none")
        agent.ledger.deposit("in:2", "casino", Money("1"))


VERBS: dict[str, Callable[[Agent], Any]] = {
    "memory.remember": lambda agent: agent.memory.remember("The vault opens at nine"),
    "memory.recall": lambda agent: agent.memory.recall("vault"),
    "memory.list": lambda agent: agent.memory.list(),
    "memory.statements": lambda agent: agent.memory.statements("vault"),
    "memory.believed": lambda agent: agent.memory.believed("vault"),
    "memory.forget_all": lambda agent: agent.memory.forget_all(),
    "episodes.record": lambda agent: agent.episodes.record("bet", {"n": 1}),
    "episodes.get_recent": lambda agent: agent.episodes.get_recent(10),
    "conversation.add": lambda agent: agent.conversation("s").add("user", "hi"),
    "conversation.messages": lambda agent: agent.conversation("s").messages(max_tokens=1_000),
    "ledger.balance": lambda agent: agent.ledger.balance("casino", "USDC"),
    "ledger.deposit": lambda agent: agent.ledger.deposit("in:1", "casino", Money("1.25")),
    "ledger.statement": lambda agent: agent.ledger.statement("casino"),
    "guards.limit": lambda agent: agent.guards.limit(per_operation="5"),
    "guards.describe": lambda agent: agent.guards.describe(),
    "guards.freeze": lambda agent: agent.guards.freeze("casino", "test"),
    "profile.set_field": lambda agent: agent.profile.set_field("mood", 1),
    "profile.get_field": lambda agent: agent.profile.get_field("mood"),
    "updates.publish_update": lambda agent: agent.updates.publish_update("x", 1),
    "updates.read_since": lambda agent: agent.updates.read_since(0),
    "jobs.submit": lambda agent: agent.jobs.submit("cache.refresh", {"service": "casino"}),
    "jobs.list": lambda agent: agent.jobs.list(),
    "breaks.find": lambda agent: agent.breaks.find(),
    "effects.find": lambda agent: agent.effects.find("bet:1"),
    "effects.list": lambda agent: agent.effects.list(),
    "transaction": post_in_a_transaction,
}


@dataclass
class Fault:
    """Raises the driver's error at one statement, or at the commit."""

    at: int | str = -1
    state: str = ""
    seen: int = 0

    def execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        self.seen += 1
        if self.seen - 1 == self.at:
            raise psycopg.errors.lookup(self.state)("injected")
        cursor.execute(statement, parameters)

    def commit(self, connection: Any) -> None:
        if self.at == "commit":
            connection.rollback()
            raise psycopg.errors.lookup(self.state)("injected")
        connection.commit()


@pytest.fixture
def runtime(postgres_url: str) -> Iterator[Runtime]:
    nowhere = "redis://127.0.0.1:1/0"
    opened = Runtime(
        Settings.load(
            database_url=postgres_url,
            redis_url=nowhere,
            broker_url=nowhere,
            qdrant_url="http://127.0.0.1:1",
            embedder="lexical",
        )
    )
    yield opened
    opened.close()


def test_no_verb_lets_an_error_of_the_driver_out(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault()
    dialect: Any = runtime.store.engine.dialect
    monkeypatch.setattr(dialect, "do_execute", fault.execute)
    monkeypatch.setattr(dialect, "do_commit", fault.commit)
    fleet = Fleet(runtime)
    raw: list[str] = []
    struck = 0
    for number, (name, verb) in enumerate(VERBS.items()):
        fault.at, fault.seen = -1, 0
        verb(fleet.agent(f"ag_walk_{number}"))
        statements = fault.seen
        for trouble, state in STATES.items():
            for at in (*range(min(statements, 6)), "commit"):
                fault.at, fault.state, fault.seen = at, state, 0
                try:
                    verb(fleet.agent(f"ag_walk_{number}_{trouble}_{at}".replace(" ", "_")))
                except AgentStateError:
                    struck += 1
                except Exception as error:  # noqa: BLE001 what is looked for
                    raw.append(f"{name}, {trouble} at {at}: {type(error).__name__}: {str(error)[:80]}")
    print(f"{len(VERBS)} verbs x {len(STATES)} failures: {struck} errors of ours, {len(raw)} raw")
    assert raw == []
    assert struck > len(VERBS) * len(STATES)
