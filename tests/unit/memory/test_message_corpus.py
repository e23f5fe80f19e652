"""The corpus of messages: kept losslessly, back to their own API as they came, valid for every other API, told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from anthropic.types import MessageParam
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from agentstate.memory.conversation.blocks import decode_message, encode_message
from agentstate.memory.conversation.message_forms import parse_message
from agentstate.memory.conversation.messages import FORMS, Messages, render_messages
from agentstate.memory.conversation.tool_exchanges import drop_orphan_results
from agentstate.memory.conversation.turns import Turn
from tests.stubs.llm.rules import refused_by_anthropic, refused_by_openai
from tests.unit.memory.message_corpus import OWN_FORMS, other_conversations

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS: dict[str, TypeAdapter[Any]] = {
    "anthropic": TypeAdapter(MessageParam),
    "openai": TypeAdapter(ChatCompletionMessageParam),
    "responses": TypeAdapter(ResponseInputItemParam),
}
OTHERS = other_conversations()
ALL = [*OWN_FORMS["openai"], *OWN_FORMS["anthropic"], *OWN_FORMS["responses"], *OTHERS]


def as_turns(conversation: list[Any]) -> list[Turn]:
    """Return the messages as turns, each through the text that is stored."""
    turns = []
    for number, given in enumerate(conversation, 1):
        parsed = parse_message(given)
        message = decode_message(encode_message(parsed.message))
        again = parse_message(message)
        assert again == parsed
        is_plain = again.blocks is None
        turns.append(
            Turn(
                number=number,
                role=again.role,
                speaker=None,
                text=again.text,
                content=again.blocks,
                tokens=1,
                at=NOW,
                source_id=None,
                form=again.form,
                message=None if is_plain else message,
            )
        )
    return turns


def exhaust(value: Any) -> Any:
    """Return a validated value with its lazily validated parts read."""
    if isinstance(value, dict):
        return {name: exhaust(item) for name, item in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [exhaust(item) for item in value]


def assert_valid(messages: Messages, form: str, *, exact: bool) -> None:
    """Check against the provider's own request model, and against the rules that it does not state."""
    for message in messages:
        read = exhaust(MODELS[form].validate_python(message))
        if exact:
            assert read == message  # a field that the model does not know is refused by the API
    if form == "responses":
        called = [item["call_id"] for item in messages if str(item.get("type")).endswith("_call") and "call_id" in item]
        answered = [item["call_id"] for item in messages if str(item.get("type")).endswith("call_output")]
        assert sorted(called) == sorted(answered)
        return
    refuses = refused_by_anthropic if form == "anthropic" else refused_by_openai
    assert not messages or refuses({"messages": list(messages)}) is None


def find_marks(value: Any) -> set[str]:
    return set(re.findall(r"mk-\d{4}", json.dumps(value, default=lambda other: other.model_dump())))


def test_the_corpus_is_large_enough() -> None:
    assert sum(map(len, ALL)) >= 300
    assert min(map(len, OWN_FORMS.values())) >= 20


@pytest.mark.parametrize("form", FORMS)
def test_messages_go_back_to_their_own_api_as_they_came(form: str) -> None:
    for conversation in OWN_FORMS[form]:
        messages = render_messages(None, as_turns(conversation), form=form, for_reply=False)  # type: ignore[arg-type]
        assert json.dumps(messages) == json.dumps(conversation)
        assert messages.report.dropped == []


@pytest.mark.parametrize("form", FORMS)
def test_every_conversation_is_valid_for_every_api_however_it_is_cut(form: str) -> None:
    for conversation in ALL:
        turns = as_turns(conversation)
        for begin in range(len(turns)):
            kept = drop_orphan_results(turns[begin:], turns[:begin])
            for for_reply in (True, False):
                messages = render_messages(None, kept, form=form, for_reply=for_reply)  # type: ignore[arg-type]
                own = conversation in OWN_FORMS[form]
                assert_valid(messages, form, exact=not own)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_left_out_without_a_word(form: str) -> None:
    for conversation in ALL:
        turns = as_turns(conversation)
        messages = render_messages(None, turns, form=form)  # type: ignore[arg-type]
        shown = find_marks(list(messages))
        told = {part.turn for part in messages.report.dropped}
        for number, given in enumerate(conversation, 1):
            assert number in told or find_marks(given) <= shown, (form, given)


def walk_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from walk_values(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk_values(item)
    else:
        yield value


def test_arguments_of_calls_keep_their_numbers_between_the_apis() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "pay", "input": {"amount": 2.5, "wei": 10**30, "tiny": 1e-07}}
    turns = as_turns([{"role": "user", "content": "pay"}, {"role": "assistant", "content": [call]}])
    arguments = render_messages(None, turns, form="openai")[1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == call["input"]
    text = '{"amount":2.50,"long":0.1234567890123456789}'
    function = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": text}}
    turns = as_turns(
        [{"role": "user", "content": "pay"}, {"role": "assistant", "content": None, "tool_calls": [function]}]
    )
    assert render_messages(None, turns, form="responses")[1]["arguments"] == text
    (block,) = render_messages(None, turns)[1]["content"]
    assert block["input"] == {"amount": 2.5, "long": "0.1234567890123456789"}
