"""Conversations: every turn kept and numbered, the prompt within its budget, summaries by one worker at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from agentstate.errors import InvalidInput, KeyReused, NotFound, ProviderTransient, TooLarge
from agentstate.jobs import Jobs
from agentstate.jobs.runner import Postpone
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.conversation.turns import NewTurn
from agentstate.memory.facts.counts import ConversationCounts, count_conversations
from agentstate.providers.summaries.summarizer import Fact, Summary, SummaryRequest
from agentstate.providers.tokens import estimate_tokens
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import conversations, summaries, turns
from agentstate.store.tables.base import db_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class CountingSummarizer:
    """Says which turns it read; `meanwhile` runs while it thinks."""

    name = "counting"
    max_source_tokens = 400

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.requests: list[SummaryRequest] = []

    def summarize(self, request: SummaryRequest) -> Summary:
        self.requests.append(request)
        self.meanwhile()
        numbers = [turn.number for turn in request.turns]
        new = tuple(Fact(kind="decision", text=turn.text, turns=(turn.number,)) for turn in request.turns[:1])
        text = f"{request.previous or ''}({numbers[0]}-{numbers[-1]})"
        return Summary(
            text=text,
            method="model",
            model="test",
            facts=request.previous_facts + new,
            calls=1,
            input_tokens=9,
            output_tokens=1,
        )

    def describe(self) -> Any:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture
def settings(limits: Settings) -> Settings:
    return limits.model_copy(update={"summary_after_tokens": 300})


@pytest.fixture
def history(store: Store, jobs: Jobs, settings: Settings) -> ConversationHistory:
    return ConversationHistory(store, jobs, settings, "ag_7", "s1")


def fill(history: ConversationHistory, count: int, begin: int = 1) -> None:
    history.add_many(
        NewTurn(role="user" if n % 2 else "assistant", text=f"turn {n} says 12.50 USDC", at=NOW)
        for n in range(begin, begin + count)
    )


def covered(store: Store) -> list[int]:
    with store.read_connection() as connection:
        query = sa.select(summaries.c.covers_from, summaries.c.covers_to).order_by(summaries.c.number)
        return [n for first, last in connection.execute(query) for n in range(first, last + 1)]


def test_turns_are_numbered_and_kept_as_they_were_said(history: ConversationHistory) -> None:
    blocks = [{"type": "tool_use", "id": "t1", "name": "bet", "input": {"amount": "2.50"}}]
    assert history.add("user", "bet 2.50", speaker="Ann", at=NOW) == 1
    assert history.add("assistant", "betting", content=blocks) == 2
    first, second = history.turns()
    assert (first.text, first.speaker, first.at, first.content) == ("bet 2.50", "Ann", NOW, None)
    assert second.content == blocks


def test_a_turn_with_an_id_is_stored_once(history: ConversationHistory) -> None:
    assert history.add("user", "pay", source_id="m1") == 1
    assert history.add("user", "next", source_id="m2") == 2
    assert history.add("user", "pay", source_id="m1") == 1
    with pytest.raises(KeyReused, match="'m1'"):
        history.add("user", "pay more", source_id="m1")
    same = NewTurn(role="user", text="again", at=NOW, source_id="m3")
    assert history.add_many([same, same]) == [3, 3]
    assert [turn.text for turn in history.turns()] == ["pay", "next", "again"]


def test_a_transaction_that_fails_adds_nothing(history: ConversationHistory, store: Store, jobs: Jobs) -> None:
    def add_and_fail() -> None:
        with store.transaction() as tx:
            history.add("user", "x" * 3_000, tx=tx)
            raise KeyError

    with pytest.raises(KeyError):
        add_and_fail()
    assert history.turns() == []
    assert history.status() is None
    assert jobs.list() == []


@pytest.mark.parametrize(
    ("role", "text", "said"), [("boss", "x", "role"), ("user", "", "empty"), ("user", "a\x00", "NUL")]
)
def test_a_bad_turn_is_refused(history: ConversationHistory, role: str, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        history.add(role, text)
    assert history.turns() == []


def test_writers_at_once_leave_no_gap_and_lose_no_turn(store: Store, jobs: Jobs, settings: Settings) -> None:
    def write(writer: int) -> None:
        history = ConversationHistory(store, jobs, settings, "ag_7", "s1")
        for n in range(10):
            history.add("user", f"{writer}:{n}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    stored = ConversationHistory(store, jobs, settings, "ag_7", "s1").turns()
    assert [turn.number for turn in stored] == list(range(1, 41))
    assert {turn.text for turn in stored} == {f"{writer}:{n}" for writer in range(4) for n in range(10)}


def test_agents_with_the_same_session_have_conversations_of_their_own(
    store: Store, jobs: Jobs, settings: Settings
) -> None:
    mine, other = (ConversationHistory(store, jobs, settings, agent, "s1") for agent in ("a", "b"))
    mine.add("user", "secret", source_id="1")
    other.add("user", "open", source_id="1")
    assert [turn.text for turn in other.turns()] == ["open"]
    assert "secret" not in str(other.messages())


def test_messages_hold_the_newest_turns_within_the_budget(history: ConversationHistory) -> None:
    fill(history, 21)
    whole = history.messages(5_000)
    assert len(whole) == 21
    part = history.messages(200)
    assert part.omitted > 0
    assert "turn 21" in part[-1]["content"]
    assert f"[{part.omitted} turns are left out here]" in part[0]["content"]
    assert sum(estimate_tokens(message["content"]) for message in part) <= 200
    with pytest.raises(TooLarge, match="newest turn"):
        history.messages(20)
    with pytest.raises(InvalidInput):
        history.messages(0)
    with pytest.raises(InvalidInput, match="form"):
        history.messages(form="gemini")  # type: ignore[arg-type]
    assert ConversationHistory.to_messages(history) == history.messages(8_000)


def test_a_conversation_without_turns_has_no_messages(history: ConversationHistory) -> None:
    assert history.messages() == []
    assert history.summary() is None


def test_passing_the_size_submits_one_job_however_many_turns_do(history: ConversationHistory, jobs: Jobs) -> None:
    fill(history, 5)
    assert jobs.list() == []
    fill(history, 40, begin=6)
    fill(history, 5, begin=46)
    (job,) = jobs.list()
    assert (job.kind, job.agent_id, job.payload) == (
        "summarization.summarize_conversation",
        "ag_7",
        {"conversation_id": str(history.id)},
    )


def test_a_summary_covers_the_older_turns_and_the_newest_stay_verbatim(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    fill(history, 60)
    summarizer = CountingSummarizer()
    run = ConversationSummarizer(store, summarizer, settings).run(history.id)
    status = history.status()
    assert status is not None
    assert run.summaries == len(summarizer.requests) >= 2
    assert (run.covered, run.raced) == (status.summarized_to, False)
    assert 0 < status.open_tokens <= settings.summary_after_tokens
    assert covered(store) == list(range(1, status.summarized_to + 1))
    messages = history.messages(2_000)
    assert messages.summarized_to == status.summarized_to
    text = "\n".join(message["content"] for message in messages)
    assert "(1-" in text
    assert [n for n in range(1, 61) if f"turn {n} says" in text] == list(range(status.summarized_to + 1, 61))
    assert len(history.turns()) == 60


def test_the_next_summary_builds_on_the_one_before(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    summarizer = CountingSummarizer()
    worker = ConversationSummarizer(store, summarizer, settings)
    fill(history, 40)
    worker.run(history.id)
    first = history.summary()
    fill(history, 40, begin=41)
    worker.run(str(history.id))
    last = history.summary()
    assert first is not None
    assert last is not None
    assert last.text.startswith(first.text)
    assert last.facts[: len(first.facts)] == first.facts
    assert (last.method, last.model) == ("model", "test")
    assert covered(store) == list(range(1, last.covers_to + 1))


def test_a_short_conversation_is_left_alone(history: ConversationHistory, store: Store, settings: Settings) -> None:
    fill(history, 3)
    assert ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id).summaries == 0


def test_one_huge_turn_asks_nobody_to_summarize_nothing(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    history.add("user", "word " * 2_000)
    summarizer = CountingSummarizer()
    worker = ConversationSummarizer(store, summarizer, settings)
    assert worker.run(history.id).summaries == 0
    history.add("assistant", "short")
    assert worker.run(history.id).covered == 1
    assert [len(request.turns) for request in summarizer.requests] == [1]


def test_while_one_job_summarizes_another_one_waits(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    fill(history, 60)
    others: list[type[BaseException] | None] = []

    def ask_too() -> None:
        try:
            ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id)
        except Postpone as error:
            others.append(type(error))

    run = ConversationSummarizer(store, CountingSummarizer(ask_too), settings).run(history.id)
    assert others == [Postpone] * run.summaries
    # It has left: the next one need not wait.
    assert ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id).summaries == 0


def test_a_job_takes_up_again_what_its_killed_worker_left(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    fill(history, 60)
    job = uuid4()
    with store.transaction() as tx:
        held = {"summarizing_job": job, "summarizing_until": db_time(600)}
        tx.connection.execute(conversations.update().values(held))
    worker = ConversationSummarizer(store, CountingSummarizer(), settings)
    with pytest.raises(Postpone):
        worker.run(history.id)
    assert worker.run(history.id, job_id=job).summaries >= 1


def test_a_worker_that_lost_its_time_commits_nothing(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    fill(history, 60)

    def lose_it() -> None:
        with store.transaction() as tx:
            tx.connection.execute(conversations.update().values(summarizing_until=None))
        ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id)

    late = ConversationSummarizer(store, CountingSummarizer(lose_it), settings).run(history.id)
    status = history.status()
    assert status is not None
    assert (late.summaries, late.raced) == (0, True)
    assert covered(store) == list(range(1, status.summarized_to + 1))


def test_turns_that_arrive_meanwhile_stay_open(history: ConversationHistory, store: Store, settings: Settings) -> None:
    fill(history, 20)
    summarizer = CountingSummarizer(lambda: history.add("user", "late word") and None)
    ConversationSummarizer(store, summarizer, settings).run(history.id)
    status = history.status()
    assert status is not None
    assert status.turns == 20 + len(summarizer.requests)
    with store.read_connection() as connection:
        after = turns.c.number > status.summarized_to
        tokens = connection.execute(sa.select(sa.func.sum(turns.c.tokens)).where(after)).scalar_one()
    assert status.open_tokens == tokens


def test_a_summarizer_that_fails_loses_nothing(history: ConversationHistory, store: Store, settings: Settings) -> None:
    fill(history, 40)

    def fail() -> None:
        raise ProviderTransient("overloaded")

    with pytest.raises(ProviderTransient):
        ConversationSummarizer(store, CountingSummarizer(fail), settings).run(history.id)
    status = history.status()
    assert status is not None
    assert (status.turns, status.summarized_to) == (40, 0)
    ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id)
    assert history.summary() is not None


def test_an_unknown_conversation_is_named(store: Store, settings: Settings) -> None:
    worker = ConversationSummarizer(store, CountingSummarizer(), settings)
    with pytest.raises(NotFound):
        worker.run(uuid4())
    with pytest.raises(InvalidInput):
        worker.run("s1")


def test_conversations_are_counted(history: ConversationHistory, store: Store, settings: Settings) -> None:
    fill(history, 40)
    ConversationSummarizer(store, CountingSummarizer(), settings).run(history.id)
    status = history.status()
    assert status is not None
    with store.read_connection() as connection:
        assert count_conversations(connection, agent_id="ag_7") == [
            ConversationCounts(
                agent_id="ag_7",
                conversations=1,
                turns=40,
                summarized=status.summarized_to,
                summaries=status.summary_number,
            )
        ]
