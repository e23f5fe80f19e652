"""The sandbox as a client sees it: its routes, its quirks, its faults, and what a kill leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.sandbox.faults import list_applicable_faults

AUTHORIZED = {"Authorization": "Bearer pf_test_sandbox"}
ROOT = Path(__file__).parents[2]
LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": False}
"""No proxy, and no TLS context to make for plain HTTP."""


@pytest.fixture
def http(sandbox: Any) -> Iterator[httpx.Client]:
    sandbox.client.set_faults()
    with httpx.Client(base_url=sandbox.api, headers=AUTHORIZED, timeout=10, **LOOPBACK) as client:
        yield client
    sandbox.client.set_switches(idempotency_keys=False, rate_limits=False, kelly_cap=True)


def bet(http: httpx.Client, agent: str, seed: str, *, amount: float = 1.0, **headers: str) -> httpx.Response:
    body = {"agent_id": agent, "amount": amount, "side": "heads", "client_seed": seed}
    return http.post("/casino/bet", json=body, headers=headers)


@pytest.mark.parametrize("key", [{}, {"Authorization": "Bearer sk_live_x"}, {"Authorization": "pf_test_x"}])
def test_without_a_key_nobody_passes(sandbox: Any, key: dict[str, str]) -> None:
    answer = httpx.get(f"{sandbox.api}/casino/state", params={"agent_id": "ag"}, headers=key, **LOOPBACK)
    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthorized"


@pytest.mark.parametrize("service", ["casino", "escrow", "faucet", "trading", "domains", "wallet"])
def test_every_service_tells_a_state(http: httpx.Client, rich: str, service: str) -> None:
    answer = http.get(f"/{service}/state", params={"agent_id": rich})
    assert answer.status_code == 200
    assert answer.json()["agent_id"] == rich
    assert answer.json()["_info"]["service"] == service


@pytest.mark.parametrize("service", ["casino", "escrow", "faucet", "trading", "domains", "wallet"])
def test_an_agent_that_nobody_registered_is_unknown_everywhere(http: httpx.Client, service: str) -> None:
    answer = http.get(f"/{service}/state", params={"agent_id": "nobody"})
    assert (answer.status_code, answer.json()["error"]) == (404, "agent_not_found")


def test_casino_escrow_and_faucet_share_one_balance(sandbox: Any, http: httpx.Client, rich: str, agent: str) -> None:
    http.post("/casino/register", json={"agent_id": "ag_other"})
    http.post("/faucet/claim", json={"agent_id": rich})
    escrow = {"agent_id": rich, "counterparty_agent_id": "ag_other", "amount_usd": 10, "description": "work"}
    made = http.post("/escrow/create", json=escrow)
    assert made.status_code == 201
    assert sandbox.client.read_balance(rich) == 91_000_000
    http.post("/escrow/release", json={"agent_id": rich, "escrow_id": made.json()["escrow_id"]})
    assert sandbox.client.read_balance("ag_other") == 9_900_000


def test_bet_answers_round_to_cents_and_the_audit_does_not(http: httpx.Client, rich: str) -> None:
    for number in range(40):
        answer = bet(http, rich, f"s{number}", amount=0.1).json()
        if answer["won"]:
            break
    assert answer["amount_won"] == 0.2
    audit = http.get("/casino/audit", params={"agent_id": rich, "bet_id": answer["bet_id"]}).json()
    assert audit["amount_won"] == 0.199


def test_the_ledger_shows_fifty_rows_and_not_quite_the_newest(sandbox: Any, http: httpx.Client, rich: str) -> None:
    for number in range(60):
        bet(http, rich, f"s{number}", amount=0.01)
    rows = http.get("/casino/ledger", params={"agent_id": rich, "limit": "200"}).json()["ledger"]
    seconds = [row["createdAt"] for row in rows]
    assert len(rows) == 50
    assert seconds == sorted(seconds, reverse=True)
    first = [row["id"] for row in rows if row["createdAt"] == seconds[0]]
    assert first == sorted(first, key=lambda text: int(text.removeprefix("led_")))
    assert isinstance(seconds[0], int)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"amount": "1.00", "side": "heads"}, (400, "invalid_amount")),
        ({"amount": True, "side": "heads"}, (400, "invalid_amount")),
        ({"amount": 0.001, "side": "heads"}, (400, "minimum_bet")),
        ({"amount": -1, "side": "heads"}, (400, "minimum_bet")),
        ({"amount": 1, "side": "edge"}, (400, "invalid_side")),
        ({"amount": 1, "game": "roulette"}, (400, "invalid_game")),
        ({"amount": 1, "game": "dice", "direction": "over", "threshold": 99}, (400, "invalid_threshold")),
        ({"amount": 1000, "side": "heads"}, (400, "insufficient_balance")),
        ({"amount": 50, "side": "heads"}, (400, "kelly_limit_exceeded")),
    ],
)
def test_a_bad_bet_is_refused_and_changes_nothing(
    sandbox: Any, http: httpx.Client, rich: str, body: dict[str, Any], refused: tuple[int, str]
) -> None:
    before = sandbox.client.read_truth(rich)
    answer = http.post("/casino/bet", json={"agent_id": rich, **body})
    assert (answer.status_code, answer.json()["error"]) == refused
    assert sandbox.client.read_truth(rich) == before


def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client) -> None:
    for content in (b"{", b"[]", b"\xff"):
        answer = http.post("/casino/bet", content=content)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_json")


def test_paths_that_are_not_there(http: httpx.Client, sandbox: Any) -> None:
    assert http.get("/casino/nothing").json()["error"] == "not_found"
    assert http.post("/casino/state", json={}).json()["error"] == "not_found"
    assert httpx.get(f"{sandbox.url}/elsewhere", **LOOPBACK).status_code == 404


def test_an_idempotency_key_is_ignored_until_the_switch_is_on(sandbox: Any, http: httpx.Client, rich: str) -> None:
    same = {"Idempotency-Key": "k1"}
    first, second = (bet(http, rich, "ignored", **same).json() for _ in range(2))
    assert first["bet_id"] != second["bet_id"]
    sandbox.client.set_switches(idempotency_keys=True)
    first, second = (bet(http, rich, "kept", **same).json() for _ in range(2))
    assert first == second
    assert sandbox.client.count_effects(rich, "casino.bet") == {"ignored": 2, "kept": 1}


def test_rate_limits_count_by_path_and_carry_no_header(sandbox: Any, http: httpx.Client, agent: str) -> None:
    sandbox.client.set_switches(rate_limits=True)
    headers = {"X-Forwarded-For": f"10.0.0.1-{agent}"}
    answers = [http.post("/faucet/claim", json={"agent_id": agent}, headers=headers) for _ in range(13)]
    last = answers[-1]
    assert answers[0].status_code == 200
    assert (last.status_code, last.json()["error"]) == (429, "rate_limited")
    assert not {name for name in last.headers if "limit" in name or "retry" in name}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("commit_then_drop", (None, 1)),
        ("drop_before_commit", (None, 0)),
        ("500_after_effect", (500, 1)),
        ("400_after_effect", (400, 1)),
        ("slow:1", (200, 1)),
        ("late_commit:1", (200, 1)),
        ("html_502", (502, 1)),
        ("html_502:before", (502, 0)),
        ("truncate_json", (200, 1)),
        ("429_short", (429, 0)),
        ("429_business", (429, 0)),
        ("crash_between_steps", (None, 0)),
        ("double_effect", (200, 2)),
        ("lost_update:1", (200, 1)),
    ],
)
def test_each_fault_does_what_it_says(
    sandbox: Any, http: httpx.Client, rich: str, fault: str, expected: tuple[int | None, int]
) -> None:
    status, applied = expected
    if status is None:
        with pytest.raises(httpx.RemoteProtocolError):
            bet(http, rich, "one", **{"X-Sandbox-Fault": fault})
    else:
        assert bet(http, rich, "one", **{"X-Sandbox-Fault": fault}).status_code == status
    assert sandbox.client.count_effects(rich, "casino.bet").get("one", 0) == applied


def test_what_died_between_its_steps_leaves_half(sandbox: Any, http: httpx.Client, rich: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        bet(http, rich, "half", **{"X-Sandbox-Fault": "crash_between_steps"})
    assert sandbox.client.read_balance(rich) == 99_000_000
    assert http.get("/casino/export", params={"agent_id": rich}).json()["rows"] == []


def test_two_purchases_at_once_lose_one_debit(sandbox: Any, http: httpx.Client, rich: str) -> None:
    name = rich.replace("_", "-")

    def buy(number: int) -> int:
        body = {"agent_id": rich, "domain": f"{name}-{number}.dev"}
        return http.post("/domains/register", json=body, headers={"X-Sandbox-Fault": "lost_update:300"}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(buy, range(2))) == [201, 201]
    assert sandbox.client.read_balance(rich, "domains") == 100_000_000 - 19_440_000


def test_a_deposit_can_be_credited_twice(sandbox: Any, http: httpx.Client, agent: str) -> None:
    body = {"agent_id": agent, "amount": 3, "reference": "once"}
    http.post("/casino/deposit", json=body, headers={"X-Sandbox-Fault": "duplicate_deposit"})
    assert sandbox.client.read_balance(agent) == 6_000_000


def test_the_other_side_of_an_escrow_moves_it_unasked(http: httpx.Client, rich: str, agent: str) -> None:
    http.post("/casino/register", json={"agent_id": f"{agent}_side"})
    body = {"agent_id": rich, "counterparty_agent_id": f"{agent}_side", "amount_usd": 2, "description": "work"}
    made = http.post("/escrow/create", json=body, headers={"X-Sandbox-Fault": "counterparty_action"}).json()
    shown = http.get("/escrow/get", params={"agent_id": rich, "escrow_id": made["escrow_id"]}).json()
    assert made["status"] == "funded"
    assert shown["status"] in {"completed", "disputed"}


def test_any_fault_is_drawn_from_those_that_can_strike(sandbox: Any, http: httpx.Client, rich: str) -> None:
    struck = []
    for _ in range(2):
        sandbox.client.set_faults({"fault": "any", "reads": True, "agent_id": rich}, seed=4)
        for _ in range(8):
            with suppress(httpx.HTTPError):
                http.get("/trading/state", params={"agent_id": rich})
        struck.append(sandbox.client.read_faults()["injected"])
    assert struck[0] == struck[1]
    assert sum(struck[0].values()) == 8
    assert set(struck[0]) <= set(list_applicable_faults("trading", "state", reads=True))
    assert "double_effect" not in list_applicable_faults("trading", "state", reads=True)


def test_the_truth_tells_of_one_request(sandbox: Any, http: httpx.Client, rich: str) -> None:
    bet(http, rich, "s", **{"Idempotency-Key": f"key-{rich}", "X-Sandbox-Fault": "500_after_effect"})
    told = sandbox.client.read_request(f"key-{rich}")
    assert [effect["reference"] for effect in told["effects"]] == ["s"]
    assert told["ledger"][0]["micros"] == -1_000_000
    assert told["injected"] == ["500_after_effect"]


def test_the_own_routes_want_the_key_of_that_very_service(sandbox: Any) -> None:
    own = f"{sandbox.url}/own"
    made = httpx.post(f"{own}/casino/api/v1/auth/register", json={}, **LOOPBACK)
    assert made.status_code == 201
    key = {"Authorization": f"Bearer {made.json()['api_key']}"}
    assert httpx.get(f"{own}/casino/api/v1/auth/balance", headers=key, **LOOPBACK).status_code == 200
    for path, headers in (("trading/v1/auth/account", key), ("casino/api/v1/auth/balance", AUTHORIZED)):
        assert httpx.get(f"{own}/{path}", headers=headers, **LOOPBACK).json()["error"] == "unauthorized"
    assert httpx.get(f"{own}/casino/api/v1/nowhere", headers=key, **LOOPBACK).json()["error"] == "not_found"
    limited = httpx.post(f"{own}/faucet/faucet/claim", json={"agent_casino_id": "nobody"}, **LOOPBACK)
    assert limited.json()["error"] == "agent_not_found"


def test_a_silent_zero_shows_no_money_and_takes_none(sandbox: Any, http: httpx.Client, rich: str) -> None:
    zero = {"X-Sandbox-Fault": "silent_zero"}
    assert http.get("/casino/state", params={"agent_id": rich}, headers=zero).json()["balance_usd"] == 0
    wallet = http.get("/wallet/state", params={"agent_id": rich}, headers=zero).json()
    assert wallet["addresses"][0]["amount"] == "0"
    assert sandbox.client.read_balance(rich) == 100_000_000


def test_a_late_commit_happens_although_the_client_has_left(sandbox: Any, http: httpx.Client, rich: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            "/casino/bet",
            json={"agent_id": rich, "amount": 1, "side": "heads", "client_seed": "late"},
            headers={"X-Sandbox-Fault": "late_commit:300"},
            timeout=0.05,
        )
    assert sandbox.client.count_effects(rich, "casino.bet") == {}
    waited = threading.Event()
    for _ in range(100):
        if sandbox.client.count_effects(rich, "casino.bet"):
            break
        waited.wait(0.02)
    assert sandbox.client.count_effects(rich, "casino.bet") == {"late": 1}


def test_a_standing_plan_strikes_as_often_as_its_seed_says(sandbox: Any, http: httpx.Client, rich: str) -> None:
    rule = {"fault": "429_short", "probability": 0.3, "service": "casino", "operation": "bet", "agent_id": rich}
    patterns = []
    for _ in range(2):
        sandbox.client.set_faults(rule, seed=11)
        patterns.append([bet(http, rich, "s", amount=0.01).status_code for _ in range(30)])
    assert patterns[0] == patterns[1]
    assert 0 < patterns[0].count(429) < 30
    assert sandbox.client.read_faults()["injected"] == {"429_short": patterns[0].count(429)}


def test_a_rule_strikes_no_more_often_than_it_may(sandbox: Any, http: httpx.Client, rich: str) -> None:
    sandbox.client.set_faults({"fault": "500_after_effect", "times": 1})
    assert [bet(http, rich, "s").status_code for _ in range(3)] == [500, 200, 200]


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "bogus"}, {"fault": "slow"}, {"fault": "slow:x"}, {"fault": "html_502:after"}, {},
        {"fault": "html_502", "probability": 2}, {"fault": "html_502", "times": "1"}, {"fault": "html_502", "on": 1},
    ],
)  # fmt: skip
def test_a_wrong_plan_is_refused_and_leaves_the_old_one(sandbox: Any, http: httpx.Client, rule: dict[str, Any]) -> None:
    sandbox.client.set_faults({"fault": "slow:1", "times": 1})
    with pytest.raises(httpx.HTTPStatusError):
        sandbox.client.set_faults(rule)
    assert [item["fault"] for item in sandbox.client.read_faults()["plan"]] == ["slow:1"]


def test_what_was_answered_survives_kill_9(sandbox: Any, http: httpx.Client, rich: str) -> None:
    acknowledged = [bet(http, rich, f"s{number}", amount=0.05).json()["bet_id"] for number in range(20)]
    sandbox.client.set_faults({"fault": "429_short", "operation": "bet", "agent_id": rich})
    sandbox.client.set_switches(kelly_cap=False)
    before = sandbox.client.read_truth(rich)
    sandbox.kill()
    sandbox.start()
    assert sandbox.client.read_truth(rich) == before
    rows = http.get("/casino/export", params={"agent_id": rich}).json()["rows"]
    assert {row["bet_id"] for row in rows} == set(acknowledged)
    assert bet(http, rich, "after").status_code == 429
    assert httpx.get(f"{sandbox.url}/__control/switches", **LOOPBACK).json()["kelly_cap"] is False


def test_the_same_seed_gives_the_same_games(tmp_path: Path, sandbox: Any) -> None:
    results = []
    for name in ("one", "two"):
        process = type(sandbox)(tmp_path / name, seed=5)
        with httpx.Client(base_url=process.api, headers=AUTHORIZED, **LOOPBACK) as client:
            client.post("/casino/register", json={"agent_id": "a"})
            client.post("/casino/deposit", json={"agent_id": "a", "amount": 100})
            played = [bet(client, "a", f"s{number}").json() for number in range(5)]
        results.append([(item["bet_id"], item["result"]) for item in played])
        assert process.stop() == 0
        process.client.close()
    assert results[0] == results[1]
    assert len({result for _, result in results[0]}) <= 2


def test_a_second_sandbox_on_the_same_folder_says_so(tmp_path: Path, sandbox: Any) -> None:
    process = type(sandbox)(tmp_path)
    command = [sys.executable, "-m", "deploy.local.sandbox", "--data", str(tmp_path)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "in use by another sandbox" in second.stderr
    process.close()


def test_a_taken_port_is_named(tmp_path: Path, sandbox: Any) -> None:
    command = [sys.executable, "-m", "deploy.local.sandbox", "--data", str(tmp_path), "--port", str(sandbox.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{sandbox.port}" in second.stderr
