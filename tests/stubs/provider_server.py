"""A provider on loopback that speaks the APIs of Anthropic and OpenAI: messages, chat completions, embeddings, and the
counting of tokens.

The real clients talk real HTTP to it. It refuses what the real ones refuse, answers well by default, and answers as
providers do on bad days when a plan of faults, one per request, or a chooser of faults says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer
from tests.stubs.batch_api import BatchApi
from tests.stubs.llm.rules import refused_by_anthropic, refused_by_openai

DEFAULT_WIDTH = 16
INVENTED = "777.77 USDC"

FaultKind = Literal[
    "none",
    "status",
    "slow",
    "drop",
    "reset",
    "reversed",
    "same_index",
    "wrong_width",
    "short",
    "nan",
    "zero",
    "html",
    "thinking_first",
    "refusal",
    "truncated",
    "hallucinate",
    "empty",
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: FaultKind
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    code: str = ""
    message: str = "planned fault"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ProviderServer(LoopbackServer):
    """The stub; `url` is its root, `seen` what arrived."""

    def __init__(self, width: int = DEFAULT_WIDTH, *, choose: Callable[[], Fault] = lambda: Fault("none")) -> None:
        super().__init__(_Handler)
        self.width = width
        self.choose = choose
        self.seen: list[Seen] = []
        self.released = threading.Event()
        self.batch_api = BatchApi(lambda body: _embeddings(body, "none", self))
        self._plan: deque[Fault] = deque()
        self._lock = threading.Lock()

    def release_waiting(self) -> None:
        self.released.set()

    def plan(self, *faults: Fault | FaultKind) -> None:
        """Queue faults, one for each of the next requests."""
        self._plan.extend(Fault(fault) if isinstance(fault, str) else fault for fault in faults)

    def take(self, seen: Seen) -> Fault:
        with self._lock:
            self.seen.append(seen)
            return self._plan.popleft() if self._plan else self.choose()


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.stub.batch_api.get(self.path)
        if found is None:
            self.send_json({"error": {"message": "no such thing"}}, 404)
        else:
            self.send_answer(200, found[0], {"content-type": found[1]})

    def do_POST(self) -> None:
        stub = self.stub
        raw = self.read_content()
        if (answer := stub.batch_api.post(self.path, raw)) is not None:
            self.send_json(answer)
            return
        body = json.loads(raw)
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = stub.take(Seen(self.path, headers, body))
        if fault.kind in {"drop", "reset"}:
            self._hang_up(reset=fault.kind == "reset")
            return
        if fault.kind == "slow":
            stub.released.wait(10)
        if fault.kind == "html":
            self.send_answer(200, b"<html>busy</html>", {"content-type": "text/html"})
            return
        if fault.kind == "status":
            error = {"message": fault.message, "type": fault.code or "error", "code": fault.code}
            self.send_json({"type": "error", "error": error}, fault.status, fault.headers)
            return
        why = _REFUSES.get(self.path, lambda _body: None)(body)
        if why is not None:
            self.send_json({"type": "error", "error": {"type": "invalid_request_error", "message": why}}, 400)
            return
        self.send_json(_ANSWERS[self.path](body, fault.kind, stub))

    def _hang_up(self, *, reset: bool) -> None:
        if reset:  # a connection that is closed while it would linger for 0 s is reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


def vector(text: str, width: int) -> list[float]:
    """The vector that the stub gives to a text."""
    digest = hashlib.shake_256(text.encode()).digest(width * 2)
    return [value / 32768 for value in struct.unpack(f"<{width}h", digest)]


def _embeddings(body: dict[str, Any], kind: FaultKind, stub: ProviderServer) -> dict[str, Any]:
    width = body.get("dimensions") or stub.width
    vectors = [vector(text, width) for text in body["input"]]
    if kind == "wrong_width":
        vectors[-1] = vectors[-1][: width // 4]
    if kind in {"nan", "zero"}:
        vectors[-1] = [float("nan") if kind == "nan" else 0.0] * width
    data = [
        {
            "object": "embedding",
            "index": 0 if kind == "same_index" else index,
            "embedding": _encoded(values, body.get("encoding_format")),
        }
        for index, values in enumerate(vectors)
    ]
    if kind == "short":
        data.pop()
    if kind == "reversed":
        data.reverse()
    usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


def _encoded(values: Iterable[float], encoding: str | None) -> object:
    values = list(values)
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return values


def _summary(prompt: str, kind: FaultKind) -> str:
    """A plain model: repeats what was said last in the transcript."""
    said = re.findall(r"^\[turn .*?\] (.+)$", prompt, re.MULTILINE)
    text = f"Recently: {said[-1] if said else 'nothing'}"
    if kind == "hallucinate":
        return f"{text} The fee was {INVENTED}."
    if kind == "truncated":
        return text[: len(text) // 2]
    return "" if kind in {"empty", "refusal"} else text


def _chat(body: dict[str, Any], kind: FaultKind, stub: ProviderServer) -> dict[str, Any]:
    reason = {"truncated": "length", "refusal": "content_filter"}.get(kind, "stop")
    text = _summary(body["messages"][-1]["content"], kind)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def _messages(body: dict[str, Any], kind: FaultKind, stub: ProviderServer) -> dict[str, Any]:
    reason = {"truncated": "max_tokens", "refusal": "refusal"}.get(kind, "end_turn")
    content: list[dict[str, Any]] = []
    if kind == "thinking_first":
        content.append({"type": "thinking", "thinking": "Let me see: 4242 EUR.", "signature": "c2ln"})
    if kind != "refusal":
        content.append({"type": "text", "text": _summary(body["messages"][-1]["content"], kind)})
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 20},
    }


def _length(body: dict[str, Any], kind: FaultKind, stub: ProviderServer) -> dict[str, Any]:
    return {"object": "response.input_tokens", "input_tokens": len(json.dumps(body)) // 3}


_ANSWERS = {
    "/v1/embeddings": _embeddings,
    "/v1/chat/completions": _chat,
    "/v1/messages": _messages,
    "/v1/messages/count_tokens": _length,
    "/v1/responses/input_tokens": _length,
}
_REFUSES = {
    "/v1/messages": refused_by_anthropic,
    "/v1/messages/count_tokens": refused_by_anthropic,
    "/v1/chat/completions": refused_by_openai,
}
