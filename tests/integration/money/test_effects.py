"""Effects on both databases: made at most once, replayed as they were, in doubt when nobody can know."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import (
    EffectError,
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    Fenced,
    InsufficientFunds,
    InvalidInput,
    KeyReused,
    ServiceRejected,
    ServiceUnreachable,
    StoreUnavailable,
)
from agentstate.guide import CheckpointManager
from agentstate.money import (
    Absent,
    AgentEffects,
    Applied,
    Breaks,
    EffectRules,
    Effects,
    EffectState,
    Guarantee,
    Line,
    Money,
    TransactionLedger,
    Unknown,
    call,
    earn,
    spend,
)
from agentstate.money.effects.table import list_evidence
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import effects as effects_table
from tests.worlds.books import buckets, let_time_pass

FIVE = Money(5)


class Remote:
    """Counts the calls that it gets, by key; does as it is told."""

    def __init__(self, *answers: Any) -> None:
        self.keys: list[str] = []
        self._answers = list(answers)

    def __call__(self, key: str) -> Any:
        self.keys.append(key)
        answer = self._answers.pop(0) if self._answers else {"bet_id": len(self.keys)}
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer


@pytest.fixture
def effects(store: Store, ledger: TransactionLedger) -> AgentEffects:
    return AgentEffects(Effects(store, secret=b"test"), ledger.agent_id)


def bet(effects: AgentEffects, remote: Callable[[str], Any], key: str = "bet:1", **options: Any) -> Any:
    return effects.execute_once(key, call(remote, **{"service": "casino", "name": "bet", "hold": FIVE, **options}))


@pytest.mark.parametrize("result", [None, {}, 0, "", [], False, {"odds": (1, 2), 3: "x"}, 0.5, Decimal("0.10")])
def test_a_result_is_replayed_whatever_it_is(effects: AgentEffects, result: Any) -> None:
    remote = Remote(result)
    first, *others = (bet(effects, remote) for _ in range(3))
    assert len(remote.keys) == 1
    assert others == [first, first]


@pytest.mark.guide_defect(147)
def test_the_intent_and_the_hold_are_durable_before_the_call(effects: AgentEffects, ledger: TransactionLedger) -> None:
    during: list[Any] = []
    bet(effects, lambda _key: during.append((effects.get("bet:1").state, buckets(ledger))))
    assert during == [(EffectState.INTENT, {"available": "95", "in_flight": "5"})]
    assert buckets(ledger) == {"available": "95"}


def test_the_receipt_is_booked_with_the_outcome(effects: AgentEffects, ledger: TransactionLedger) -> None:
    won = Money("9.90")
    bet(effects, Remote(), postings=lambda _receipt: [*spend("casino", FIVE), *earn("casino", won)])
    assert buckets(ledger) == {"available": "104.9"}
    settled = ledger.recent(1)[0]
    assert settled.effect_id == effects.get("bet:1").id
    assert settled.meta == {"operation": "bet", "key": "bet:1"}


def test_equal_calls_with_keys_of_their_own_are_all_made(effects: AgentEffects, ledger: TransactionLedger) -> None:
    remote = Remote()
    assert [bet(effects, remote, f"bet:{n}")["bet_id"] for n in range(5)] == [1, 2, 3, 4, 5]
    assert len(set(remote.keys)) == 5
    assert buckets(ledger) == {"available": "75"}


def test_two_agents_with_one_key_are_apart(store: Store, effects: AgentEffects) -> None:
    bob = f"{effects.agent_id}_bob"
    TransactionLedger(store, bob).deposit("d", "casino", FIVE)
    remote = Remote()
    bet(effects, remote)
    assert bet(AgentEffects(Effects(store, secret=b"test"), bob), remote) == {"bet_id": 2}
    assert len(set(remote.keys)) == 2


@pytest.mark.parametrize("change", [{"params": {"side": "tails"}}, {"hold": Money(6)}, {"name": "other"}])
def test_a_key_stands_for_one_call(effects: AgentEffects, change: dict[str, Any]) -> None:
    remote = Remote()
    bet(effects, remote, params={"side": "heads", "amount": Decimal("5.00")})
    bet(effects, remote, params={"side": "heads", "amount": 5})
    with pytest.raises(KeyReused, match="another call"):
        bet(effects, remote, **{"params": {"side": "heads", "amount": 5}, **change})
    assert len(remote.keys) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"params": {"amount": 0.1}}, InvalidInput), ({"params": {"x": object()}}, InvalidInput),
        ({"hold": Money.from_minor(0)}, InvalidInput), ({"hold": Money(101)}, InsufficientFunds),
        ({"guarantee": Guarantee.VERIFIABLE}, InvalidInput), ({"deadline_s": 0}, InvalidInput),
        ({"service": "ca sino"}, InvalidInput),
    ],
)  # fmt: skip
def test_what_cannot_be_done_once_is_not_done(
    effects: AgentEffects, ledger: TransactionLedger, options: dict[str, Any], error: type[Exception]
) -> None:
    remote = Remote()
    with pytest.raises(error):
        bet(effects, remote, **options)
    assert (remote.keys, effects.list(), buckets(ledger)) == ([], [], {"available": "100"})


def test_a_refusal_is_final_and_gives_the_stake_back(effects: AgentEffects, ledger: TransactionLedger) -> None:
    remote = Remote(ServiceRejected("below the minimum", code="minimum_bet"))
    for _ in range(2):
        with pytest.raises(EffectFailed, match="below the minimum"):
            bet(effects, remote)
    assert len(remote.keys) == 1
    assert buckets(ledger) == {"available": "100"}
    assert effects.get("bet:1").outcome == {
        "v": 1, "ok": False, "code": "minimum_bet", "message": "below the minimum",
    }  # fmt: skip


@pytest.mark.parametrize("error", [ServiceUnreachable("no route"), ServiceRejected("slow down", retry_after=60.0)])
def test_what_had_no_effect_yet_may_be_called_again_with_its_key(
    effects: AgentEffects, ledger: TransactionLedger, error: Exception
) -> None:
    remote = Remote(error)
    with pytest.raises(type(error)):
        bet(effects, remote)
    assert effects.get("bet:1").state is EffectState.READY
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
    assert bet(effects, remote) == {"bet_id": 2}
    assert remote.keys[0] == remote.keys[1]
    assert buckets(ledger) == {"available": "95"}


@pytest.mark.parametrize("error", [TimeoutError("late"), ValueError("bad answer"), EffectError("odd")])
def test_every_other_error_leaves_it_in_doubt(
    effects: AgentEffects, ledger: TransactionLedger, error: Exception
) -> None:
    remote = Remote(error)
    with pytest.raises(EffectInDoubt, match="may have happened"):
        bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=lambda _intent: Unknown("no answer"))
    with pytest.raises(EffectInDoubt, match="no answer"):
        bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=lambda _intent: Unknown("no answer"))
    assert len(remote.keys) == 1
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
    assert effects.get("bet:1").state is EffectState.IN_DOUBT


def test_an_interrupted_call_is_in_doubt_and_stays_interrupted(effects: AgentEffects) -> None:
    with pytest.raises(KeyboardInterrupt):
        bet(effects, Remote(KeyboardInterrupt()), guarantee=Guarantee.KEYED)
    assert effects.get("bet:1").state is EffectState.IN_DOUBT


def test_a_blind_call_in_doubt_is_left_to_a_human(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    remote = Remote(TimeoutError())
    for words in ("it is manual.*never called again.*agentstate effects resolve", "never called again"):
        with pytest.raises(EffectInDoubt, match=words) as told:
            bet(effects, remote, guarantee=Guarantee.BLIND)
        assert "Ask again" not in str(told.value)
    assert len(remote.keys) == 1
    assert effects.get("bet:1").state is EffectState.MANUAL
    [found] = Breaks(store).find(agent_id=ledger.agent_id)
    assert (found.kind, found.effect_id) == ("effect_manual", effects.get("bet:1").id)
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}


def test_a_keyed_call_in_doubt_is_made_again_with_its_key(effects: AgentEffects, ledger: TransactionLedger) -> None:
    remote = Remote(TimeoutError())
    with pytest.raises(EffectInDoubt):
        bet(effects, remote, guarantee=Guarantee.KEYED)
    assert bet(effects, remote, guarantee=Guarantee.KEYED) == {"bet_id": 2}
    assert len(set(remote.keys)) == 1
    assert buckets(ledger) == {"available": "95"}
    assert effects.get("bet:1").attempt == 2


def test_a_refusal_of_the_second_attempt_proves_nothing_about_the_first(effects: AgentEffects) -> None:
    remote = Remote(TimeoutError(), ServiceRejected("already claimed"))
    for _ in range(2):
        with pytest.raises(EffectInDoubt):
            bet(effects, remote, guarantee=Guarantee.NATURAL)
    assert effects.get("bet:1").state is EffectState.IN_DOUBT


def test_a_verifiable_call_is_looked_up(effects: AgentEffects, ledger: TransactionLedger) -> None:
    remote, seen = Remote(TimeoutError()), []

    def verify(intent: Any) -> Applied:
        seen.append(intent)
        return Applied({"bet_id": "found"})

    with pytest.raises(EffectInDoubt):
        bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=verify, params={"n": 1}, baseline={"last": 7})
    assert bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=verify, params={"n": 1}) == {"bet_id": "found"}
    assert len(remote.keys) == 1
    assert (seen[0].remote_key, seen[0].params, seen[0].baseline) == (remote.keys[0], {"n": 1}, {"last": 7})
    assert buckets(ledger) == {"available": "95"}


def test_absence_counts_only_after_the_settle_window(store: Store, effects: AgentEffects) -> None:
    remote = Remote(TimeoutError())
    options: dict[str, Any] = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: Absent("not listed")}
    for _ in range(2):
        with pytest.raises(EffectInDoubt):
            bet(effects, remote, **options)
    assert len(remote.keys) == 1
    let_time_pass(store, effects.agent_id)
    assert bet(effects, remote, **options) == {"bet_id": 2}
    assert remote.keys[0] == remote.keys[1]


def test_looking_that_fails_tells_nothing(store: Store, effects: AgentEffects) -> None:
    def verify(_intent: Any) -> Absent:
        raise ConnectionError("the service is down")

    remote = Remote(TimeoutError())
    with pytest.raises(EffectInDoubt):
        bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=verify)
    let_time_pass(store, effects.agent_id)
    with pytest.raises(EffectInDoubt, match="looking failed: ConnectionError"):
        bet(effects, remote, guarantee=Guarantee.VERIFIABLE, verify=verify)
    assert len(remote.keys) == 1


def test_a_caller_that_asks_again_and_again_does_not_use_up_the_looks(store: Store, ledger: TransactionLedger) -> None:
    effects = AgentEffects(Effects(store, rules=EffectRules(first_look_s=600.0)), ledger.agent_id)
    options = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: Unknown("not there yet")}
    remote, due = Remote(TimeoutError()), set()
    for _ in range(40):
        with pytest.raises(EffectInDoubt):
            bet(effects, remote, **options)
        seen = effects.get("bet:1")
        due.add(seen.next_verify_at)
    assert (seen.state, seen.verify_attempts) == (EffectState.IN_DOUBT, 0)
    assert max(due) - min(due) < timedelta(seconds=60)


def test_a_late_result_is_kept_and_never_booked_twice(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    """A stalls past its lease; B looks, finds nothing, calls and finishes; then A's call returns."""
    options: dict[str, Any] = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: Absent()}
    other = AgentEffects(Effects(store, secret=b"test"), effects.agent_id)

    def stalled() -> dict[str, str]:
        let_time_pass(store, effects.agent_id)
        assert bet(other, Remote({"bet_id": "B"}), **options) == {"bet_id": "B"}
        return {"bet_id": "A"}

    with pytest.raises(Fenced, match="taken over"):
        bet(effects, Remote(stalled), **options)
    assert bet(effects, Remote(), **options) == {"bet_id": "B"}
    assert buckets(ledger) == {"available": "95"}
    effect = effects.get("bet:1")
    with store.read_connection() as connection:
        [evidence] = list_evidence(connection, effect.id)
    assert evidence["detail"]["value"] == {"bet_id": "A"}
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["late_outcome"]


def test_a_late_result_does_not_end_what_another_is_calling(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    """A stalls past its lease; B takes over and calls; A's result comes in the middle of B's call."""
    options: dict[str, Any] = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: Absent()}
    other = AgentEffects(Effects(store, secret=b"test"), effects.agent_id)
    stalled, may_return = threading.Event(), threading.Event()

    def slow() -> dict[str, str]:
        stalled.set()
        assert may_return.wait(60)
        return {"bet_id": "A"}

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bet, effects, Remote(slow), **options)
        assert stalled.wait(60)
        let_time_pass(store, effects.agent_id)

        def middle() -> dict[str, str]:
            may_return.set()
            with pytest.raises(Fenced):
                first.result(10)
            return {"bet_id": "B"}

        assert bet(other, Remote(middle), **options) == {"bet_id": "B"}
    assert buckets(ledger) == {"available": "95"}
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["late_outcome"]


def test_a_late_result_ends_an_effect_that_is_still_open(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    options: dict[str, Any] = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: Unknown("down")}
    other = AgentEffects(Effects(store, secret=b"test"), effects.agent_id)

    def stalled() -> dict[str, str]:
        let_time_pass(store, effects.agent_id)
        with pytest.raises(EffectInDoubt):
            bet(other, Remote(), **options)
        return {"bet_id": "A"}

    assert bet(effects, Remote(stalled), **options) == {"bet_id": "A"}
    assert effects.get("bet:1").state is EffectState.SUCCEEDED
    assert buckets(ledger) == {"available": "95"}


def test_a_call_that_is_being_made_is_not_made_by_another(effects: AgentEffects) -> None:
    def inside() -> str:
        with pytest.raises(EffectInProgress):
            bet(effects, Remote())
        return "once"

    remote = Remote(inside)
    assert bet(effects, remote) == "once"
    assert len(remote.keys) == 1


def test_twenty_callers_of_one_key_make_one_call(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    remote, gate = Remote(lambda: gate.wait(60) and {"bet_id": "one"}), threading.Event()

    def caller(_number: int) -> Any:
        for _ in range(500):
            try:
                return bet(AgentEffects(Effects(store, secret=b"test"), effects.agent_id), remote)
            except EffectInProgress:
                gate.set()
                time.sleep(0.02)
        raise AssertionError("the call never ended")

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(caller, range(20)))
    assert results == [{"bet_id": "one"}] * 20
    assert len(remote.keys) == 1
    assert buckets(ledger) == {"available": "95"}


def test_effects_that_cannot_be_told_apart_wait_for_each_other(store: Store, effects: AgentEffects) -> None:
    options: dict[str, Any] = {"serial_key": "trading:BTC", "guarantee": Guarantee.KEYED}
    with pytest.raises(EffectInDoubt):
        bet(effects, Remote(TimeoutError()), "one", **options)
    remote = Remote()
    with pytest.raises(EffectInProgress, match=r"'one' .* is in_doubt"):
        bet(effects, remote, "two", **options)
    assert remote.keys == []
    bet(effects, remote, "elsewhere", serial_key="trading:ETH")
    bet(effects, remote, "one", **options)
    bet(effects, remote, "two", **options)
    assert len(remote.keys) == 3


def test_more_was_spent_than_the_books_had(store: Store, effects: AgentEffects, ledger: TransactionLedger) -> None:
    bet(effects, Remote(), postings=lambda _receipt: spend("casino", Money(150)))
    assert effects.get("bet:1").state is EffectState.SUCCEEDED
    assert buckets(ledger) == {"suspense": "-50"}
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["shortage"]


@pytest.mark.parametrize(
    "postings",
    [lambda _receipt: 1 / 0, lambda _receipt: [Line("casino", "available", Money.from_minor(1))]],
    ids=["raises", "unbalanced"],
)
def test_a_success_is_kept_when_it_cannot_be_booked(
    store: Store, effects: AgentEffects, ledger: TransactionLedger, postings: Any
) -> None:
    remote = Remote()
    with pytest.raises(EffectError, match="postings could not be made"):
        bet(effects, remote, postings=postings)
    assert bet(effects, remote) == {"bet_id": 1}
    assert len(remote.keys) == 1
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["unposted"]


def test_a_follow_up_is_written_with_the_outcome(effects: AgentEffects, ledger: TransactionLedger) -> None:
    def follow_up(tx: Transaction, receipt: Any) -> None:
        ledger.deposit(f"bonus:{receipt['bet_id']}", "casino", FIVE, tx=tx)

    bet(effects, Remote(), follow_up=follow_up)
    assert ledger.find("bonus:1") is not None
    assert buckets(ledger) == {"available": "100"}


def test_a_doubtful_call_submits_its_own_looking_up(store: Store, ledger: TransactionLedger) -> None:
    class Queue:
        def __init__(self) -> None:
            self.jobs: list[Any] = []

        def submit(self, kind: str, payload: Any = None, **options: Any) -> Any:
            assert options.pop("tx").connection.in_transaction()
            self.jobs.append((kind, payload, options))

    queue = Queue()
    effects = AgentEffects(Effects(store, queue), ledger.agent_id)
    with pytest.raises(EffectInDoubt):
        bet(effects, Remote(TimeoutError()), guarantee=Guarantee.KEYED)
    subject = str(effects.get("bet:1").id)
    options = {"agent_id": ledger.agent_id, "coalesce_key": subject, "due_in": 2.0}
    assert queue.jobs == [("effects.resolve", {"effect_id": subject}, options)]


def test_a_lost_commit_acknowledgement_is_no_second_booking(
    store: Store, effects: AgentEffects, ledger: TransactionLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of the outcome is taken, but its connection breaks before the answer."""
    whole = store.transaction
    broken = iter([False, True])

    def transaction(tx: Transaction | None = None) -> Any:
        return _breaking(whole(tx)) if tx is None and next(broken, False) else whole(tx)

    monkeypatch.setattr(store, "transaction", transaction)
    remote = Remote()
    assert bet(effects, remote) == {"bet_id": 1}
    monkeypatch.undo()
    assert buckets(ledger) == {"available": "95"}
    assert len(remote.keys) == 1


class _breaking:  # noqa: N801 reads as a function
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)
        raise StoreUnavailable


def test_coroutines_are_called_once_too(effects: AgentEffects, ledger: TransactionLedger) -> None:
    keys: list[str] = []

    async def send(key: str) -> dict[str, str]:
        await asyncio.sleep(0)
        keys.append(key)
        return {}

    async def both() -> list[Any]:
        return [
            await effects.execute_once_async("bet:1", call(send, service="casino", hold=FIVE, name="bet"))
            for _ in range(2)
        ]

    assert asyncio.run(both()) == [{}, {}]
    assert len(keys) == 1
    assert bet(effects, Remote()) == {}
    with pytest.raises(InvalidInput, match="coroutine"):
        bet(effects, send, "bet:2")
    with pytest.raises(InvalidInput, match="coroutine"):
        bet(effects, functools.partial(Remote(lambda: send("k"))), "bet:3")
    assert len(keys) == 1


def test_a_cancelled_coroutine_is_in_doubt(effects: AgentEffects) -> None:
    async def cancelled() -> None:
        started = asyncio.Event()

        async def send(_key: str) -> None:
            started.set()
            await asyncio.Event().wait()

        running = asyncio.create_task(
            effects.execute_once_async("bet:1", call(send, service="casino", guarantee=Guarantee.KEYED))
        )
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    assert effects.get("bet:1").state is EffectState.IN_DOUBT


def test_the_guides_manager_executes_once_by_the_callers_key(effects: AgentEffects) -> None:
    manager, calls = CheckpointManager(effects), []

    def place(amount: Decimal, tag: str) -> dict[str, Any]:
        calls.append((amount, tag))
        return {}

    params = {"amount": Decimal("2.50")}
    for _ in range(3):
        assert manager.execute_once("k", "bet", params, place, service="casino", key_as="tag") == {}
    assert len(calls) == 1
    done = manager.already_executed("k")
    assert done is not None
    assert done.outcome == {"v": 1, "ok": True, "value": {}}
    assert manager.already_executed("other") is None


def test_the_database_refuses_an_outcome_without_an_end(store: Store, effects: AgentEffects) -> None:
    bet(effects, Remote())
    with pytest.raises(sa.exc.IntegrityError), store.transaction() as tx:
        tx.connection.execute(sa.update(effects_table).values(state="in_doubt"))


@pytest.mark.parametrize(
    ("error", "told", "state"),
    [
        (OSError("broken \x00 pipe \ud800"), EffectInDoubt, EffectState.MANUAL),
        (ServiceUnreachable("no \x00 route"), ServiceUnreachable, EffectState.READY),
        (ServiceRejected("not \x00 you", code="no\x00"), EffectFailed, EffectState.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_in_words_that_no_database_stores_is_recorded_all_the_same(
    effects: AgentEffects, error: Exception, told: type[Exception], state: EffectState
) -> None:
    with pytest.raises(told):
        bet(effects, Remote(error))
    assert effects.get("bet:1").state is state
