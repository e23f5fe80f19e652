"""An asyncio agent: every part of an agent, a free event loop, and nothing half done when its caller goes away."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import threading
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from agentstate import Agent, AsyncAgent, Fleet, Money, Settings
from agentstate.async_agent import connect_async
from agentstate.errors import Conflict, InvalidInput
from agentstate.runtime import Runtime
from agentstate.store.store import Store

PARTS = (
    "memory", "namespaces", "episodes", "ledger", "effects", "breaks", "guards", "services", "state", "profile",
    "updates", "jobs",
)  # fmt: skip


def test_every_part_is_there_by_its_name() -> None:
    parts = {name for name, found in vars(Agent).items() if isinstance(found, property)}
    assert parts == set(PARTS)
    assert {name for name, found in vars(AsyncAgent).items() if isinstance(found, property)} == parts | {"id"}
    verbs = {name for name, found in vars(Agent).items() if inspect.isfunction(found) and not name.startswith("_")}
    assert {name for name in verbs if not hasattr(AsyncAgent, name)} == set()


@pytest.mark.parametrize("name", PARTS)
def test_every_verb_of_a_part_is_there_with_its_arguments(runtime: Runtime, name: str) -> None:
    agent = Fleet(runtime).agent("ag_async")
    part, awaited = getattr(agent, name), getattr(AsyncAgent("ag_async", Fleet(runtime)), name)
    for verb in dir(type(part)):
        found = inspect.getattr_static(type(part), verb)
        if verb.startswith("_") or verb.endswith("_async") or not inspect.isfunction(found):
            continue
        assert list(inspect.signature(getattr(awaited, verb)).parameters) == list(
            inspect.signature(getattr(part, f"{verb}_async", getattr(part, verb))).parameters
        ), verb


def test_verbs_are_awaited(runtime: Runtime) -> None:
    async def live() -> tuple[str, Decimal, int]:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            await agent.ledger.deposit("gift", "wallet", Money("2.50"))
            receipt = await agent.memory.remember("Flat stakes beat doubling up.", kind="lesson")
            found = await agent.memory.recall("flat stakes")
            await agent.conversation("s").add("user", "Hello")
            assert [hit.id for hit in found] == [receipt.id]
            saved = await agent.state.update(lambda state: state)
            return agent.id, (await agent.ledger.balance("wallet")).amount, saved.version

    assert asyncio.run(live()) == ("ag_async", Decimal("2.50"), 1)


def test_what_it_sees_is_put_together_by_awaiting(runtime: Runtime) -> None:
    async def live() -> str:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            await agent.episodes.record("bet", {"amount": Decimal("2.50")})
            assert await agent.profile.set_field("mood", "calm") == 1
            assert dict(await agent.profile.snapshot()) == {"mood": "calm"}
            await agent.conversation("s").add("user", "Shall we go on?")
            assert len(await agent.conversation("s").messages(max_tokens=1_000)) == 1
            context = await agent.context(2_000).set("task", "Bet small.")
            for read in (context.rules, context.effects, context.episodes, partial(context.conversation, "s")):
                assert await read() is context
            plan = await context.plan()
            assert [plan[name].fate for name in ("task", "episodes", "conversation")] == ["whole"] * 3
            return str(await context.build())

    built = asyncio.run(live())
    assert "2.50" in built
    assert "Shall we go on?" in built


def test_what_is_iterated_over_is_read_by_async_for(runtime: Runtime) -> None:
    async def live() -> tuple[list[Any], list[str]]:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            await agent.updates.publish_update("mood", "calm")
            await agent.updates.publish_update("mood", "keen")
            seen: list[Any] = []
            async for update in agent.updates.listen(0):
                seen.append((update.seq, update.value))
                if len(seen) == 2:
                    break
            group = await agent.updates.group("readers")
            batch = await group.take()
            await group.acknowledge(batch)
            assert await group.seq() == 2
            heard = threading.Event()
            subscription = await agent.updates.subscribe(lambda _update: heard.set(), since=1)
            assert await asyncio.to_thread(heard.wait, 30)
            assert await subscription.stop()
            for text in ("first", "second"):
                await agent.memory.remember(text)
            return seen, [record.content async for record in agent.memory.export()]

    assert asyncio.run(live()) == ([(1, "calm"), (2, "keen")], ["first", "second"])


def test_the_event_loop_goes_on_while_a_verb_waits(runtime: Runtime) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_agent: Agent) -> str:
        entered.set()
        assert leave.wait(30)
        return "done"

    async def live() -> str:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            task = asyncio.create_task(agent.run(slow))
            await asyncio.to_thread(entered.wait, 30)
            # Only a free event loop gets here while the verb still waits.
            leave.set()
            return await task

    assert asyncio.run(live()) == "done"


def test_several_verbs_in_one_transaction(runtime: Runtime) -> None:
    async def give_up(agent: AsyncAgent) -> None:
        async with agent.transaction():
            await agent.ledger.deposit("gift", "wallet", Money("1"))
            await agent.memory.remember("A gift of 1 USDC came.")
            raise Conflict("given up half-way")

    async def live() -> tuple[Money, Money]:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            with pytest.raises(Conflict, match="given up"):
                await give_up(agent)
            assert not await agent.memory.recall("gift")
            before = await agent.ledger.balance("wallet")
            async with agent.transaction() as tx:
                await agent.ledger.deposit("gift", "wallet", Money("1"))
                await agent.ledger.deposit("bonus", "wallet", Money("2"), tx=tx)
            return before, await agent.ledger.balance("wallet")

    assert asyncio.run(live()) == (Money.zero(), Money("3"))


def test_a_transaction_that_is_cancelled_is_rolled_back_and_gives_its_connection_back(runtime: Runtime) -> None:
    async def hang(agent: AsyncAgent, entered: asyncio.Event) -> None:
        async with agent.transaction():
            await agent.ledger.deposit("gift", "wallet", Money("1"))
            entered.set()
            await asyncio.Event().wait()

    async def live() -> Money:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            for _ in range(8):  # more often than the pool has connections
                entered = asyncio.Event()
                task = asyncio.create_task(hang(agent, entered))
                await entered.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return await agent.ledger.balance("wallet")

    assert asyncio.run(live()) == Money.zero()


def test_tasks_beside_a_transaction_do_not_join_it(runtime: Runtime) -> None:
    async def live() -> Money:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            go, done = asyncio.Event(), asyncio.Event()

            async def beside() -> None:
                await go.wait()
                await agent.ledger.deposit("gift", "wallet", Money("1"))
                done.set()

            async def give_up() -> None:
                async with agent.transaction():
                    go.set()
                    await done.wait()
                    raise Conflict("given up")

            task = asyncio.create_task(beside())
            with pytest.raises(Conflict, match="given up"):
                await give_up()
            await task
            return await agent.ledger.balance("wallet")

    assert asyncio.run(live()) == Money("1")


def test_opening_an_agent_and_its_parts_does_no_io_on_the_loop(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop_threads: list[int] = []
    opened = Store.open

    def watched(*args: Any, **kwargs: Any) -> Store:
        loop_threads.append(threading.get_ident())
        return opened(*args, **kwargs)

    monkeypatch.setattr(Store, "open", watched)

    async def live() -> int:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            for name in PARTS:
                getattr(agent, name)
            agent.conversation("s")
            await agent.ledger.balance("wallet")
            return threading.get_ident()

    assert asyncio.run(live()) not in loop_threads
    assert loop_threads


def _use_in_child(agent: AsyncAgent) -> None:
    async def live() -> None:
        await agent.ledger.deposit("gift", "wallet", Money("1"))
        await agent.close()

    asyncio.run(live())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_agent_that_was_used_works_in_a_child_process(runtime: Runtime, method: str) -> None:
    async def live() -> Money:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            await agent.ledger.balance("wallet")  # it has threads and a connection when the child begins
            child = multiprocessing.get_context(method).Process(target=_use_in_child, args=(agent,))
            child.start()
            await asyncio.to_thread(child.join, 60)
            assert child.exitcode == 0
            return await agent.ledger.balance("wallet")

    assert asyncio.run(live()) == Money("1")


def test_a_fleet_for_asyncio_gives_agents_and_closes_all(settings: Settings) -> None:
    async def live() -> Money:
        async with connect_async(settings) as fleet:
            agent = fleet.agent("ag_async")
            await agent.ledger.deposit("gift", "wallet", Money("1"))
            assert await fleet.run(lambda whole: whole.jobs.list()) == []
            return await agent.ledger.balance("wallet")

    assert asyncio.run(live()) == Money("1")


def test_errors_are_those_of_the_agent(runtime: Runtime) -> None:
    async def live() -> None:
        async with AsyncAgent("ag_async", Fleet(runtime)) as agent:
            with pytest.raises(InvalidInput):
                await agent.memory.remember("")
            with pytest.raises(AttributeError, match="memroy"):
                _ = agent.memroy  # type: ignore[attr-defined]

    with pytest.raises(InvalidInput):
        AsyncAgent("no spaces, please", Fleet(runtime))
    asyncio.run(live())


def test_close_waits_for_a_verb_whose_caller_has_gone(runtime: Runtime) -> None:
    entered, leave = threading.Event(), threading.Event()
    finished: list[str] = []

    def slow(agent: Agent) -> None:
        entered.set()
        assert leave.wait(30)
        agent.memory.remember("kept although nobody waits")
        finished.append("yes")

    async def live() -> None:
        agent = AsyncAgent("ag_async", Fleet(runtime))
        task = asyncio.create_task(agent.run(slow))
        await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leave.set()
        await agent.close()
        assert finished == ["yes"]

    asyncio.run(live())
