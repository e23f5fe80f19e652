"""The limiter and the breaker on a real Redis: one count for all, learned from refusals, never in the way for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from agentstate.errors import InvalidInput, ServiceReadFailed, ServiceRejected, ServiceUnreachable
from agentstate.services.http import traffic as admission
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.limiter import LOCAL_SHARE, LocalWindows, RateLimiter, parse_stated_limit
from agentstate.services.http.traffic import CircuitBreaker, FreeTraffic, LocalBreakers, SharedTraffic
from agentstate.services.operations import casino
from agentstate.services.operations.names import Service
from tests.stubs.service_calls import send

BET = "POST /api/v1/casino/bet"
LONG_S = 3_600.0
"""A window that no test outlives."""


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, socket_timeout=5) as client:
        yield client


@pytest.fixture
def nowhere() -> Iterator[Redis]:
    with Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None) as client:
        yield client


def limiter(redis: Redis | None, limit: int = 0, *, window_s: float = LONG_S, egress: str = "office") -> RateLimiter:
    return RateLimiter(redis, egress=egress, limits={BET: limit} if limit else {}, window_s=window_s)


def passed(limiter: RateLimiter, tries: int, path: str = BET, caller: str = "") -> int:
    return sum(limiter.try_acquire(path, caller) == 0 for _ in range(tries))


def test_all_processes_share_one_count(redis: Redis) -> None:
    sharing = [limiter(redis, 30) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda number: passed(sharing[number % 3], 10), range(12)))
    assert sum(found) == 30


def test_other_paths_and_other_addresses_have_counts_of_their_own(redis: Redis) -> None:
    assert passed(limiter(redis, 5), 9) == 5
    assert passed(limiter(redis, 5, egress="home"), 9) == 5
    assert passed(limiter(redis, 5), 9, "POST /api/v1/casino/register") == 9


def test_what_left_the_window_makes_room_again(redis: Redis) -> None:
    mine = limiter(redis, 3, window_s=0.2)
    assert passed(mine, 5) <= 3
    for _ in range(6):
        mine.acquire(BET, wait_s=30)
    with redis.pipeline() as pipe:
        times = [score for _, score in pipe.zrange(mine._key_names(BET)[0], 0, -1, withscores=True).execute()[0]]
    assert len(times) <= 3


def test_who_does_not_wait_is_told_when_to_come_again(redis: Redis) -> None:
    mine = limiter(redis, 1)
    mine.acquire(BET)
    with pytest.raises(ServiceRejected, match="Nothing was sent") as refused:
        mine.acquire(BET)
    assert refused.value.retry_after == pytest.approx(LONG_S, rel=0.1)


def test_a_refusal_halts_the_path_for_all_and_teaches_the_limit(redis: Redis) -> None:
    mine, others = limiter(redis), limiter(redis)
    assert passed(mine, 41) == 41
    mine.record_limit(BET, 0.05)
    assert others.try_acquire(BET) > 0
    assert _limit(redis, mine) == 36  # nine tenths of the 40 that went through


def test_a_limit_that_the_service_tells_is_believed_unless_it_cannot_be(redis: Redis) -> None:
    mine = limiter(redis)
    passed(mine, 61)
    mine.record_limit(BET, 60, stated_limit=60)
    assert _limit(redis, mine) == 60
    redis.flushdb()
    passed(mine, 200)
    mine.record_limit(BET, 60, stated_limit=60)
    assert _limit(redis, mine) == 179


def test_a_learned_limit_never_raises_a_configured_one(redis: Redis) -> None:
    mine = limiter(redis, 10)
    mine.record_limit(BET, 0.001, stated_limit=500)
    time.sleep(0.01)
    assert passed(mine, 30) == 10


def test_every_key_ends_by_itself_and_their_number_is_bounded(redis: Redis) -> None:
    mine = limiter(redis, 2)
    for number in range(20):
        mine.try_acquire(f"POST /escrow/release/{number}")
    passed(mine, 5)
    mine.record_limit(BET, 5)
    mine.halt_path(BET, 5, caller="ag_1")
    CircuitBreaker(redis, egress="office").record_failure(Service.CASINO)
    keys = [key.decode() for key in redis.scan_iter("*")]
    assert all(key.startswith("as:{/egress/office}:") and redis.pttl(key) > 0 for key in keys)
    passed(limiter(redis), 1_200, "GET /state")
    assert max(redis.zcard(key) for key in redis.scan_iter("*:sent:*")) <= 1_000


def test_without_redis_a_process_keeps_to_its_share(nowhere: Redis) -> None:
    assert passed(limiter(nowhere, 20), 30) == 20 / LOCAL_SHARE
    assert passed(limiter(None, 20), 30) == 20 / LOCAL_SHARE


def test_the_count_of_one_process_is_exact_and_bounded() -> None:
    now = [0.0]
    windows = LocalWindows(60.0, now=lambda: now[0])
    assert [windows.try_acquire("p", 2) for _ in range(3)] == [0.0, 0.0, 60.0]
    now[0] = 60.0
    assert windows.try_acquire("p", 2) == 0.0
    windows.halt_path("p", 5)
    assert windows.try_acquire("p", 2) == 5.0
    for number in range(1_000):
        windows.try_acquire(str(number), 1)
    assert len(windows._windows) == 256


@pytest.mark.parametrize(
    ("message", "limit"),
    [("Too many requests. Limit: 60 per 60s", 60), ("Limit: none", None), ("", None), ("Limit: 0 per 60s", None)],
)
def test_a_told_limit_is_read_from_the_message(message: str, limit: int | None) -> None:
    assert parse_stated_limit({"message": message}) == limit


def test_an_egress_that_would_spoil_a_key_is_refused() -> None:
    with pytest.raises(InvalidInput):
        RateLimiter(None, egress="a}b")


class TestBothKindsOf429:
    """What a refusal of each kind halts, and for whom."""

    @pytest.mark.parametrize(
        ("body", "me", "others"),
        [
            (b'{"error":"rate_limited","message":"Limit: 60 per 60s"}', 60, 60),
            (b'{"error":"ip_rate_limited","message":"once in ~24h"}', 3_600, 3_600),
            (b'{"error":"rate_limit_exceeded","reset_at":"2020-01-01T00:00:00Z"}', 0, 0),
            (b'{"error":"rate_limit_exceeded"}', 60, 0),
            (b"<html>", 60, 60),
        ],
    )
    def test_it(self, redis: Redis, body: bytes, me: float, others: float) -> None:
        traffic = SharedTraffic(redis, wait_s=0)
        traffic.record_answer(Service.CASINO, BET, "ag_1", 429, body)
        assert traffic.limiter.try_acquire(BET, "ag_1") == pytest.approx(me, abs=2)
        assert traffic.limiter.try_acquire(BET, "ag_2") == pytest.approx(others, abs=2)


def test_a_service_that_fails_again_and_again_is_left_alone_by_all(redis: Redis) -> None:
    mine, other = CircuitBreaker(redis, failures=3), CircuitBreaker(redis, failures=3)
    for _ in range(3):
        mine.ensure_closed(Service.CASINO)
        mine.record_failure(Service.CASINO)
    with pytest.raises(ServiceUnreachable, match="Nothing was sent"):
        other.ensure_closed(Service.CASINO)
    other.ensure_closed(Service.TRADING)


def test_one_request_tries_and_its_answer_opens_the_way_for_all(redis: Redis) -> None:
    mine, other = CircuitBreaker(redis, failures=1), CircuitBreaker(redis, failures=1)
    mine.record_failure(Service.CASINO)
    redis.delete(mine._key_names(Service.CASINO)[2])  # the pause is over
    other.ensure_closed(Service.CASINO)
    with pytest.raises(ServiceUnreachable):
        mine.ensure_closed(Service.CASINO)
    other.record_success(Service.CASINO)
    mine.ensure_closed(Service.CASINO)
    mine.ensure_closed(Service.CASINO)


def test_pauses_grow_up_to_a_bound(redis: Redis) -> None:
    mine, pauses = CircuitBreaker(redis, failures=1), []
    for _ in range(5):
        mine.record_failure(Service.CASINO)
        key = mine._key_names(Service.CASINO)[2]
        pauses.append(redis.pttl(key) / 1_000)
        redis.delete(key)
    assert pauses == pytest.approx([1, 2, 4, 5, 5], abs=0.6)


def test_without_redis_the_breaker_works_within_the_process(nowhere: Redis) -> None:
    mine = CircuitBreaker(nowhere, failures=2)
    mine.record_failure(Service.CASINO)
    mine.ensure_closed(Service.CASINO)
    mine.record_failure(Service.CASINO)
    with pytest.raises(ServiceUnreachable):
        mine.ensure_closed(Service.CASINO)
    mine.record_success(Service.CASINO)
    mine.ensure_closed(Service.CASINO)


def test_within_a_process_one_request_tries() -> None:
    now = [0.0]
    circuits = LocalBreakers(1, now=lambda: now[0])
    circuits.record_failure(Service.CASINO)
    assert circuits.seconds_open(Service.CASINO) == admission.PAUSE_S
    now[0] = admission.PAUSE_S
    assert circuits.seconds_open(Service.CASINO) == 0.0
    assert circuits.seconds_open(Service.CASINO) == admission.TRIAL_S
    circuits.record_failure(Service.CASINO)
    assert circuits.seconds_open(Service.CASINO) == 2 * admission.PAUSE_S


def test_the_gateway_leaves_a_failing_service_alone(redis: Redis, sandbox: Any, gateway: Gateway, rich: str) -> None:
    careful = Gateway(sandbox.api, SecretStr("pf_test_sandbox"), deadline_s=5, traffic=SharedTraffic(redis))
    sandbox.client.set_faults({"fault": "html_502", "operation": "state", "agent_id": rich})
    for _ in range(admission.FAILURES):
        with pytest.raises(ServiceReadFailed):
            careful.read(rich, Service.CASINO)
    with pytest.raises(ServiceUnreachable, match="no request is sent"):
        careful.read(rich, Service.CASINO)
    assert sandbox.client.read_faults()["injected"]["html_502"] == admission.FAILURES
    careful.close()


def test_a_bet_that_would_pass_the_limit_is_not_sent(redis: Redis, sandbox: Any, gateway: Gateway, rich: str) -> None:
    traffic = SharedTraffic(redis, limits={BET: 2}, wait_s=0)
    careful = Gateway(sandbox.api, SecretStr("pf_test_sandbox"), deadline_s=5, traffic=traffic)
    for number in range(2):
        send(careful, rich, f"b{number}", casino.bet(amount="1", side="heads"))
    with pytest.raises(ServiceRejected) as refused:
        send(careful, rich, "b3", casino.bet(amount="1", side="heads"))
    assert refused.value.retry_after
    assert len(gateway.read(rich, Service.CASINO, "export")["rows"]) == 2
    careful.close()


class Crowded(FreeTraffic):
    """Lets nobody pass to the casino until told."""

    def __init__(self) -> None:
        self.waiting, self.open = threading.Semaphore(0), threading.Event()

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        if service is Service.CASINO:
            self.waiting.release()
            self.open.wait(30)


def test_a_crowd_that_waits_for_one_service_holds_up_no_other(sandbox: Any, gateway: Gateway, rich: str) -> None:
    crowded, crowd = Crowded(), 40
    careful = Gateway(sandbox.api, SecretStr("pf_test_sandbox"), traffic=crowded)
    with ThreadPoolExecutor(crowd) as pool:
        waiting = [pool.submit(careful.read, rich, Service.CASINO) for _ in range(crowd)]
        try:
            assert all(crowded.waiting.acquire(timeout=60) for _ in range(crowd))
            assert careful.read(rich, Service.DOMAINS)["balance_usd"] == 100
            assert not any(each.done() for each in waiting)
        finally:
            crowded.open.set()
        assert {each.result(30)["balance_usd"] for each in waiting} == {100}
    careful.close()


def _limit(redis: Redis, mine: RateLimiter) -> int:
    return int(redis.get(mine._key_names(BET)[1]) or 0)
