"""Calls that a type checker has to accept; `wrong_calls.py` beside it has the ones that it has to refuse."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from agentstate import (
    BLIND,
    VERIFIABLE,
    Absent,
    Agent,
    AsyncAgent,
    Fleet,
    Money,
    call,
    casino,
    connect,
    connect_async,
    escrow,
    wallet,
)
from agentstate.services.operations.casino import BetReceipt

NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)


def send(_key: str) -> dict[str, str]:
    return {"id": "m1"}


async def send_async(_key: str) -> int:
    return 1


def use(agent: Agent) -> None:
    receipt = agent.memory.remember("text", kind="lesson", importance=5, metadata={"a": 1}, at=NOON)
    agent.memory.wait_searchable([receipt], timeout_s=5.0)
    for hit in agent.memory.recall("text", limit=3, kind="lesson", since=NOON):
        print(hit.content, hit.score)
    agent.memory.believed("rent", as_of=NOON)
    agent.episodes.record("bet", {"amount": Decimal("2.50")}, outcome={"won": False})
    agent.conversation("s1").add("user", "text")
    agent.conversation("s1").messages(max_tokens=1_000)
    agent.context(max_tokens=1_000).set("portfolio", "text", priority=9).build()

    bet: BetReceipt = agent.effects.execute_once("bet:1", casino.bet(amount=Decimal("2.50"), side="heads"))
    print(bet.won, bet.debited + Money("1"))
    agent.effects.execute_once("bet:2", casino.bet(amount="2.50", game="dice", direction="over", threshold=50))
    agent.effects.submit("pay:1", casino.pay(to="ag_8", amount=Decimal("1")))
    agent.effects.execute_once("send:1", wallet.send(to="0x1", amount=Decimal("1"), chain="base"))
    agent.effects.execute_once("lock:1", escrow.create(counterparty="ag_8", amount=Decimal("1"), description="work"))
    sent: dict[str, str] = agent.effects.execute_once("mail:1", call(send, service="mail", guarantee=BLIND))
    agent.effects.execute_once(
        "mail:2", call(send, service="mail", guarantee=VERIFIABLE, verify=lambda _intent: Absent("not there"))
    )
    print(sent["id"], agent.effects.get("bet:1").state, agent.effects.find("bet:9"))

    balance: Money = agent.ledger.balance("casino", "USDC", as_of=NOON)
    print(balance + Money("1"), balance < Money("2"), sum([balance, balance], Money.zero()))
    agent.ledger.deposit("gift", "casino", Money("2.50"))
    agent.services.enrol("casino", account="ag_12ab")
    print(agent.services.read("casino").quality, agent.services.reconcile("casino").status)
    agent.state.save({"mood": "calm"})
    agent.profile.set_field("mood", "calm")
    job = agent.jobs.submit("cache.refresh", {"service": "casino"})
    agent.jobs.wait(job, timeout_s=3.0)
    with agent.transaction() as tx:
        agent.memory.remember("text", tx=tx)


async def use_async(agent: AsyncAgent) -> None:
    receipt = await agent.memory.remember("text", kind="lesson")
    await agent.memory.wait_searchable([receipt])
    for hit in await agent.memory.recall("text", limit=3):
        print(hit.content)
    bet: BetReceipt = await agent.effects.execute_once("bet:1", casino.bet(amount=Decimal("2.50"), side="tails"))
    number: int = await agent.effects.execute_once("own:1", call(send_async, service="mail"))
    balance: Money = await agent.ledger.balance("casino")
    async with agent.transaction():
        await agent.ledger.deposit("gift", "casino", balance)
    async for record in agent.memory.export():
        print(record.content, bet.won, number)


def use_fleet(fleet: Fleet) -> None:
    print(fleet.jobs.counts(), fleet.agent("ag_7"))


with connect(database_url="sqlite:///agents.db") as opened:
    use(opened.agent("ag_7"))
    use_fleet(opened)
asynchronous = connect_async(database_url="sqlite:///agents.db")
