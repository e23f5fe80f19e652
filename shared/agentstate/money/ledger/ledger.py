"""The ledger of one agent: double entry, idempotent, append-only, exact.

Money only moves: each transaction takes from some accounts what it gives to others, under a key of the caller's, so a
retry finds the first one. Money that an operation may cost is held first (available to in_flight), and the hold ends
once: by a settlement, or by being voided.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from agentstate.errors import AmountInvalid, InvalidInput, NotFound
from agentstate.ids import new_id, validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Amount, Money, currency_scale, parse_money
from agentstate.money.ledger.accounts import read_account
from agentstate.money.ledger.postings import (
    CALLER_SCOPE,
    AccountKey,
    Bucket,
    Line,
    Place,
    Posted,
    Posting,
    earn,
    hold_money,
    move,
    net_lines,
    reverse_lines,
    spend,
    spend_all,
)
from agentstate.money.ledger.statement import (
    HOLD,
    Cursor,
    StatementPage,
    read_balance_at,
    read_hold_lines,
    read_statement_page,
    read_transactions,
    sum_entries,
)
from agentstate.money.ledger.writer import commit_posting, find_transaction, write_posting
from agentstate.state import codec
from agentstate.store.store import Store, Transaction

DEFAULT_SERVICE = "wallet"
"""Service of plain entries that name none."""

SETTLE = "settle"
VOID = "void"
_AMOUNT_FIELD = "amount_usdc"
_ENTRY_FIELDS = frozenset({_AMOUNT_FIELD, "type", "service", "key", "timestamp"})


class TransactionLedger:
    """The books of one agent, `agent.ledger`. Safe to share between threads.

    Every verb that writes takes a `key`, the caller's name for the transaction: a retry under it returns the first
    transaction, `replayed`. With `tx=` the posting joins the caller's transaction. Amounts are `Money`, or
    decimal text, a Decimal or an int in USDC; a float is refused.
    """

    def __init__(self, store: Store, agent_id: str) -> None:
        self.agent_id = validate_name(agent_id)
        self._store = store

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
            lines: lines that sum to zero per currency (see `move`, `spend`, `earn`).
            kind: a word of yours, such as `bet` or `fee`.
            effective_at: when it happened outside; unset: when it is recorded.
            meta: notes kept with it; JSON, no secrets. Not part of the key's fingerprint.
            tx: the caller's transaction.

        Raises:
            Unbalanced, InvalidInput: the lines, the key or the notes are wrong.
            KeyReused: the key stands for another transaction.
            InsufficientFunds: an account would pass its floor.

        Example:
            agent.ledger.post("fee:31", spend("casino", Money("0.10")), kind="fee")
        """
        posting = Posting(key=key, lines=lines, kind=kind, effective_at=effective_at, meta=meta)
        return self._write(posting, tx)

    def append(self, entry: Mapping[str, Any], *, key: str | None = None, tx: Transaction | None = None) -> Posted:
        """Write a plain entry with a signed amount; positive is money that came in, negative money that went out.

        Args:
            entry: `amount_usdc`, and optionally `type`, `service` (`wallet` when unset), `key` and `timestamp`; other
                fields are kept as notes.
            key: as for `post`; without one (or a field `key`) every call is a new transaction.
            tx: the caller's transaction.

        Raises:
            InvalidInput: `amount_usdc` is missing (a misspelt amount is not zero), or the entry cannot be stored.
                And as `post`.

        Example:
            agent.ledger.append({"type": "bet", "amount_usdc": "-2.50", "service": "casino"}, key="bet:981")
        """
        if _AMOUNT_FIELD not in entry:
            names = sorted(map(str, entry))
            raise InvalidInput(f"the entry has no {_AMOUNT_FIELD} (it has {names}). Nothing was posted.")
        amount = Money(entry[_AMOUNT_FIELD], "USDC")
        if not amount:
            raise AmountInvalid("an entry of zero moves nothing; leave it out. Nothing was posted.")
        service = entry.get("service", DEFAULT_SERVICE)
        notes = {str(name): value for name, value in entry.items() if name not in _ENTRY_FIELDS}
        posting = Posting(
            key=entry.get("key", key or str(new_id())),
            lines=earn(service, amount) if amount.minor > 0 else spend(service, -amount),
            kind=entry.get("type", "entry"),
            effective_at=_parse_timestamp(entry.get("timestamp")),
            meta=codec.loads(codec.dumps(notes)) if notes else None,
        )
        return self._write(posting, tx)

    def deposit(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Record money that came in from outside. Raises as `post`; AmountInvalid for a float.

        Example:
            agent.ledger.deposit("payout:31", "wallet", Money("12.50"))
        """
        return self.post(key, earn(service, parse_money(amount)), kind="deposit", tx=tx)

    def withdraw(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Record money that went outside. Raises as `post`; AmountInvalid for a float.

        Example:
            agent.ledger.withdraw("rent:7", "wallet", "3")
        """
        return self.post(key, spend(service, parse_money(amount)), kind="withdrawal", tx=tx)

    def transfer(
        self,
        key: str,
        amount: Amount,
        *,
        source: Place,
        target: Place,
        kind: str = "transfer",
        tx: Transaction | None = None,
    ) -> Posted:
        """Move `amount` from one (service, bucket) of the agent's to another. Raises as `post`.

        Example:
            agent.ledger.transfer("t:4", "5", source=("wallet", "available"), target=("casino", "available"))
        """
        return self.post(key, move(parse_money(amount), source, target), kind=kind, tx=tx)

    def reserve(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Hold `amount` for an operation that is about to start; the `id` of the result names the hold.

        Example:
            hold = agent.ledger.reserve("bet:981", "casino", "2.50")
            agent.ledger.settle("bet:981:done", hold.id)
        """
        return self.post(key, hold_money(service, parse_money(amount)), kind=HOLD, tx=tx)

    def settle(
        self, key: str, hold_id: UUID, lines: Sequence[Line] | None = None, *, tx: Transaction | None = None
    ) -> Posted:
        """End a hold with the movements that took place; a hold ends once.

        Args:
            key: the caller's name for the settlement.
            hold_id: the id of the transaction that `reserve` returned.
            lines: the movements, written as if there had been no hold; unset: the whole hold was spent.
            tx: the caller's transaction.

        Raises:
            NotFound: no such hold. Conflict: it is settled or void already. And as `post`.

        Example:
            agent.ledger.settle("bet:981:won", hold.id, earn("casino", Money("2.45")))
        """
        with self._store.transaction(tx) as opened:
            held = read_hold_lines(opened.connection, self.agent_id, hold_id)
            moved = spend_all(held) if lines is None else lines
            posting = Posting(key=key, lines=net_lines(moved, released=held), kind=SETTLE, resolves=hold_id)
            return self._write(posting, opened)

    def void(self, key: str, hold_id: UUID, *, tx: Transaction | None = None) -> Posted:
        """Give a hold back, because nothing happened. Raises as `settle`.

        Example:
            agent.ledger.void("bet:981:cancelled", hold.id)
        """
        with self._store.transaction(tx) as opened:
            released = reverse_lines(read_hold_lines(opened.connection, self.agent_id, hold_id))
            return self._write(Posting(key=key, lines=released, kind=VOID, resolves=hold_id), opened)

    def balance(
        self,
        service: str,
        currency: str = DEFAULT_CURRENCY,
        *,
        as_of: datetime | None = None,
        bucket: str = Bucket.AVAILABLE,
    ) -> Money:
        """Return the balance of one account, now or as it was recorded at `as_of` (timezone-aware).

        Zero when nothing was ever posted to it. Takes the same time however long the history is.

        Example:
            agent.ledger.balance("casino", as_of=datetime.now(UTC) - timedelta(days=1))
        """
        currency_scale(currency)
        key = AccountKey(validate_name(service, "service"), validate_name(str(bucket), "bucket"), currency)
        with self._store.read_connection() as connection:
            if as_of is not None:
                minor = read_balance_at(connection, self.agent_id, key, _require_aware(as_of))
                return Money.from_minor(minor, currency)
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
        """Return the sum of the entries themselves in whole units, to compare with the stored balance.

        Args:
            currency: of the entries.
            service: only this service; unset: all services.
            bucket: such as `available`.
            whole: sum from the first entry, which takes as long as the history is; unset: from each account's newest
                attested point.

        Example:
            agent.ledger.balance_from_ledger(service="casino") == agent.ledger.balance("casino").amount
        """
        with self._store.read_connection() as connection:
            minor = sum_entries(
                connection, self.agent_id, currency=currency, bucket=str(bucket), service=service, whole=whole
            )
        return Money.from_minor(minor, currency).amount

    def recent(self, limit: int = 20) -> list[Posted]:
        """Return the newest transactions, newest first; raise InvalidInput for a limit below 0.

        Example:
            for posted in agent.ledger.recent(5):
                print(posted.kind, posted.lines)
        """
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
        since: datetime | None = None,
        until: datetime | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> StatementPage:
        """Return a page of entries, account by account, each with the balance after it.

        Args:
            service: only this service; unset: all.
            bucket: only this bucket, such as `available`.
            currency: only this currency.
            since: only entries recorded at this time or later (timezone-aware).
            until: only entries recorded before this time (timezone-aware).
            after: `next` of the page before. Entries that are posted meanwhile appear; none is skipped or repeated.
            limit: maximum number of entries, 1 to 1,000.

        Raises:
            InvalidInput: the limit is out of range, or a time is naive.

        Example:
            page = agent.ledger.statement("casino", limit=50)
            more = agent.ledger.statement("casino", after=page.next) if page.next else None
        """
        wanted = {"service": service, "bucket": bucket, "currency": currency}
        period = tuple(None if moment is None else _require_aware(moment) for moment in (since, until))
        with self._store.read_connection() as connection:
            return read_statement_page(
                connection, self.agent_id, wanted, since=period[0], until=period[1], after=after, limit=limit
            )

    def get(self, key: str) -> Posted:
        """Return the transaction that was posted under `key`; raise NotFound when there is none.

        Example:
            agent.ledger.get("payout:31").lines
        """
        found = self.find(key)
        if found is None:
            raise NotFound(f"{self.agent_id} has no transaction {key!r}.")
        return found

    def find(self, key: str) -> Posted | None:
        """Return the transaction that was posted under `key`, None when there is none.

        Example:
            if agent.ledger.find("payout:31") is None:
                agent.ledger.deposit("payout:31", "wallet", "12.50")
        """
        with self._store.read_connection() as connection:
            row = find_transaction(connection, self.agent_id, CALLER_SCOPE, unicodedata.normalize("NFC", key))
            return None if row is None else read_transactions(connection, self.agent_id, 1, only=row.id)[0]

    def _write(self, posting: Posting, tx: Transaction | None) -> Posted:
        if tx is None:
            return commit_posting(self._store, self.agent_id, posting)
        return write_posting(tx, self.agent_id, posting)


def _require_aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(f"the time {moment.isoformat()} has no time zone; pass a timezone-aware datetime.")
    return moment


def _parse_timestamp(value: Any) -> datetime | None:
    """Return the time of a plain entry: a datetime, ISO text or Unix seconds; raise InvalidInput without a zone."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, int | float) and not isinstance(moment, bool):
            moment = datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidInput(f"the timestamp {value!r} is no time with a zone; give UTC. Nothing was posted.")
    return moment
