"""The context budget: room by priority, minimum and maximum, freshness, order, and a plan that tells the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentstate.errors import InvalidInput
from agentstate.memory.context import ContextBudget, Fate
from agentstate.providers.tokens import Estimator, Family

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINES = [f"{number}: bet of 2.50 USDC on heads, lost" for number in range(100)]


def budget(max_tokens: int = 10_000, **options: Any) -> ContextBudget:
    return ContextBudget(max_tokens=max_tokens, clock=lambda: NOW, **options)


def test_slots_stand_in_the_order_in_which_they_were_set() -> None:
    context = budget().set("b", "second", priority=1).set("a", "first", priority=9).set("b", "again", priority=2)
    assert context.build() == "=== B ===\nagain\n\n=== A ===\nfirst"
    assert context.remove("b").build() == "=== A ===\nfirst"


def test_a_plan_tells_what_became_of_each_slot() -> None:
    old = NOW - timedelta(seconds=95)
    context = (
        budget(400)
        .set("prices", "ETH 3000", as_of=old, fresh_for_s=60)
        .set("bets", LINES, priority=7)
        .set("rules", "Never bet more than 5 USDC.", priority=9, as_of=old)
        .set("notes", "word " * 900, priority=1)
        .set("nothing", None)
    )
    plan = context.plan()
    assert {slot.name: slot.fate for slot in plan.slots} == {
        "prices": Fate.STALE, "bets": Fate.CUT, "rules": Fate.WHOLE, "notes": Fate.LEFT_OUT, "nothing": Fate.EMPTY,
    }  # fmt: skip
    assert plan["prices"].reason == "95 s old, limit 60 s"
    assert "of 100 entries are left out here" in plan["bets"].reason
    assert plan["rules"].age_s == 95
    assert plan.text.endswith("===")
    assert "=== LEFT OUT: prices (95 s old, limit 60 s); notes (" in plan.text
    assert "ETH 3000" not in plan.text
    assert plan.tokens <= plan.budget == 400
    assert plan.explain().splitlines()[0] == f"{plan.tokens} of 400 tokens (estimate for claude)"
    with pytest.raises(KeyError):
        _ = plan["unknown"]


def test_a_minimum_is_kept_against_a_higher_priority() -> None:
    plan = budget(600).set("chat", LINES, priority=9).set("task", LINES, priority=1, min_tokens=200).plan()
    assert plan["task"].fate is plan["chat"].fate is Fate.CUT
    assert 150 < plan["task"].tokens < 300


def test_a_minimum_that_has_no_room_leaves_the_slot_out() -> None:
    plan = budget(150).set("task", LINES, priority=1, min_tokens=400).set("chat", "Sell now.", priority=2).plan()
    assert plan["task"].fate is Fate.LEFT_OUT
    assert "minimum of 400" in plan["task"].reason
    assert plan["chat"].fate is Fate.WHOLE


def test_a_maximum_holds_where_there_is_room() -> None:
    plan = budget().set("chat", LINES, max_tokens=200).plan()
    assert plan["chat"].fate is Fate.CUT
    assert 150 < plan["chat"].tokens <= 200
    assert "its maximum is 200 tokens" in plan["chat"].reason


def test_a_slot_that_must_be_whole_is_never_cut() -> None:
    plan = budget(150).set("rules", LINES, whole=True).set("task", "Sell.", priority=1).plan()
    assert (plan["rules"].fate, plan["task"].fate) == (Fate.LEFT_OUT, Fate.WHOLE)


def test_the_newest_entries_stay_when_the_end_is_kept() -> None:
    text = budget(200).set("chat", LINES, keep="end").build()
    assert LINES[-1] in text
    assert LINES[0] not in text
    assert text.index("entries are left out here") < text.index(LINES[-1])


def test_the_end_of_a_text_stays_when_it_is_kept() -> None:
    text = budget(200).set("log", "\n".join(LINES), keep="end").build()
    assert text.endswith(LINES[-1])
    assert "characters are left out here" in text.splitlines()[1]


@pytest.mark.parametrize("keep", ["start", "end"])
def test_json_that_is_cut_is_json_again(keep: Any) -> None:
    bets = [{"round": number, "amount": "2.50", "note": "a, [b], {c}"} for number in range(50)]
    for content in (
        json.dumps(bets),
        json.dumps(bets, indent=2),
        json.dumps({str(n): bet for n, bet in enumerate(bets)}),
    ):
        text = budget(300).set("bets", content, keep=keep).build()
        lines = [line for line in text.splitlines() if not line.startswith("===")]
        kept = json.loads("\n".join(lines))
        kept = kept if isinstance(kept, list) else list(kept.values())
        assert 0 < len(kept) < 50
        assert kept == (bets[: len(kept)] if keep == "start" else bets[-len(kept) :])


def test_json_within_a_text_is_whole_or_not_there() -> None:
    value = json.dumps({"note": "One. Two. Three.\nFour", "amount": "12.50"}, indent=2)
    for room in range(60, 200, 7):
        text = (
            budget(room).set("chat", f"It said this.\n{value}\nAnd then it went on for long. {'More. ' * 40}").build()
        )
        assert text.count("{") == text.count("}")


def test_other_contents_are_shown_as_json_or_by_their_renderer() -> None:
    assert '{"amount": "2.50"}' in budget().set("bet", {"amount": Decimal("2.50")}).build()
    assert "=== BET ===\n2.50!" in budget().set("bet", Decimal("2.50"), renderer=lambda amount: f"{amount}!").build()
    assert "a\nb" in budget().set("bet", "ab", renderer=list).build()


@pytest.mark.parametrize(
    "options",
    [
        {"key": "two words"},
        {"min_tokens": -1},
        {"max_tokens": 0},
        {"min_tokens": 9, "max_tokens": 8},
        {"fresh_for_s": 60},
        {"fresh_for_s": 0, "as_of": NOW},
        {"as_of": datetime(2026, 1, 1)},  # noqa: DTZ001 it is the point
        {"keep": "middle"},
        {"content": "\ud800"},
        {"renderer": lambda _content: [1]},
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    context = budget().set("chat", "before")
    with pytest.raises(InvalidInput):
        context.set(**({"key": "chat", "content": "x"} | options))
    assert context.build() == "=== CHAT ===\nbefore"


def test_no_budget_is_refused() -> None:
    with pytest.raises(InvalidInput):
        ContextBudget(max_tokens=0)
    assert budget().build() == ""


PIECES = st.sampled_from(
    [
        "1,234.56 USDC", "Sell. ", "\n", "送金。", "👨‍👩‍👧", '{"a": [1, 2]}', "[", "== ", "===", "\u2028", "e\u0301 ",
        "x" * 90, ". ", "0xab12",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=20), max_size=40).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 9), st.integers(0, 60), st.booleans()), max_size=6),
    st.integers(1, 400),
    st.sampled_from(list(Family)),
)
def test_the_budget_holds_for_the_text_as_it_stands(
    slots: list[tuple[str, int, int, bool]], max_tokens: int, family: Family
) -> None:
    counter = Estimator(family)
    context = ContextBudget(max_tokens=max_tokens, counter=counter, clock=lambda: NOW)
    for number, (text, priority, least, start) in enumerate(slots):
        context.set(f"s{number}", text, priority, min_tokens=least, keep="start" if start else "end")
    plan = context.plan()
    assert counter.count(plan.text) <= plan.tokens <= max_tokens
    for slot, (text, *_) in zip(plan.slots, slots, strict=True):
        assert (slot.fate is Fate.EMPTY) == (not text.strip())
        assert bool(slot.text) == (slot.fate in {Fate.WHOLE, Fate.CUT})
        assert slot.tokens <= slot.wanted or slot.fate is Fate.CUT
        assert slot.reason or slot.fate in {Fate.WHOLE, Fate.EMPTY}


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(20, 200), st.booleans())
def test_what_stays_of_a_text_is_one_end_of_it(text: str, max_tokens: int, start: bool) -> None:
    from agentstate.memory.context.truncation import truncate_content

    piece = truncate_content(text, max_tokens, Estimator().count, "start" if start else "end")
    if piece is not None and not text.strip().startswith(("[", "{")):
        assert text.startswith(piece.text) if start else text.endswith(piece.text)
        assert piece.text.strip()
        assert Estimator().count(piece.text) <= max_tokens
        assert piece.text.count("👨") == piece.text.count("👧")
