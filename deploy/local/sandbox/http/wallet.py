"""The wallet over HTTP: addresses, transfers and swaps on the gateway, and its own routes below `/v1`.

Amounts are text, as at the real service. On the gateway no key leaves the sandbox; on the own routes keys go out once
and come back with every transfer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_iso, to_usd, to_usd_text
from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row
from deploy.local.sandbox.model.funding import Funding, Keys
from deploy.local.sandbox.model.wallet import CHAINS, CONTRACTS, Swaps, Wallet, account_of


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
        """`send {chain, to, amount, token}`: from the newest address; nothing lists it afterwards."""
        if "private_key" in body or "mnemonic" in body:
            raise Refusal(400, "invalid_request", "The gateway signs; it takes no key.")
        if body.get("token") != "USDC":
            raise Refusal(400, "send_failed", "The sandbox's addresses hold USDC alone.")
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
        names = ("from_chain", "to_chain", "amount", "to_address")
        source, target, amount, address = (values.read_text(body, name) for name in names)
        row = self._swaps.create_order(agent_id, source, target, amount, address)
        return {**swap_json(row), "swap_id": row["swap_id"], "deposit_address": row["deposit_address"]}

    def list_activity(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`activity`: swaps and referrals, no transfers."""
        events = [swap_json(row) for row in self._swaps.list_orders(agent_id)]
        return {
            "total": len(events),
            "limit": 100,
            "offset": 0,
            "has_more": False,
            "summary": {
                "total_swaps": len(events),
                "total_fees_paid": 0,
                "total_referral_earned": 0,
                "total_withdrawn": 0,
            },
            "events": events,
        }

    def read_swap_status(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`swap-status?order_id`: the order as the exchange shows it."""
        row = self._swaps.find_order(query.get("order_id", ""))
        return {
            "orderId": row["order_id"],
            "status": "AWAITING_DEPOSIT",
            "depositAddress": row["deposit_address"],
            "depositAmount": row["amount"],
            "toAddress": row["address"],
        }


def swap_json(row: Row) -> Body:
    """An order as it is listed; its status there is never updated."""
    return {
        "type": "swap",
        "id": row["swap_id"],
        "created_at": row["created_at"] // MICROS,
        "from_chain": row["source"],
        "to_chain": row["target"],
        "from_token": CONTRACTS[row["source"]],
        "to_token": CONTRACTS[row["target"]],
        "from_amount": row["amount"],
        "to_address": row["address"],
        "status": "AWAITING_DEPOSIT",
        "fee_amount": 0,
        "order_id": row["order_id"],
    }


WORDS = 24
"""Words of a mnemonic; those of the sandbox stand for no real wallet."""


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
            read_route(f"{base}/wallet/usdc-balance", "balance", self.read_usdc_balances),
            write_route(f"{base}/wallet/send", "send", self.send_usdc),
            write_route(f"{base}/wallet/swap", "swap", self.order_swap),
            read_route(f"{base}/wallet/swap/status/{{}}", "swap-status", self.read_swap_status),
            read_route(f"{base}/wallet/activity", "activity", self.list_activity),
        )

    def register_account(self, _who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/auth/register`."""
        account, key = self._keys.create_account("wallet")
        return {"agent_id": account, "api_key": key, "referral_code": f"ref_{account[3:11]}"}

    def create_addresses(self, who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/wallet/create`: words and addresses, no keys."""
        rows = [self._wallet.create_address(who, chain, counted=chain == CHAINS[0]) for chain in CHAINS]
        seed = self._books.chance.derive_bytes("words", rows[0]["address"])
        return {
            "mnemonic": " ".join(f"word{byte}" for byte in seed[:WORDS]),
            "addresses": {row["chain"]: row["address"] for row in rows},
        }

    def read_native_balance(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/balance/{id}`."""
        chain = given.query.get("chain", "base")
        native = {"symbol": "SOL", "amount": "0", "lamports": 0}
        if chain != "solana":
            native = {"symbol": "ETH", "amount": "0.0", "wei": "0"}
        return {"address": given.places[0], "chain": chain, "balance": {"native": native}}

    def read_usdc_balances(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/usdc-balance?base=0x...`; an address that nothing is known of holds nothing."""
        asked = [(chain, given.query[chain]) for chain in CHAINS if given.query.get(chain)]
        if not asked:
            raise Refusal(400, "no_addresses", "Provide at least one address as query param")
        rows: list[Body] = [
            {
                "chain": chain,
                "wallet_address": address,
                "usdc_balance": to_usd(self._wallet.read_address(address)),
                "usdc_contract": CONTRACTS[chain],
            }
            for chain, address in asked
        ]
        total = sum(row["usdc_balance"] for row in rows)
        return {
            "total_usdc": round(total, 6),
            "total_usd": round(total, 2),
            "chain_count": len(rows),
            "balances": rows,
            "timestamp": to_iso(self._books.clock()),
        }

    def send_usdc(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/wallet/send`: without `token` the chain's own coin, of which no address has any."""
        names = ("chain", "to", "amount", "private_key")
        chain, target, amount, key = (values.read_text(given.body, name) for name in names)
        if chain not in CHAINS:
            raise Refusal(400, "unsupported_chain", f"chain is one of {', '.join(CHAINS)}.")
        token = str(given.body.get("token", ""))
        if not re.fullmatch(r"(0x)?[0-9a-f]{64}", key):
            raise Refusal(400, "send_failed", "invalid private key")
        if token.lower() != CONTRACTS[chain].lower() or chain == "solana":
            raise Refusal(400, "send_failed", "insufficient funds for intrinsic transaction cost")
        row = self._wallet.send_usdc(who, chain, target, values.read_micros_text(given.body, "amount"))
        answer = {"tx_hash": row["tx_hash"], "chain": chain, "from": row["source"], "to": row["target"]}
        return {**answer, "amount": amount, "token": token, "explorer": f"https://explorer/tx/{row['tx_hash']}"}

    def order_swap(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/wallet/swap`."""
        made = self._swaps.order_swap(who, given.body)
        expires = to_iso(self._books.clock() + 3_600 * MICROS)
        return {
            "swap_id": made["swap_id"],
            "order_id": made["order_id"],
            "status": made["status"],
            "deposit": {
                "address": made["deposit_address"],
                "chain": made["from_chain"],
                "token": "USDC",
                "amount": made["from_amount"],
            },
            "output": {"address": made["to_address"], "expected_amount": made["from_amount"]},
            "fee": {"rate": "0.5%", "amount_usd": 0, "treasury": "0x" + "0" * 40},
            "expires_at": expires,
        }

    def read_swap_status(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/swap/status/{id}`."""
        return self._swaps.read_swap_status(who, {"order_id": given.places[0]})

    def list_activity(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/wallet/activity`."""
        return self._swaps.list_activity(who, given.query)
