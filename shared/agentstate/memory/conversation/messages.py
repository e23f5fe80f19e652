"""From turns to the messages that a language model is asked with: valid, alternating, within the budget.

Today's APIs want the first message to be the user's, roles in turn, the last one not to be the assistant's, and each
call of a tool answered in the very next message. Turns of one side in a row become one message; a call without a
recorded result gets one that says so, and a result without its call becomes text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, Literal, TypeAlias

from agentstate.errors import InvalidInput
from agentstate.memory.conversation.blocks import (
    CALL,
    NO_RESULT,
    RESULT,
    Block,
    as_json,
    blocks_as_text,
    result_text,
    to_openai_messages,
    tool_call_ids,
)
from agentstate.memory.conversation.turns import FRAME_TOKENS, StoredSummary, Turn
from agentstate.providers.tokens import estimate_tokens

Form: TypeAlias = Literal["anthropic", "openai"]

PREFACE_TOKENS = 70
"""Largest cost of the text around the summary and of the fillers."""
CONTINUED = "[The conversation goes on.]"
WAITING = "[No new message yet.]"

_MARKED: Final = ("system", "tool")

# Marks that no turn can forge: a line of its text that begins like a mark of ours (`[tool]`, `Ann:`, `[Summary ...]`)
# gets a backslash. Each line is looked at once, so the time is linear in the text, whatever it holds.
_ROLES: Final = ("user", "assistant", "system", "tool")
_OURS: Final = (
    r"\[\s*+(?:summary|end of|system|tool|user|assistant|turns?|\d++ turns?|the conversation|no new|result|calls)\b"
)
# A run of blanks is taken as a whole, from its first: the mark behind it begins a line if the run has a line break.
_RUN: Final = r"(?:\A|(?<!\s)(?=\s))\s*+"
_BREAK: Final = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Messages(list[dict[str, Any]]):
    """Messages for a model, and how the conversation is represented in them."""

    def __init__(
        self,
        messages: Iterable[dict[str, Any]] = (),
        *,
        summarized_to: int = 0,
        omitted: int = 0,
        verbatim_from: int = 0,
    ) -> None:
        super().__init__(messages)
        self.summarized_to = summarized_to
        """The turns up to this one stand in the summary."""
        self.omitted = omitted
        """Turns after those that are in neither, since they do not fit and no summary covers them as yet."""
        self.verbatim_from = verbatim_from
        """The turns from this one on are there word by word; 0 when there is none."""

    @property
    def tokens(self) -> int:
        """Estimated tokens of all messages with their frames, for the model family that has the most."""
        counted = []
        for message in self:
            content = message["content"]
            plain = isinstance(content, str) and message.keys() == {"role", "content"}
            counted.append(content if plain else as_json(message))
        return len(self) * FRAME_TOKENS + estimate_tokens("\n".join(counted))


def render_messages(
    summary: StoredSummary | None,
    turns: Sequence[Turn],
    *,
    omitted: int = 0,
    for_reply: bool = True,
    form: Form = "anthropic",
) -> Messages:
    """Render `summary` and the newest `turns` as messages.

    Args:
        summary: what stands for the older turns.
        turns: verbatim, in order.
        omitted: how many turns between the two are left out; the reader is told.
        for_reply: whether the model is to answer; then the last message is never its own.
        form: whose API takes them.
    """
    if form not in {"anthropic", "openai"}:
        raise InvalidInput(f"form is {form!r}; use 'anthropic' or 'openai'.")
    speakers = {turn.speaker for turn in turns if turn.speaker}
    said: list[tuple[str, list[Block]]] = []
    if summary is not None:
        covered = f"[Summary of the conversation's first {summary.covers_to} turns]"
        said.append(("user", [_text_block(f"{covered}\n{escape_markers(summary.text)}\n[End of the summary]")]))
    if omitted:
        said.append(("user", [_text_block(f"[{omitted} turns are left out here]")]))
    said += [("assistant" if turn.role == "assistant" else "user", _turn_blocks(turn, speakers)) for turn in turns]
    # Turns of one side in a row become one message.
    sides = [
        (side, [block for _, blocks in run for block in blocks]) for side, run in groupby(said, lambda one: one[0])
    ]
    messages: list[dict[str, Any]] = []
    for side, blocks in _pair_results(_add_fillers(_drop_repeated_calls(sides), for_reply)):
        plain = all(block["type"] == "text" and block.keys() == {"type", "text"} for block in blocks)
        content = "\n\n".join(block["text"] for block in blocks) if plain else blocks
        messages.append({"role": side, "content": content})
    return Messages(
        to_openai_messages(messages) if form == "openai" else messages,
        summarized_to=summary.covers_to if summary else 0,
        omitted=omitted,
        verbatim_from=turns[0].number if turns else 0,
    )


def _add_fillers(sides: list[tuple[str, list[Block]]], for_reply: bool) -> list[tuple[str, list[Block]]]:  # noqa: FBT001 an option of render
    """Add a user's message at the begin, and at the end when a reply is wanted, where needed."""
    first = [("user", [_text_block(CONTINUED)])] if sides and sides[0][0] == "assistant" else []
    waits = sides and sides[-1][0] == "assistant" and (for_reply or tool_call_ids(sides[-1][1]))
    last: list[tuple[str, list[Block]]] = [("user", [])] if waits else []
    if last and not tool_call_ids(sides[-1][1]):
        last[0][1].append(_text_block(WAITING))
    return [*first, *sides, *last]


def _drop_repeated_calls(sides: Sequence[tuple[str, list[Block]]]) -> list[tuple[str, list[Block]]]:
    """Turn every call with an id that was used before into text."""
    seen: set[str] = set()
    whole = []
    for side, blocks in sides:
        shown = []
        for block in blocks:
            again = block["type"] == CALL and block["id"] in seen
            seen.update(tool_call_ids([block]))
            shown.append(_text_block(blocks_as_text([block])) if again else block)
        whole.append((side, shown))
    return whole


def _pair_results(sides: Sequence[tuple[str, list[Block]]]) -> list[tuple[str, list[Block]]]:
    """Put the result of each call first in the next message; turn every other result into text."""
    paired: list[tuple[str, list[Block]]] = []
    asked: list[str] = []
    for side, blocks in sides:
        given: dict[str, Block] = {}
        others = []
        for block in blocks:
            if block["type"] != RESULT:
                others.append(block)
            elif block["tool_use_id"] in asked and block["tool_use_id"] not in given:
                given[block["tool_use_id"]] = block
            else:
                others.append(_text_block(f"[result] {escape_markers(result_text(block))}"))
        results = [
            given.get(call) or {"type": RESULT, "tool_use_id": call, "content": NO_RESULT, "is_error": True}
            for call in dict.fromkeys(asked)
        ]
        paired.append((side, [*results, *others]))
        asked = tool_call_ids(blocks)
    return paired


def _turn_blocks(turn: Turn, speakers: Iterable[str]) -> list[Block]:
    if turn.content is not None:
        if turn.role == "assistant":
            return turn.content
        # On the user's side no text may pose as another speaker's, and only the assistant calls tools.
        shown = []
        for block in turn.content:
            if block["type"] == "text":
                shown.append({**block, "text": escape_markers(block["text"], speakers)})
            elif block["type"] == CALL:
                shown.append(_text_block(escape_markers(blocks_as_text([block]), speakers)))
            else:
                shown.append(block)
        return shown
    if turn.role == "assistant":
        return [_text_block(turn.text)]
    mark = f"[{turn.role}] " if turn.role in _MARKED else ""
    speaker = f"{turn.speaker}: " if turn.speaker else ""
    return [_text_block(f"{mark}{speaker}{escape_markers(turn.text, speakers)}")]


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def escape_markers(text: str, speakers: Iterable[str] = ()) -> str:
    """Return `text` with a backslash before each line that looks like one of our marks or a speaker's name."""

    def escape(run: re.Match[str]) -> str:
        begins_line = run.start() == 0 or _BREAK.search(run[0])
        return f"{run[0]}\\" if begins_line else run[0]

    return _marker_pattern(frozenset(speakers)).sub(escape, text)


@lru_cache(maxsize=256)
def _marker_pattern(speakers: frozenset[str]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted({*_ROLES, *speakers}))
    return re.compile(rf"{_RUN}(?={_OURS}|(?:{names})\s*+:)", re.IGNORECASE)
