"""Long texts in pieces: what one vector can tell of, cut where the text itself makes a pause.

A memory stays one row with its whole text; only its points in the index are several, and a search gives the memory
once however many of them it finds. The same text is always cut alike, so the pieces' ids need no table.
"""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

from agentstate.ids import derive_id
from agentstate.memory.facts.texts import search_text
from agentstate.providers.tokens import estimate_tokens, fit_tokens

CHUNK_TOKENS = 1_000
"""Estimated tokens of one piece at most; a vector of more is about everything and near nothing."""
_CHARS_PER_TOKEN = 8
"""No usual text has more: as much as this is looked at to find where a piece ends."""
_PAUSES = re.compile(r"\n\s*\n|(?<=[.!?\u3002\uff01\uff1f])\s+|\n")


def split_chunks(content: str, *, limit: int, speaker: str | None = None, said_at: datetime | None = None) -> list[str]:
    """The texts to search for a memory, at least one, each with speaker and date and of `limit` tokens at most."""
    room = max(limit - estimate_tokens(search_text("", speaker=speaker, said_at=said_at)), 16)
    return [search_text(piece, speaker=speaker, said_at=said_at) for piece in _split_text(content, room)]


def point_id(memory: UUID, number: int) -> UUID:
    """The id of a memory's point in the index; the first has the memory's own."""
    return memory if number == 0 else derive_id("chunk", str(memory), str(number))


def _split_text(text: str, limit: int) -> list[str]:
    # A text has at most as many tokens as bytes, so that most need no counting.
    if len(text.encode()) <= limit or (len(text) < limit * _CHARS_PER_TOKEN and estimate_tokens(text) <= limit):
        return [text]
    found, rest = [], text.strip()
    while rest:
        piece = _first_piece(rest, limit)
        found.append(piece.rstrip())
        rest = rest[len(piece) :].lstrip()
    return found


def _first_piece(text: str, limit: int) -> str:
    window = text[: limit * _CHARS_PER_TOKEN]
    head = fit_tokens(window, limit) or window[:1]
    if len(head) == len(text):
        return head
    pauses = [match.end() for match in _PAUSES.finditer(head, len(head) // 2)]
    return head[: pauses[-1]] if pauses else head
