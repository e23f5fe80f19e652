"""The demonstration's checks: facts without a fault keep every promise, and each planted violation breaks its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.demo import __main__ as command
from deploy.local.demo.faults import PLANTED, PLANTED_AGENT
from deploy.local.demo.findings import Balance, EffectCount, Findings, FlowerView, MemoryCount, OpenedBreak, RedisKey
from deploy.local.demo.promises import all_kept, check_promises, make_rows

BET = EffectCount(
    agent_id="ag_01", key="bet:1", operation="casino.bet", state="succeeded", seen=1, resumed=False, attempts=1,
    open_s=0.1,
)  # fmt: skip
BALANCE = Balance(agent_id="ag_01", account="casino", books=1_000_000, truth=1_000_000)
BREAK = OpenedBreak(
    agent_id=PLANTED_AGENT, service="casino", kind="balance", state="open", amount=PLANTED, resolution=None
)
FLOWER = FlowerView(
    url="http://127.0.0.1:5555", status_without_password=401, status_of_control=403, workers=("io",), tasks=9
)
GOOD = Findings(
    memories=(MemoryCount(agent_id="ag_01", stored=3, searchable=3),),
    effects=(BET,),
    balances=(BALANCE,),
    breaks=(BREAK,),
    snapshots={"2026-08-01T10:00:00+00:00": 1},
    acknowledged={"effect": 1},
    keys=(RedisKey(name="as:{ag_01}:ep:all", ttl_s=60),),
    flower=FLOWER,
)


def broken(facts: Findings) -> list[str]:
    """The numbers of the promises that are broken."""
    return [verdict.promise.partition(".")[0] for verdict in check_promises(facts) if not verdict.is_kept]


def test_facts_without_a_fault_keep_every_promise() -> None:
    verdicts = check_promises(GOOD)
    assert all_kept(verdicts)
    assert all(row.met is not False for row in make_rows(GOOD, verdicts))


VIOLATIONS = {
    "acknowledged and gone": (replace(GOOD, lost=("memory m1 of ag_01 is gone",)), "1"),
    "a memory that is not searchable": (
        replace(GOOD, memories=(MemoryCount(agent_id="ag_01", stored=3, searchable=2),)),
        "1",
    ),
    "something unfinished": (replace(GOOD, open=("job cache.refresh of ag_01 is ready, attempt 0",)), "1"),
    "a failed agent process": (replace(GOOD, failures=("agents-0 ended with 1",)), "1"),
    "nothing was acknowledged": (replace(GOOD, acknowledged={}), "1"),
    "an effect counted twice": (replace(GOOD, effects=(replace(BET, seen=2),)), "2"),
    "a success that never happened": (replace(GOOD, effects=(replace(BET, seen=0),)), "2"),
    "a failure that happened": (replace(GOOD, effects=(replace(BET, state="failed"),)), "2"),
    "an effect in doubt": (replace(GOOD, effects=(replace(BET, state="in_doubt", seen=0),)), "2"),
    "an effect without an intent": (replace(GOOD, unknown_effects=("ag_01: abc",)), "2"),
    "a ledger that differs by a micro-USDC": (replace(GOOD, balances=(replace(BALANCE, books=1_000_001),)), "3"),
    "a broken chain": (replace(GOOD, ledger_faults=("casino/available of ag_01: entry 2",)), "3"),
    "a rewrite that the database took": (replace(GOOD, rewritten=("DELETE FROM entries",)), "3"),
    "an open break": (replace(GOOD, breaks=(BREAK, replace(BREAK, agent_id="ag_01"))), "4"),
    "a false alarm that closed itself": (
        replace(GOOD, breaks=(BREAK, replace(BREAK, agent_id="ag_01", state="auto_resolved"))),
        "4",
    ),
    "a planted break that nobody found": (replace(GOOD, breaks=()), "4"),
    "a planted break of another amount": (replace(GOOD, breaks=(replace(BREAK, amount=PLANTED * 2),)), "4"),
    "an account that does not match": (replace(GOOD, unmatched=("casino of ag_01",)), "4"),
    "an invented figure": (replace(GOOD, invented=("summary 1 of ag_01 says 7",)), "5"),
    "a memory of another agent": (replace(GOOD, leaked=("ag_01 recalled ag_02's secret",)), "6"),
    "a secret in a log": (replace(GOOD, secrets=("log of beat",)), "7"),
    "Flower without a password": (replace(GOOD, flower=replace(FLOWER, status_without_password=200)), "7"),
    "a command that Flower obeys": (replace(GOOD, flower=replace(FLOWER, status_of_control=200)), "7"),
    "a key without a TTL": (replace(GOOD, keys=(RedisKey(name="as:x", ttl_s=-1),)), "8"),
    "no snapshot": (replace(GOOD, snapshots={}), "Beat and Flower are at work"),
    "Flower sees no task": (replace(GOOD, flower=replace(FLOWER, tasks=0)), "Beat and Flower are at work"),
}


@pytest.fixture
def exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Findings], int]:
    """What the command exits with when a run has found the given facts."""

    def run(facts: Findings) -> int:
        monkeypatch.setattr(command.Demo, "run", lambda _demo: facts)
        monkeypatch.setattr(command, "interrupt_once", lambda: None)
        with pytest.raises(SystemExit) as ended:
            command.main(["--data", str(tmp_path), "--build", str(tmp_path / "demo.json")], standalone_mode=False)
        return int(str(ended.value.code))

    return run


def test_kept_promises_are_exit_code_0(exit_code: Callable[[Findings], int], tmp_path: Path) -> None:
    assert exit_code(GOOD) == 0
    assert all(row["met"] is not False for row in json.loads((tmp_path / "demo.json").read_text("utf-8")))


@pytest.mark.parametrize(("facts", "promise"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_planted_violation_breaks_its_promise(
    exit_code: Callable[[Findings], int], facts: Findings, promise: str
) -> None:
    assert broken(facts) == [promise]
    assert exit_code(facts) == 1


def test_a_broken_promise_is_a_row_that_is_not_met() -> None:
    facts = replace(GOOD, effects=(replace(BET, seen=2),))
    unmet = {row.name for row in make_rows(facts, check_promises(facts)) if row.met is False}
    assert "most effects of one intent" in unmet
    assert any(name.startswith("promise: 2.") for name in unmet)
