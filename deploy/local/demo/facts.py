"""What was measured, as plain data: the report shows it and the promises are checked against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

MICROS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TaskFact:
    """One kind of work; seconds from its creation to its end."""

    kind: str
    count: int
    unfinished: int
    later: int
    """Jobs that are to be done much later."""
    p50_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class MemoryFact:
    """The memories of one agent."""

    agent_id: str
    stored: int
    searchable: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question and what was recalled."""

    agent_id: str
    question: str
    content: str
    score: float
    retrievers: str


@dataclass(frozen=True, kw_only=True)
class EffectFact:
    """One intent, and how often the service saw its effect."""

    agent_id: str
    key: str
    operation: str
    state: str
    seen: int
    resumed: bool
    """Whether its outcome had to be found out."""
    attempts: int
    open_s: float


@dataclass(frozen=True, kw_only=True)
class BalanceFact:
    """One balance in micro-USDC: what the books say, and what the service has."""

    agent_id: str
    account: str
    books: int
    truth: int

    @property
    def difference(self) -> int:
        """Books less service."""
        return self.books - self.truth


@dataclass(frozen=True, kw_only=True)
class BreakFact:
    """A break that was opened."""

    agent_id: str
    service: str
    kind: str
    state: str
    amount: Decimal | None
    resolution: str | None


@dataclass(frozen=True, kw_only=True)
class KeyFact:
    """A key of ours in Redis; `ttl_s` is -1 when it never expires."""

    name: str
    ttl_s: int


@dataclass(frozen=True, kw_only=True)
class FlowerFact:
    """What Flower shows."""

    url: str
    status_without_password: int
    status_of_control: int
    workers: tuple[str, ...]
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that was measured at the end."""

    tasks: tuple[TaskFact, ...] = ()
    memories: tuple[MemoryFact, ...] = ()
    answers: tuple[Answer, ...] = ()
    turns: int = 0
    summaries: int = 0
    summarized: int = 0
    effects: tuple[EffectFact, ...] = ()
    unknown_effects: tuple[str, ...] = ()
    """Effects at the services that no intent explains."""
    balances: tuple[BalanceFact, ...] = ()
    breaks: tuple[BreakFact, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Accounts whose last reconciliation did not match, the planted one left out."""
    snapshots: dict[str, int] = field(default_factory=dict)
    """Rows by slot."""
    told: dict[str, int] = field(default_factory=dict)
    """Acknowledgements by what was acknowledged."""
    lost: tuple[str, ...] = ()
    """Acknowledged and not there, or there with another value."""
    book_faults: tuple[str, ...] = ()
    """Transactions that do not sum to zero, and entries whose hash or balance is wrong."""
    entries: int = 0
    rewritten: tuple[str, ...] = ()
    """Changes of written entries that the database did not refuse."""
    invented: tuple[str, ...] = ()
    """Figures that their source lacks, and unknown amounts that were given as numbers."""
    leaked: tuple[str, ...] = ()
    """What one agent saw of another's."""
    recalls: int = 0
    """Searches in which an agent looked for another's secret."""
    points: int = 0
    """Points of the index whose agent was held against their memory's."""
    secrets: tuple[str, ...] = ()
    """Places in which a secret was found."""
    places: int = 0
    """Places in which secrets were looked for."""
    keys: tuple[KeyFact, ...] = ()
    flower: FlowerFact | None = None
    injected: dict[str, int] = field(default_factory=dict)
    """Faults at the services by kind."""
    killed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    """What is not finished, and why."""
    failures: tuple[str, ...] = ()
    """What went wrong in the fleet itself."""
