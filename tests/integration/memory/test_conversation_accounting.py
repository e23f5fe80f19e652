"""Each turn is verbatim, covered, or queued, whatever happens; calls and their results stay together; calls are paid
for once, and what they cost is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import InvalidInput, ProviderRefused, ProviderTransient, TooLarge
from agentstate.jobs import Claim, JobRunner, Jobs
from agentstate.jobs.kinds import KINDS
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.history import SUMMARIZE
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.conversation.tool_exchanges import unsplittable_turns
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.providers.summaries.prompt import PROMPT_VERSION
from agentstate.providers.summaries.summarizer import Summary, SummaryRequest
from agentstate.providers.tokens import estimate_tokens
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import conversations, summaries, summary_calls
from agentstate.store.tables import jobs as jobs_table
from agentstate.store.tables.base import db_time
from tests.stubs.llm.rules import refused_by_anthropic, refused_by_openai

BUDGET = 1_000
"""Room for a summary and for as many open turns as wait for none."""


class Paid(DigestSummarizer):
    """Costs something, and does `meanwhile` while it thinks."""

    max_source_tokens = 400

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.meanwhile, self.asked = meanwhile, 0

    @property
    def name(self) -> str:  # type: ignore[override]
        return "anthropic:claude-haiku-5-5"

    def summarize(self, request: SummaryRequest) -> Summary:
        self.asked += 1
        made = super().summarize(request)
        self.meanwhile()
        return Summary(made.text, "model", self.name, made.facts, input_tokens=1_000, output_tokens=100, calls=1)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def settings(limits: Settings) -> Settings:
    return limits.model_copy(update={"summary_after_tokens": 300, "summary_debounce_s": 0.0})


@pytest.fixture
def history(store: Store, jobs: Jobs, settings: Settings) -> ConversationHistory:
    return ConversationHistory(store, jobs, settings, "ag_7", "s1")


def call(number: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"c{number}", "name": "bet", "input": {"amount": f"{number}.50"}}
    return {"role": "assistant", "content": [block]}


def result(number: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": f"bet {number} of {number}.50 USDC is placed"}


class Life:
    """A conversation that is written to while summaries are made, fail, and lose their workers."""

    def __init__(self, history: ConversationHistory, store: Store, jobs: Jobs, settings: Settings, seed: int) -> None:
        self.history, self.store, self.jobs, self.settings = history, store, jobs, settings
        self.draw = random.Random(seed)
        self.added = 0

    def add(self) -> None:
        self.added += 1
        if (fate := self.draw.random()) < 0.5:
            if fate > 0.05:  # else its call was never recorded
                self.history.add(call(self.added))
            if fate < 0.45:  # else nobody ever answers
                self.history.add(result(self.added))
        else:
            said = f"turn of {self.added}.25 USDC: {'really ' * self.draw.randint(1, 9)}"
            self.history.add(self.draw.choice(("user", "assistant")), said)

    def trouble(self) -> None:
        fate = self.draw.random()
        if fate < 0.3:
            raise ProviderTransient("overloaded")
        if fate < 0.4:
            raise Killed
        if fate < 0.6:
            self.add()

    def work(self) -> None:
        with self.store.transaction() as tx:  # as time goes by, also for the lease of a killed worker
            if self.draw.random() < 0.7:
                past = {"status": "ready", "due_at": db_time(-1.0), "lease_until": None, "lease_owner": None}
                running = {key: past[key] for key in ("status", "lease_until", "lease_owner")}
                others = sa.select(jobs_table.c.id).where(jobs_table.c.status == "ready").exists()
                stuck = jobs_table.update().where(jobs_table.c.status == "running", ~others)
                tx.connection.execute(stuck.values(running))
                tx.connection.execute(
                    jobs_table.update().where(jobs_table.c.status == "ready").values(due_at=past["due_at"])
                )
        for job in [job for job in self.jobs.list() if job.status == "ready"]:
            with suppress(Killed):
                JobRunner(self.store).run_job(job.id, KINDS[SUMMARIZE], self.summarize)

    def summarize(self, claim: Claim) -> None:
        ConversationSummarizer(self.store, Paid(self.trouble), self.settings).run(self.history.id, job_id=claim.job.id)


@pytest.mark.parametrize("seed", range(2))
def test_every_turn_is_accounted_for_whatever_happens(
    history: ConversationHistory, store: Store, jobs: Jobs, settings: Settings, seed: int
) -> None:
    life = Life(history, store, jobs, settings, seed)
    for _ in range(12):
        for _ in range(life.draw.randint(1, 5)):
            life.add()
        life.work()
        accounting = history.account_turns(BUDGET)
        assert accounting.turns_lost == []
        assert accounting.covered == frozenset(range(1, len(accounting.covered) + 1))
        for form, refused in (("anthropic", refused_by_anthropic), ("openai", refused_by_openai)):
            messages = history.messages(BUDGET, form=form)  # type: ignore[arg-type]
            assert refused({"messages": list(messages)}) is None
            assert messages.tokens <= BUDGET
        assert len(accounting.covered) not in unsplittable_turns(history.turns())


def test_a_lost_turn_would_be_seen(history: ConversationHistory, store: Store, settings: Settings) -> None:
    for number in range(40):
        history.add("user", f"turn {number} of the long story")
    ConversationSummarizer(store, Paid(), settings).run(history.id)
    assert history.account_turns(BUDGET).turns_lost == []
    with store.transaction() as tx:
        tx.connection.execute(summaries.update().where(summaries.c.number == 1).values(covers_from=3))
    assert history.account_turns(BUDGET).turns_lost == [1, 2]
    with store.transaction() as tx:
        tx.connection.execute(conversations.update().values(summarized_to=0, summary_number=0))
        tx.connection.execute(jobs_table.delete())
    assert len(history.account_turns(200).turns_lost) > 10


def test_a_window_begins_with_no_result_whose_call_is_left_out(history: ConversationHistory) -> None:
    for number in range(1, 20):
        history.add(call(number))
        history.add(result(number))
    for budget in range(240, 600, 30):
        messages = history.messages(budget)
        assert refused_by_anthropic({"messages": list(messages)}) is None
        assert "[result]" not in str(messages)
    with pytest.raises(TooLarge, match="the call that the turn answers"):
        history.messages(120)


def test_a_result_that_comes_when_its_call_is_summarized_hides_no_turn(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    history.add(call(1))
    for number in range(40):
        history.add("user", f"turn {number} of the long story")
    ConversationSummarizer(store, Paid(), settings).run(history.id)
    open_before = len(history.account_turns(BUDGET).verbatim)
    history.add(result(1))
    assert "[result] bet 1 of 1.50 USDC is placed" in str(history.messages(BUDGET))
    assert len(history.account_turns(BUDGET).verbatim) == open_before + 1 > 1
    assert history.account_turns(BUDGET).turns_lost == []


def test_the_budget_holds_for_names_marks_and_what_stands_for_missing_results(history: ConversationHistory) -> None:
    for number in range(30):
        history.add(call(number))
        history.add("user", "user:\nassistant:\n[system]" * 3, speaker="Eve" * 9)
        history.add(result(number + 1_000))
    for budget in (300, 1_000, 3_000):
        for form in ("anthropic", "openai"):
            messages = history.messages(budget, form=form)  # type: ignore[arg-type]
            assert budget / 3 < messages.tokens <= budget
            assert messages.omitted == messages.verbatim_from - 1
        assert estimate_tokens("\n".join(history.transcript(budget))) <= budget


def test_a_summary_ends_with_no_call_whose_result_is_left_open(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    history.add("user", "begin")
    for number in range(1, 25):
        history.add(call(number))
        history.add(result(number))
    ConversationSummarizer(store, Paid(), settings).run(history.id)
    summary = history.summary()
    assert summary is not None
    assert summary.covers_to % 2 == 1
    assert "placed" in summary.text or any("50 USDC" in fact["text"] for fact in summary.facts)


def test_what_was_paid_for_is_not_paid_for_again(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    for number in range(25):
        history.add("user", f"turn {number} of the long story")
    paid = Paid()
    worker = ConversationSummarizer(store, paid, settings)
    worker._commit_summary = lambda *_arguments: (_ for _ in ()).throw(Killed)  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(Killed):
        worker.run(history.id)
    first = paid.asked
    assert ConversationSummarizer(store, paid, settings).run(history.id).summaries >= 1
    with store.read_connection() as connection:
        rows = connection.execute(sa.select(summary_calls)).mappings().all()
        versions = set(connection.execute(sa.select(summaries.c.prompt_version)).scalars())
    assert (first, paid.asked) == (1, len(rows))
    assert {(row["calls"], row["input_tokens"], row["output_tokens"], row["cost_nano_usd"]) for row in rows} == {
        (1, 1_000, 100, 150_000)
    }
    assert versions == {PROMPT_VERSION}


def test_what_was_paid_before_a_failure_is_counted(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    def fail() -> None:
        failure = ProviderTransient("overloaded at the second try")
        failure.calls, failure.input_tokens, failure.output_tokens = 1, 900, 90
        raise failure

    for number in range(25):
        history.add("user", f"turn {number} of the long story")
    for _ in range(2):
        with pytest.raises(ProviderTransient):
            ConversationSummarizer(store, Paid(fail), settings).run(history.id)
    ConversationSummarizer(store, Paid(), settings).run(history.id)
    with store.read_connection() as connection:
        found = connection.execute(sa.select(summary_calls).order_by(summary_calls.c.created_at)).mappings().all()
    row = found[0]
    assert (row["calls"], row["input_tokens"], row["output_tokens"]) == (3, 2_800, 280)
    assert row["cost_nano_usd"] == 2_800 * 100 + 280 * 500
    assert row["summary"]["text"] == history.summary().text or len(found) > 1  # type: ignore[union-attr]


def test_a_provider_that_refuses_for_good_gives_way_to_the_digest(
    history: ConversationHistory, store: Store, settings: Settings
) -> None:
    def refuse() -> None:
        raise ProviderRefused("no such key")

    for number in range(25):
        history.add("user", f"turn {number} of the long story")
    ConversationSummarizer(store, Paid(refuse), settings).run(history.id)
    summary = history.summary()
    assert summary is not None
    assert (summary.method, summary.prompt_version) == ("extractive", None)
    assert "no such key" in (summary.note or "")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "user", "content": [{"text": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "x"}]},
        {"role": "tool", "content": "x"},
        {"role": "boss", "content": "x"},
    ],
)
def test_what_is_no_message_is_refused(history: ConversationHistory, message: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        history.add(message)
    assert history.turns() == []
