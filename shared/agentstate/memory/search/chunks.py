"""Long texts in chunks: as much as one vector can represent, cut where the text itself makes a pause.

A memory stays one row with its whole text; only its points in the index are several, and a search gives the memory
once however many of them it finds. The same text is always cut alike, so the chunks' ids need no table.
"""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

from agentstate.ids import derive_id
from agentstate.memory.facts.texts import search_text
from agentstate.providers.tokens import estimate_tokens, fit_tokens

CHUNK_TOKENS = 1_000
"""Estimated tokens of one chunk at most; the vector of a longer text is about everything and near nothing."""
_CHARS_PER_TOKEN = 8
"""No usual text has more; this much is read to find where a chunk ends."""
_PAUSES = re.compile(r"\n\s*\n|(?<=[.!?\u3002\uff01\uff1f])\s+|\n")


def split_chunks(content: str, *, limit: int, speaker: str | None = None, said_at: datetime | None = None) -> list[str]:
    """Return the texts to search for a memory, at least one, each with speaker and date and within `limit` tokens."""
    room = max(limit - estimate_tokens(search_text("", speaker=speaker, said_at=said_at)), 16)
    pieces: list[str] = []
    # A text has at most as many tokens as bytes, so that most need no counting.
    is_short = len(content.encode()) <= room
    if is_short or (len(content) < room * _CHARS_PER_TOKEN and estimate_tokens(content) <= room):
        pieces.append(content)
    else:
        rest = content.strip()
        while rest:
            window = rest[: room * _CHARS_PER_TOKEN]
            piece = fit_tokens(window, room) or window[:1]
            if len(piece) < len(rest):  # up to a pause in the second half, if there is one
                pauses = [match.end() for match in _PAUSES.finditer(piece, len(piece) // 2)]
                piece = piece[: pauses[-1]] if pauses else piece
            pieces.append(piece.rstrip())
            rest = rest[len(piece) :].lstrip()
    return [search_text(piece, speaker=speaker, said_at=said_at) for piece in pieces]


def point_id(memory: UUID, number: int) -> UUID:
    """Return the id of a memory's point in the index; the first has the memory's own."""
    return memory if number == 0 else derive_id("chunk", str(memory), str(number))
