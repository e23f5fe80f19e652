"""Wallet on the gateway. Amounts are text here, as at the real service; no key ever leaves the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_iso
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.model.truth import exact_json
from deploy.local.sandbox.model.wallet import Wallet, account_of


class WalletHandler:
    """Requests of the wallet in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wallet = Wallet(books)
        self._funding = Funding(books)

    def create_address(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`create {chain}`: another address; not idempotent."""
        self._books.require_agent(agent_id)
        row = self._wallet.create_address(agent_id, inputs.read_text(body, "chain", "unsupported_chain"))
        return {"agent_id": agent_id, **_address_json(row)}

    def deposit_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {chain, amount, reference?}`: test money on the newest address of the chain."""
        row = self._wallet.newest_address(agent_id, inputs.read_text(body, "chain", "unsupported_chain"))
        amount, reference = inputs.read_micros_text(body, "amount"), str(body.get("reference", ""))
        account = account_of(row["address"])
        balance = self._funding.deposit_money(agent_id, "wallet", amount, reference, account)
        return {"agent_id": agent_id, **_address_json(row), "amount": _to_decimal_text(balance), "reference": reference}

    def send_usdc(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`send {chain, to, amount}`: USDC from the newest address; nothing lists it afterwards."""
        if "private_key" in body or "mnemonic" in body:
            raise Refusal(400, "invalid_request", "The gateway signs; it takes no key.")
        row = self._wallet.send_usdc(
            agent_id,
            inputs.read_text(body, "chain", "unsupported_chain"),
            inputs.read_text(body, "to"),
            inputs.read_micros_text(body, "amount"),
        )
        return {
            "tx_hash": row["tx_hash"],
            "chain": row["chain"],
            "from": row["source"],
            "to": row["target"],
            "amount": _to_decimal_text(row["amount"]),
            "token": "USDC",
        }

    def read_balance(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`balance?address`: USDC on one address, whoever owns it."""
        self._books.require_agent(agent_id)
        return self._balance_json(self._wallet.get_address(query.get("address", "")))

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: all addresses with their USDC."""
        rows = self._wallet.list_addresses(agent_id)
        return {
            "agent_id": agent_id,
            "total_usdc": _to_decimal_text(sum(self._wallet.read_balance(row) for row in rows)),
            "addresses": [self._balance_json(row) for row in rows],
        }

    def _balance_json(self, row: Row) -> Body:
        return {**_address_json(row), "symbol": "USDC", "amount": _to_decimal_text(self._wallet.read_balance(row))}


def _address_json(row: Row) -> Body:
    return {"address": row["address"], "chain": row["chain"], "created_at": to_iso(row["created_at"])}


def _to_decimal_text(micros: int) -> str:
    return str(exact_json(micros)["usd"])
