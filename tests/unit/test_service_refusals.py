"""Which error answers prove that nothing happened."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from agentstate.services.http.refusals import parse_refusal
from agentstate.services.operations.registry import operation_classes

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LIARS = {"trade_failed", "close_failed", "send_failed", "registration_failed", "withdrawal_failed", "internal_error",
         "invalid_json"}  # fmt: skip
CODES = frozenset({"insufficient_balance"})


def answer(**body: object) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("status", [400, 402, 409])
def test_a_listed_code_proves_it(status: int) -> None:
    refused = parse_refusal(status, answer(error="insufficient_balance"), CODES, lambda: NOON)
    assert refused is not None
    assert refused.code == "insufficient_balance"


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (400, answer(error="trade_failed")), (400, answer(message="no code")), (400, b"<html>"), (500, b""),
        (500, answer(error="insufficient_balance")), (302, answer(error="insufficient_balance")),
        (400, answer(error={"code": "insufficient_balance"})), (418, answer(error="not_found")),
    ],
)  # fmt: skip
def test_anything_else_proves_nothing(status: int, content: bytes) -> None:
    assert parse_refusal(status, content, CODES, lambda: NOON) is None


@pytest.mark.parametrize("code", sorted(LIARS))
def test_a_code_that_lies_is_on_no_list(code: str) -> None:
    assert not [operation.name for operation in operation_classes() if code in operation.refusals]


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (answer(error="rate_limited"), 60), (b"slow down", 60), (answer(error="ip_rate_limited"), 86_400),
        (answer(error="rate_limit_exceeded", reset_at="2026-01-31T12:00:25Z"), 25),
        (answer(error="rate_limit_exceeded", reset_at="2026-01-31T11:00:00Z"), 0),
        (answer(error="rate_limit_exceeded", reset_at="soon"), 60),
    ],
)  # fmt: skip
def test_a_rate_limit_tells_how_long(content: bytes, seconds: float) -> None:
    refused = parse_refusal(429, content, CODES, lambda: NOON)
    assert refused is not None
    assert refused.retry_after == seconds
