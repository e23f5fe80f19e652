"""Registration, keys, referrals, and money that arrives: test deposits and deposits found by polling a chain.

The poll tells two deposits apart by address and amount alone. So 5 dollars and then 3 more before the address is
emptied are credited as 5 and as 8, and another 5 later is not credited at all: both as measured at the real service.
"""

from __future__ import annotations

import hashlib

from deploy.local.sandbox.model.books import CASINO, MICROS, Books, Refusal, Row

PREFIXES = {"casino": "sk_live_", "trading": "sk_trade_", "wallet": "pk_live_", "domains": "sk_domains_"}
"""How a service's keys begin; nobody checks it."""

REGISTERS = {"escrow": "casino", "faucet": "casino"}
"""Services that take another's registration."""


class Keys:
    """Registrations."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def create_account(self, service: str) -> tuple[str, str]:
        """Make an account; its id and its key, which is not shown again."""
        books = self._books
        row = books.query_row("SELECT count(*) AS n FROM keys")
        number = int(row["n"]) if row else 0
        account = "ag_" + books.chance.derive_bytes("account", service, number).hex()[:12]
        key = PREFIXES[service] + books.chance.derive_bytes("key", service, number).hex()[:48]
        books.insert_row("keys", digest=_digest_key(key), service=service, agent_id=account)
        books.register_agent(account)
        books.record_effect(service, "join", account, account)
        return account, key

    def find_account(self, service: str, key: str) -> str:
        """Return the account of a key; refuse unknown keys."""
        kept_by = REGISTERS.get(service, service)
        row = self._books.query_row(
            "SELECT agent_id FROM keys WHERE digest = ? AND service = ?", _digest_key(key), kept_by
        )
        if row is None:
            raise Refusal(401, "unauthorized", "Invalid API key")
        return str(row["agent_id"])


def _digest_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


SHARE = 10
"""One part in ten of a loss."""


class Referrals:
    """Referral codes, the referrer of each agent, and the commissions."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def join_agent(self, agent_id: str, code: str | None) -> str:
        """Note a new agent with the code that it came by, if any; its own code. An unknown code counts as none."""
        books = self._books
        own = books.chance.make_token("ref", agent_id)[:12]
        found = books.query_row("SELECT agent_id FROM referrals WHERE code = ?", code) if code else None
        books.execute(
            "INSERT OR IGNORE INTO referrals VALUES (?, ?, ?)", agent_id, own, found["agent_id"] if found else None
        )
        return own

    def get_code(self, agent_id: str) -> str:
        """The agent's own code."""
        row = self._books.query_row("SELECT code FROM referrals WHERE agent_id = ?", agent_id)
        return str(row["code"]) if row else self.join_agent(agent_id, None)

    def credit_referrer(self, agent_id: str, lost: int, reference: str) -> None:
        """Give the referrer its part of a loss, in whole cents."""
        row = self._books.query_row("SELECT referred_by FROM referrals WHERE agent_id = ?", agent_id)
        part = lost // SHARE // 10_000 * 10_000
        if row is not None and row["referred_by"] is not None and part > 0:
            self._books.post_entry(row["referred_by"], part, "referral_commission", reference, "casino")

    def sum_earned(self, agent_id: str) -> tuple[int, int]:
        """Return the number of referred agents, and the micro-dollars earned by them."""
        referred = self._books.query_row("SELECT count(*) AS n FROM referrals WHERE referred_by = ?", agent_id)
        brought = self._books.query_row(
            "SELECT coalesce(sum(micros), 0) AS n FROM entries WHERE agent_id = ? AND reason = 'referral_commission'",
            agent_id,
        )
        return int(referred["n"]) if referred else 0, int(brought["n"]) if brought else 0


BONUS_MOST = 25 * MICROS
"""The first deposit is doubled, up to this."""

SHOWN = 50


class Deposits:
    """Money on addresses, and the poll that finds it."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def add_on_chain(self, agent_id: str, amount: int) -> None:
        """Add money to the agent's deposit address; the next poll finds it."""
        self._books.require_agent(agent_id)
        sql = "INSERT INTO deposit_addresses VALUES (?, ?) ON CONFLICT (agent_id) DO UPDATE SET micros = micros + ?"
        self._books.execute(sql, agent_id, amount, amount)

    def poll_addresses(self) -> int:
        """Credit the amounts on the addresses that were not seen before; return their number."""
        return sum(
            self._credit_finding(row)
            for row in self._books.query_rows("SELECT * FROM deposit_addresses WHERE micros > 0")
        )

    def empty_addresses(self) -> None:
        """Sweep the addresses into the treasury."""
        self._books.execute("UPDATE deposit_addresses SET micros = 0")

    def list_deposits(self, agent_id: str) -> list[Row]:
        """The newest 50 that were credited."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM deposits WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, SHOWN)

    def _credit_finding(self, row: Row) -> int:
        books, agent_id, amount = self._books, row["agent_id"], row["micros"]
        tx_hash = f"poll_{agent_id}_{amount}"
        first = books.query_row("SELECT 1 FROM deposits WHERE agent_id = ?", agent_id) is None
        added = books.execute(
            "INSERT OR IGNORE INTO deposits VALUES (?, ?, ?, ?)", tx_hash, agent_id, amount, books.clock()
        )
        if added:
            books.post_entry(agent_id, amount, "deposit_credited", tx_hash, "casino")
            if first:
                books.post_entry(agent_id, min(amount, BONUS_MOST), "deposit_bonus", tx_hash, "casino")
        return added


MOST = 1_000_000_000_000
"""Largest deposit: one million dollars in micro-dollars."""


class Funding:
    """Opens agents and puts money on their accounts."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._referrals = Referrals(books)

    def register_agent(self, agent_id: str, code: str | None = None) -> bool:
        """Make an agent known, with the referral code that it came by; False when it was known already."""
        added = self._books.register_agent(agent_id)
        if added:
            self._referrals.join_agent(agent_id, code)
            self._books.record_effect("casino", "register", agent_id, agent_id)
        return added

    def deposit_money(self, agent_id: str, service: str, amount: int, reference: str, account: str = CASINO) -> int:
        """Put `amount` on an account; the balance afterwards.

        A non-empty `reference` is honoured as a key: the second deposit with it changes nothing.
        """
        books = self._books
        books.require_agent(agent_id)
        if not 0 < amount <= MOST:
            raise Refusal(400, "invalid_amount", "A deposit is above 0 and at most 1,000,000.")
        if reference and self._is_known_reference(agent_id, service, reference):
            return books.read_balance(agent_id, account)
        books.record_effect(service, "deposit", agent_id, reference)
        return books.post_entry(agent_id, amount, "deposit", reference, service, account=account)

    def credit_again(self, agent_id: str) -> bool:
        """Credit the agent's newest deposit once more, as a poll does that saw it twice; whether there was one."""
        books = self._books
        sql = "SELECT * FROM entries WHERE agent_id = ? AND reason = 'deposit' ORDER BY id DESC LIMIT 1"
        row = books.query_row(sql, agent_id)
        if row is None:
            return False
        books.post_entry(
            agent_id, row["micros"], "deposit_credited", f"again_{row['id']}", row["service"], account=row["account"]
        )
        return True

    def _is_known_reference(self, agent_id: str, service: str, reference: str) -> bool:
        sql = "SELECT 1 FROM entries WHERE agent_id = ? AND service = ? AND reference = ? AND reason = 'deposit'"
        return self._books.query_row(sql, agent_id, service, reference) is not None
