"""Faults: failures injected on purpose, by a header of one request or by a standing plan with a seed.

| fault | effect | what the client sees |
|---|---|---|
| `commit_then_drop` | happens | the connection ends without an answer |
| `drop_before_commit` | does not happen | the same |
| `crash_between_steps` | half of it happens | the same |
| `500_after_effect` | happens | 500 `internal_error`, "Please try again." |
| `400_after_effect` | happens | 400 `trade_failed` |
| `fill_without_row` | (trading) happens at the venue; the service keeps no row of it | 400 `trade_failed` |
| `slow:<ms>` | happens at once | the answer comes late |
| `late_commit:<ms>` | happens late, also when the client has left | the answer comes late |
| `lost_update:<ms>` | balances are written as they were read, so long before | the answer comes late |
| `double_effect` | happens twice | the second answer |
| `duplicate_deposit` | happens, and the newest deposit is credited again | as usual |
| `counterparty_action` | happens, and the other side of the newest escrow moves it | as usual |
| `html_502` / `html_502:before` | happens / does not happen | 502 with a page of HTML |
| `truncate_json` | happens | 200 with half of the JSON |
| `silent_zero` | happens | 200 with every balance and amount 0 |
| `stale_source` | (reads of trading) | 200 from the service's own rows, the venue's positions missing |
| `ledger_gap` | (reads of a ledger) | every third row missing |
| `429_short` | does not happen | 429 `rate_limited`, without headers |
| `429_business` | does not happen | 429 `ip_rate_limited`, a day in prose |

`any` in a rule is one of the faults that can strike the request, drawn anew each time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.local.sandbox.model.books import Refusal

HEADER = "X-Sandbox-Fault"
ANY = "any"
TIMED = ("slow", "late_commit", "lost_update")
CUT_OFF = ("commit_then_drop", "drop_before_commit", "crash_between_steps")
EVERYWHERE = ("html_502", "truncate_json", "429_short", "slow", "commit_then_drop")
"""Faults that strike reads and operations alike."""

OPERATIONS_ONLY = (
    "drop_before_commit", "crash_between_steps", "500_after_effect", "400_after_effect", "late_commit", "lost_update",
    "double_effect", "429_business",
)  # fmt: skip
KINDS = (
    *EVERYWHERE, *OPERATIONS_ONLY, "fill_without_row", "duplicate_deposit", "counterparty_action", "silent_zero",
    "stale_source", "ledger_gap",
)  # fmt: skip
LONGEST_MS = 120_000
DRAWN_MS = 150
"""Longest delay of a fault that was drawn without one."""

_STALE = frozenset({("trading", name) for name in ("state", "positions", "history")})
_LEDGERS = frozenset({("casino", "ledger")})
_PREVENTING = frozenset({"drop_before_commit", "429_short", "429_business"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, its delay, and for a page from the proxy whether the service was reached."""

    kind: str
    delay_ms: int = 0
    before: bool = False

    @classmethod
    def parse_text(cls, text: str) -> Fault:
        """Parse `slow:250` or `html_502:before`; refuse unknown faults."""
        kind, _, rest = text.partition(":")
        if (
            kind not in KINDS
            or (kind in TIMED) != rest.isdecimal()
            or (rest and not (kind in TIMED or (kind == "html_502" and rest == "before")))
        ):
            raise Refusal(400, "invalid_fault", f"{text!r} is no fault; known are {', '.join(KINDS)}.")
        return cls(kind, min(int(rest), LONGEST_MS) if rest.isdecimal() else 0, before=rest == "before")

    @property
    def is_preventing(self) -> bool:
        """Whether the operation does not happen at all."""
        return self.kind in _PREVENTING or self.before


def list_applicable_faults(service: str, name: str, *, reads: bool) -> list[str]:
    """The faults that can strike a request."""
    kinds = [*EVERYWHERE]
    if not reads:
        kinds += OPERATIONS_ONLY
        kinds += ["duplicate_deposit"] if name == "deposit" else []
        kinds += ["counterparty_action"] if service == "escrow" else []
    elif name in {"state", "balance"}:
        kinds.append("silent_zero")
    kinds += ["stale_source"] if (service, name) in _STALE else []
    kinds += ["ledger_gap"] if (service, name) in _LEDGERS else []
    return kinds


@dataclass(slots=True)
class Rule:
    """A standing fault: where it applies, how likely it is, and how often at most."""

    text: str
    probability: float
    service: str | None
    operation: str | None
    agent_id: str | None
    reads: bool
    times: int | None

    @classmethod
    def parse_rule(cls, given: Mapping[str, Any]) -> Rule:
        """Read `{fault, probability?, service?, operation?, agent_id?, reads?, times?}`."""
        unknown = set(given) - {"fault", "probability", "service", "operation", "agent_id", "reads", "times"}
        probability, times, text = given.get("probability", 1), given.get("times"), str(given.get("fault"))
        if unknown or not 0 <= float(probability) <= 1 or not (times is None or isinstance(times, int)):
            raise Refusal(400, "invalid_fault", "A rule has fault, probability 0..1, service, operation, times.")
        if text != ANY:
            Fault.parse_text(text)
        where = (given.get("service"), given.get("operation"), given.get("agent_id"))
        return cls(text, float(probability), *where, bool(given.get("reads")), times)

    def is_applicable(self, service: str, operation: str, agent_id: str, *, reads: bool) -> bool:
        """Whether the rule is about this request; without a name it is about operations, or reads when it says so."""
        if self.times == 0 or (self.operation is None and reads != self.reads):
            return False
        wanted = ((self.service, service), (self.operation, operation), (self.agent_id, agent_id))
        return all(rule is None or rule == actual for rule, actual in wanted)

    def as_json(self) -> dict[str, Any]:
        """Return the rule as the control route shows it; `times` counts down."""
        names = ("probability", "service", "operation", "agent_id", "times")
        shown = {"fault": self.text, **{name: getattr(self, name) for name in names}}
        return {**shown, "reads": True} if self.reads else shown


class FaultPlan:
    """The standing rules, drawn in order with one seeded generator; the first that strikes is taken.

    A rule without an `operation` strikes money operations (POST), or reads when it has `reads`; reads are named
    (`state`, `ledger`, …).
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._seed = 0
        self._random = random.Random(0)  # noqa: S311  a repeatable plan, not a secret
        self.injected: Counter[str] = Counter()

    def replace_rules(self, given: Mapping[str, Any]) -> None:
        """Take a new plan `{seed?, plan: [rule, …]}`, refused as a whole when one rule is wrong."""
        rules = [Rule.parse_rule(rule) for rule in given.get("plan", [])]
        self._rules, self._seed = rules, int(given.get("seed", 0))
        self._random.seed(self._seed)
        self.injected.clear()

    def pick_fault(
        self, header: str | None, service: str, operation: str, agent_id: str, *, reads: bool
    ) -> Fault | None:
        """The fault for one request, counted."""
        fault = Fault.parse_text(header) if header else self._draw_from_rules(service, operation, agent_id, reads=reads)
        if fault is not None:
            self.injected[fault.kind] += 1
        return fault

    def _draw_from_rules(self, service: str, operation: str, agent_id: str, *, reads: bool) -> Fault | None:
        for rule in self._rules:
            if (
                rule.is_applicable(service, operation, agent_id, reads=reads)
                and self._random.random() < rule.probability
            ):
                rule.times = None if rule.times is None else rule.times - 1
                return (
                    Fault.parse_text(rule.text)
                    if rule.text != ANY
                    else self._draw_any_fault(service, operation, reads=reads)
                )
        return None

    def _draw_any_fault(self, service: str, operation: str, *, reads: bool) -> Fault:
        kind = self._random.choice(list_applicable_faults(service, operation, reads=reads))
        before = kind == "html_502" and self._random.random() < 0.5  # noqa: PLR2004 either way
        return Fault(kind, self._random.randint(1, DRAWN_MS) if kind in TIMED else 0, before=before)

    def as_json(self) -> dict[str, Any]:
        """Return the plan and the faults injected since it was set."""
        plan = [rule.as_json() for rule in self._rules]
        return {"seed": self._seed, "plan": plan, "injected": dict(self.injected)}


_ROWS = ("ledger", "entries")


def zero_amounts(value: Any, name: str = "") -> Any:
    """Return the answer with every balance and amount 0, as a service gives it when its node does not answer."""
    if isinstance(value, dict):
        return {key: zero_amounts(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [zero_amounts(item, name) for item in value]
    money = name.endswith(("_usd", "_usdc")) or name in {"amount", "balance", "usdc", "usdc_balance"}
    if not money or value is None or isinstance(value, bool):
        return value
    return "0" if isinstance(value, str) else 0


def drop_venue_data(body: dict[str, Any]) -> dict[str, Any]:
    """Trading's answer while the venue does not answer: its own rows, without an error."""
    gone: dict[str, Any] = {"positions": [], "count": 0} if "positions" in body else {}
    return {**body, **gone, "source": "database"}


def drop_ledger_rows(body: dict[str, Any]) -> dict[str, Any]:
    """A ledger without every third of its rows."""
    names = [name for name in _ROWS if name in body]
    return {**body, **{name: [row for place, row in enumerate(body[name]) if place % 3 != 1] for name in names}}
