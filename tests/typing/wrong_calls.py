"""Calls that a type checker has to refuse: each line that ends with `# wrong` is an error for mypy and for pyright."""

from __future__ import annotations

from decimal import Decimal

from agentstate import Agent, AsyncAgent, Fleet, Money, call, casino, connect, connect_async, escrow, wallet


def send(_key: str) -> dict[str, str]:
    return {"id": "m1"}


def memory(agent: Agent) -> None:
    agent.memory.recall("x", limt=3)  # wrong
    agent.memory.recall("x", top_k=3)  # wrong
    agent.memory.recall("x", as_off=1)  # wrong
    agent.memory.recall("x", limit="3")  # wrong
    agent.memory.recall(5)  # wrong
    agent.memory.recal("x")  # wrong
    agent.memory.remember("x", importence=0.5)  # wrong
    agent.memory.remember("x", importance="high")  # wrong
    agent.memory.remember("x", subjekt="rent")  # wrong
    agent.memory.remember("x", at="yesterday")  # wrong
    agent.memory.remember(b"x")  # wrong
    agent.memory.believed("rent", at_time=None)  # wrong
    agent.memory.export(namespace=5)  # wrong
    agent.memory.wait_searchable(["id"])  # wrong
    agent.memmory.recall("x")  # wrong


def life(agent: Agent) -> None:
    agent.episodes.record({"amount": 1}, "bet")  # wrong
    agent.episodes.record("bet", {}, outcom={})  # wrong
    agent.conversation(7)  # wrong
    agent.conversation("s1").messages(max_token=100)  # wrong
    agent.context(max_tokens="many")  # wrong
    agent.context(1_000).set("portfolio", "text", priorty=9)  # wrong
    agent.state.save("calm")  # wrong
    agent.profile.set_feild("mood", "calm")  # wrong
    agent.jobs.submit("cache.refresh", {"service": "casino"}, due="now")  # wrong
    agent.jobs.wait("id", timeout=3)  # wrong


def money(agent: Agent) -> None:
    agent.effects.execute_once("k", casino.bet(amont=Decimal("1"), side="heads"))  # wrong
    agent.effects.execute_once("k", casino.bet(amount=Decimal("1"), side="edge"))  # wrong
    agent.effects.execute_once("k", casino.bet(amount=1.5, side="heads"))  # wrong
    agent.effects.execute_once("k", casino.bet(side="heads"))  # wrong
    agent.effects.execute_once("k", casino.bet)  # wrong
    agent.effects.execute_once(7, casino.bet(amount=Decimal("1"), side="heads"))  # wrong
    agent.effects.execute_once("k", casino.roulette(amount=Decimal("1")))  # wrong
    agent.effects.execute_once("k", send)  # wrong
    agent.effects.execute_once("k", call(send, servise="mail"))  # wrong
    agent.effects.execute_once("k", call(send, service="mail", guarantee="maybe"))  # wrong
    agent.effects.execute_once("k", wallet.send(to="0x1", amount=Decimal("1"), chian="base"))  # wrong
    agent.effects.execute_once("k", escrow.create(counterparty=5, amount=Decimal("1"), description="x"))  # wrong
    agent.effects.execute_once("k", casino.bet(amount=Decimal("1"), side="heads")).prize  # wrong
    agent.effects.execute_onse("k", casino.bet(amount=Decimal("1"), side="heads"))  # wrong
    agent.effects.decide("k", happened=True)  # wrong
    agent.effects.engine  # wrong
    agent.ledger.deposit("k", "casino", 12.5)  # wrong
    agent.ledger.balance("casino", as_off=None)  # wrong
    agent.ledger.balance(casino)  # wrong
    agent.services.read("casino", force=True)  # wrong
    agent.services.enrol("casino", acount="x")  # wrong
    Money("1") + Decimal("1")  # wrong
    Money("1") < 2  # wrong
    Money(1.5)  # wrong


async def asynchronous(agent: AsyncAgent) -> None:
    await agent.memory.recal(1, 2, 3)  # wrong
    await agent.memory.recall("x", limt=3)  # wrong
    await agent.memory.remember("x", importance="high")  # wrong
    await agent.effects.execute_once(1, 2, 3, 4, 5)  # wrong
    await agent.effects.execute_once("k", casino.bet(amont=Decimal("1")))  # wrong
    (await agent.effects.execute_once("k", casino.bet(amount=Decimal("1"), side="heads"))).prize  # wrong
    await agent.ledger.deposit("k", "casino", 12.5)  # wrong
    await agent.ledger.balanc("casino")  # wrong
    await agent.conversation("s1").add("user")  # wrong
    await agent.jobs.submit("cache.refresh", due="now")  # wrong
    await agent.memory  # wrong
    agent.ledger.balance("casino").amount  # wrong
    with agent.transaction():  # wrong
        pass


def fleet(fleet: Fleet) -> None:
    fleet.agent(7)  # wrong
    fleet.agnet("ag_7")  # wrong
    fleet.jobs.list(stat="dead")  # wrong
    connect(databse_url="sqlite:///a.db")  # wrong
    connect_async(threads="many")  # wrong
    Agent("ag_7", "fleet")  # wrong
