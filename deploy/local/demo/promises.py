"""The promises of the system, each checked against the facts of one run. Pure: facts in, verdicts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.local.demo.facts import Facts
from deploy.local.demo.faults import PLANTED, PLANTED_AGENT

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One promise: how it was checked, and what breaks it."""

    promise: str
    checked: str
    broken_by: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it was kept."""
        return not self.broken_by


def check(facts: Facts) -> list[Verdict]:
    """A verdict for every promise, in their order."""
    return [judge(facts) for judge in _JUDGES]


def kept(verdicts: Sequence[Verdict]) -> bool:
    """Whether all promises were kept."""
    return all(verdict.ok for verdict in verdicts)


def shown(things: Sequence[str]) -> str:
    """The first few of `things`, and how many more there are."""
    more = f" (and {len(things) - _SHOWN} more)" if len(things) > _SHOWN else ""
    return "; ".join(things[:_SHOWN]) + more


def _durable(facts: Facts) -> Verdict:
    not_searchable = [
        f"{found.stored - found.searchable} memories of {found.agent_id} are not searchable"
        for found in facts.memories
        if found.stored != found.searchable
    ]
    nothing = [] if facts.told else ["no agent was told anything"]
    told = ", ".join(f"{count} of {what}" for what, count in sorted(facts.told.items()))
    return Verdict(
        promise="1. Accepted means durable",
        checked=f"what agents noted as acknowledged is there, unchanged and searchable ({told})",
        broken_by=(*nothing, *facts.lost, *not_searchable, *facts.open, *facts.failures),
    )


def _at_most_once(facts: Facts) -> Verdict:
    twice = [f"{e.operation} {e.key!r} of {e.agent_id} happened {e.seen} times" for e in facts.effects if e.seen > 1]
    wrong = [
        f"{e.operation} {e.key!r} of {e.agent_id} is {e.state} and happened {e.seen} times"
        for e in facts.effects
        if e.seen <= 1 and {"succeeded": 1, "failed": 0}.get(e.state) != e.seen
    ]
    strange = [f"the services show an effect without an intent, {name}" for name in facts.unknown_effects]
    return Verdict(
        promise="2. An effect happens at most once, its outcome is known",
        checked=f"{len(facts.effects)} intents counted by their keys in the services' own record",
        broken_by=(*twice, *wrong, *strange, *([] if facts.effects else ["there was no effect"])),
    )


def _balanced(facts: Facts) -> Verdict:
    differences = [
        f"{found.account} of {found.agent_id} differs by {found.difference} micro-USDC"
        for found in facts.balances
        if found.difference
    ]
    return Verdict(
        promise="3. The books balance",
        checked=f"{facts.entries} entries: sums, hash chains, refused rewrites; {len(facts.balances)} balances equal "
        "the services' to the micro-USDC",
        broken_by=(*facts.book_faults, *(f"the database took: {text}" for text in facts.rewritten), *differences),
    )


def _no_false_alarm(facts: Facts) -> Verdict:
    alarms = [
        f"{found.kind} break at {found.service} of {found.agent_id} over {found.amount} ({found.state})"
        for found in facts.breaks
        if found.agent_id != PLANTED_AGENT
    ]
    planted = [found for found in facts.breaks if found.agent_id == PLANTED_AGENT and found.state == "open"]
    hidden = [] if [found.amount for found in planted] == [PLANTED] else [f"the planted {PLANTED} USDC: {planted}"]
    return Verdict(
        promise="4. No false alarm, no hidden break",
        checked=f"the only break is the planted one of {PLANTED} USDC; every other account matches",
        broken_by=(*alarms, *hidden, *facts.unmatched),
    )


def _not_invented(facts: Facts) -> Verdict:
    return Verdict(
        promise="5. A number is never invented",
        checked=f"every figure of {facts.summaries} summaries is in its source; what is unknown has no number",
        broken_by=facts.invented,
    )


def _private(facts: Facts) -> Verdict:
    return Verdict(
        promise="6. One agent never sees another's",
        checked=f"{facts.recalls} agents searched for a neighbour's secret; {facts.points} points of the index "
        "carry the agent of their memory",
        broken_by=facts.leaked,
    )


def _secret(facts: Facts) -> Verdict:
    flower = facts.flower
    doors = []
    if flower is not None and flower.status_without_password != _UNAUTHORIZED:
        doors.append(f"Flower answers {flower.status_without_password} without a password")
    if flower is not None and flower.status_of_control != _FORBIDDEN:
        doors.append(f"Flower answers {flower.status_of_control} to a command")
    return Verdict(
        promise="7. Secrets stay out",
        checked=f"all passwords and keys sought in {facts.places} places: logs, tables, Redis, Flower, command lines",
        broken_by=(*(f"a secret is in: {place}" for place in facts.secrets), *doors),
    )


def _mortal(facts: Facts) -> Verdict:
    immortal = [f"{key.name} never expires" for key in facts.keys if key.ttl_s < 0]
    return Verdict(
        promise="8. Every Redis key of ours has a TTL",
        checked=f"{len(facts.keys)} keys looked at; Redis was emptied in between, and 1 holds",
        broken_by=tuple(immortal),
    )


def _scheduled(facts: Facts) -> Verdict:
    flower = facts.flower
    return Verdict(
        promise="Beat and Flower are at work",
        checked=f"{len(facts.snapshots)} snapshot slots fired by beat; Flower shows "
        f"{len(flower.workers) if flower else 0} workers and {flower.tasks if flower else 0} tasks",
        broken_by=(
            *([] if facts.snapshots else ["no snapshot slot was fired"]),
            *([] if flower and flower.workers and flower.tasks else ["Flower shows no worker or no task"]),
        ),
    )


_JUDGES: tuple[Callable[[Facts], Verdict], ...] = (
    _durable, _at_most_once, _balanced, _no_false_alarm, _not_invented, _private, _secret, _mortal, _scheduled,
)  # fmt: skip
