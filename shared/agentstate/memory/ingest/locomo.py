"""LoCoMo's form of a transcript: a list of long conversations, each in dated sessions of turns by two people.

A conversation becomes one agent with one session of ours; LoCoMo's own sessions stay in the turns' ids (`D3:7` is the
seventh turn of the third) and metadata. A picture is told by its caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
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
    sessions = []
    for name, value in conversation.items():
        number = name.removeprefix("session_")
        if isinstance(value, list) and name.startswith("session_") and number.isdecimal():
            sessions.append((int(number), name))
    for number, name in sorted(sessions):
        at = conversation.get(f"{name}_date_time")
        with suppress(TypeError, ValueError):  # another form of time is refused later, by name
            at = datetime.strptime(at, _TIME).replace(tzinfo=UTC).isoformat()
        for position, turn in enumerate(conversation[name], start=1):
            fields: dict[str, Any] = {}
            if isinstance(turn, dict):
                text, caption = turn.get("text"), turn.get("blip_caption")
                if caption:
                    text = f"{text} [image: {caption}]" if text else f"[image: {caption}]"
                fields = {
                    "agent": sample["sample_id"],
                    "session": SESSION,
                    "role": "assistant" if turn.get("speaker") == conversation.get("speaker_b") else "user",
                    "text": text,
                    "metadata": {"part": number},
                }
                present = {"speaker": turn.get("speaker"), "id": turn.get("dia_id"), "time": at}
                fields |= {key: value for key, value in present.items() if value is not None}
            yield f"{sample['sample_id']} {name} turn {position}", fields
