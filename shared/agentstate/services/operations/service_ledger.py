"""A service's own ledger as it shows it: a window of rows, neither ordered nor complete, made as reliable as it can be.

The window holds 50 rows, sorted by whole second, ties in the order of insertion, without a cursor. Each row tells the
balance after it, so rows can be put in order and a gap between them be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agentstate.services.http.gateway import Gateway
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.names import Service

WINDOW = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row; amounts in micro-USDC, `amount` below zero for a debit, `second` whole seconds since 1970."""

    id: str
    amount: int
    balance_after: int
    reason: str
    reference: str
    service: str
    second: int

    @property
    def at(self) -> datetime:
        """When it was written, to the second."""
        return datetime.fromtimestamp(self.second, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPage:
    """What a service showed of an account's ledger, oldest first.

    Attributes:
        rows: each once, in order of time.
        balance: of the account, read after the rows.
        whole: whether the account has no more rows than these.
    """

    rows: Sequence[LedgerRow]
    balance: int
    whole: bool

    @property
    def linked_from(self) -> int:
        """The place in `rows` from which on no row is missing, up to the balance; the number of rows when some is."""
        after = self.balance
        for place in range(len(self.rows) - 1, -1, -1):
            if abs(self.rows[place].balance_after - after) > 1:
                return place + 1
            after = self.rows[place].balance_after - self.rows[place].amount
        return 0

    @property
    def complete_since(self) -> datetime | None:
        """The second since which nothing is missing; None when even the newest rows may be."""
        first = self.linked_from
        if first == 0 and self.whole:
            return datetime.fromtimestamp(0, UTC)
        return self.rows[first].at if first < len(self.rows) else None

    def since(self, known: Collection[str]) -> list[LedgerRow]:
        """The rows that are not among the ids in `known`."""
        return [row for row in self.rows if row.id not in known]

    def complete(self, known: Collection[str]) -> bool:
        """Whether every row that came after the rows in `known` is here."""
        linked = self.rows[self.linked_from :]
        return (self.whole and self.linked_from == 0) or any(row.id in known for row in linked)


def read_ledger(gateway: Gateway, agent_id: str) -> LedgerPage:
    """The ledger of the account that casino, escrow and faucet share. Raises as `Gateway.read`."""
    rows = Answer(gateway.read(agent_id, Service.CASINO, "ledger")).items("ledger")
    state = Answer(gateway.read(agent_id, Service.CASINO))
    return page_of(rows, state.micros("balance_usd"))


def page_of(rows: Sequence[Answer], balance: int) -> LedgerPage:
    """A page from the raw rows of an answer; raises ServiceAnswerInvalid."""
    read = [_row(row) for row in rows]
    once = {row.id: row for row in read}
    # By second alone: rows of one second come in the order in which they were written.
    ordered = sorted(once.values(), key=lambda row: row.second)
    return LedgerPage(rows=ordered, balance=balance, whole=len(read) < WINDOW)


def _row(row: Answer) -> LedgerRow:
    amount = row.micros("amount")
    return LedgerRow(
        id=row.text("id"),
        amount=-amount if row.text("type") == "debit" else amount,
        balance_after=row.micros("balanceAfter"),
        reason=row.text("reason"),
        reference=str(row.get("reference") or ""),
        service=row.text("service"),
        second=int(row.number("createdAt")),
    )
