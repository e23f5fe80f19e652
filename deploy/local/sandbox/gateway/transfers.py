"""Payments, withdrawals, the daily bonus, deposits and referrals on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_cents, to_usd
from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.deposits import Deposits
from deploy.local.sandbox.model.referrals import Referrals
from deploy.local.sandbox.model.transfers import DAY_US, Transfers, bonus_of


class TransfersHandler:
    """Requests of the casino about money without a game."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._transfers = Transfers(books)
        self._deposits = Deposits(books)
        self._referrals = Referrals(books)

    def pay_agent(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`pay {to_agent_id, amount, memo?}`: the memo is echoed and not stored."""
        payee, amount = inputs.read_text(body, "to_agent_id", "invalid_recipient"), inputs.read_micros(body, "amount")
        payment_id = self._transfers.pay_agent(agent_id, payee, amount)
        balance = to_cents(self._books.read_balance(agent_id))
        return {
            "payment_id": payment_id,
            "to_agent_id": payee,
            "amount": to_usd(amount),
            "memo": body.get("memo"),
            "new_balance": balance,
        }

    def withdraw_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`withdraw {amount, address}`."""
        amount, address = inputs.read_micros(body, "amount"), inputs.read_text(body, "address", "invalid_address")
        row = self._transfers.withdraw_money(agent_id, amount, address)
        status = "pending_review" if row["status"] == "reviewing" else row["status"]
        return {
            "status": status,
            "withdrawal_id": row["withdrawal_id"],
            "amount": to_usd(row["amount"]),
            "fee": to_usd(row["fee"]),
            "chain": "base",
            "address": row["address"],
            "tx_hash": row["tx_hash"],
            "new_balance": to_usd(self._books.read_balance(agent_id)),
        }

    def claim_daily_bonus(self, agent_id: str, _body: Mapping[str, Any]) -> Body:
        """`daily {}`: claim the bonus."""
        row = self._transfers.claim_daily(agent_id)
        return {
            "claimed": True,
            "bonus_usd": to_usd(row["amount"]),
            "streak_day": row["streak"],
            "balance_after": to_usd(self._books.read_balance(agent_id)),
            "next_bonus_usd": to_usd(bonus_of(row["streak"] + 1)),
        }

    def read_daily_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`daily-state`: whether the bonus can be claimed, and when next."""
        last = self._transfers.last_daily(agent_id)
        left = 0 if last is None else max(0, last["claimed_at"] + DAY_US - self._books.clock())
        streak = self._transfers.next_streak(last)
        return {
            "agent_id": agent_id,
            "can_claim": left == 0,
            "current_streak": streak - 1 if left == 0 else last["streak"] if last is not None else 0,
            "next_bonus_usd": to_usd(bonus_of(streak)),
            "last_claimed_at": None if last is None else last["claimed_at"] // MICROS,
            "next_claim_in_seconds": -(-left // MICROS) or None,
        }

    def list_withdrawals(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`withdrawals`: the newest 50 as raw rows."""
        return {"withdrawals": [_withdrawal_json(row) for row in self._transfers.list_withdrawals(agent_id)]}

    def list_deposits(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`deposits`: the newest 50 as raw rows."""
        return {"deposits": [_deposit_json(row) for row in self._deposits.list_deposits(agent_id)]}

    def read_referral(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`referral`: the agent's code, and what came of it."""
        self._books.require_agent(agent_id)
        count, earned = self._referrals.sum_earned(agent_id)
        code = self._referrals.get_code(agent_id)
        return {"referral_code": code, "total_referrals": count, "total_earned_usd": to_cents(earned)}


def _withdrawal_json(row: Row) -> Body:
    return {
        "id": row["withdrawal_id"],
        "agentId": row["agent_id"],
        "amount": to_usd(row["amount"]),
        "fee": to_usd(row["fee"]),
        "chain": "base",
        "token": "USDC",
        "address": row["address"],
        "status": row["status"],
        "txHash": row["tx_hash"],
        "createdAt": row["created_at"] // MICROS,
    }


def _deposit_json(row: Row) -> Body:
    return {
        "id": row["tx_hash"],
        "agentId": row["agent_id"],
        "amount": to_usd(row["amount"]),
        "chain": "base",
        "txHash": row["tx_hash"],
        "status": "credited",
        "createdAt": row["created_at"] // MICROS,
    }
