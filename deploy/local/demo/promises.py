"""The promises of the system, each checked against the findings of one run: findings in, verdicts and rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from deploy.local.demo.faults import PLANTED, PLANTED_AGENT
from deploy.local.demo.findings import Findings
from deploy.local.stack.results import Row, at_most, equal_to

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One promise: how it was checked, and the violations."""

    promise: str
    checked: str
    broken_by: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """True without a violation."""
        return not self.broken_by

    def as_text(self) -> str:
        """`kept`, or the first few violations and the number of the others."""
        if self.is_kept:
            return "kept"
        more = f" (and {len(self.broken_by) - _SHOWN} more)" if len(self.broken_by) > _SHOWN else ""
        return f"BROKEN: {'; '.join(self.broken_by[:_SHOWN])}{more}"


Check: TypeAlias = Callable[[Findings], tuple[str, Iterable[str]]]
"""Returns how the promise was checked, and its violations."""

CHECKS: dict[str, Check] = {}
"""The checks by promise, in order."""


def promise(name: str) -> Callable[[Check], Check]:
    """Register the check of a promise."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


def check_promises(found: Findings) -> list[Verdict]:
    """Return a verdict for every promise, in order."""
    return [
        Verdict(promise=name, checked=checked, broken_by=tuple(broken))
        for name, (checked, broken) in ((name, check(found)) for name, check in CHECKS.items())
    ]


def all_kept(verdicts: Sequence[Verdict]) -> bool:
    """Return whether every promise was kept."""
    return all(verdict.is_kept for verdict in verdicts)


@promise("1. Accepted means durable")
def check_durability(found: Findings) -> tuple[str, list[str]]:
    """Compare the agents' own notes with the stores."""
    unsearchable = [
        f"{count.stored - count.searchable} memories of {count.agent_id} are not searchable"
        for count in found.memories
        if count.stored != count.searchable
    ]
    noted = ", ".join(f"{count} of {kind}" for kind, count in sorted(found.acknowledged.items()))
    missing = [] if found.acknowledged else ["nothing was acknowledged to any agent"]
    return (
        f"everything that agents noted as acknowledged is there, unchanged and searchable ({noted})",
        [*missing, *found.lost, *unsearchable, *found.open, *found.failures],
    )


@promise("2. An effect happens at most once, its outcome is known")
def check_at_most_once(found: Findings) -> tuple[str, list[str]]:
    """Compare the state of every intent with the number of effects in the services' own record."""
    broken = [] if found.effects else ["there was no effect"]
    for effect in found.effects:
        name = f"{effect.operation} {effect.key!r} of {effect.agent_id}"
        if effect.seen > 1:
            broken.append(f"{name} happened {effect.seen} times")
        elif {"succeeded": 1, "failed": 0}.get(effect.state) != effect.seen:
            broken.append(f"{name} is {effect.state} and happened {effect.seen} times")
    broken += [f"the services show an effect without an intent, {name}" for name in found.unknown_effects]
    return f"{len(found.effects)} intents counted by their keys in the services' own record", broken


@promise("3. The books balance")
def check_books(found: Findings) -> tuple[str, list[str]]:
    """Check sums, hash chains and refused rewrites, and compare every balance with the service's."""
    equal = f"{len(found.balances)} balances equal the services' to the micro-USDC"
    return (
        f"{found.entries} entries: sums, hash chains, refused rewrites; {equal}",
        [
            *found.ledger_faults,
            *(f"the database accepted: {text}" for text in found.rewritten),
            *(
                f"{b.account} of {b.agent_id} differs by {b.difference} micro-USDC"
                for b in found.balances
                if b.difference
            ),
        ],
    )


@promise("4. No false alarm, no hidden break")
def check_breaks(found: Findings) -> tuple[str, list[str]]:
    """Expect exactly one break: the planted difference."""
    alarms = [
        f"{item.kind} break at {item.service} of {item.agent_id} over {item.amount} ({item.state})"
        for item in found.breaks
        if item.agent_id != PLANTED_AGENT
    ]
    planted = [item for item in found.breaks if item.agent_id == PLANTED_AGENT and item.state == "open"]
    hidden = [] if [item.amount for item in planted] == [PLANTED] else [f"the planted {PLANTED} USDC: {planted}"]
    return (
        f"the only break is the planted one of {PLANTED} USDC; every other account matches",
        [*alarms, *hidden, *found.unmatched],
    )


@promise("5. A number is never invented")
def check_figures(found: Findings) -> tuple[str, Iterable[str]]:
    """Look for every figure of a summary in its source."""
    return (
        f"every figure of {found.summaries} summaries is in its source; unknown amounts have no number",
        found.invented,
    )


@promise("6. One agent never sees another's")
def check_isolation(found: Findings) -> tuple[str, Iterable[str]]:
    """Search for the neighbour's secret, and compare the agent of each point with that of its memory."""
    points = f"{found.points} points of the index carry the agent of their memory"
    return f"{found.recalls} agents searched for a neighbour's secret; {points}", found.leaked


@promise("7. Secrets stay out")
def check_secrets(found: Findings) -> tuple[str, list[str]]:
    """Search every place for passwords and keys, and try Flower without a password."""
    flower, broken = found.flower, [f"a secret is in: {place}" for place in found.secrets]
    if flower is not None and flower.status_without_password != _UNAUTHORIZED:
        broken.append(f"Flower answers {flower.status_without_password} without a password")
    if flower is not None and flower.status_of_control != _FORBIDDEN:
        broken.append(f"Flower answers {flower.status_of_control} to a command")
    places = f"{found.places} places: logs, tables, Redis, Flower, command lines"
    return f"all passwords and keys sought in {places}", broken


@promise("8. Every Redis key of ours has a TTL")
def check_lifetimes(found: Findings) -> tuple[str, list[str]]:
    """Expect a TTL on every key."""
    return (
        f"{len(found.keys)} keys looked at; Redis was emptied in between, and 1 holds",
        [f"{key.name} never expires" for key in found.keys if key.ttl_s < 0],
    )


@promise("Beat and Flower are at work")
def check_schedules(found: Findings) -> tuple[str, list[str]]:
    """Expect a snapshot slot fired by beat, and workers with tasks in Flower."""
    workers, tasks = (len(found.flower.workers), found.flower.tasks) if found.flower else (0, 0)
    broken = [] if found.snapshots else ["no snapshot slot was fired"]
    if not (workers and tasks):
        broken.append("Flower shows no worker or no task")
    return (
        f"{len(found.snapshots)} snapshot slots fired by beat; Flower shows {workers} workers and {tasks} tasks",
        broken,
    )


def make_rows(found: Findings, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    """Yield the findings as rows, then one row for each promise."""
    # Work and memory.
    for work in found.work:
        yield Row(f"{work.kind}: done", work.count, "tasks")
        yield Row(f"{work.kind}: p50", round(work.p50_s, 3), "s")
        yield Row(f"{work.kind}: p95", round(work.p95_s, 3), "s")
    stored, searchable = (sum(getattr(m, name) for m in found.memories) for name in ("stored", "searchable"))
    yield Row("memories stored", stored, "memories")
    yield equal_to("memories searchable", searchable, stored, "memories", "memories stored")
    yield Row("turns of conversations", found.turns, "turns")
    yield Row("turns that a summary covers", found.summarized, "turns")
    yield Row("summaries made", found.summaries, "summaries")
    for answer in found.answers:
        name = f"asked of {answer.agent_id}: {answer.question}"
        yield Row(name, answer.content, f"score {answer.score:.2f}", reference=answer.retrievers)

    # Effects and the faults injected into them.
    yield Row("effects", len(found.effects), "intents")
    yield at_most("most effects of one intent", found.most_effects, 1, "effects", "the services' own record")
    resumed = [effect for effect in found.effects if effect.resumed]
    yield Row("effects whose outcome had to be found out", len(resumed), "intents")
    yield at_most("effects still open", sum(e.state not in {"succeeded", "failed"} for e in resumed), 0, "intents")
    for kind, count in sorted(found.injected.items()):
        yield Row(f"fault injected: {kind}", count, "requests")

    # The ledger, whole and by agent, and the breaks.
    total = sum(abs(balance.difference) for balance in found.balances)
    yield at_most("ledger against the services", total, 0, "micro-USDC", "the services' own balances")
    for agent in dict.fromkeys(balance.agent_id for balance in found.balances):
        mine = [balance for balance in found.balances if balance.agent_id == agent]
        off, truth = sum(abs(balance.difference) for balance in mine), sum(balance.truth for balance in mine)
        yield at_most(f"ledger of {agent} against the services", off, 0, "micro-USDC", f"{truth} at the services")
    yield equal_to("breaks opened", len(found.breaks), 1, "breaks", "the planted difference")
    still_open = sum(item.state == "open" for item in found.breaks)
    yield equal_to("breaks open", still_open, 1, "breaks", "the planted difference")

    # Snapshots, Flower, Redis, and the disruptions.
    slots = len(found.snapshots)
    yield Row("snapshot slots fired by beat", slots, "slots", ">= 1", "", slots >= 1)
    yield Row("snapshots taken", sum(found.snapshots.values()), "rows")
    if found.flower is not None:
        yield Row("workers in Flower", len(found.flower.workers), "workers")
        yield Row("tasks in Flower", found.flower.tasks, "tasks")
    yield Row("keys of ours in Redis", len(found.keys), "keys")
    yield at_most("keys of ours without a TTL", sum(key.ttl_s < 0 for key in found.keys), 0, "keys")
    for number, text in enumerate(found.disruptions, 1):
        yield Row(f"went wrong on purpose {number}", text)
    yield at_most("open at the end", len(found.open), 0, "things")
    for one in verdicts:
        yield Row(f"promise: {one.promise}", one.as_text(), "", "kept", one.checked, one.is_kept)
