"""From turns to the messages that a language model is asked with: valid, alternating, within the budget.

Today's APIs want the first message to be the user's, roles in turn, and the last one not to be the assistant's. Turns
of one side in a row become one message; who spoke is told when the turn says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from agentstate.memory.turns import StoredSummary, Turn

MESSAGE_TOKENS = 7
"""What the frame of one message costs beside its text."""
PREFACE_TOKENS = 60
"""What the words around the summary and the fillers cost at most."""
CONTINUED = "[The conversation goes on.]"
WAITING = "[No new message yet.]"

_MARKED = ("system", "tool")


class Messages(list[dict[str, Any]]):
    """Messages for a model, and how the conversation is represented in them."""

    def __init__(self, messages: Iterable[dict[str, Any]] = (), *, summarized_to: int = 0, omitted: int = 0) -> None:
        super().__init__(messages)
        self.summarized_to = summarized_to
        """The turns up to this one stand in the summary."""
        self.omitted = omitted
        """Turns after those that are in neither, since they do not fit and no summary covers them as yet."""


def render(
    summary: StoredSummary | None, turns: Sequence[Turn], *, omitted: int = 0, for_reply: bool = True
) -> Messages:
    """The messages for `summary` and the newest `turns`.

    Args:
        summary: what stands for the older turns.
        turns: verbatim, in order.
        omitted: how many turns between the two are left out; the reader is told.
        for_reply: whether the model is to answer; then the last message is never its own.
    """
    head = [{"role": "user", "content": text} for text in _preface(summary, omitted)]
    messages = _joined(head + [_message(turn) for turn in turns])
    if messages and messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": CONTINUED})
    if for_reply and messages and messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": WAITING})
    return Messages(messages, summarized_to=summary.covers_to if summary else 0, omitted=omitted)


def _preface(summary: StoredSummary | None, omitted: int) -> Iterable[str]:
    if summary is not None:
        yield f"[Summary of the conversation's first {summary.covers_to} turns]\n{summary.text}\n[End of the summary]"
    if omitted:
        yield f"[{omitted} turns are left out here]"


def _message(turn: Turn) -> dict[str, Any]:
    role = "assistant" if turn.role == "assistant" else "user"
    if turn.content is not None:
        return {"role": role, "content": turn.content}
    mark = f"[{turn.role}] " if turn.role in _MARKED else ""
    speaker = f"{turn.speaker}: " if turn.speaker and role == "user" else ""
    return {"role": role, "content": f"{mark}{speaker}{turn.text}"}


def _joined(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    runs = groupby(messages, key=lambda message: message["role"])
    return [{"role": role, "content": _content([message["content"] for message in run])} for role, run in runs]


def _content(parts: Sequence[Any]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, str) for part in parts):
        return "\n\n".join(parts)
    blocks = [[{"type": "text", "text": part}] if isinstance(part, str) else part for part in parts]
    return [block for group in blocks for block in group]
