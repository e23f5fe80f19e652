"""LoCoMo's form of a transcript: a list of long conversations, each in dated sessions of turns by two people.

A conversation becomes one agent with one session of ours; LoCoMo's own sessions stay in the turns' ids (`D3:7` is the
seventh turn of the third) and metadata. A picture is told by its caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

SESSION = "locomo"
_TIME = "%I:%M %p on %d %B, %Y"


def is_conversation(value: dict[str, Any]) -> bool:
    """Return whether an object is one of LoCoMo's conversations."""
    return "sample_id" in value and isinstance(value.get("conversation"), dict)


def read_turns(sample: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, fields as in any transcript) of each turn of a conversation; absent fields stay absent."""
    conversation = sample["conversation"]
    for number, name in sorted(_numbered_sessions(conversation)):
        at = _iso_time(conversation.get(f"{name}_date_time"))
        for position, turn in enumerate(conversation[name], start=1):
            where = f"{sample['sample_id']} {name} turn {position}"
            yield where, _turn_fields(sample, turn, number=number, at=at) if isinstance(turn, dict) else {}


def _numbered_sessions(conversation: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for name, value in conversation.items():
        number = name.removeprefix("session_")
        if isinstance(value, list) and name.startswith("session_") and number.isdecimal():
            yield int(number), name


def _turn_fields(sample: dict[str, Any], turn: dict[str, Any], *, number: int, at: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "agent": sample["sample_id"],
        "session": SESSION,
        "role": "assistant" if turn.get("speaker") == sample["conversation"].get("speaker_b") else "user",
        "text": _turn_text(turn),
        "metadata": {"part": number},
    }
    present = {"speaker": turn.get("speaker"), "id": turn.get("dia_id"), "time": at}
    return fields | {name: value for name, value in present.items() if value is not None}


def _turn_text(turn: dict[str, Any]) -> Any:
    text, caption = turn.get("text"), turn.get("blip_caption")
    if not caption:
        return text
    return f"{text} [image: {caption}]" if text else f"[image: {caption}]"


def _iso_time(value: Any) -> Any:
    """Return `1:56 pm on 8 May, 2023` as ISO 8601; any other value unchanged, to be refused by name."""
    try:
        return datetime.strptime(value, _TIME).replace(tzinfo=UTC).isoformat()
    except (TypeError, ValueError):
        return value
