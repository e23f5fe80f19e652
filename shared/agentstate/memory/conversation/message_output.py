"""Blocks written as messages of Chat Completions and items of Responses, and a report of the parts left out.

An API takes no thinking of another provider, no server tool of another, and not every kind of file. Such parts are left
out and reported; a file leaves a mark in the text, so that the model knows that there was one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from agentstate.memory.conversation.blocks import (
    CALL,
    RESULT,
    UNCONVERTED,
    Block,
    CallBlock,
    as_json,
    blocks_as_text,
    document_text,
    result_text,
)

Form: TypeAlias = Literal["anthropic", "openai", "responses"]
"""The API that takes the messages."""

_FILES: Final = frozenset({"image", "document", "input_audio", "audio", "file", "input_file", "image_url",
                           "input_image", "video_url", "audio_url", "video", "container_upload"})  # fmt: skip
_KNOWN_KEYS: Final = {
    "text": {"type", "text"},
    CALL: {"type", "id", "name", "input"},
    RESULT: {"type", "tool_use_id", "content"},
    "image": {"type", "source"},
    "document": {"type", "source", "title"},
    "thinking": {"type", "thinking", "signature"},
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """A part of a turn that the messages lack."""

    turn: int
    what: str
    """Such as `thinking`, `image`, `citations of a text block`."""
    reason: str


@dataclass(slots=True)
class Report:
    """Differences between the turns and the messages made from them."""

    dropped: list[Dropped] = field(default_factory=list)
    """Parts that are left out, in order; empty when everything is there."""

    def add_dropped(self, turn: int, what: str, reason: str) -> None:
        """Report a part of turn number `turn`."""
        self.dropped.append(Dropped(turn, what, reason))


def text_block(text: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": text}


def left_out_mark(what: str) -> str:
    """Return the text that stands for a part that is left out."""
    return f"[left out: {what}]"


def select_blocks(blocks: Iterable[Block], side: str, form: Form, turn: int, report: Report) -> list[Block]:
    """Return the blocks that `form` takes from this side; report the others, and mark files in the text."""
    kept: list[Block] = []
    for block in blocks:
        kind = str(block["type"])
        if kind == "text":
            if block.get("text", "").strip():
                kept.append(block)
            elif block.get("text") == "":
                report.add_dropped(turn, "empty text", "no API takes a block of empty text")
            else:
                report.add_dropped(turn, "blank text", "no API takes a block of blank text")
            continue
        is_taken = kind in (CALL, RESULT) or (kind in ("image", "document") and side == "user")
        if form == "anthropic":
            is_taken = kind != UNCONVERTED and (is_taken or kind not in ("image", "document"))
        elif is_taken and kind in ("image", "document"):
            is_taken = _file_part(block, form) is not None
        if is_taken:
            kept.append(block)
            continue
        what = str(block.get("what") or kind)
        report.add_dropped(turn, what, f"the API of form {form!r} takes none")
        if what in _FILES:
            kept.append(text_block(left_out_mark(what)))
    return kept


def report_extras(blocks: Iterable[Block], turn: int, report: Report) -> None:
    """Report the fields of converted blocks that only their own API knows, such as citations."""
    for block in blocks:
        known = _KNOWN_KEYS.get(block["type"])
        for name, value in block.items():
            if known is not None and name not in known and value not in (None, [], {}, False):
                report.add_dropped(turn, f"{name} of a {block['type']} block", "only its own API has it")


def strip_extras(block: Block) -> Block:
    """Return the block without the fields that `report_extras` reports."""
    known = _KNOWN_KEYS.get(block["type"])
    return block if known is None else {name: value for name, value in block.items() if name in known}


def to_openai_messages(side: str, blocks: Sequence[Block], turn: int, report: Report) -> list[dict[str, Any]]:
    """Return the Chat Completions messages for the blocks of one side."""
    if all(block["type"] == "text" and block.keys() == {"type", "text"} for block in blocks):
        return [{"role": side, "content": "\n\n".join(block["text"] for block in blocks)}]
    report_extras(blocks, turn, report)
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == RESULT:
            text = _result_as_text(block, turn, report)
            messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
        elif block["type"] == CALL:
            function = {"name": block["name"], "arguments": arguments_text(block)}
            calls.append({"id": block["id"], "type": "function", "function": function})
        elif (part := _file_part(block, "openai")) is not None:
            parts.append(part)
        else:
            parts.append(text_block(block["text"]))
    is_text = all(part["type"] == "text" for part in parts)
    content = "\n\n".join(part["text"] for part in parts) if is_text else parts
    if calls:
        messages.append({"role": side, "content": content or None, "tool_calls": calls})
    elif content:
        messages.append({"role": side, "content": content})
    return messages


def to_responses_items(side: str, blocks: Sequence[Block], turn: int, report: Report) -> list[dict[str, Any]]:
    """Return the items of the Responses API for the blocks of one side."""
    report_extras(blocks, turn, report)
    items: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []

    def end_message() -> None:
        if parts:
            is_text = all(part["type"] == "input_text" for part in parts)
            content = "\n\n".join(part["text"] for part in parts) if is_text else list(parts)
            items.append({"role": side, "content": content})
            parts.clear()

    for block in blocks:
        if block["type"] in (CALL, RESULT):
            end_message()
        if block["type"] == RESULT:
            output = _result_as_text(block, turn, report)
            items.append({"type": "function_call_output", "call_id": block["tool_use_id"], "output": output})
        elif block["type"] == CALL:
            items.append(
                {
                    "type": "function_call",
                    "call_id": block["id"],
                    "name": block["name"],
                    "arguments": arguments_text(block),
                }
            )
        elif (part := _file_part(block, "responses")) is not None:
            parts.append(part)
        else:
            parts.append({"type": "input_text", "text": block["text"]})
    end_message()
    return items


def arguments_text(block: Block) -> str:
    """Return a call's arguments as JSON text: as it came, where it came as text."""
    given = block.arguments if isinstance(block, CallBlock) else None
    return given or "{}" if given is not None else as_json(block.get("input", {}))


def _result_as_text(block: Block, turn: int, report: Report) -> str:
    content = block.get("content")
    if isinstance(content, list):
        for part in content:
            kind = part.get("what") or part.get("type") if isinstance(part, Mapping) else None
            if kind in _FILES and not (kind == "document" and document_text(dict(part))):
                report.add_dropped(turn, f"{kind} of a tool's result", "a result is text here")
    return result_text(block)


def _file_part(block: Block, form: Form) -> dict[str, Any] | None:
    """Return a picture or document as a content part; None when this API has no form for it."""
    source = block.get("source")
    if not isinstance(source, Mapping):
        return None
    data = f"data:{source.get('media_type')};base64,{source.get('data')}" if source.get("type") == "base64" else None
    url = source.get("url") if source.get("type") == "url" else None
    name = {"filename": str(block.get("title") or "document.pdf")}
    part: dict[str, Any] | None = None
    if block["type"] == "image" and (data or url):
        address = {"url": data or url}
        is_chat = form == "openai"
        part = {"type": "image_url", "image_url": address} if is_chat else {
            "type": "input_image", "image_url": data or url, "detail": "auto"
        }  # fmt: skip
    elif document_text(block):
        part = {"type": "text" if form == "openai" else "input_text", "text": blocks_as_text([block])}
    elif data and form == "openai":
        part = {"type": "file", "file": {"file_data": data, **name}}
    elif data:
        part = {"type": "input_file", "file_data": data, **name}
    elif url and form == "responses":
        part = {"type": "input_file", "file_url": url} | (name if block.get("title") else {})
    return part
