"""What today's language model APIs refuse, after their documentation: a stub must be as strict as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Body = Mapping[str, Any]


def refused_by_anthropic(body: Body) -> str | None:
    """Why the Messages API would answer 400, None when it would not."""
    messages = body.get("messages") or []
    if not messages:
        return "messages: at least one message is required"
    gone = {"temperature", "top_p", "top_k"} & body.keys()
    if gone:
        return f"{', '.join(sorted(gone))}: no longer supported"
    roles = [message["role"] for message in messages]
    if roles[0] != "user" or any(first == second for first, second in pairwise(roles)):
        return "messages: roles must alternate, beginning with user"
    if roles[-1] == "assistant":
        return "messages: the final message cannot be the assistant's"
    return next((why for why in map(_empty, messages) if why), None) or _unanswered(messages)


def _empty(message: Body) -> str | None:
    content = message["content"]
    texts = [content] if isinstance(content, str) else [block["text"] for block in content if block["type"] == "text"]
    blank = not content or any(not text.strip() for text in texts)
    return "messages: text content must be non-empty" if blank else None


def _blocks(message: Body) -> Sequence[Body]:
    return [] if isinstance(message["content"], str) else message["content"]


def _unanswered(messages: Sequence[Body]) -> str | None:
    asked: list[str] = []
    for message in messages:
        blocks = _blocks(message)
        given = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(given) != sorted(asked):
            return f"messages: tool_use {asked} must be followed by exactly its tool_results, not {given}"
        if given and any(block["type"] != "tool_result" for block in blocks[: len(given)]):
            return "messages: tool_results must come first"
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
    return f"messages: tool_use {asked} has no result" if asked else None


def refused_by_openai(body: Body) -> str | None:
    """Why Chat Completions would answer 400, None when it would not."""
    messages = body.get("messages") or []
    if not messages:
        return "messages: too short"
    waiting: list[str] = []
    for message in messages:
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                return "messages with role 'tool' must follow a message with 'tool_calls'"
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return f"tool_calls {waiting} must be followed by tool messages"
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        if not waiting and not any(message.get(name) for name in ("content", "refusal", "audio", "function_call")):
            return "content must not be empty"
    return f"tool_calls {waiting} must be followed by tool messages" if waiting else None
