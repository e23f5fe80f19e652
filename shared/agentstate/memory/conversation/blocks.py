"""Content blocks of turns: text, calls of tools, results and media, in the vocabulary of Anthropic's API.

Messages of every other API are read into these blocks, so that one code finds calls, renders text and counts tokens.
A block that has no counterpart here is kept as `unconverted`, with a name for it: it is told, never dropped in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from agentstate.errors import InvalidInput

Block: TypeAlias = dict[str, Any]

CALL: Final = "tool_use"
RESULT: Final = "tool_result"
UNCONVERTED: Final = "unconverted"
NO_RESULT: Final = "No result of this call is recorded."

_DECIMAL: Final = "\x00decimal"
_DECIMAL_TEXT: Final = re.compile(r'"\\u0000decimal:([-+0-9.eE]++)"')


class CallBlock(dict[str, Any]):
    """A call of a tool whose arguments came as text; `arguments` is that text, untouched."""

    arguments: str | None = None


def make_call(call_id: object, name: object, arguments: object) -> CallBlock:
    """Return the block of a call with arguments as JSON text, as plain text or as an object."""

    def read_float(numeral: str) -> float | str:
        number = float(numeral)
        return number if Decimal(repr(number)) == Decimal(numeral) else numeral  # more digits than a float has

    given = {} if arguments is None else arguments
    if isinstance(arguments, str):
        try:
            given = json.loads(arguments, parse_float=read_float) if arguments.strip() else {}
        except (ValueError, RecursionError, ArithmeticError):
            given = None
    block = CallBlock(
        type=CALL, id=call_id, name=name, input=given if isinstance(given, dict) else {"arguments": arguments}
    )
    block.arguments = arguments if isinstance(arguments, str) else None
    return block


def make_unconverted(what: str, value: object = None) -> Block:
    """Return the block for an item without a counterpart; `what` names it in reports."""
    return {"type": UNCONVERTED, "what": what, "value": value}


def tool_call_ids(content: Iterable[Block] | None) -> list[str]:
    """Return the ids of the tool calls in a content."""
    return [str(block["id"]) for block in content or () if block["type"] == CALL and block.get("id")]


def result_call_ids(content: Iterable[Block] | None) -> list[str]:
    """Return the ids of the tool calls that a content has results of."""
    return [
        str(block["tool_use_id"]) for block in content or () if block["type"] == RESULT and block.get("tool_use_id")
    ]


def blocks_as_text(content: Iterable[Block] | None) -> str:
    """Return blocks as text, for summarizers and for places that take no blocks."""
    return "\n".join(filter(None, map(_block_text, content or ())))


def _block_text(block: Block) -> str:
    kind = block["type"]
    if kind == "text":
        return str(block.get("text", ""))
    if kind in (CALL, "server_tool_use", "mcp_tool_use"):
        return f"[calls {block.get('name')}] {as_json(block.get('input', {}))}"
    if kind.endswith("_result") and kind != "search_result":
        return f"[result] {result_text(block)}"
    if kind in ("document", "search_result"):
        return "\n".join(filter(None, (f"[document {block.get('title') or ''}".rstrip() + "]", document_text(block))))
    if kind in ("thinking", "redacted_thinking"):
        return ""
    return f"[{block.get('what') if kind == UNCONVERTED else kind}]"


def document_text(block: Block) -> str:
    """Return the text of a document or search result that has one; empty for a file."""
    source = block.get("source") if block["type"] == "document" else {"content": block.get("content")}
    if not isinstance(source, dict):
        return ""
    if source.get("type") == "text":
        return str(source.get("data", ""))
    content = source.get("content")
    return content if isinstance(content, str) else blocks_as_text(_typed_parts(content))


def result_text(block: Block) -> str:
    """Return the content of a tool result as text."""
    content = block.get("content", "")
    if isinstance(content, list):
        return "\n".join(
            f"{part.get('title', '')} {part['url']}".strip()
            if part["type"] == "web_search_result" and part.get("url")
            else _block_text(part) or f"[{part['type']}]"
            for part in _typed_parts(content)
        )
    if content is None:
        return ""
    return content if isinstance(content, str) else as_json(content)


def _typed_parts(content: object) -> list[Block]:
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict) and isinstance(part.get("type"), str)]


def as_json(value: Any) -> str:
    """Return a value as JSON text; a Decimal becomes a number with all of its digits, a time text."""

    def write_other(other: object) -> str:
        return f"\x00decimal:{other}" if isinstance(other, Decimal) and other.is_finite() else str(other)

    text = json.dumps(value, ensure_ascii=False, default=write_other)
    return _DECIMAL_TEXT.sub(r"\1", text) if _DECIMAL in text or "\\u0000decimal" in text else text


def encode_message(message: Mapping[str, Any]) -> str:
    """Return a message as JSON text from which `decode_message` makes an equal one; numbers keep type and digits.

    Raises:
        InvalidInput: it holds what JSON has no form for, or half a surrogate pair.
    """

    def write_other(value: object) -> object:
        if isinstance(value, Decimal) and value.is_finite():
            return {_DECIMAL: str(value)}
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(f"{type(value).__name__} has no form in JSON")

    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, default=write_other)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = "half a surrogate pair" if isinstance(error, UnicodeError) else str(error)[:80]
        raise InvalidInput(f"the message is not JSON ({why}). Nothing was stored.") from None
    return text


def decode_message(text: str) -> Any:
    """Return the message that `encode_message` wrote; raise InvalidInput for other text."""

    def read_object(value: dict[str, Any]) -> Any:
        return Decimal(value[_DECIMAL]) if value.keys() == {_DECIMAL} else value

    try:
        return json.loads(text, object_hook=read_object if "\\u0000decimal" in text else None)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"a stored message cannot be read: {str(error)[:80]}. It was left as it is.") from None
