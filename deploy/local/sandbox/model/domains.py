"""Domains: names sold from an account of its own. Names that begin with `taken` are not available."""

from __future__ import annotations

import re

from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row

ACCOUNT = "domains"
EUR_CENTS = {"com": 1_200, "dev": 1_500, "io": 3_800, "xyz": 300, "ai": 7_500}
"""Registrar prices in euro cents; sold at x 1.20, then x 1.08, rounded to cents at each step."""

YEAR_US = 365 * 86_400 * MICROS
CENT = MICROS // 100

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.[a-z]{2,10}\Z")


class Domains:
    """Search, purchase and list."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def search_domain(self, domain: str) -> tuple[bool, int]:
        """Whether a name is free, and its price in micro-dollars."""
        price = price_of(domain)
        owned = self._books.query_row("SELECT 1 FROM registrar WHERE domain = ?", domain) is not None
        return not owned and not domain.startswith("taken"), price

    def register_domain(self, agent_id: str, domain: str) -> Row:
        """Buy a name for a year."""
        self._books.require_agent(agent_id)
        free, price = self.search_domain(domain)
        if not free:
            raise Refusal(400, "domain_unavailable", "The name is taken.", domain=domain)
        if price > (balance := self._books.read_balance(agent_id, ACCOUNT)):
            raise Refusal(
                400,
                "insufficient_balance",
                "The balance is too low.",
                balance_usd=balance,
                required_usd=price,
                required_eur=euro_prices(domain)[1],
                shortfall_usd=price - balance,
            )
        now = self._books.clock()
        domain_id = self._books.chance.make_token("dom", agent_id, self._books.next_nonce(agent_id))
        self._books.insert_row("registrar", domain=domain, agent_id=agent_id)
        self._books.record_effect("domains", "register", agent_id, domain)
        # The registrar comes first, as at the real service: dying here leaves a name neither listed nor charged.
        self._books.pass_step()
        self._books.post_entry(agent_id, -price, "registration", domain_id, "domains", account=ACCOUNT)
        self._books.insert_row(
            "domains", domain=domain, domain_id=domain_id, agent_id=agent_id, price=price, created_at=now,
            expires_at=now + YEAR_US,
        )  # fmt: skip
        return self.list_owned(agent_id)[0]

    def renew_domain(self, agent_id: str, domain: str) -> Row:
        """Pay for another year."""
        books = self._books
        books.require_agent(agent_id)
        row = books.query_row("SELECT * FROM domains WHERE agent_id = ? AND domain = ?", agent_id, domain)
        if row is None:
            raise Refusal(404, "domain_not_found", "This agent has no such name.")
        price = price_of(domain)
        if price > books.read_balance(agent_id, ACCOUNT):
            raise Refusal(400, "insufficient_balance", "The balance is too low.")
        books.post_entry(agent_id, -price, "renewal", row["domain_id"], "domains", account=ACCOUNT)
        books.execute("UPDATE domains SET expires_at = expires_at + ? WHERE domain = ?", YEAR_US, domain)
        books.insert_row("renewals", domain=domain, agent_id=agent_id, price=price, created_at=books.clock())
        books.record_effect("domains", "renew", agent_id, domain)
        return next(row for row in self.list_owned(agent_id) if row["domain"] == domain)

    def list_owned(self, agent_id: str) -> list[Row]:
        """All names of an agent, newest first."""
        self._books.require_agent(agent_id)
        return self._books.query_rows(
            "SELECT * FROM domains WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC", agent_id
        )

    def sum_account(self, agent_id: str) -> tuple[int, int]:
        """Micro-dollars spent and deposited."""
        row = self._books.query_row(
            "SELECT coalesce(sum(CASE WHEN micros < 0 THEN -micros END), 0) AS spent, "
            "coalesce(sum(CASE WHEN micros > 0 THEN micros END), 0) AS deposited "
            "FROM entries WHERE agent_id = ? AND account = ?",
            agent_id,
            ACCOUNT,
        )
        return (int(row["spent"]), int(row["deposited"])) if row else (0, 0)


def price_of(domain: str) -> int:
    """Price of a name in micro-dollars."""
    return (euro_prices(domain)[1] // CENT * 108 + 50) // 100 * CENT


def euro_prices(domain: str) -> tuple[int, int]:
    """Return the registrar's price of a name and the price with the margin, in millionths of a euro."""
    ending = domain.rpartition(".")[2]
    if not _NAME.match(domain) or ending not in EUR_CENTS:
        raise Refusal(400, "invalid_domain", f"The name ends in one of {', '.join(EUR_CENTS)}.")
    return EUR_CENTS[ending] * CENT, (EUR_CENTS[ending] * 120 + 50) // 100 * CENT
