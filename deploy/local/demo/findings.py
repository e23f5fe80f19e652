"""The findings of one run as plain data: the report shows them, and the promises are checked against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class WorkTimes:
    """One kind of work; seconds from its creation to its end."""

    kind: str
    count: int
    unfinished: int
    later: int
    """Jobs that are due much later."""
    p50_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class MemoryCount:
    """The memories of one agent."""

    agent_id: str
    stored: int
    searchable: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question and a memory that was recalled for it."""

    agent_id: str
    question: str
    content: str
    score: float
    retrievers: str


@dataclass(frozen=True, kw_only=True)
class EffectCount:
    """One intent, and how many effects its service recorded for it."""

    agent_id: str
    key: str
    operation: str
    state: str
    seen: int
    resumed: bool
    """True if its outcome had to be looked up."""
    attempts: int
    open_s: float


@dataclass(frozen=True, kw_only=True)
class Balance:
    """One balance in micro-USDC: by the ledger, and by the service's own record."""

    agent_id: str
    account: str
    books: int
    truth: int

    @property
    def difference(self) -> int:
        """Ledger minus service."""
        return self.books - self.truth


@dataclass(frozen=True, kw_only=True)
class OpenedBreak:
    """A break that reconciliation opened."""

    agent_id: str
    service: str
    kind: str
    state: str
    amount: Decimal | None
    resolution: str | None


@dataclass(frozen=True, kw_only=True)
class RedisKey:
    """One of our keys in Redis; `ttl_s` is -1 when it never expires."""

    name: str
    ttl_s: int


@dataclass(frozen=True, kw_only=True)
class FlowerView:
    """Flower's answers with and without the password."""

    url: str
    status_without_password: int
    status_of_control: int
    workers: tuple[str, ...]
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All measurements, taken when the run is over."""

    work: tuple[WorkTimes, ...] = ()
    memories: tuple[MemoryCount, ...] = ()
    answers: tuple[Answer, ...] = ()
    turns: int = 0
    summaries: int = 0
    summarized: int = 0
    effects: tuple[EffectCount, ...] = ()
    unknown_effects: tuple[str, ...] = ()
    """Effects at the services that no intent explains."""
    balances: tuple[Balance, ...] = ()
    breaks: tuple[OpenedBreak, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Accounts whose last reconciliation did not match, the planted one left out."""
    snapshots: dict[str, int] = field(default_factory=dict)
    """Rows by slot."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Number of acknowledgements by kind."""
    lost: tuple[str, ...] = ()
    """Acknowledged and missing, or stored with another value."""
    ledger_faults: tuple[str, ...] = ()
    """Transactions that do not sum to zero, and entries whose hash or balance is wrong."""
    entries: int = 0
    rewritten: tuple[str, ...] = ()
    """Changes of written entries that the database did not refuse."""
    invented: tuple[str, ...] = ()
    """Figures that their source lacks, and unknown amounts given as numbers."""
    leaked: tuple[str, ...] = ()
    """Memories of one agent that another one saw."""
    recalls: int = 0
    """Searches in which an agent looked for another's secret."""
    points: int = 0
    """Points of the index whose agent was compared with their memory's."""
    secrets: tuple[str, ...] = ()
    """Places in which a secret was found."""
    places: int = 0
    """Places in which secrets were looked for."""
    keys: tuple[RedisKey, ...] = ()
    flower: FlowerView | None = None
    injected: dict[str, int] = field(default_factory=dict)
    """Faults at the services by kind."""
    disruptions: tuple[str, ...] = ()
    """Processes killed and data removed on purpose."""
    open: tuple[str, ...] = ()
    """Unfinished work, one line each."""
    failures: tuple[str, ...] = ()
    """Failures of the agent processes themselves."""

    @property
    def most_effects(self) -> int:
        """The largest number of effects of one intent."""
        return max((found.seen for found in self.effects), default=0)
