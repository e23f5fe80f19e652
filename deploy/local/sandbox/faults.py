"""Faults: what goes wrong on purpose, by a header of one request or by a standing plan with a seed.

| fault | effect | what the client sees |
|---|---|---|
| `commit_then_drop` | happens | the connection ends without an answer |
| `drop_before_commit` | does not happen | the same |
| `500_after_effect` | happens | 500 `internal_error`, "Please try again." |
| `400_after_effect` | happens | 400 `trade_failed` |
| `slow:<ms>` | happens at once | the answer comes late |
| `late_commit:<ms>` | happens late, also when the client has left | the answer comes late |
| `html_502` / `html_502:before` | happens / does not happen | 502 with a page of HTML |
| `truncate_json` | happens | 200 with half of the JSON |
| `silent_zero` | happens | 200 with every balance and amount 0 |
| `429_short` | does not happen | 429 `rate_limited`, without headers |
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.local.sandbox.model.refusal import Refusal

HEADER = "X-Sandbox-Fault"
TIMED = ("slow", "late_commit")
KINDS = (
    "commit_then_drop", "drop_before_commit", "500_after_effect", "400_after_effect", "slow", "late_commit",
    "html_502", "truncate_json", "silent_zero", "429_short",
)  # fmt: skip
LONGEST_MS = 120_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, its delay, and for a page from the proxy whether the service was reached."""

    kind: str
    delay_ms: int = 0
    before: bool = False

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read `slow:250` or `html_502:before`; refuse what is unknown."""
        kind, _, rest = text.partition(":")
        if kind not in KINDS or (kind in TIMED) != rest.isdecimal() or (rest and not cls._takes(kind, rest)):
            raise Refusal(400, "invalid_fault", f"{text!r} is no fault; known are {', '.join(KINDS)}.")
        return cls(kind, min(int(rest), LONGEST_MS) if rest.isdecimal() else 0, before=rest == "before")

    @staticmethod
    def _takes(kind: str, rest: str) -> bool:
        return kind in TIMED or (kind == "html_502" and rest == "before")

    @property
    def prevents(self) -> bool:
        """Whether the operation does not happen at all."""
        return self.kind in {"drop_before_commit", "429_short"} or self.before


@dataclass(slots=True)
class Rule:
    """A standing fault: where it applies, how likely it is, and how often at most."""

    fault: Fault
    text: str
    probability: float
    service: str | None
    operation: str | None
    agent_id: str | None
    times: int | None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Rule:
        """Read `{fault, probability?, service?, operation?, agent_id?, times?}`."""
        unknown = set(given) - {"fault", "probability", "service", "operation", "agent_id", "times"}
        probability, times, text = given.get("probability", 1), given.get("times"), str(given.get("fault"))
        if unknown or not 0 <= float(probability) <= 1 or not (times is None or isinstance(times, int)):
            raise Refusal(400, "invalid_fault", "A rule has fault, probability 0..1, service, operation, times.")
        where = (given.get("service"), given.get("operation"), given.get("agent_id"))
        return cls(Fault.parse(text), text, float(probability), *where, times)

    def fits(self, service: str, operation: str, agent_id: str) -> bool:
        """Whether the rule is about this request."""
        if self.times == 0:
            return False
        wanted = ((self.service, service), (self.operation, operation), (self.agent_id, agent_id))
        return all(rule is None or rule == actual for rule, actual in wanted)

    def shown(self) -> dict[str, Any]:
        """The rule as the control route tells it; `times` is what remains."""
        names = ("probability", "service", "operation", "agent_id", "times")
        return {"fault": self.text, **{name: getattr(self, name) for name in names}}


class FaultPlan:
    """The standing rules, drawn in order with one seeded generator; the first that strikes is taken.

    A rule without an `operation` strikes money operations only (POST); reads are named (`state`, `ledger`, …).
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._seed = 0
        self._random = random.Random(0)  # noqa: S311  a repeatable plan, not a secret
        self.injected: Counter[str] = Counter()

    def replace(self, given: Mapping[str, Any]) -> None:
        """Take a new plan `{seed?, plan: [rule, …]}`, refused as a whole when one rule is wrong."""
        rules = [Rule.parse(rule) for rule in given.get("plan", [])]
        self._rules, self._seed = rules, int(given.get("seed", 0))
        self._random.seed(self._seed)
        self.injected.clear()

    def pick(self, header: str | None, service: str, operation: str, agent_id: str, *, reads: bool) -> Fault | None:
        """The fault for one request, counted."""
        fault = Fault.parse(header) if header else self._drawn(service, operation, agent_id, reads=reads)
        if fault is not None:
            self.injected[fault.kind] += 1
        return fault

    def _drawn(self, service: str, operation: str, agent_id: str, *, reads: bool) -> Fault | None:
        for rule in self._rules:
            meant = rule.operation is not None or not reads
            if meant and rule.fits(service, operation, agent_id) and self._random.random() < rule.probability:
                rule.times = None if rule.times is None else rule.times - 1
                return rule.fault
        return None

    def shown(self) -> dict[str, Any]:
        """The plan and what was injected since it was set."""
        plan = [rule.shown() for rule in self._rules]
        return {"seed": self._seed, "plan": plan, "injected": dict(self.injected)}


def zeroed(value: Any, name: str = "") -> Any:
    """The answer with every balance and amount 0, as a service gives it whose node does not answer."""
    if isinstance(value, dict):
        return {key: zeroed(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [zeroed(item, name) for item in value]
    money = name.endswith(("_usd", "_usdc")) or name in {"amount", "balance"}
    if not money or value is None:
        return value
    return "0" if isinstance(value, str) else 0
