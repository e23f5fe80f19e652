"""Content blocks of turns: text, calls of tools and their results, in the form of Anthropic's API.

Messages in the form of OpenAI's API are brought into this one on their way in, and out of it on their way out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from agentstate.errors import InvalidInput

Block: TypeAlias = dict[str, Any]

CALL: Final = "tool_use"
RESULT: Final = "tool_result"
NO_RESULT: Final = "No result of this call is recorded."
_NEEDS: Final[dict[str, tuple[str, ...]]] = {"text": ("text",), CALL: ("id", "name"), RESULT: ("tool_use_id",)}


def validate_blocks(content: object) -> list[Block]:
    """Return `content` if it is a list of valid blocks; raise InvalidInput otherwise."""
    if not isinstance(content, list) or not content:
        raise InvalidInput("the content is not a list with at least one block. Nothing was stored.")
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            raise InvalidInput("a content block has no type. Nothing was stored.")
        lacking = [name for name in _NEEDS.get(kind, ()) if not isinstance(block.get(name), str) or not block[name]]
        if lacking:
            raise InvalidInput(f"a {kind} block has no {' and no '.join(lacking)}. Nothing was stored.")
    return content


def tool_call_ids(content: Iterable[Block] | None) -> list[str]:
    """Return the ids of the tool calls in a content."""
    return [str(block["id"]) for block in content or () if block["type"] == CALL]


def result_call_ids(content: Iterable[Block] | None) -> list[str]:
    """Return the ids of the tool calls that a content has results of."""
    return [str(block["tool_use_id"]) for block in content or () if block["type"] == RESULT]


def blocks_as_text(content: Iterable[Block] | None) -> str:
    """Return blocks as text, for summarizers and for places that take no blocks."""
    lines = []
    for block in content or ():
        if block["type"] == "text":
            lines.append(str(block["text"]))
        elif block["type"] == CALL:
            lines.append(f"[calls {block['name']}] {as_json(block.get('input', {}))}")
        elif block["type"] == RESULT:
            lines.append(f"[result] {result_text(block)}")
    return "\n".join(filter(None, lines))


def result_text(block: Block) -> str:
    """Return the content of a tool result as text."""
    content = block.get("content", "")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else as_json(content)


def as_json(value: Any) -> str:
    """Return a value as JSON; amounts and times become text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def parse_message(message: Mapping[str, Any]) -> tuple[str, str, list[Block] | None]:
    """Return (role, text, blocks) of a message in either form; the blocks are None for plain text.

    Raises:
        InvalidInput: it is no message.
    """
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        blocks: list[Block] = [{"type": RESULT, "tool_use_id": message.get("tool_call_id"), "content": content or ""}]
        return "tool", blocks_as_text(validate_blocks(blocks)), blocks
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or [])
    blocks += [_from_call(call) for call in message.get("tool_calls") or ()]
    validate_blocks(blocks)
    plain = all(block["type"] == "text" for block in blocks)
    role = "tool" if role == "user" and all(block["type"] == RESULT for block in blocks) else role
    return str(role), blocks_as_text(blocks), None if plain else blocks


def _from_call(call: Mapping[str, Any]) -> Block:
    function = call.get("function") or {}
    try:
        given = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError):
        given = {"arguments": str(function.get("arguments"))}
    return {"type": CALL, "id": call.get("id"), "name": function.get("name"), "input": given}


def to_openai_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert messages from Anthropic's form to that of OpenAI's Chat Completions."""
    converted: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if isinstance(content, str):
            converted.append({"role": role, "content": content})
            continue
        text = "\n\n".join(str(block["text"]) for block in content if block["type"] == "text")
        calls = []
        for block in content:
            if block["type"] == RESULT:
                converted.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": result_text(block)})
            elif block["type"] == CALL:
                function = {"name": block["name"], "arguments": as_json(block.get("input", {}))}
                calls.append({"id": block["id"], "type": "function", "function": function})
        if calls:
            converted.append({"role": role, "content": text or None, "tool_calls": calls})
        elif text:
            converted.append({"role": role, "content": text})
    return converted
