"""From turns to the messages that a language model is asked with: valid, in turn, within the budget.

A message goes back to its own API as it came. For another API it is converted, and the report names the parts that
this API does not take. Today's APIs want each call of a tool answered right behind it; Anthropic's wants the first
message to be the user's and roles in turn, so turns of one side in a row become one message there. A call without a
recorded result gets one that says so, and a result without its call becomes text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from agentstate.errors import InvalidInput
from agentstate.memory.conversation.billing import count_tokens, weigh_media
from agentstate.memory.conversation.blocks import (
    CALL,
    NO_RESULT,
    RESULT,
    Block,
    CallBlock,
    as_json,
    blocks_as_text,
    result_call_ids,
    result_text,
    tool_call_ids,
)
from agentstate.memory.conversation.message_output import (
    Dropped,
    Form,
    Report,
    left_out_mark,
    report_extras,
    select_blocks,
    strip_extras,
    text_block,
    to_openai_messages,
    to_responses_items,
)
from agentstate.memory.conversation.turns import FRAME_TOKENS, StoredSummary, Turn
from agentstate.providers.tokens import estimate_tokens, fit_tokens, mean_budget, mean_tokens

FORMS: Final = ("anthropic", "openai", "responses")

PREFACE_TOKENS = 70
"""Largest cost of the text around the summary and of the fillers."""
FACTS = "[Facts of these turns]"
CONTINUED = "[The conversation goes on.]"
WAITING = "[No new message yet.]"

_SHOWN_FACTS: Final = ("record", "amount", "identifier")
_SMALL_PART: Final = 60
"""Tokens up to which a part is not replaced by a mark, which costs nearly as much."""

_MARKED: Final = ("system", "tool")

# Marks that no turn can forge: a line of its text that begins like a mark of ours (`[tool]`, `Ann:`, `[Summary ...]`)
# gets a backslash. Each line is looked at once, so the time is linear in the text, whatever it holds.
_ROLES: Final = ("user", "assistant", "system", "tool")
_OURS: Final = (
    r"\[\s*+(?:summary|end of|facts of|left out|system|tool|user|assistant|turns?|\d++ turns?|the conversation|no new"
    r"|result|calls)\b"
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
        report: Report | None = None,
    ) -> None:
        super().__init__(messages)
        self.summarized_to = summarized_to
        """The turns up to this one stand in the summary."""
        self.omitted = omitted
        """Turns after those that are in neither, since they do not fit and no summary covers them as yet."""
        self.verbatim_from = verbatim_from
        """The turns from this one on are there word by word; 0 when there is none."""
        self.report = report or Report()
        """Parts of those turns that are left out, or that stand as a mark."""

    @property
    def tokens(self) -> int:
        """Estimated tokens of all messages with their frames, for the model family that has the most."""
        counted, media = [], 0
        for message in self:
            content = message.get("content")
            plain = isinstance(content, str) and message.keys() == {"role", "content"}
            rest, billed = (content, 0) if plain else weigh_media(message)
            counted.append(rest if isinstance(rest, str) else as_json(rest))
            media += billed
        return len(self) * FRAME_TOKENS + estimate_tokens("\n".join(counted)) + media


@dataclass(slots=True)
class _Entry:
    """One turn on its way into messages."""

    side: str
    blocks: list[Block]
    number: int = 0
    native: dict[str, Any] | None = None
    """The message as it came, when the API that it came from takes it."""

    def replace_blocks(self, blocks: list[Block]) -> None:
        """Take other blocks, which the message as it came does not have."""
        self.blocks, self.native = blocks, None


def render_messages(
    summary: StoredSummary | None,
    turns: Sequence[Turn],
    *,
    omitted: int = 0,
    for_reply: bool = True,
    form: Form = "anthropic",
    dropped: Iterable[Dropped] = (),
    facts: str = "",
) -> Messages:
    """Render `summary` and the newest `turns` as messages.

    Args:
        summary: what stands for the older turns.
        turns: verbatim, in order.
        omitted: how many turns between the two are left out; the reader is told.
        for_reply: whether the model is to answer; then the last message is never its own.
        form: whose API takes them.
        dropped: parts that were left out before, to be reported.
        facts: facts of the summarized turns, see `format_facts`.
    """
    if form not in FORMS:
        raise InvalidInput(f"form is {form!r}; use {', '.join(map(repr, FORMS))}.")
    report = Report(list(dropped))
    speakers = {turn.speaker for turn in turns if turn.speaker}
    entries: list[_Entry] = []
    if summary is not None:
        covered = f"[Summary of the conversation's first {summary.covers_to} turns]"
        known = f"\n{FACTS}\n{facts}" if facts else ""
        text = f"{covered}\n{escape_markers(summary.text)}{known}\n[End of the summary]"
        entries.append(_Entry("user", [text_block(text)]))
    if omitted:
        entries.append(_Entry("user", [text_block(f"[{omitted} turns are left out here]")]))
    entries += [entry for turn in turns if (entry := _make_entry(turn, speakers, form, report)).blocks or entry.native]
    _name_calls(entries)
    sides = _pair_calls(entries)
    if form == "anthropic":
        _add_fillers(sides, for_reply=for_reply)
        messages = [_merge_side(side, run) for side, run in sides if run]
    else:
        if for_reply and sides and sides[-1][0] == "assistant":
            sides.append(("user", [_Entry("user", [text_block(WAITING)])]))
        messages = list(_order_messages(sides, form, report))
    return Messages(
        messages,
        summarized_to=summary.covers_to if summary else 0,
        omitted=omitted,
        verbatim_from=turns[0].number if turns else 0,
        report=report,
    )


def format_facts(summary: StoredSummary, room: int) -> str:
    """Return the records, amounts and identifiers that the summary's text lacks: the newest that `room` tokens hold."""
    lines: list[str] = []
    left = mean_budget(max(room, 0)) if room > 0 else 0.0
    wanted = [fact for fact in summary.facts if fact["kind"] in _SHOWN_FACTS and fact["text"] not in summary.text]
    for fact in sorted(wanted, key=lambda fact: (_SHOWN_FACTS.index(fact["kind"]), -max(fact["turns"]))):
        line = escape_markers(f"- turn {max(fact['turns'])}: {fact['text']}")
        left -= mean_tokens(f"{line}\n")
        if left < 0:
            break
        lines.append(line)
    return "\n".join(lines)


def _make_entry(turn: Turn, speakers: Iterable[str], form: Form, report: Report) -> _Entry:
    """Return the blocks of a turn that `form` takes, and its message as it came if that is of this form.

    On the user's side no text may pose as another speaker's, and only the assistant calls tools.
    """
    side = "assistant" if turn.role == "assistant" else "user"
    if turn.content is None:
        if side == "assistant":
            return _Entry(side, [text_block(turn.text)], turn.number)
        mark = f"[{turn.role}] " if turn.role in _MARKED else ""
        speaker = f"{turn.speaker}: " if turn.speaker else ""
        return _Entry(side, [text_block(f"{mark}{speaker}{escape_markers(turn.text, speakers)}")], turn.number)
    is_any = turn.form == "any" and (form != "responses" or isinstance((turn.message or {}).get("content"), str))
    is_own = turn.message is not None and (turn.form == form or is_any)
    blocks = turn.content
    if side == "user":
        blocks = [
            {**block, "text": escape_markers(block["text"], speakers)}
            if block["type"] == "text" and isinstance(block.get("text"), str)
            else text_block(escape_markers(blocks_as_text([block]), speakers))
            if block["type"] == CALL
            else block
            for block in blocks
        ]
    if is_own and form != "anthropic":
        message = dict(turn.message or {})
        for name in ("content", "output"):
            if side == "user" and name in message and turn.role != "tool":
                message[name] = _escape_content(message[name], speakers)
        if not message.get("tool_calls", True):  # a dump of the SDK's object has it as null, which the API refuses
            del message["tool_calls"]
        if turn.form == "any":
            message = {"role": message["role"], "content": message["content"]}
        return _Entry(side, blocks, turn.number, message)
    if form == "anthropic":
        blocks = select_blocks(blocks, side, form, turn.number, report)
    if turn.role in _MARKED and turn.role != "tool" and not is_own:
        mark = f"[{turn.role}] "
        blocks = [{**block, "text": mark + block["text"]} if block["type"] == "text" else block for block in blocks]
    if form == "anthropic" and turn.form not in ("anthropic", "any"):
        report_extras(blocks, turn.number, report)
        blocks = [strip_extras(block) for block in blocks]
    as_came = turn.message if is_own and isinstance((turn.message or {}).get("content"), list) else None
    return _Entry(side, blocks, turn.number, as_came)


def shrink_turn(turn: Turn, room: int) -> tuple[Turn, list[Dropped]]:
    """Return the turn with its largest parts cut or replaced by marks until it costs `room` tokens, and what that was.

    Small parts stay as they are, so the turn may still cost more.
    """
    blocks = [text_block(turn.text)] if turn.content is None else list(turn.content)
    costs = [count_tokens(block) for block in blocks]
    dropped: list[Dropped] = []
    while FRAME_TOKENS + sum(costs) > room:
        place = max(range(len(costs)), key=costs.__getitem__)
        cost, block = costs[place], blocks[place]
        left = room - FRAME_TOKENS - sum(costs) + cost
        smaller = _shorten_block(block, left, cost)
        costs[place] = count_tokens(smaller)
        if cost <= _SMALL_PART or costs[place] >= cost:
            break
        blocks[place] = smaller
        what = str(block.get("what") or block["type"])
        dropped.append(Dropped(turn.number, what, f"its {cost:,} tokens are too many for this budget"))
    # A call of the server's own tools stands only beside its result.
    kept = {block.get("tool_use_id") for block in blocks}
    cut = {block.get("tool_use_id") for block in turn.content or ()} - kept
    blocks = [
        text_block(blocks_as_text([block])) if block["type"] == "server_tool_use" and block.get("id") in cut else block
        for block in blocks
    ]
    if not dropped:
        return turn, []
    content = None if turn.content is None else blocks
    tokens = FRAME_TOKENS + sum(map(count_tokens, blocks))
    return replace(turn, text=blocks_as_text(blocks), content=content, message=None, tokens=tokens), dropped


def _shorten_block(block: Block, room: int, cost: int) -> Block:
    if block["type"] == CALL:
        return {**block, "input": {"left_out": f"arguments of {cost:,} tokens"}}
    if block["type"] not in ("text", RESULT):
        return text_block(left_out_mark(f"{block.get('what') or block['type']} of {cost:,} tokens"))
    text = block["text"] if block["type"] == "text" else result_text(block)
    head = fit_tokens(text, max(0, room - _SMALL_PART))
    mark = left_out_mark(f"{len(text) - len(head):,} of {len(text):,} characters")
    short = f"{head}\n{mark}" if head else mark
    return {**block, "text": short} if block["type"] == "text" else {**block, "content": short}


def _escape_content(content: Any, speakers: Iterable[str]) -> Any:
    if isinstance(content, str):
        return escape_markers(content, speakers)
    if not isinstance(content, list):
        return content
    return [
        {**part, "text": escape_markers(part["text"], speakers)}
        if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        else part
        for part in content
    ]


def _name_calls(entries: Sequence[_Entry]) -> None:
    """Give an id to each call that came without one, and to the first result behind it that has none."""
    waiting: list[str] = []
    for entry in entries:
        named = []
        for place, block in enumerate(entry.blocks):
            if block["type"] == CALL and not block.get("id"):
                waiting.append(f"call_{entry.number}_{place}")
                named.append(_with_field(block, "id", waiting[-1]))
            elif block["type"] == RESULT and not block.get("tool_use_id") and waiting:
                named.append(_with_field(block, "tool_use_id", waiting.pop(0)))
            else:
                named.append(block)
        if any(block is not old for block, old in zip(named, entry.blocks, strict=True)):
            entry.replace_blocks(named)


def _with_field(block: Block, name: str, value: str) -> Block:
    copied = CallBlock(block) if isinstance(block, CallBlock) else dict(block)
    if isinstance(copied, CallBlock) and isinstance(block, CallBlock):
        copied.arguments = block.arguments
    copied[name] = value
    return copied


def _pair_calls(entries: Sequence[_Entry]) -> list[tuple[str, list[_Entry]]]:
    """Return the entries by side, each call with one result in the next side, other calls and results as text."""
    seen: set[str] = set()
    for entry in entries:
        ids = tool_call_ids(entry.blocks)
        if seen.intersection(ids) or len(set(ids)) < len(ids):
            blocks = []
            for block in entry.blocks:
                again = block["type"] == CALL and block["id"] in seen
                seen.update(tool_call_ids([block]))
                blocks.append(text_block(blocks_as_text([block])) if again else block)
            entry.replace_blocks(blocks)
        seen.update(ids)
    sides = [(side, list(run)) for side, run in groupby(entries, lambda entry: entry.side)]
    asked: list[str] = []
    for place, (_, run) in enumerate(sides):
        given: set[str] = set()
        for entry in run:
            blocks = []
            for block in entry.blocks:
                if block["type"] == RESULT and (block["tool_use_id"] not in asked or block["tool_use_id"] in given):
                    blocks.append(text_block(f"[result] {escape_markers(result_text(block))}"))
                else:
                    given.update(result_call_ids([block]))
                    blocks.append(block)
            if any(block is not old for block, old in zip(blocks, entry.blocks, strict=True)):
                entry.replace_blocks(blocks)
        missing = [call for call in dict.fromkeys(asked) if call not in given]
        if missing:
            run.insert(0, _Entry("user", [_missing_result(call) for call in missing]))
        asked = [call for entry in run for call in tool_call_ids(entry.blocks)]
        if asked and place == len(sides) - 1:
            sides.append(("user", [_Entry("user", [_missing_result(call) for call in dict.fromkeys(asked)])]))
            break
    return sides


def _missing_result(call: str) -> Block:
    return {"type": RESULT, "tool_use_id": call, "content": NO_RESULT, "is_error": True}


def _add_fillers(sides: list[tuple[str, list[_Entry]]], *, for_reply: bool) -> None:
    """Add a user's message at the begin, and at the end when a reply is wanted, where needed."""
    if sides and sides[0][0] == "assistant":
        sides.insert(0, ("user", [_Entry("user", [text_block(CONTINUED)])]))
    if for_reply and sides and sides[-1][0] == "assistant":
        blocks = [block for entry in sides[-1][1] for block in entry.blocks]
        answered = {block.get("tool_use_id") for block in blocks}
        # A turn that the server paused is continued by sending it back as the last message.
        is_paused = any(block["type"] == "server_tool_use" and block.get("id") not in answered for block in blocks)
        if not is_paused:
            sides.append(("user", [_Entry("user", [text_block(WAITING)])]))


def _merge_side(side: str, run: Sequence[_Entry]) -> dict[str, Any]:
    """Return one message of Anthropic's for the entries of one side; results of calls stand first."""
    blocks = [dict(block) for entry in run for block in entry.blocks]
    blocks.sort(key=lambda block: block["type"] != RESULT)
    is_plain = all(block["type"] == "text" and block.keys() == {"type", "text"} for block in blocks)
    if is_plain and not (len(run) == 1 and run[0].native is not None):
        return {"role": side, "content": "\n\n".join(block["text"] for block in blocks)}
    return {"role": side, "content": blocks}


def _order_messages(
    sides: Sequence[tuple[str, Sequence[_Entry]]], form: Form, report: Report
) -> Iterator[dict[str, Any]]:
    """Yield the messages of OpenAI's APIs: those of the form as they came, results behind their calls."""

    def write(side: str, found: Sequence[_Entry]) -> list[dict[str, Any]]:
        blocks = [b for each in found for b in select_blocks(each.blocks, side, form, each.number, report)]
        to_form = to_openai_messages if form == "openai" else to_responses_items
        return to_form(side, blocks, found[0].number, report) if blocks else []

    def write_results(answers: Sequence[_Entry], calls: set[str]) -> Iterator[dict[str, Any]]:
        for entry in answers:
            results = [block for block in entry.blocks if block["type"] == RESULT and block["tool_use_id"] in calls]
            if results:
                yield from [entry.native] if entry.native else write("user", [replace(entry, blocks=results)])

    for place, (side, run) in enumerate(sides, 1):
        behind = sides[place][1] if place < len(sides) else []
        if side == "assistant":
            called = {call for entry in run for call in tool_call_ids(entry.blocks)}
            answers = [entry for entry in behind if called.intersection(result_call_ids(entry.blocks))]
            for entry in run:
                yield from [entry.native] if entry.native else write(side, [entry])
                if form == "openai":
                    yield from write_results(answers, set(tool_call_ids(entry.blocks)))
            if form == "responses":
                yield from write_results(answers, called)
            continue
        others = [
            replace(entry, blocks=rest, native=None if len(rest) < len(entry.blocks) else entry.native)
            for entry in run
            if (rest := [block for block in entry.blocks if block["type"] != RESULT])
        ]
        for is_native, group in groupby(others, lambda entry: entry.native is not None):
            # Texts of ours and plain turns in a row are one message.
            found = list(group)
            yield from [entry.native for entry in found if entry.native] if is_native else write(side, found)


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
