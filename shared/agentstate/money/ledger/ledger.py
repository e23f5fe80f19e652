"""The ledger of one agent: double entry, idempotent, append-only, exact.

The idea: money only moves. Each transaction takes from some accounts what it gives to others, under a key of the
caller's, so a retry finds the first one. What an effect may cost is held first (available to in_flight) and then
settled or given back, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import InvalidInput, NotFound
from agentstate.ids import new_id, validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Money, currency_scale
from agentstate.money.ledger.accounts import read_account, read_balance_at, sum_entries
from agentstate.money.ledger.plain_entries import parse_entry
from agentstate.money.ledger.postings import (
    CALLER_SCOPE,
    AccountKey,
    Bucket,
    Line,
    Posted,
    Posting,
    earn,
    move,
    net_lines,
    spend,
)
from agentstate.money.ledger.statement import read_hold_lines, read_transactions
from agentstate.money.ledger.statement_pages import Cursor, StatementPage, read_statement_page
from agentstate.money.ledger.writer import LedgerWriter
from agentstate.store.store import Store, Transaction

DEFAULT_SERVICE = "wallet"
"""The service of guide-style entries that name none."""

HOLD = "hold"
SETTLE = "settle"
VOID = "void"
_MOST_LEDGERS = 1_000


class TransactionLedger:
    """One agent's books. Safe to share between threads; give `tx=` to post within a transaction of your own."""

    def __init__(self, store: Store, agent_id: str) -> None:
        self.agent_id = validate_name(agent_id)
        self._store = store
        self._writer = LedgerWriter(agent_id)

    # Posting

    def post(
        self,
        key: str,
        lines: Sequence[Line],
        *,
        kind: str = "transfer",
        effective_at: datetime | None = None,
        meta: Mapping[str, Any] | None = None,
        tx: Transaction | None = None,
    ) -> Posted:
        """Write one transaction; durable at return (or when `tx` commits).

        Args:
            key: the caller's name for this transaction; posting it again returns the first, `replayed`.
            lines: what moves; they sum to zero per currency (see `postings.move`, `spend`, `earn`).
            kind: what it is, such as `bet` or `fee`.
            effective_at: when it happened outside; unset: when it is recorded.
            meta: notes kept with it; JSON, no secrets. Not part of what the key stands for.
            tx: the caller's transaction.

        Raises:
            Unbalanced, InvalidInput: the lines, the key or the notes are wrong.
            KeyReused: the key stands for another transaction.
            InsufficientFunds: an account would pass its floor.
        """
        return self.write(Posting(key=key, lines=lines, kind=kind, effective_at=effective_at, meta=meta), tx=tx)

    def write(self, posting: Posting, *, tx: Transaction | None = None) -> Posted:
        """Write a prepared posting; for other parts of agentstate, which use scopes of their own."""
        validate_name(posting.kind, "kind")
        return self._writer.write_alone(self._store, posting) if tx is None else self._writer.write(tx, posting)

    def append(self, entry: Mapping[str, Any], *, key: str | None = None, tx: Transaction | None = None) -> Posted:
        """Write a plain entry: `{"type": "bet", "amount_usdc": "-2.50", "service": "casino", ...}`.

        Above zero is money that came in, below zero money that went out, at `service` (`wallet` when unset). Other
        fields are kept as notes. Without `key` (or a field `key`) every call is a new fact; with one a retry is not.

        Raises:
            InvalidInput: `amount_usdc` is missing, or the entry cannot be stored. And as `post`.
        """
        return self.write(parse_entry(entry, key=key or str(new_id()), service=DEFAULT_SERVICE), tx=tx)

    def deposit(self, key: str, service: str, amount: Money, *, tx: Transaction | None = None) -> Posted:
        """Money that came in from outside."""
        return self.post(key, earn(service, amount), kind="deposit", tx=tx)

    def withdraw(self, key: str, service: str, amount: Money, *, tx: Transaction | None = None) -> Posted:
        """Money that went outside."""
        return self.post(key, spend(service, amount), kind="withdrawal", tx=tx)

    def transfer(
        self,
        key: str,
        amount: Money,
        *,
        source: tuple[str, str],
        target: tuple[str, str],
        kind: str = "transfer",
        tx: Transaction | None = None,
    ) -> Posted:
        """Move `amount` from one (service, bucket) of the agent's to another."""
        return self.post(key, move(amount, source, target), kind=kind, tx=tx)

    # Holds

    def reserve(self, key: str, service: str, amount: Money, *, tx: Transaction | None = None) -> Posted:
        """Hold `amount` for something that is about to happen; the id of the result names the hold."""
        held = move(amount, (service, Bucket.AVAILABLE), (service, Bucket.IN_FLIGHT))
        return self.post(key, held, kind=HOLD, tx=tx)

    def settle(
        self, key: str, hold_id: UUID, lines: Sequence[Line] | None = None, *, tx: Transaction | None = None
    ) -> Posted:
        """End a hold by what really happened; a hold ends once.

        Args:
            key: the caller's name for the settlement.
            hold_id: the id that `reserve` gave.
            lines: what happened, written as if there had been no hold; unset: all of it was spent.
            tx: the caller's transaction.

        Raises:
            NotFound: no such hold. Conflict: it is settled or void already. And as `post`.
        """
        with self._store.transaction(tx) as opened:
            given = reverse_lines(self.hold_lines(opened.connection, hold_id))
            happened = spend_all(given) if lines is None else lines
            resolved = net_lines([*given, *happened])
            return self.write(Posting(key=key, lines=resolved, kind=SETTLE, resolves=hold_id), tx=opened)

    def void(self, key: str, hold_id: UUID, *, tx: Transaction | None = None) -> Posted:
        """Give a hold back, because nothing happened. Raises as `settle`."""
        with self._store.transaction(tx) as opened:
            given = reverse_lines(self.hold_lines(opened.connection, hold_id))
            return self.write(Posting(key=key, lines=given, kind=VOID, resolves=hold_id), tx=opened)

    def hold_lines(self, connection: sa.Connection, hold_id: UUID) -> list[Line]:
        """The lines of this agent's hold; raises NotFound."""
        lines = read_hold_lines(connection, self.agent_id, hold_id, HOLD)
        if not lines:
            raise NotFound(f"{self.agent_id} has no hold {hold_id}.")
        return lines

    # Reading

    def balance(
        self,
        service: str,
        currency: str = DEFAULT_CURRENCY,
        *,
        as_of: datetime | None = None,
        bucket: str = Bucket.AVAILABLE,
    ) -> Money:
        """The balance of one account, now or as it was recorded at `at` (timezone-aware).

        Nothing when nothing was ever posted to it. Takes the same time however long the history is.
        """
        currency_scale(currency)
        key = AccountKey(validate_name(service, "service"), validate_name(str(bucket), "bucket"), currency)
        with self._store.read_connection() as connection:
            if as_of is not None:
                return Money.from_minor(read_balance_at(connection, self.agent_id, key, _aware(as_of)), currency)
            account = read_account(connection, self.agent_id, key)
        return Money.from_minor(account.balance if account else 0, currency)

    def balance_from_ledger(
        self,
        currency: str = DEFAULT_CURRENCY,
        *,
        service: str | None = None,
        bucket: str = Bucket.AVAILABLE,
        whole: bool = False,
    ) -> Decimal:
        """What the entries themselves sum to, whatever the stored balance says: for comparing.

        Over all services when `service` is unset. Goes on from each account's newest attested point; `whole` sums from
        the first entry, which takes as long as the history is.
        """
        with self._store.read_connection() as connection:
            minor = sum_entries(
                connection, self.agent_id, currency=currency, bucket=str(bucket), service=service, whole=whole
            )
        return Money.from_minor(minor, currency).amount

    def recent(self, limit: int = 20) -> list[Posted]:
        """The newest `n` transactions, newest first; raises InvalidInput for n below 0."""
        if limit < 0:
            raise InvalidInput(f"recent({limit}): ask for 0 or more transactions.")
        with self._store.read_connection() as connection:
            return read_transactions(connection, self.agent_id, limit)

    def statement(
        self,
        service: str | None = None,
        *,
        bucket: str | None = None,
        currency: str | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> StatementPage:
        """A page of entries, account by account, each with the balance after it.

        Args:
            service: only this service; unset: all.
            bucket: only this bucket, such as `available`.
            currency: only this currency.
            after: `next` of the page before. Entries that come while paging are in it, none is skipped or repeated.
            limit: entries at most, 1 to 1,000.

        Raises:
            InvalidInput: the limit is out of range.
        """
        wanted = {"service": service, "bucket": bucket, "currency": currency}
        with self._store.read_connection() as connection:
            return read_statement_page(connection, self.agent_id, wanted, after=after, limit=limit)

    def get(self, key: str) -> Posted:
        """Return the transaction that was posted under `key`; raise NotFound when there is none."""
        found = self.find(key)
        if found is None:
            raise NotFound(f"{self.agent_id} has no transaction {key!r}.")
        return found

    def find(self, key: str) -> Posted | None:
        """Return the transaction that was posted under `key`, None when there is none."""
        with self._store.read_connection() as connection:
            row = self._writer.find(connection, CALLER_SCOPE, key)
            return None if row is None else read_transactions(connection, self.agent_id, 1, only=row.id)[0]


def reverse_lines(hold: Iterable[Line]) -> list[Line]:
    """The lines that undo a hold."""
    return [Line(line.service, line.bucket, -line.amount) for line in hold]


def spend_all(released: Iterable[Line]) -> list[Line]:
    """What happened when all that a hold held was spent, from the lines that undo the hold."""
    return [line for back in released if back.amount.minor > 0 for line in spend(back.service, back.amount)]


class Ledgers:
    """The ledgers of many agents, each made once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[str, TransactionLedger] = {}

    def for_agent(self, agent_id: str) -> TransactionLedger:
        """The ledger of `agent_id`."""
        if len(self._made) > _MOST_LEDGERS:
            self._made.clear()
        return self._made.setdefault(agent_id, TransactionLedger(self._store, agent_id))


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(f"the time {moment.isoformat()} has no time zone; give an aware datetime.")
    return moment
