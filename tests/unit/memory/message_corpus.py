"""Messages as people and models really write them, by API: whole conversations, each valid for its own API.

Every text that a reader would miss has a mark of its own (`mk-…`), so that a test can tell what became of it.
"""

from __future__ import annotations

import base64
import struct
from itertools import count
from typing import Any, Final

PNG: Final = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480) + b"\x08\x02\x00\x00\x00" + b"\x5a" * 6_000
).decode()
PDF: Final = base64.b64encode(b"%PDF-1.7\n" + b"<< /Type /Page >>\n" * 3 + b"\x00" * 4_000).decode()
PDF_URL: Final = f"data:application/pdf;base64,{PDF}"
WAV: Final = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt " + b"\x01" * 4_000).decode()

Message = dict[str, Any]
_numbers = count(1)


def mark(text: str = "words") -> str:
    """Return `text` with a mark that no other text has."""
    return f"{text} mk-{next(_numbers):04}"


ARGUMENTS: Final = [
    '{"amount": 2.5}',
    '{"amount":2.50,  "to":"0xab12ce"}',
    "{}",
    "",
    '{"wei": 123456789012345678901234567890, "rate": 0.1234567890123456789}',
    '{"text": "a \\"quoted\\" \\u00e9\\nline", "list": [1, 2.0, 1e-7, null, true]}',
    "[1, 2]",
    '{"cut": "off',
    "not json at all",
    '{"a": {"b": {"c": [{"d": 0.1}]}}}',
]
INPUTS: Final[list[dict[str, Any]]] = [
    {"amount": 2.5},
    {},
    {"amount": 0.1, "to": "0xab12ce", "n": 3},
    {"wei": 123456789012345678901234567890},
    {"deep": {"list": [1, 2.0, 1e-07, None, True, {"x": "é\n"}]}},
    {"price": 1e22, "tiny": 5e-324},
]


def chat_call(call_id: str, arguments: str, name: str = "pay") -> Message:
    """Return a function call of Chat Completions."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_conversations() -> list[list[Message]]:
    """Return conversations of Chat Completions."""
    user = lambda content: {"role": "user", "content": content}  # noqa: E731
    pair = lambda first: [first, {"role": "assistant", "content": mark()}, user(mark())]  # noqa: E731
    text = lambda: {"type": "text", "text": mark()}  # noqa: E731
    picture = lambda url, **more: {"type": "image_url", "image_url": {"url": url, **more}}  # noqa: E731
    found = [
        pair(user(mark())),
        pair(user([text()])),
        pair(user([text(), text()])),
        pair(user([picture("https://a.example/x.png")])),
        pair(user([text(), picture(f"data:image/png;base64,{PNG}", detail="high")])),
        pair(user([picture(f"data:image/png;base64,{PNG}")])),
        pair(user([text(), {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}])),
        pair(user([{"type": "file", "file": {"file_data": PDF_URL, "filename": "a.pdf"}}])),
        pair(user([text(), {"type": "file", "file": {"file_id": "file-1"}}])),
        pair({**user(mark()), "name": "ann"}),
        [{"role": "system", "content": mark()}, user(mark())],
        [{"role": "system", "content": [text()]}, user(mark())],
        [{"role": "developer", "content": mark()}, user(mark())],
        [{"role": "developer", "content": [text(), text()]}, user(mark())],
        [user(mark()), {"role": "assistant", "content": None, "refusal": mark()}, user(mark())],
        [user(mark()), {"role": "assistant", "content": [{"type": "refusal", "refusal": mark()}]}, user(mark())],
        [user(mark()), {"role": "assistant", "content": [text()]}, user(mark())],
        [user(mark()), {"role": "assistant", "content": mark(), "name": "bot"}, user(mark())],
        [user(mark()), {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}, user(mark())],
        [user(mark()), {"role": "assistant", "content": mark(), "reasoning_content": mark()}, user(mark())],
        [
            user(mark()),
            {"role": "assistant", "content": mark(), "refusal": None, "annotations": [], "audio": None,
             "function_call": None},
            user(mark()),
        ],
        [
            user(mark()),
            {"role": "assistant", "content": mark(), "annotations": [
                {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "t", "start_index": 0,
                                                          "end_index": 1}}]},
            user(mark()),
        ],
        [
            user(mark()),
            {"role": "assistant", "content": None, "tool_calls": [chat_call("c1", "{}"), chat_call("c2", "{}")]},
            {"role": "tool", "tool_call_id": "c1", "content": mark()},
            {"role": "tool", "tool_call_id": "c2", "content": [text(), text()]},
            user(mark()),
        ],
        [
            user(mark()),
            {"role": "assistant", "content": "", "tool_calls": [chat_call("c1", "{}")]},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
            {"role": "assistant", "content": mark()},
            user(mark()),
        ],
        [
            user(mark()),
            {"role": "assistant", "content": mark(), "tool_calls": [
                {"id": "c1", "type": "custom", "custom": {"name": "run", "input": mark("SELECT 2.50")}}]},
            {"role": "tool", "tool_call_id": "c1", "content": mark()},
            user(mark()),
        ],
    ]  # fmt: skip
    for number, arguments in enumerate(ARGUMENTS):
        call = chat_call(f"call_{number}", arguments)
        found.append(
            [
                user(mark()),
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"call_{number}", "content": mark('{"balance": 97.50}')},
                {"role": "assistant", "content": mark()},
                user(mark()),
            ]
        )
    return found


def anthropic_conversations() -> list[list[Message]]:
    """Return conversations of Anthropic's Messages."""
    user = lambda content: {"role": "user", "content": content}  # noqa: E731
    answer = lambda *blocks: {"role": "assistant", "content": list(blocks)}  # noqa: E731
    text = lambda **more: {"type": "text", "text": mark(), **more}  # noqa: E731
    think = lambda: {"type": "thinking", "thinking": mark(), "signature": "c2ln" * 40}  # noqa: E731
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    sources: list[Message] = [
        {"type": "base64", "media_type": "application/pdf", "data": PDF},
        {"type": "text", "media_type": "text/plain", "data": mark("Rent is 1,200 EUR")},
        {"type": "url", "url": "https://a.example/a.pdf"},
        {"type": "content", "content": [text()]},
    ]
    citation = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None,
                "start_char_index": 0, "end_char_index": 1}  # fmt: skip
    search = {"type": "web_search_result", "url": "https://b.example", "title": mark(), "encrypted_content": "e" * 300,
              "page_age": None}  # fmt: skip
    found = [
        [user(mark()), {"role": "assistant", "content": mark()}, user(mark())],
        [user([text()]), answer(text()), user([text(), text()])],
        [user([image]), answer(text()), user(mark())],
        [user([text(), image, {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}}])],
        [user([text(cache_control={"type": "ephemeral"})]), answer(text()), user(mark())],
        [user(mark()), answer(think(), text()), user(mark())],
        [user(mark()), answer({"type": "redacted_thinking", "data": "R" * 400}, text()), user(mark())],
        [user(mark()), answer(text(citations=[citation])), user(mark())],
        [user([{"type": "search_result", "source": "https://a.example", "title": mark(), "content": [text()]}])],
        [
            user(mark()),
            answer(
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [search]},
                text(),
            ),
            user(mark()),
        ],
        [
            user(mark()),
            answer(think(), {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 2.5}},
                   {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}}),
            user([{"type": "tool_result", "tool_use_id": "toolu_2", "content": [text(), image]},
                  {"type": "tool_result", "tool_use_id": "toolu_1", "content": mark(), "is_error": True}, text()]),
            answer(text()),
            user(mark()),
        ],
        [
            user(mark()),
            answer({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}),
            user([{"type": "tool_result", "tool_use_id": "toolu_1"}]),
            answer(text()),
            user(mark()),
        ],
        [user([{"type": "container_upload", "file_id": "file_1"}, text()])],
    ]  # fmt: skip
    found += [[user([{"type": "document", "source": source, "title": mark("title")}, text()])] for source in sources]
    found += [[user([{"type": "document", "source": source}])] for source in sources]
    for number, given in enumerate(INPUTS):
        found.append(
            [
                user(mark()),
                answer(text(), {"type": "tool_use", "id": f"toolu_9{number}", "name": "pay", "input": given}),
                user([{"type": "tool_result", "tool_use_id": f"toolu_9{number}", "content": mark()}]),
                answer(text()),
                user(mark()),
            ]
        )
    return found


def responses_conversations() -> list[list[Message]]:
    """Return conversations of the Responses API."""
    user = lambda content: {"role": "user", "content": content}  # noqa: E731
    said = lambda: {"type": "output_text", "text": mark(), "annotations": []}  # noqa: E731
    answer = lambda part: {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",  # noqa: E731
                           "content": [part]}  # fmt: skip
    text = lambda: {"type": "input_text", "text": mark()}  # noqa: E731
    found = [
        [user(mark()), answer(said()), user(mark())],
        [{"type": "message", "role": "user", "content": [text()]}, answer(said()), user([text(), text()])],
        [user([text(), {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"}])],
        [user([{"type": "input_image", "file_id": "file_1", "detail": "auto"}, text()])],
        [user([{"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}])],
        [user([{"type": "input_file", "file_url": "https://a.example/a.pdf"}, text()])],
        [user([{"type": "input_file", "file_id": "file_2"}, text()])],
        [{"type": "message", "role": "developer", "content": [text()]}, user(mark())],
        [user(mark()), answer({"type": "refusal", "refusal": mark()}), user(mark())],
        [
            user(mark()),
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": mark()}],
             "encrypted_content": "g" * 500},
            answer(said()),
            user(mark()),
        ],
        [
            user(mark()),
            {"type": "web_search_call", "id": "ws_1", "status": "completed",
             "action": {"type": "search", "query": mark()}},
            answer(said()),
            user(mark()),
        ],
        [
            user(mark()),
            {"type": "custom_tool_call", "call_id": "call_9", "name": "run", "input": mark("SELECT 1")},
            {"type": "custom_tool_call_output", "call_id": "call_9", "output": mark()},
            user(mark()),
        ],
        [
            user(mark()),
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": mark()},
            {"type": "function_call_output", "call_id": "call_2", "output": [text()]},
            answer(said()),
            user(mark()),
        ],
    ]  # fmt: skip
    for number, arguments in enumerate(ARGUMENTS):
        found.append(
            [
                user(mark()),
                {
                    "type": "function_call",
                    "id": f"fc_{number}",
                    "call_id": f"call_{number}",
                    "name": "pay",
                    "arguments": arguments,
                    "status": "completed",
                },
                {"type": "function_call_output", "call_id": f"call_{number}", "output": mark()},
                user(mark()),
            ]
        )
    return found


def other_conversations() -> list[list[Any]]:
    """Return conversations of LangChain, as objects and dumps, of Ollama, and of the SDKs' objects."""
    from anthropic.types import Message as AnthropicMessage
    from langchain_core.load import dumpd
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, messages_to_dict
    from openai.types.chat import ChatCompletionMessage
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage

    call = {"name": "pay", "args": {"amount": 2.5}, "id": "lc1", "type": "tool_call"}
    chain: list[Any] = [
        SystemMessage(mark()),
        HumanMessage(mark()),
        AIMessage(mark(), tool_calls=[call]),
        ToolMessage(mark(), tool_call_id="lc1"),
        AIMessage([{"type": "text", "text": mark()}]),
        HumanMessage(
            [{"type": "text", "text": mark()}, {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]
        ),
    ]
    mixed: list[Any] = [
        HumanMessage(mark()),
        AIMessage(
            [{"type": "text", "text": mark()}, {"type": "tool_use", "id": "lc2", "name": "pay", "input": {}}],
            tool_calls=[{**call, "id": "lc2"}],
        ),
        ToolMessage([{"type": "text", "text": mark()}], tool_call_id="lc2"),
        AIMessage([{"type": "reasoning", "reasoning": mark()}, {"type": "text", "text": mark()}]),
        HumanMessage([{"type": "image", "base64": PNG, "mime_type": "image/png"}, mark()]),
    ]
    ollama = [
        {"role": "user", "content": mark(), "images": [PNG]},
        {"role": "assistant", "content": "", "thinking": mark(),
         "tool_calls": [{"function": {"name": "pay", "arguments": {"amount": 2.5}}}]},
        {"role": "tool", "tool_name": "pay", "content": mark()},
        {"role": "assistant", "content": mark()},
        {"role": "user", "content": mark()},
    ]  # fmt: skip
    nulls = [
        {"role": "user", "content": mark()},
        {"role": "assistant", "content": mark(), "refusal": None, "audio": None, "tool_calls": None},
        {"role": "user", "content": mark()},
    ]
    legacy = [
        {"role": "user", "content": mark()},
        {"role": "assistant", "content": None, "function_call": {"name": "pay", "arguments": '{"amount": 2.50}'}},
        {"role": "function", "name": "pay", "content": mark()},
        {"role": "user", "content": mark()},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    objects = [
        {"role": "user", "content": mark()},
        ChatCompletionMessage.model_validate(
            {"role": "assistant", "content": None, "tool_calls": [chat_call("o1", '{"amount": 2.5}')]}
        ),
        {"role": "tool", "tool_call_id": "o1", "content": mark()},
        AnthropicMessage.model_validate(
            {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
             "stop_sequence": None, "usage": usage, "content": [{"type": "text", "text": mark()}]}
        ),
        {"role": "user", "content": mark()},
        ResponseFunctionToolCall.model_validate(
            {"type": "function_call", "call_id": "o2", "name": "pay", "arguments": "{}"}
        ),
        {"type": "function_call_output", "call_id": "o2", "output": mark()},
        ResponseOutputMessage.model_validate(
            {"type": "message", "id": "m", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": mark(), "annotations": []}]}
        ),
        {"role": "user", "content": mark()},
    ]  # fmt: skip
    return [
        chain,
        messages_to_dict(chain),
        [dumpd(message) for message in chain],
        mixed,
        ollama,
        nulls,
        legacy,
        objects,
    ]


OWN_FORMS: Final = {
    "openai": chat_conversations(),
    "anthropic": anthropic_conversations(),
    "responses": responses_conversations(),
}
