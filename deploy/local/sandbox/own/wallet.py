"""The wallet's own routes, below `/v1`: keys go out once and come back with every transfer."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.gateway.swaps import SwapsHandler
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.truth import exact_json
from deploy.local.sandbox.model.wallet import CHAINS, Wallet
from deploy.local.sandbox.own.route import RequestData, Route, read_route, write_route

WORDS = "sand box test only never real money here twelve words end now"
"""Stands for a mnemonic."""


class WalletRoutes:
    """What the wallet answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wallet = Wallet(books)
        self._swaps = SwapsHandler(books)
        self._keys = Keys(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write_route(f"{base}/auth/register", "join", self._register_account, public=True, status=201),
            write_route(f"{base}/wallet/create", "create", self._create_addresses, status=201),
            read_route(f"{base}/wallet/balance/{{}}", "balance", self._read_native_balance),
            read_route(f"{base}/wallet/usdc-balance/{{}}", "balance", self._read_usdc_balance),
            write_route(f"{base}/wallet/send", "send", self._send_usdc),
            write_route(f"{base}/wallet/swap", "swap", self._order_swap),
            read_route(f"{base}/wallet/swap/status/{{}}", "swap-status", self._read_swap_status),
            read_route(f"{base}/wallet/activity", "activity", self._list_activity),
        )

    def _register_account(self, _who: str, _given: RequestData) -> Body:
        account, key = self._keys.create_account("wallet")
        return {"agent_id": account, "api_key": key}

    def _create_addresses(self, who: str, _given: RequestData) -> Body:
        rows = [self._wallet.create_address(who, chain, counted=chain == CHAINS[0]) for chain in CHAINS]
        return {
            "mnemonic": WORDS,
            "addresses": {row["chain"]: row["address"] for row in rows},
            "private_keys": {row["chain"]: self._private_key(row["address"]) for row in rows},
            "warning": "This mnemonic is shown ONCE.",
        }

    def _read_native_balance(self, _who: str, given: RequestData) -> Body:
        chain = given.query.get("chain", "base")
        balance = {"native": {"symbol": "SOL" if chain == "solana" else "ETH", "amount": "0.0"}}
        return {"address": given.places[0], "chain": chain, "balance": balance}

    def _read_usdc_balance(self, _who: str, given: RequestData) -> Body:
        row = self._wallet.get_address(given.places[0])
        text = str(exact_json(self._wallet.read_balance(row))["usd"])
        return {"address": row["address"], "chain": row["chain"], "balance": {"symbol": "USDC", "amount": text}}

    def _send_usdc(self, who: str, given: RequestData) -> Body:
        chain, key = (
            inputs.read_text(given.body, "chain", "unsupported_chain"),
            inputs.read_text(given.body, "private_key"),
        )
        source = self._find_address(who, key)
        row = self._wallet.send_usdc(
            who, chain, inputs.read_text(given.body, "to"), inputs.read_micros_text(given.body, "amount"), source=source
        )
        answer = {"tx_hash": row["tx_hash"], "chain": chain, "from": row["source"], "to": row["target"]}
        return {**answer, "amount": given.body["amount"], "token": given.body.get("token")}

    def _order_swap(self, who: str, given: RequestData) -> Body:
        made = self._swaps.order_swap(who, given.body)
        deposit = {"address": made["deposit_address"], "chain": made["from_chain"], "token": "USDC"}
        return {
            "swap_id": made["swap_id"],
            "order_id": made["order_id"],
            "status": made["status"],
            "deposit": {**deposit, "amount": made["amount"]},
        }

    def _read_swap_status(self, who: str, given: RequestData) -> Body:
        return self._swaps.read_swap_status(who, {"order_id": given.places[0]})

    def _list_activity(self, who: str, given: RequestData) -> Body:
        return self._swaps.list_activity(who, given.query)

    def _private_key(self, address: str) -> str:
        return "0x" + self._books.chance.derive_bytes("private", address).hex()

    def _find_address(self, who: str, key: str) -> str:
        for row in self._wallet.list_addresses(who):
            if self._private_key(row["address"]) == key:
                return str(row["address"])
        raise Refusal(400, "send_failed", "invalid private key")
