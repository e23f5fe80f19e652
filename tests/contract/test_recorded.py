"""The sandbox held to the real servers: status, error code, names and types of the members of recorded answers.

`recorded/` has requests and the shapes of their answers, from runs of the servers at the commit that each file names.
A shape is an object by its members, a list by one element, and else the JSON type; `string|null` may be either, and
`missing` marks a member that not every element has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.worlds.services import PREFIXES, SandboxProcess

FOLDER = Path(__file__).parent / "recorded"
SERVICES = sorted(path.stem for path in FOLDER.glob("*.json"))
FOR_PEOPLE = frozenset(
    {
        "message", "note", "tip", "grow_tip", "suggestion", "supported", "next", "next_step", "next_steps", "warning",
        "instruction", "explorer", "docs", "openapi", "filter_options", "check_status", "share_message", "claim",
        "play", "register", "example", "examples", "contact", "onboarding", "fee_structure", "commission_rate",
        "referral_commission", "referral_commission_rate", "derivation_paths", "schedule", "action", "usdc_contracts",
        "supported_chains",
    }
)  # fmt: skip
"""Members that explain the answer to a person; no program reads them, and the sandbox need not have them."""

LEFT_OUT = frozenset(
    {
        "kelly", "filters", "summary", "verify", "by_level", "referrals", "last_30_days_usd", "risk_factor", "events",
        "monero_keys", "bitcoin", "monero", "tron", "fee_breakdown", "pricing", "liquidation_price", "liquidationPrice",
        "return_on_equity", "pnl_percent", "total_volume", "total_fees_paid", "total_pnl", "direction", "exchange_rate",
        "category", "dex", "max_leverage", "markup",
    }
)  # fmt: skip
"""Members about what the sandbox does not model: it may lack them, but not show them in another shape."""

Json = Any


def differences(recorded: Json, shown: Json, place: str = "") -> Iterator[str]:
    """Yield where an answer has another shape than the recorded one."""
    if isinstance(recorded, dict) and isinstance(shown, dict):
        for name in sorted({*recorded, *shown} - FOR_PEOPLE - {"_info"}):
            where = f"{place}.{name}"
            if name not in recorded:
                yield f"{where} is not in the server's answer"
            elif name in shown:
                yield from differences(recorded[name], shown[name], where)
            elif name not in LEFT_OUT and "missing" not in str(recorded[name]).split("|"):
                yield f"{where} is missing"
    elif isinstance(recorded, list) and isinstance(shown, list):
        for element in shown if recorded else ():
            yield from differences(recorded[0], element, f"{place}[]")
    elif not isinstance(recorded, str) or json_type(shown) not in recorded.split("|"):
        yield f"{place} is {json_type(shown)}; the server's is {str(recorded)[:60]}"


def json_type(value: Json) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "a list", dict: "an object"}
    return "null" if value is None else kinds[type(value)]


class Replay:
    """Sends the requests of a recording to the sandbox, with the accounts and ids that it gave itself."""

    def __init__(self, sandbox: SandboxProcess, service: str) -> None:
        self._sandbox, self._service = sandbox, service
        self._known = {"name": f"n{id(self)}", "signing": "0x" + "5e" * 32}

    def prepare(self, step: dict[str, Json]) -> None:
        """Make an account, or put money on one."""
        who = step["agent"]
        if "join" in step:
            made = httpx.post(self._url(step["join"], "/auth/register"), json={}).json()
            self._known |= {f"{who}.id": made["agent_id"], f"{who}.key": made["api_key"]}
            return
        account = {"escrow": "casino"}.get(self._service, self._service)
        address = self._known.get("address") if account == "wallet" else None
        self._sandbox.client.fund_account(self._known[f"{who}.id"], account, str(step["fund"]), f"{who}-start", address)

    def ask(self, step: dict[str, Json]) -> httpx.Response:
        """Send a request, and remember what it is told to keep of the answer."""
        method, path = self._fill(step["request"]).split(" ", 1)
        key = self._known.get(f"{step['agent']}.key")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = self._fill(step["body"]) if "body" in step else None
        answer = httpx.request(method, self._url(self._service, path), headers=headers, json=body)
        for name, where in step.get("keep", {}).items():
            found = answer.json()
            for part in where.split("."):
                found = found[part]
            self._known[name] = found
        return answer

    def _url(self, service: str, path: str) -> str:
        return f"{self._sandbox.url}/own/{service}{PREFIXES[service]}{path}"

    def _fill(self, given: Json) -> Json:
        if isinstance(given, dict):
            return {name: self._fill(value) for name, value in given.items()}
        return re.sub(r"\{([\w.]+)\}", lambda hit: self._known[hit[1]], given) if isinstance(given, str) else given


@pytest.mark.parametrize("service", SERVICES)
def test_the_sandbox_answers_in_the_shape_of_the_real_server(
    sandbox: SandboxProcess, service: str, subtests: pytest.Subtests
) -> None:
    sandbox.client.set_faults()
    replay = Replay(sandbox, service)
    for number, step in enumerate(json.loads((FOLDER / f"{service}.json").read_text("utf-8"))["answers"]):
        if "request" not in step:
            replay.prepare(step)
            continue
        answer = replay.ask(step)
        with subtests.test(f"{number} {step['request']}"):
            assert answer.status_code == step["status"], answer.text[:200]
            if isinstance(step["answer"], str):
                assert answer.text.splitlines()[0] == step["answer"]
                continue
            shown = answer.json()
            assert shown.get("error") == step.get("code", shown.get("error"))
            assert list(differences(step["answer"], shown)) == []


REQUESTS = {
    "casino.join": "POST /auth/register", "casino.bet": "POST /games/coin-flip", "casino.pay": "POST /stats/pay",
    "casino.withdraw": "POST /auth/withdraw", "casino.daily": "POST /daily/claim",
    "escrow.create": "POST /escrow/create", "escrow.complete": "POST /escrow/complete/{escrow}",
    "escrow.release": "POST /escrow/release/{escrow}", "escrow.dispute": "POST /escrow/dispute/{other}",
    "trading.join": "POST /auth/register", "trading.open": "POST /trade/open", "trading.close": "POST /trade/close",
    "trading.limit": "POST /trade/limit", "trading.cancel": "DELETE /trade/limit-orders/{order}",
    "domains.join": "POST /auth/register", "domains.register": "POST /domains/register",
    "wallet.join": "POST /auth/register", "wallet.create": "POST /wallet/create", "wallet.send": "POST /wallet/send",
    "wallet.swap": "POST /wallet/swap",
}  # fmt: skip
"""The request of each operation at its service's own routes."""


def test_the_page_names_a_real_server_only_where_an_answer_of_one_is_recorded() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "operations.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    assert {row[1].strip("`") for row in rows if row[3] == "real server"} == set(REQUESTS)
    assert {row[3] for row in rows} == {"real server", "sandbox"}
    for operation, request in REQUESTS.items():
        service = operation.partition(".")[0]
        steps = json.loads((FOLDER / f"{service}.json").read_text("utf-8"))["answers"]
        assert any(step.get("request") == request and step["status"] < 300 for step in steps), operation


def test_a_changed_answer_is_told() -> None:
    recorded = {"a": "number", "b": [{"c": "string|null"}], "tip": "string", "d": "missing|number"}
    assert list(differences(recorded, {"a": 1.5, "b": [{"c": None}, {"c": "x"}]})) == []
    for shown, told in (
        ({"a": "1", "b": []}, ".a is string; the server's is number"),
        ({"a": 1, "b": [{"c": 2}]}, ".b[].c is number; the server's is string|null"),
        ({"b": []}, ".a is missing"),
        ({"a": 1, "b": [], "e": 1}, ".e is not in the server's answer"),
        ({"a": True, "b": []}, ".a is boolean; the server's is number"),
        ({"a": 1, "b": {}}, ".b is an object; the server's is [{'c': 'string|null'}]"),
    ):
        assert list(differences(recorded, shown)) == [told]
