"""Reading of messages: OpenAI's Chat Completions and Responses, Anthropic's Messages, LangChain, Ollama.

A message is kept as it came, whatever it holds. Beside it stand its role and its blocks, in one vocabulary for all
APIs; an item without a counterpart there becomes an `unconverted` block, so that it is reported where it is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from agentstate.errors import InvalidInput
from agentstate.memory.conversation.blocks import (
    CALL,
    RESULT,
    UNCONVERTED,
    Block,
    blocks_as_text,
    make_call,
    make_unconverted,
)

SourceForm: TypeAlias = Literal["any", "anthropic", "openai", "responses", "langchain", "ollama"]
"""The API whose shape a message has; `any` for plain text, which all of them take."""

_ROLES: Final = {
    "user": "user", "assistant": "assistant", "system": "system", "developer": "system", "tool": "tool",
    "function": "tool", "human": "user", "ai": "assistant", "model": "assistant",
}  # fmt: skip
_LANGCHAIN: Final = frozenset({"human", "ai", "system", "tool", "function", "chat"})
_LANGCHAIN_CALLS: Final = frozenset({"tool_call", "invalid_tool_call", "function_call", "custom_tool_call"})
_OPENAI_KEYS: Final = frozenset(
    {"tool_calls", "function_call", "refusal", "audio", "reasoning_content", "reasoning", "annotations",
     "tool_call_id", "name"}
)  # fmt: skip
_OLLAMA_KEYS: Final = frozenset({"images", "thinking", "tool_name"})
_OPENAI_PARTS: Final = frozenset({"image_url", "input_audio", "file", "refusal", "video_url", "audio_url"})
_RESPONSES_PARTS: Final = frozenset({"input_text", "output_text", "input_image", "input_file", "summary_text"})
_DATA_URL: Final = re.compile(r"data:([\w.+/-]{1,100})(?:;[\w=.+-]{1,100}){0,4};base64,", re.ASCII)
_NEEDS: Final[dict[str, tuple[str, ...]]] = {CALL: ("id", "name"), RESULT: ("tool_use_id",)}


@runtime_checkable
class MessageObject(Protocol):
    """A message of a provider's SDK, of LangChain, or any other pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        """Return the message as a dict."""


class ParsedMessage(NamedTuple):
    """A message, read."""

    role: str
    """`user`, `assistant`, `system` or `tool`."""
    text: str
    """The message as text, for people, summarizers and search."""
    blocks: list[Block] | None
    """None for plain text."""
    form: SourceForm
    message: dict[str, Any]
    """As it came."""


def parse_message(message: Mapping[str, Any] | MessageObject) -> ParsedMessage:
    """Read a message or item of any of the APIs.

    Raises:
        InvalidInput: it is no message; names the reason.
    """
    if isinstance(message, Mapping):
        given = dict(message)
    elif isinstance(message, MessageObject):
        is_langchain = any(base.__module__.startswith("langchain") for base in type(message).__mro__)
        # LangChain's defaults say what a message is; the SDKs' say nothing that the provider did.
        given = message.model_dump() if is_langchain else message.model_dump(exclude_unset=True)  # type: ignore[call-arg]
    else:
        raise InvalidInput(f"a message is a dict or an SDK's object, not {type(message).__name__}. Nothing was stored.")
    form = _detect_form(given)
    role, blocks = _READERS[form](given)
    for block in blocks:
        lacking = [name for name in _NEEDS.get(block["type"], ()) if form == "anthropic" and not _is_text(block, name)]
        if lacking:
            raise InvalidInput(f"a {block['type']} block has no {' and no '.join(lacking)}. Nothing was stored.")
    if not blocks and role != "assistant":
        raise InvalidInput(f"the message of role {role} has no content. Nothing was stored.")
    content = given.get("content")
    is_plain = (
        isinstance(content, str) and form == "any" and given.keys() <= {"role", "content"} and "\0" not in content
    )
    kinds = ", ".join(dict.fromkeys(str(block.get("what") or block["type"]) for block in blocks))
    text = blocks_as_text(blocks).replace("\x00", "\ufffd")
    return ParsedMessage(
        role, text if text.strip() else f"[{kinds or 'no content'}]", None if is_plain else blocks, form, given
    )


def validate_blocks(content: object) -> list[Block]:
    """Return `content` if it is a list of blocks with types; raise InvalidInput otherwise."""
    if not isinstance(content, list):
        raise InvalidInput("the content is neither text nor a list of blocks. Nothing was stored.")
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidInput("a content block has no type. Nothing was stored.")
    return content


def _is_text(block: Block, name: str) -> bool:
    return isinstance(block.get(name), str) and bool(block[name])


def _detect_form(given: Mapping[str, Any]) -> SourceForm:
    kind, role, content = given.get("type"), given.get("role"), given.get("content")
    is_dumped = given.get("lc") is not None or isinstance(given.get("data"), Mapping)
    if is_dumped or (isinstance(kind, str) and kind.removesuffix("MessageChunk").lower() in _LANGCHAIN):
        return "langchain"
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    kinds = {part.get("type") for part in parts}
    is_answer = "stop_reason" in given or "model" in given  # Anthropic's answers have the type `message` too
    if kinds & _RESPONSES_PARTS or (isinstance(kind, str) and not (kind == "message" and is_answer)):
        return "responses"
    calls = given.get("tool_calls")
    has_objects = isinstance(calls, list) and any(
        isinstance(call, Mapping) and isinstance((call.get("function") or {}).get("arguments"), Mapping)
        for call in calls
    )
    if has_objects or _OLLAMA_KEYS & given.keys():
        return "ollama"
    if _OPENAI_KEYS & given.keys() or kinds & _OPENAI_PARTS or role in ("developer", "function", "system", "tool"):
        return "openai"
    is_plain = isinstance(content, str) or (parts and all(part.keys() == {"type", "text"} for part in parts))
    return "any" if is_plain and kinds <= {"text"} and not is_answer else "anthropic"


def _find_role(name: object) -> str:
    if not isinstance(name, str) or name not in _ROLES:
        known = ", ".join(("user", "assistant", "system", "tool"))
        raise InvalidInput(f"the role {str(name)[:40]!r} is unknown; use {known}. Nothing was stored.")
    return _ROLES[name]


def _text_blocks(content: object) -> list[Block]:
    """Return text as one block; a list of blocks as it is."""
    if content is None or content == "":
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else validate_blocks(content)


def _read_anthropic(given: Mapping[str, Any]) -> tuple[str, list[Block]]:
    role, blocks = _find_role(given.get("role")), _text_blocks(given.get("content"))
    is_result = bool(blocks) and all(block["type"] == RESULT for block in blocks)
    return "tool" if role == "user" and is_result else role, blocks


def _read_openai(given: Mapping[str, Any]) -> tuple[str, list[Block]]:
    role, content = _find_role(given.get("role")), given.get("content")
    if role == "tool":
        if not given.get("tool_call_id") and not (given.get("tool_name") or given.get("name")):
            raise InvalidInput("a tool message has no tool_call_id and no name of the tool. Nothing was stored.")
        parts = content if isinstance(content, str) else _convert_parts(_text_blocks(content))
        return role, [{"type": RESULT, "tool_use_id": given.get("tool_call_id"), "content": parts or ""}]
    blocks = [
        make_unconverted(name, given[name])
        for name in ("reasoning_content", "reasoning", "thinking")
        if given.get(name)
    ]
    blocks += _convert_parts(_text_blocks(content))
    if isinstance(given.get("refusal"), str) and given["refusal"]:
        blocks.append({"type": "text", "text": given["refusal"]})
    if isinstance(audio := given.get("audio"), Mapping):
        blocks += [{"type": "text", "text": audio["transcript"]}] if audio.get("transcript") else []
        blocks.append(make_unconverted("audio", audio))
    blocks += [_convert_image(picture, None) for picture in given.get("images") or ()]
    if isinstance(function := given.get("function_call"), Mapping):
        blocks.append(make_call(None, function.get("name"), function.get("arguments")))
    for call in given.get("tool_calls") or ():
        if not isinstance(call, Mapping):
            raise InvalidInput("a tool call is no object. Nothing was stored.")
        inner = call.get("custom") if call.get("type") == "custom" else call.get("function")
        inner = inner if isinstance(inner, Mapping) else {}
        arguments = {"input": inner.get("input")} if call.get("type") == "custom" else inner.get("arguments")
        blocks.append(make_call(call.get("id"), inner.get("name"), arguments))
    blocks += [make_unconverted("annotations", given["annotations"])] if given.get("annotations") else []
    if not blocks and "content" not in given:
        raise InvalidInput("the message has neither content nor calls. Nothing was stored.")
    return role, blocks


def _read_responses(given: Mapping[str, Any]) -> tuple[str, list[Block]]:
    kind = given.get("type") or "message"
    if kind == "message":
        return _find_role(given.get("role")), _convert_parts(_text_blocks(given.get("content")))
    if kind in ("function_call", "custom_tool_call"):
        arguments = given.get("arguments") if kind == "function_call" else {"input": given.get("input")}
        return "assistant", [make_call(given.get("call_id"), given.get("name"), arguments)]
    if kind in ("function_call_output", "custom_tool_call_output"):
        output = given.get("output")
        content = output if isinstance(output, str) else _convert_parts(_text_blocks(output))
        return "tool", [{"type": RESULT, "tool_use_id": given.get("call_id"), "content": content or ""}]
    is_output = str(kind).endswith(("_output", "_response"))
    return "tool" if is_output else "assistant", [make_unconverted(str(kind), dict(given))]


def _read_langchain(given: Mapping[str, Any]) -> tuple[str, list[Block]]:
    kind, data = str(given.get("type")), given
    if isinstance(given.get("kwargs"), Mapping):  # langchain_core.load.dumpd
        names = given.get("id")
        kind, data = str(names[-1]) if isinstance(names, list) and names else "", given["kwargs"]
    elif isinstance(given.get("data"), Mapping):  # message_to_dict
        data = given["data"]
    kind = re.sub(r"message(chunk)?$", "", kind.lower())
    role = _find_role(data.get("role") if kind == "chat" else kind)
    content = data.get("content")
    parts = content if isinstance(content, list) else [content] if isinstance(content, str) else []
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts if part != ""]
    calls: list[Block] = []
    extra = data.get("additional_kwargs")
    as_they_came = extra.get("tool_calls") if isinstance(extra, Mapping) else None
    if as_they_came:
        calls = _read_openai({"role": "assistant", "content": None, "tool_calls": as_they_came})[1]
    else:
        calls = [
            make_call(call.get("id"), call.get("name"), call.get("args"))
            for name in ("tool_calls", "invalid_tool_calls")
            for call in data.get(name) or ()
        ]
    called = set(map(str, (call["id"] for call in calls)))
    blocks = [
        block
        for block in _convert_parts(validate_blocks(parts))
        if not (block["type"] == CALL and str(block.get("id")) in called)
        # The calls stand in the content too, in the words of the provider or of LangChain.
        and not (block["type"] == UNCONVERTED and block["what"] in _LANGCHAIN_CALLS)
    ]
    if role == "tool":
        text = content if isinstance(content, str) else blocks
        return role, [{"type": RESULT, "tool_use_id": data.get("tool_call_id"), "content": text}]
    return role, [*blocks, *calls]


def _convert_parts(parts: Iterable[Mapping[str, Any]]) -> list[Block]:
    return [_convert_part(dict(part)) for part in parts]


def _convert_part(part: Block) -> Block:
    """Return the block for one content part of Chat Completions, Responses or LangChain."""
    kind = str(part["type"])
    if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal", ""))}
    converted: Block | None = None
    if kind in ("image_url", "input_image", "image"):
        converted = _convert_picture(part)
    elif kind in ("file", "input_file"):
        converted = _convert_file(part)
    elif kind in (CALL, RESULT, "document", "thinking", "redacted_thinking"):
        converted = part
    return converted or make_unconverted(kind, part)


def _convert_picture(part: Block) -> Block | None:
    if isinstance(part.get("source"), Mapping):
        return part
    inner = part.get("image_url")
    url = inner.get("url") if isinstance(inner, Mapping) else inner or part.get("url")
    data = part.get("base64") or (part.get("data") if part.get("source_type") == "base64" else None)
    found = data or url
    return _convert_image(found, part.get("mime_type")) if isinstance(found, str) else None


def _convert_file(part: Block) -> Block | None:
    inner = part.get("file")
    file = inner if isinstance(inner, Mapping) else part
    title = {"title": file["filename"]} if isinstance(file.get("filename"), str) else {}
    data = file.get("file_data") or file.get("base64") or file.get("data")
    if isinstance(data, str):
        found = _DATA_URL.match(data)
        if "pdf" not in (found[1] if found else str(file.get("mime_type", "pdf"))):
            return None
        source = {"type": "base64", "media_type": "application/pdf", "data": data[found.end() if found else 0 :]}
        return {"type": "document", "source": source, **title}
    url = file.get("file_url") or file.get("url")
    return {"type": "document", "source": {"type": "url", "url": url}, **title} if isinstance(url, str) else None


def _convert_image(data: str, media_type: object) -> Block:
    if found := _DATA_URL.match(data):
        return {"type": "image", "source": {"type": "base64", "media_type": found[1], "data": data[found.end() :]}}
    if data.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": data}}
    if data.startswith("data:"):
        return make_unconverted("image", data)
    kind = media_type if isinstance(media_type, str) else "image/png"
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


_READERS: Final[dict[SourceForm, Callable[[Mapping[str, Any]], tuple[str, list[Block]]]]] = {
    "any": _read_anthropic,
    "anthropic": _read_anthropic,
    "openai": _read_openai,
    "responses": _read_responses,
    "langchain": _read_langchain,
    "ollama": _read_openai,
}
