"""A service's own ledger as it shows it: a window of rows, neither ordered nor complete, made as reliable as it can be.

The window holds 50 rows, sorted by whole second, ties in the order of insertion, without a cursor. Each row tells the
balance after it, so rows can be put in order and a gap between them be seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, own_view
from agentstate.services.operations.names import Service
from agentstate.services.wire import Answer, Body

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
        """The time of writing, to the second."""
        return datetime.fromtimestamp(self.second, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPage:
    """The rows that a service shows of an account's ledger, oldest first.

    Attributes:
        rows: each once, in order of time.
        balance: of the account, read after the rows.
        whole: whether the account has no more rows than these.
    """

    rows: Sequence[LedgerRow]
    balance: int
    whole: bool

    @property
    def first_linked(self) -> int:
        """The place in `rows` from which on no row is missing, up to the balance; the number of rows when some is."""
        after = self.balance
        for place in range(len(self.rows) - 1, -1, -1):
            if abs(self.rows[place].balance_after - after) > 1:
                return place + 1
            after = self.rows[place].balance_after - self.rows[place].amount
        return 0

    @property
    def is_complete(self) -> bool:
        """Whether the account has no row that is not here."""
        return self.whole and self.first_linked == 0

    @property
    def complete_from(self) -> datetime | None:
        """The second since which nothing is missing; None when even the newest rows may be."""
        if self.is_complete:
            return datetime.fromtimestamp(0, UTC)
        first = self.first_linked
        return self.rows[first].at if first < len(self.rows) else None

    def rows_since(self, known: Collection[str]) -> list[LedgerRow]:
        """Return the rows that are not among the ids in `known`."""
        return [row for row in self.rows if row.id not in known]

    def is_complete_since(self, known: Collection[str]) -> bool:
        """Return whether every row that came after the rows in `known` is here."""
        return self.is_complete or any(row.id in known for row in self.rows[self.first_linked :])


def read_ledger(gateway: Gateway, agent_id: str) -> LedgerPage:
    """Return the ledger of the account that casino, escrow and faucet share; raises as `Gateway.read`."""
    rows = Answer(gateway.read(agent_id, Service.CASINO, "ledger")).get_items("ledger")
    state = Answer(gateway.read(agent_id, Service.CASINO))
    return build_ledger_page(rows, state.get_micros("balance_usd"))


@own_view("casino", "ledger")
async def read_own_ledger(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/ledger`."""
    return {"ledger": (await request.read_json("auth/ledger")).get("entries")}


async def read_own_ledger_page(request: OwnRequest) -> LedgerPage:
    """Return the shared ledger with the balance read after it, at the casino's own routes."""
    casino = request.at_service(Service.CASINO)
    rows = Answer(await read_own_ledger(casino, {})).get_items("ledger")
    state = Answer(casino.rename_account(await casino.read_json("auth/balance")))
    return build_ledger_page(rows, state.get_micros("balance_usd"))


def build_ledger_page(rows: Sequence[Answer], balance: int) -> LedgerPage:
    """Return a page from the raw rows of an answer; raises ServiceAnswerInvalid."""
    parsed = [_parse_row(row) for row in rows]
    once = {row.id: row for row in parsed}
    # By second alone: rows of one second come in the order in which they were written.
    ordered = sorted(once.values(), key=lambda row: row.second)
    return LedgerPage(rows=ordered, balance=balance, whole=len(parsed) < WINDOW)


def _parse_row(row: Answer) -> LedgerRow:
    amount = row.get_micros("amount")
    return LedgerRow(
        id=row.get_text("id"),
        amount=-amount if row.get_text("type") == "debit" else amount,
        balance_after=row.get_micros("balanceAfter"),
        reason=row.get_text("reason"),
        reference=str(row.get("reference") or ""),
        service=row.get_text("service"),
        second=int(row.get_number("createdAt")),
    )
