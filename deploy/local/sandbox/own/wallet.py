"""The wallet's own routes, below `/v1`: keys go out once and come back with every transfer."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.gateway.swaps import SwapsFace
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.truth import exact
from deploy.local.sandbox.model.wallet import CHAINS, Wallet
from deploy.local.sandbox.own.route import Given, Route, read, write

WORDS = "sand box test only never real money here twelve words end now"
"""Stands for a mnemonic."""


class WalletRoutes:
    """What the wallet answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wallet = Wallet(books)
        self._swaps = SwapsFace(books)
        self._keys = Keys(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write(f"{base}/auth/register", "join", self._register, public=True, status=201),
            write(f"{base}/wallet/create", "create", self._create, status=201),
            read(f"{base}/wallet/balance/{{}}", "balance", self._native),
            read(f"{base}/wallet/usdc-balance/{{}}", "balance", self._usdc),
            write(f"{base}/wallet/send", "send", self._send),
            write(f"{base}/wallet/swap", "swap", self._swap),
            read(f"{base}/wallet/swap/status/{{}}", "swap-status", self._status),
            read(f"{base}/wallet/activity", "activity", self._activity),
        )

    def _register(self, _who: str, _given: Given) -> Body:
        account, key = self._keys.register("wallet")
        return {"agent_id": account, "api_key": key}

    def _create(self, who: str, _given: Given) -> Body:
        rows = [self._wallet.create(who, chain, counted=chain == CHAINS[0]) for chain in CHAINS]
        return {
            "mnemonic": WORDS,
            "addresses": {row["chain"]: row["address"] for row in rows},
            "private_keys": {row["chain"]: self._private_key(row["address"]) for row in rows},
            "warning": "This mnemonic is shown ONCE.",
        }

    def _native(self, _who: str, given: Given) -> Body:
        chain = given.query.get("chain", "base")
        balance = {"native": {"symbol": "SOL" if chain == "solana" else "ETH", "amount": "0.0"}}
        return {"address": given.places[0], "chain": chain, "balance": balance}

    def _usdc(self, _who: str, given: Given) -> Body:
        row = self._wallet.address(given.places[0])
        text = str(exact(self._wallet.balance(row))["usd"])
        return {"address": row["address"], "chain": row["chain"], "balance": {"symbol": "USDC", "amount": text}}

    def _send(self, who: str, given: Given) -> Body:
        chain, key = inputs.text(given.body, "chain", "unsupported_chain"), inputs.text(given.body, "private_key")
        source = self._address_of(who, key)
        row = self._wallet.send(
            who, chain, inputs.text(given.body, "to"), inputs.micros_text(given.body, "amount"), source=source
        )
        answer = {"tx_hash": row["tx_hash"], "chain": chain, "from": row["source"], "to": row["target"]}
        return {**answer, "amount": given.body["amount"], "token": given.body.get("token")}

    def _swap(self, who: str, given: Given) -> Body:
        made = self._swaps.swap(who, given.body)
        deposit = {"address": made["deposit_address"], "chain": made["from_chain"], "token": "USDC"}
        return {
            "swap_id": made["swap_id"],
            "order_id": made["order_id"],
            "status": made["status"],
            "deposit": {**deposit, "amount": made["amount"]},
        }

    def _status(self, who: str, given: Given) -> Body:
        return self._swaps.status(who, {"order_id": given.places[0]})

    def _activity(self, who: str, given: Given) -> Body:
        return self._swaps.activity(who, given.query)

    def _private_key(self, address: str) -> str:
        return "0x" + self._books.chance.digest("private", address).hex()

    def _address_of(self, who: str, key: str) -> str:
        for row in self._wallet.addresses(who):
            if self._private_key(row["address"]) == key:
                return str(row["address"])
        raise Refusal(400, "send_failed", "invalid private key")
