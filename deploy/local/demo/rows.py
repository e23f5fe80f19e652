"""The facts as rows: name, value, unit, the bar that it has to meet, what it is held against, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.local.demo.facts import Facts
from deploy.local.demo.promises import Verdict
from deploy.local.stack.results import Row, at_most


def rows_of(facts: Facts, verdicts: Sequence[Verdict]) -> list[Row]:
    """All rows: the measures first, then the promises."""
    return [
        *_work(facts), *_memory(facts), *_answers(facts), *_effects(facts), *_money(facts), *_rest(facts),
        *(_promise(verdict) for verdict in verdicts),
    ]  # fmt: skip


def worst(facts: Facts) -> int:
    """How often the most frequent intent happened."""
    return max((found.seen for found in facts.effects), default=0)


def _work(facts: Facts) -> Iterator[Row]:
    for task in facts.tasks:
        yield Row(f"{task.kind}: done", task.count, "tasks")
        yield Row(f"{task.kind}: p50", round(task.p50_s, 3), "s")
        yield Row(f"{task.kind}: p95", round(task.p95_s, 3), "s")


def _memory(facts: Facts) -> Iterator[Row]:
    stored, searchable = (sum(getattr(m, name) for m in facts.memories) for name in ("stored", "searchable"))
    yield Row("memories stored", stored, "memories")
    yield Row("memories searchable", searchable, "memories", f"= {stored}", "memories stored", searchable == stored)
    yield Row("turns of conversations", facts.turns, "turns")
    yield Row("turns that a summary covers", facts.summarized, "turns")
    yield Row("summaries made", facts.summaries, "summaries")


def _answers(facts: Facts) -> Iterator[Row]:
    for answer in facts.answers:
        name = f"asked of {answer.agent_id}: {answer.question}"
        yield Row(name, answer.content, f"score {answer.score:.2f}", reference=answer.retrievers)


def _effects(facts: Facts) -> Iterator[Row]:
    yield Row("effects", len(facts.effects), "intents")
    yield at_most("most effects of one intent", worst(facts), 1, "effects", "the services' own record")
    resumed = [found for found in facts.effects if found.resumed]
    yield Row("effects whose outcome had to be found out", len(resumed), "intents")
    yield at_most("effects still open", sum(f.state not in {"succeeded", "failed"} for f in resumed), 0, "intents", "")
    for kind, count in sorted(facts.injected.items()):
        yield Row(f"fault injected: {kind}", count, "requests")


def _money(facts: Facts) -> Iterator[Row]:
    off = sum(abs(found.difference) for found in facts.balances)
    yield at_most("ledger against the services", off, 0, "micro-USDC", "the services' own balances")
    for agent in dict.fromkeys(found.agent_id for found in facts.balances):
        mine = [found for found in facts.balances if found.agent_id == agent]
        off, truth = sum(abs(found.difference) for found in mine), sum(found.truth for found in mine)
        yield at_most(f"ledger of {agent} against the services", off, 0, "micro-USDC", f"{truth} at the services")
    yield Row("breaks opened", len(facts.breaks), "breaks", "= 1", "the planted difference", len(facts.breaks) == 1)
    still = sum(found.state == "open" for found in facts.breaks)
    yield Row("breaks open", still, "breaks", "= 1", "the planted difference", still == 1)


def _rest(facts: Facts) -> Iterator[Row]:
    slots = len(facts.snapshots)
    yield Row("snapshot slots fired by beat", slots, "slots", ">= 1", "", slots >= 1)
    yield Row("snapshots taken", sum(facts.snapshots.values()), "rows")
    if facts.flower is not None:
        yield Row("workers in Flower", len(facts.flower.workers), "workers")
        yield Row("tasks in Flower", facts.flower.tasks, "tasks")
    yield Row("keys of ours in Redis", len(facts.keys), "keys")
    yield at_most("keys of ours without a TTL", sum(key.ttl_s < 0 for key in facts.keys), 0, "keys", "")
    for number, what in enumerate(facts.killed, 1):
        yield Row(f"went wrong on purpose {number}", what)
    yield at_most("open at the end", len(facts.open), 0, "things", "")


def _promise(verdict: Verdict) -> Row:
    value = "kept" if verdict.ok else f"BROKEN: {'; '.join(verdict.broken_by)}"
    return Row(f"promise: {verdict.promise}", value, "", "kept", verdict.checked, verdict.ok)
