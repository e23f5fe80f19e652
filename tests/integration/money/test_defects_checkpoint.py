"""What the guide's checkpoint manager gets wrong, one test for each defect, on both databases."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import EffectFailed, EffectInDoubt, EffectInProgress, InvalidInput, KeyReused, ServiceRejected
from agentstate.guide import CheckpointManager
from agentstate.money import AgentEffects, Effects, EffectState, Money, TransactionLedger, call
from agentstate.store.store import Store
from agentstate.store.tables.money import effects as effects_table
from tests.stubs.remote import Remote
from tests.worlds.books import bettor, buckets, let_time_pass

FIVE = Money(5)
PARAMS = {"game": "dice", "amount": Decimal("5.00")}


class Casino:
    """Takes bets; counts them."""

    def __init__(self, answer: Callable[[int], Any] = lambda number: {"bet_id": number}) -> None:
        self.bets: list[dict[str, Any]] = []
        self._answer = answer

    def bet(self, **params: Any) -> Any:
        self.bets.append(params)
        return self._answer(len(self.bets))


@pytest.fixture
def effects(store: Store, ledger: TransactionLedger) -> AgentEffects:
    return AgentEffects(Effects(store, secret=b"test"), ledger.agent_id)


@pytest.fixture
def manager(effects: AgentEffects) -> CheckpointManager:
    return CheckpointManager(effects)


def place(
    manager: CheckpointManager, fn: Callable[..., Any], key: str = "bet:1", params: Any = PARAMS, **options: Any
) -> Any:
    return manager.execute_once(key, "bet", params, fn, **{"service": "casino", "hold": FIVE, **options})


def lost(_number: int) -> None:
    raise TimeoutError


@pytest.mark.guide_defect(1)
@pytest.mark.parametrize("result", [{}, 0, [], "", False], ids=repr)
def test_a_falsy_result_is_a_result(manager: CheckpointManager, result: Any) -> None:
    casino = Casino(lambda _: result)
    assert [place(manager, casino.bet) for _ in range(3)] == [result] * 3
    assert len(casino.bets) == 1


@pytest.mark.guide_defect(2)
def test_none_is_a_result(manager: CheckpointManager) -> None:
    casino = Casino(lambda _: None)
    assert [place(manager, casino.bet) for _ in range(3)] == [None] * 3
    assert len(casino.bets) == 1


@pytest.mark.guide_defect(3)
@pytest.mark.parametrize("phase", ["remote", "after"])
@pytest.mark.long
def test_a_kill_between_effect_and_record_doubles_nothing(
    store: Store, module_database_url: str, ledger: TransactionLedger, remote: Remote, phase: str
) -> None:
    assert bettor(module_database_url, ledger.agent_id, remote, "verifiable", phase).returncode == -signal.SIGKILL
    let_time_pass(store, ledger.agent_id)
    resumed = bettor(module_database_url, ledger.agent_id, remote, "verifiable", "none")
    assert remote.effects[json.loads(resumed.stdout)["key"]] == 1


@pytest.mark.guide_defect(4)
def test_two_agents_do_not_share_a_key(store: Store, manager: CheckpointManager, effects: AgentEffects) -> None:
    bob = f"{effects.agent_id}_bob"
    TransactionLedger(store, bob).deposit("start", "casino", FIVE)
    casino = Casino()
    assert place(manager, casino.bet) == {"bet_id": 1}
    assert place(CheckpointManager(AgentEffects(Effects(store), bob)), casino.bet) == {"bet_id": 2}


@pytest.mark.guide_defect(5)
def test_equal_bets_that_are_meant_are_all_placed(manager: CheckpointManager, ledger: TransactionLedger) -> None:
    casino = Casino()
    assert [place(manager, casino.bet, f"bet:{n}")["bet_id"] for n in range(1, 6)] == [1, 2, 3, 4, 5]
    assert buckets(ledger) == {"available": "75"}


@pytest.mark.guide_defect(6)
def test_a_nonce_in_the_parameters_makes_no_second_effect(manager: CheckpointManager) -> None:
    casino = Casino()
    place(manager, casino.bet, params={**PARAMS, "nonce": 1})
    for nonce in (2, 3):
        with pytest.raises(KeyReused):
            place(manager, casino.bet, params={**PARAMS, "nonce": nonce})
    assert len(casino.bets) == 1


@pytest.mark.guide_defect(7)
def test_decimals_are_parameters(manager: CheckpointManager) -> None:
    casino = Casino()
    place(manager, casino.bet)
    assert casino.bets == [PARAMS]
    assert isinstance(casino.bets[0]["amount"], Decimal)


@pytest.mark.guide_defect(8)
def test_decimals_are_results(manager: CheckpointManager) -> None:
    casino = Casino(lambda _: {"payout": Decimal("9.90")})
    assert [place(manager, casino.bet) for _ in range(3)] == [{"payout": Decimal("9.90")}] * 3
    assert len(casino.bets) == 1


@pytest.mark.guide_defect(9)
def test_plain_and_coroutine_functions_are_told_apart_before_any_effect(manager: CheckpointManager) -> None:
    casino = Casino()

    async def bet(**params: Any) -> Any:
        return casino.bet(**params)

    with pytest.raises(InvalidInput, match="coroutine"):
        place(manager, bet)
    assert casino.bets == []
    assert [place(manager, casino.bet, "bet:2") for _ in range(3)] == [{"bet_id": 1}] * 3
    assert len(casino.bets) == 1


def _together(manager: CheckpointManager, casino: Casino, callers: int) -> list[Any]:
    gate = threading.Barrier(callers)

    def call(_number: int) -> Any:
        gate.wait()
        try:
            return place(manager, casino.bet)["bet_id"]
        except EffectInProgress as error:
            return error

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(call, range(callers)))


@pytest.mark.guide_defect(10)
def test_twenty_callers_at_once_have_one_effect(manager: CheckpointManager, ledger: TransactionLedger) -> None:
    casino = Casino()
    _together(manager, casino, 20)
    assert len(casino.bets) == 1
    assert buckets(ledger) == {"available": "95"}


@pytest.mark.guide_defect(11)
def test_all_callers_get_the_one_result_or_are_told_to_wait(manager: CheckpointManager) -> None:
    casino = Casino()
    answers = _together(manager, casino, 3)
    assert {answer for answer in answers if not isinstance(answer, EffectInProgress)} == {1}
    assert place(manager, casino.bet) == {"bet_id": 1}


@pytest.mark.guide_defect(12)
def test_a_lost_answer_is_in_doubt_and_not_called_again(
    manager: CheckpointManager, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    casino = Casino(lost)
    for _ in range(3):
        with pytest.raises(EffectInDoubt):
            place(manager, casino.bet)
    assert len(casino.bets) == 1
    assert effects.get("bet:1").state is EffectState.MANUAL
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}


@pytest.mark.guide_defect(13)
def test_a_caller_that_is_cancelled_after_the_effect_does_not_repeat_it(effects: AgentEffects) -> None:
    bets: list[str] = []

    async def bet(key: str) -> None:
        bets.append(key)
        await asyncio.Event().wait()

    async def once() -> None:
        async with asyncio.timeout(None) as deadline:
            placing = effects.execute_once_async("bet:1", call(bet, service="casino", name="bet"))
            running = asyncio.create_task(placing)
            while not bets:  # noqa: ASYNC110 the call is made in this very loop
                await asyncio.sleep(0.01)
            deadline.reschedule(asyncio.get_running_loop().time())
            await running

    with pytest.raises(TimeoutError):
        asyncio.run(once())
    for _ in range(2):
        with pytest.raises(EffectInDoubt):
            asyncio.run(effects.execute_once_async("bet:1", call(bet, service="casino", name="bet")))
    assert len(bets) == 1


@pytest.mark.guide_defect(14)
def test_a_writer_in_the_way_of_the_record_freezes_no_loop_and_loses_nothing(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    """Another connection holds the row, or SQLite's one write lock, until the loop has gone round 20 times."""
    locked, went_on = threading.Event(), threading.Event()

    def block() -> bool:
        with store.transaction() as tx:
            mine = effects_table.c.agent_id == effects.agent_id
            tx.connection.execute(sa.select(effects_table.c.id).where(mine).with_for_update()).all()
            locked.set()
            return went_on.wait(20)

    async def run() -> tuple[Any, bool]:
        async def bet(_key: str) -> dict[str, int]:
            blocking = asyncio.create_task(asyncio.to_thread(block))
            blockers.append(blocking)
            await asyncio.to_thread(locked.wait, 20)
            return {"bet_id": 1}

        async def tick() -> None:
            await asyncio.to_thread(locked.wait, 20)
            for _ in range(20):
                await asyncio.sleep(0.001)
            went_on.set()

        blockers: list[asyncio.Task[bool]] = []
        ticking = asyncio.create_task(tick())
        result = await effects.execute_once_async("bet:1", call(bet, service="casino", name="bet", hold=FIVE))
        await ticking
        return result, await blockers[0]

    assert asyncio.run(run()) == ({"bet_id": 1}, True)
    assert effects.get("bet:1").state is EffectState.SUCCEEDED
    assert buckets(ledger) == {"available": "95"}


@pytest.mark.guide_defect(15)
def test_the_first_result_is_the_one_that_is_replayed(manager: CheckpointManager) -> None:
    casino = Casino(lambda _: {"odds": (1, 2), 3: "x"})
    first, second = place(manager, casino.bet), place(manager, casino.bet)
    assert first == second == {"odds": [1, 2], "3": "x"}


@pytest.mark.guide_defect(16)
def test_equal_numbers_are_one_call_and_other_values_are_not(manager: CheckpointManager) -> None:
    casino = Casino()
    for amount in (10, Decimal(10), Decimal("10.00")):
        place(manager, casino.bet, params={"amount": amount})
    assert len(casino.bets) == 1
    with pytest.raises(KeyReused):
        place(manager, casino.bet, params={"amount": "10"})
    for refused in ({"amount": 10.0}, {"by": {1: "x"}}):
        with pytest.raises(InvalidInput):
            place(manager, casino.bet, "bet:2", params=refused)
    assert len(casino.bets) == 1


@pytest.mark.guide_defect(17)
@pytest.mark.long
def test_outcome_and_books_are_recorded_together_however_often_it_is_resumed(
    store: Store, module_database_url: str, ledger: TransactionLedger, remote: Remote
) -> None:
    assert bettor(module_database_url, ledger.agent_id, remote, "keyed", "after").returncode == -signal.SIGKILL
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
    let_time_pass(store, ledger.agent_id)
    for _ in range(2):
        resumed = bettor(module_database_url, ledger.agent_id, remote, "keyed", "none")
        assert remote.effects[json.loads(resumed.stdout)["key"]] == 1
    assert [posted.kind for posted in ledger.recent()] == ["settle", "hold", "deposit"]
    assert buckets(ledger) == {"available": "95"}


@pytest.mark.guide_defect(18)
def test_what_is_committed_is_on_disk(store: Store) -> None:
    asked = {"sqlite": ("PRAGMA synchronous",), "postgresql": ("SHOW synchronous_commit", "SHOW fsync")}
    with store.transaction() as tx:
        answers = {tx.connection.exec_driver_sql(text).scalar_one() for text in asked[store.database.name]}
    assert answers == ({2} if store.database.name == "sqlite" else {"on"})


@pytest.mark.guide_defect(19)
def test_the_function_is_given_a_key_for_the_remote(manager: CheckpointManager, effects: AgentEffects) -> None:
    casino = Casino()
    place(manager, casino.bet, key_as="reference")
    place(manager, casino.bet, "bet:2", key_as="reference")
    given = [bet["reference"] for bet in casino.bets]
    assert given == [effects.get(key).remote_key for key in ("bet:1", "bet:2")]
    assert given[0] != given[1]


@pytest.mark.guide_defect(20)
def test_a_key_with_other_parameters_is_refused_and_a_failure_is_recorded(
    manager: CheckpointManager,
) -> None:
    def reject(_number: int) -> None:
        raise ServiceRejected("below the minimum", code="minimum_bet")

    casino = Casino(reject)
    for _ in range(3):
        with pytest.raises(EffectFailed, match="below the minimum"):
            place(manager, casino.bet)
    with pytest.raises(KeyReused):
        place(manager, casino.bet, params={**PARAMS, "game": "cards"})
    assert len(casino.bets) == 1
