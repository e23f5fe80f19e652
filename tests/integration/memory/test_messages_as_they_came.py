"""Messages of every API through the store: kept exactly, read within any budget, whatever files they hold."""

from __future__ import annotations

import base64
import json
import struct
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput, TooLarge
from agentstate.jobs import Jobs
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.billing import IMAGE_TOKENS, count_tokens, picture_tokens
from agentstate.memory.conversation.messages import FORMS
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.settings import Settings
from agentstate.store import Store
from tests.stubs.llm.rules import refused_by_anthropic, refused_by_openai
from tests.unit.memory.message_corpus import OWN_FORMS, PDF, PNG, other_conversations
from tests.unit.test_records import FORMS as RECORD_FORMS
from tests.unit.test_records import ROWS


@pytest.fixture
def history(store: Store, jobs: Jobs, limits: Settings) -> ConversationHistory:
    return ConversationHistory(store, jobs, limits.model_copy(update={"summary_after_tokens": 10**9}), "ag_7", "s1")


def picture(width: int, height: int, size: int = 200_000) -> str:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return base64.b64encode(head + b"\x08\x02\x00\x00\x00" + b"\x5a" * size).decode()


LARGE_PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": picture(3_000, 3_000)},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_comes_back_from_the_store_as_it_came(history: ConversationHistory, form: str) -> None:
    talks = OWN_FORMS[form]
    for place, conversation in enumerate(talks[:: max(1, len(talks) // 12)]):
        part = ConversationHistory(history._store, history._jobs, history._settings, "ag_7", f"{form}{place}")
        for message in conversation:
            part.add(message)
        assert [turn.message or {"role": turn.role, "content": turn.text} for turn in part.turns()] == conversation
        messages = part.messages(100_000, form=form, for_reply=False)  # type: ignore[arg-type]
        assert json.dumps(messages) == json.dumps(conversation)


def test_objects_and_dumps_of_other_libraries_go_in(history: ConversationHistory) -> None:
    for conversation in other_conversations():
        for message in conversation:
            history.add(message)
    for form, refuses in (("anthropic", refused_by_anthropic), ("openai", refused_by_openai)):
        assert refuses({"messages": list(history.messages(100_000, form=form))}) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"amount": 2.5}, {"amount": Decimal("2.50")}, {"n": 10**40}, {"a": [0.1, {"b": 1e-300}]}, {"é": "\x01"}]
)
def test_arguments_of_a_call_keep_their_numbers(history: ConversationHistory, given: dict[str, Any]) -> None:
    call = {"type": "tool_use", "id": "c1", "name": "pay", "input": given}
    history.add("user", "pay")
    history.add({"role": "assistant", "content": [call]})
    history.add("assistant", "paying", content=[{**call, "id": "c2"}])
    found = history.messages()[1]["content"]
    assert [block["input"] for block in found] == [given, given]
    assert [type(value) for value in found[0]["input"].values()] == [type(value) for value in given.values()]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), {1, 2}, "\ud800"])
def test_a_message_that_is_no_json_is_refused(history: ConversationHistory, number: Any) -> None:
    call = {"type": "tool_use", "id": "c1", "name": "pay", "input": {"x": number}}
    with pytest.raises(InvalidInput, match=r"not JSON|half a surrogate"):
        history.add({"role": "assistant", "content": [call]})
    assert history.turns() == []


def test_a_picture_counts_as_its_pixels_and_a_document_as_its_pages(history: ConversationHistory) -> None:
    small, large = picture_tokens(200, 200), picture_tokens(8_000, 8_000)
    assert small < 400 < large == IMAGE_TOKENS
    for data, kind, least, most in (
        (picture(200, 200), "image", small, small + 100),
        (picture(2_000, 2_000, 3_000_000), "image", IMAGE_TOKENS, IMAGE_TOKENS + 100),
        (PDF, "document", 9_000, 9_100),
        ("A" * 4_000, "image", 500, 2_000),
    ):
        source = {"type": "base64", "media_type": "image/png", "data": data}
        assert least <= count_tokens({"type": kind, "source": source}) <= most
    assert count_tokens({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}) < 900
    assert count_tokens({"type": "image", "source": {"type": "url", "url": "https://a.example/x"}}) >= IMAGE_TOKENS
    assert count_tokens({"type": "thinking", "thinking": "hm", "signature": "c2ln" * 500}) < 60
    text = "words that a reader reads " * 40
    assert count_tokens({"type": "tool_use", "id": "c", "name": "n", "input": {"data": text}}) > 250


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["old", "new"])
@pytest.mark.parametrize(
    "large",
    [
        {"role": "user", "content": [{"type": "text", "text": "see"}, *[LARGE_PICTURE] * 3]},
        {"role": "user", "content": [{"type": "document", "source": {"type": "base64", "media_type": "a/pdf",
                                                                     "data": PDF}}]},
        {"role": "user", "content": "many words " * 4_000},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm " * 9_000, "signature": "s"},
                                          {"type": "text", "text": "done"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}] * 4},
    ],
)  # fmt: skip
def test_a_part_that_is_too_large_is_a_mark_and_hides_no_other_turn(
    history: ConversationHistory, form: str, place: str, large: dict[str, Any]
) -> None:
    history.add("user", "first words")
    history.add(large)
    if place == "old":
        history.add("user", "last words")
    messages = history.messages(1_000, form=form)  # type: ignore[arg-type]
    assert messages.tokens <= 1_000
    assert "first words" in str(messages)
    assert "[left out: " in str(messages)
    assert place == "new" or "last words" in str(messages)
    assert {part.turn for part in messages.report.dropped} == {2}
    assert messages.omitted == 0
    assert history.messages(100_000, form=form).report.dropped == [] or form != "anthropic"  # type: ignore[arg-type]


def test_a_result_that_is_too_large_keeps_its_call(history: ConversationHistory) -> None:
    history.add("user", "look")
    history.add({"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]})
    history.add({"role": "tool", "tool_call_id": "c1", "content": "row 12.50 USDC\n" * 3_000})
    for form, refuses in (("anthropic", refused_by_anthropic), ("openai", refused_by_openai)):
        messages = history.messages(1_000, form=form)  # type: ignore[arg-type]
        assert refuses({"messages": list(messages)}) is None
        assert "row 12.50 USDC" in str(messages)
        assert messages.report.dropped
    assert "row 12.50 USDC" in "\n".join(history.transcript(1_000))
    with pytest.raises(TooLarge):
        history.messages(90)


@pytest.mark.parametrize("form", sorted(RECORD_FORMS))
def test_amounts_and_identifiers_of_results_are_there_after_summarizing(
    store: Store, jobs: Jobs, limits: Settings, form: str
) -> None:
    settings = limits.model_copy(update={"summary_after_tokens": 600})
    talk = ConversationHistory(store, jobs, settings, "ag_7", form.replace(" ", "-"))
    talk.add("user", "what did I pay?")
    talk.add({"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "list", "input": {}}]})
    talk.add({"role": "tool", "tool_call_id": "c1", "content": RECORD_FORMS[form]})
    for number in range(40):
        talk.add("user" if number % 2 else "assistant", f"words number {number} about the weather of the week")
    ConversationSummarizer(store, DigestSummarizer(), settings).run(talk.id)
    messages = talk.messages(8_000)
    assert messages.summarized_to >= 3
    assert messages.tokens <= 8_000
    for shown in (str(messages), "\n".join(talk.transcript(8_000))):
        for row in ROWS:
            assert row["id"] in shown
            assert f"{row['amount']} {row['currency']}" in shown
