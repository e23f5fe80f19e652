"""Messages: valid for every model, whatever turns there are."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentstate.memory.messages import CONTINUED, WAITING, render
from agentstate.memory.turns import ROLES, StoredSummary, Turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUMMARY = StoredSummary(
    number=1,
    covers_from=1,
    covers_to=4,
    text="They agreed on 5 USDC.",
    facts=[],
    tokens=9,
    method="extractive",
    model=None,
    note=None,
    created_at=NOW,
)


def turn(role: str, text: str = "hi", speaker: str | None = None, content: Any = None) -> Turn:
    return Turn(number=1, role=role, speaker=speaker, text=text, content=content, tokens=1, at=NOW, source_id=None)


@given(st.lists(st.sampled_from(ROLES)), st.booleans(), st.integers(0, 3))
def test_roles_alternate_beginning_and_ending_with_the_user(roles: list[str], summarized: bool, omitted: int) -> None:
    summary = SUMMARY if summarized else None
    messages = render(summary, [turn(role, f"text {n}") for n, role in enumerate(roles)], omitted=omitted)
    said = [message["role"] for message in messages]
    assert all(first != second for first, second in pairwise(said))
    if messages:
        assert (said[0], said[-1]) == ("user", "user")
    whole = "\n".join(message["content"] for message in messages)
    assert all(f"text {n}" in whole for n in range(len(roles)))
    assert (SUMMARY.text in whole) == summarized


def test_the_summary_and_the_users_turn_are_one_message() -> None:
    (message,) = render(SUMMARY, [turn("user", "and now?")])
    assert message["content"].splitlines()[1] == SUMMARY.text
    assert message["content"].endswith("and now?")


def test_an_assistants_last_turn_gets_an_answer_only_when_one_is_asked_for() -> None:
    turns = [turn("user"), turn("assistant", "done")]
    assert render(None, turns)[-1] == {"role": "user", "content": WAITING}
    assert render(None, turns, for_reply=False)[-1] == {"role": "assistant", "content": "done"}


def test_an_assistants_first_turn_follows_a_users_message() -> None:
    assert render(None, [turn("assistant")])[0]["content"] == CONTINUED


def test_speakers_and_other_roles_are_told() -> None:
    (message,) = render(None, [turn("user", "hi", "Ann"), turn("tool", "42"), turn("system", "be brief")])
    assert message["content"] == "Ann: hi\n\n[tool] 42\n\n[system] be brief"


def test_content_blocks_are_kept_and_text_beside_them_becomes_a_block() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t1", "content": "42"}]
    (message,) = render(None, [turn("user", "hi"), turn("tool", "42", content=result)])
    assert message["content"] == [{"type": "text", "text": "hi"}, *result]


def test_what_is_left_out_is_told() -> None:
    messages = render(None, [turn("user")], omitted=3)
    assert (messages.omitted, messages.summarized_to) == (3, 0)
    assert "[3 turns are left out here]" in messages[0]["content"]
    assert render(SUMMARY, []).summarized_to == 4
