"""One run: a stack, writers, a provider of bad moods, a killer, and the audit while it goes on and when it is quiet."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import sqlalchemy as sa
from pydantic import SecretStr

from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.history import SUMMARIZE
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.conversation.turns import NewTurn
from agentstate.providers.summaries.anthropic_summarizer import AnthropicChat
from agentstate.providers.summaries.model_summarizer import ChatModel, ModelSummarizer
from agentstate.providers.summaries.openai_summarizer import OpenAIChat
from agentstate.runtime import Runtime
from agentstate.store.tables import jobs
from agentstate.store.tables.base import db_time
from deploy.local.demo.audits import list_our_keys
from deploy.local.stack.results import Row, at_least, equal_to
from tests.chaos.conversation.audit import Audit, lost, without_source
from tests.chaos.conversation.provider import FAILS, Moods
from tests.chaos.conversation.world import KillableWorker, one_worker
from tests.chaos.conversation.writers import WRITERS, Writing, conversation
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.world import running_stack
from tests.stubs.provider_server import Fault, ProviderServer
from tests.worlds.waiting import until

KEY = "pf_test_chaos_key"  # pragma: allowlist secret
SETTLES_WITHIN_S = 900.0

PARTS = "redis,postgres,migrate,worker-io,worker-money,beat"
WORKER = "worker-io"

Api: TypeAlias = Literal["anthropic", "openai"]


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    conversations: int = option(200, "How many.", least=1)
    turns: int = option(7, "Of each of the four writers.", least=1)
    kills: int = option(5, "Of the worker; the supervisor gives a process up that dies six times in a row.", least=0)
    seed: int = option(7, "Of what is drawn.")
    api: Api = "anthropic"
    """Which the provider speaks."""
    pauses_s: tuple[float, float] = (0.5, 8.0)
    """Between two kills."""
    servers: Mapping[str, str] | None = None
    """Settings that lead to running servers, on which one worker is enough; None starts a whole stack."""


def play(base: Path, plan: Plan, say: Say) -> Iterator[Row]:
    """Write to conversations while the provider fails and the worker is killed, and look for what is lost."""
    moods = Moods(plan.seed)
    with ProviderServer(choose=moods.choose) as server:
        settings = _settings(plan.api, server.url)
        opened: AbstractContextManager[KillableWorker] = (
            running_stack(base, ["--money-workers", "1", "--only", PARTS], settings)
            if plan.servers is None
            else one_worker(base, plan.servers, settings)
        )
        with opened as world, closing(Runtime(world.settings(), pool_size=10)) as runtime:
            yield from _under_fire(world, runtime, plan, say)
            yield from _judged(runtime, plan, moods)
            yield _without_the_gate(runtime, server, plan.api)


def _settings(api: Api, url: str) -> dict[str, str]:
    name = api.upper()
    return {
        "SUMMARIZER": api,
        f"{name}_BASE_URL": _base_url(api, url),
        f"{name}_API_KEY": KEY,
        "SUMMARY_AFTER_TOKENS": "300",
        "SUMMARY_DEBOUNCE_S": "0.2",
        "SWEEP_EVERY_S": "1",
        "EMBEDDER": "lexical",
    }


def _base_url(api: Api, url: str) -> str:
    return f"{url}/v1" if api == "openai" else url


def _chat(api: Api, url: str) -> ChatModel:
    key, base_url = SecretStr(KEY), _base_url(api, url)
    return (
        OpenAIChat(api_key=key, base_url=base_url) if api == "openai" else AnthropicChat(api_key=key, base_url=base_url)
    )


def _under_fire(world: KillableWorker, runtime: Runtime, plan: Plan, say: Say) -> Iterator[Row]:
    began = time.monotonic()
    writing = Writing(runtime, plan.conversations, plan.turns, plan.seed)
    draw, kills, looks, missing = random.Random(plan.seed), 0, 0, 0
    while not writing.done or kills < plan.kills:
        until_next = time.monotonic() + draw.uniform(*plan.pauses_s)
        while time.monotonic() < until_next:
            looks += 1
            missing += len(lost(conversation(runtime, draw.randrange(plan.conversations))))
        if kills < plan.kills:
            kills += _killed(world, runtime)
            say(f"kill -9 of the worker, no. {kills}; {sum(writing.acknowledged.values()):,} turns are acknowledged")
    writing.finish()
    say("all is written; waiting for the summaries")
    until(lambda: _open_jobs(runtime) == 0, pause_s=0.2, within_s=SETTLES_WITHIN_S)
    acknowledged = sum(writing.acknowledged.values())
    stored = sum(len(conversation(runtime, number).turns()) for number in range(plan.conversations))
    yield Row("conversations, writers each", f"{plan.conversations}, {WRITERS}")
    yield Row("took, until the last summary", round(time.monotonic() - began, 1), "s")
    yield equal_to("turns stored, of those acknowledged", stored, acknowledged, "turns")
    yield at_least("kill -9 of the worker", kills, plan.kills, "kills")
    yield equal_to(f"turns nowhere, in {looks:,} looks while it went on", missing, 0, "turns")


def _killed(world: KillableWorker, runtime: Runtime) -> int:
    """Kill the worker; its leases are wound on, as though their time had passed."""
    pid = world.kill_and_wait(WORKER)
    if pid is None:
        return 0
    with runtime.store.transaction() as tx:
        its = (jobs.c.status == "running", jobs.c.lease_owner.contains(f":{pid}:"))
        tx.connection.execute(jobs.update().where(*its).values(lease_until=db_time(-1.0)))
    return 1


def _open_jobs(runtime: Runtime) -> int:
    query = sa.select(sa.func.count()).select_from(jobs)
    with runtime.store.read_connection() as connection:
        return connection.execute(
            query.where(jobs.c.kind == SUMMARIZE, jobs.c.status.in_(("ready", "running")))
        ).scalar_one()


def _judged(runtime: Runtime, plan: Plan, moods: Moods) -> Iterator[Row]:
    audit = Audit()
    for number in range(plan.conversations):
        audit.look(runtime.store, conversation(runtime, number))
    dead = runtime.jobs.list(status="dead", kind=SUMMARIZE, limit=1_000)
    yield equal_to("turns nowhere, when all is quiet", len(audit.lost), 0, "turns")
    yield Row("turns in summaries", f"{audit.covered:,} of {audit.turns:,}", "turns")
    yield equal_to("message lists that an API would refuse", len(audit.refused), 0, "lists")
    yield equal_to("jobs dead", len(dead), 0, "jobs")
    yield Row("requests to the provider, failed", f"{moods.requests:,}, {moods.failed / max(1, moods.requests):.0%}",
              reference=f"{FAILS:.0%} are to fail")  # fmt: skip
    yield Row("summaries, by the digest", f"{audit.summaries:,}, {audit.extractive:,}")
    yield at_least("summaries with a made-up figure, sent by the provider", moods.seen["hallucinate"], 1, "answers")
    yield equal_to("figures in summaries without a source", len(audit.unsupported), 0, "figures")
    endless = [key.name for key in list_our_keys(runtime) if key.ttl_s < 0]
    yield equal_to("keys of ours on Redis without a time to live", len(endless), 0, "keys")


def _without_the_gate(runtime: Runtime, server: ProviderServer, api: Api) -> Row:
    """The audit would see a made-up figure: one conversation summarized by an inventing model that nobody checks."""
    nobody_else = runtime.settings.model_copy(update={"summary_after_tokens": 1_000_000})
    history = ConversationHistory(runtime.store, runtime.jobs, nobody_else, "ag_control", "s1")
    now = datetime.now(UTC)
    texts = (f"Turn {number} of the control is about nothing." for number in range(30))
    history.add_many(NewTurn(role="user", text=text, at=now) for text in texts)
    server.choose = lambda: Fault("hallucinate")
    with closing(ModelSummarizer(_chat(api, server.url))) as unchecked:
        ConversationSummarizer(runtime.store, unchecked, runtime.settings).run(history.id)
    found = sum(len(figures) for _, figures in without_source(runtime.store, history))
    return at_least("control: made-up figures found when no gate stands before them", found, 1, "figures")


SCENARIO = Scenario("Conversations under fire", "chaos-conversation", Plan, play)
