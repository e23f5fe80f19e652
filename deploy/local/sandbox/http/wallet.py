"""The wallet over HTTP: addresses, transfers and swaps on the gateway, and its own routes below `/v1`.

Amounts are text, as at the real service. On the gateway no key leaves the sandbox; on the own routes keys go out once
and come back with every transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_iso, to_usd_text
from deploy.local.sandbox.model.books import Books, Refusal, Row
from deploy.local.sandbox.model.funding import Funding, Keys
from deploy.local.sandbox.model.truth import exact_json
from deploy.local.sandbox.model.wallet import CHAINS, Swaps, Wallet, account_of


class WalletHandler:
    """Requests of the wallet in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wallet = Wallet(books)
        self._funding = Funding(books)

    def create_address(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`create {chain}`: another address; not idempotent."""
        self._books.require_agent(agent_id)
        row = self._wallet.create_address(agent_id, values.read_text(body, "chain", "unsupported_chain"))
        return {"agent_id": agent_id, **_address_json(row)}

    def deposit_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {chain, amount, reference?}`: test money on the newest address of the chain."""
        row = self._wallet.newest_address(agent_id, values.read_text(body, "chain", "unsupported_chain"))
        amount, reference = values.read_micros_text(body, "amount"), str(body.get("reference", ""))
        account = account_of(row["address"])
        balance = self._funding.deposit_money(agent_id, "wallet", amount, reference, account)
        return {"agent_id": agent_id, **_address_json(row), "amount": to_usd_text(balance), "reference": reference}

    def send_usdc(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`send {chain, to, amount}`: USDC from the newest address; nothing lists it afterwards."""
        if "private_key" in body or "mnemonic" in body:
            raise Refusal(400, "invalid_request", "The gateway signs; it takes no key.")
        row = self._wallet.send_usdc(
            agent_id,
            values.read_text(body, "chain", "unsupported_chain"),
            values.read_text(body, "to"),
            values.read_micros_text(body, "amount"),
        )
        return {
            "tx_hash": row["tx_hash"],
            "chain": row["chain"],
            "from": row["source"],
            "to": row["target"],
            "amount": to_usd_text(row["amount"]),
            "token": "USDC",
        }

    def read_balance(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`balance?address`: USDC on one address of any agent."""
        self._books.require_agent(agent_id)
        return self._balance_json(self._wallet.get_address(query.get("address", "")))

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: all addresses with their USDC."""
        rows = self._wallet.list_addresses(agent_id)
        return {
            "agent_id": agent_id,
            "total_usdc": to_usd_text(sum(self._wallet.read_balance(row) for row in rows)),
            "addresses": [self._balance_json(row) for row in rows],
        }

    def _balance_json(self, row: Row) -> Body:
        return {**_address_json(row), "symbol": "USDC", "amount": to_usd_text(self._wallet.read_balance(row))}


def _address_json(row: Row) -> Body:
    return {"address": row["address"], "chain": row["chain"], "created_at": to_iso(row["created_at"])}


class SwapsHandler:
    """Requests about swaps."""

    def __init__(self, books: Books) -> None:
        self._swaps = Swaps(books)

    def order_swap(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`swap {from_chain, to_chain, from_token, to_token, amount, to_address}`."""
        values.read_micros_text(body, "amount")
        row = self._swaps.create_order(
            agent_id,
            values.read_text(body, "from_chain", "unsupported_chain"),
            values.read_text(body, "to_chain", "unsupported_chain"),
            str(body["amount"]),
            values.read_text(body, "to_address"),
        )
        return swap_json(row)

    def list_activity(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`activity`: swaps and referrals, no transfers."""
        return {"swaps": [swap_json(row) for row in self._swaps.list_orders(agent_id)], "referrals": []}

    def read_swap_status(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`swap-status?order_id`: where the order stands at the exchange."""
        row = self._swaps.find_order(query.get("order_id", ""))
        return {"order_id": row["order_id"], "status": "awaiting_deposit"}


def swap_json(row: Row) -> Body:
    """An order as it is listed; its status there is never updated."""
    return {
        "swap_id": row["swap_id"],
        "order_id": row["order_id"],
        "from_chain": row["source"],
        "to_chain": row["target"],
        "amount": row["amount"],
        "to_address": row["address"],
        "deposit_address": row["deposit_address"],
        "status": "awaiting_deposit",
        "created_at": to_iso(row["created_at"]),
    }


WORDS = "sand box test only never real money here twelve words end now"
"""Stands for a mnemonic."""


class WalletRoutes:
    """The wallet's own routes."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wallet = Wallet(books)
        self._swaps = SwapsHandler(books)
        self._keys = Keys(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write_route(f"{base}/auth/register", "join", self.register_account, public=True, status=201),
            write_route(f"{base}/wallet/create", "create", self.create_addresses, status=201),
            read_route(f"{base}/wallet/balance/{{}}", "balance", self.read_native_balance),
            read_route(f"{base}/wallet/usdc-balance/{{}}", "balance", self.read_usdc_balance),
            write_route(f"{base}/wallet/send", "send", self.send_usdc),
            write_route(f"{base}/wallet/swap", "swap", self.order_swap),
            read_route(f"{base}/wallet/swap/status/{{}}", "swap-status", self.read_swap_status),
            read_route(f"{base}/wallet/activity", "activity", self.list_activity),
        )

    def register_account(self, _who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/auth/register`."""
        account, key = self._keys.create_account("wallet")
        return {"agent_id": account, "api_key": key}

    def create_addresses(self, who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/wallet/create`."""
        rows = [self._wallet.create_address(who, chain, counted=chain == CHAINS[0]) for chain in CHAINS]
        return {
            "mnemonic": WORDS,
            "addresses": {row["chain"]: row["address"] for row in rows},
            "private_keys": {row["chain"]: self._private_key(row["address"]) for row in rows},
            "warning": "This mnemonic is shown ONCE.",
        }

    def read_native_balance(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/balance/{id}`."""
        chain = given.query.get("chain", "base")
        balance = {"native": {"symbol": "SOL" if chain == "solana" else "ETH", "amount": "0.0"}}
        return {"address": given.places[0], "chain": chain, "balance": balance}

    def read_usdc_balance(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/usdc-balance/{id}`."""
        row = self._wallet.get_address(given.places[0])
        text = str(exact_json(self._wallet.read_balance(row))["usd"])
        return {"address": row["address"], "chain": row["chain"], "balance": {"symbol": "USDC", "amount": text}}

    def send_usdc(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/wallet/send`."""
        chain, key = (
            values.read_text(given.body, "chain", "unsupported_chain"),
            values.read_text(given.body, "private_key"),
        )
        source = self._find_address(who, key)
        row = self._wallet.send_usdc(
            who, chain, values.read_text(given.body, "to"), values.read_micros_text(given.body, "amount"), source=source
        )
        answer = {"tx_hash": row["tx_hash"], "chain": chain, "from": row["source"], "to": row["target"]}
        return {**answer, "amount": given.body["amount"], "token": given.body.get("token")}

    def order_swap(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/wallet/swap`."""
        made = self._swaps.order_swap(who, given.body)
        deposit = {"address": made["deposit_address"], "chain": made["from_chain"], "token": "USDC"}
        return {
            "swap_id": made["swap_id"],
            "order_id": made["order_id"],
            "status": made["status"],
            "deposit": {**deposit, "amount": made["amount"]},
        }

    def read_swap_status(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/swap/status/{id}`."""
        return self._swaps.read_swap_status(who, {"order_id": given.places[0]})

    def list_activity(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/activity`."""
        return self._swaps.list_activity(who, given.query)

    def _private_key(self, address: str) -> str:
        return "0x" + self._books.chance.derive_bytes("private", address).hex()

    def _find_address(self, who: str, key: str) -> str:
        for row in self._wallet.list_addresses(who):
            if self._private_key(row["address"]) == key:
                return str(row["address"])
        raise Refusal(400, "send_failed", "invalid private key")
