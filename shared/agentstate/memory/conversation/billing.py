"""Tokens of messages as providers bill them: pictures by their size, documents by their pages, audio by its length.

The text of a file in base64 is nobody's tokens. Where a picture or document is only named (by an address or an id), the
most that one of its kind costs is counted. Of Anthropic's and OpenAI's rules, the one with more tokens counts.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Any, Final

from agentstate.memory.conversation.blocks import as_json
from agentstate.providers.tokens import estimate_tokens

IMAGE_TOKENS: Final = 1_600
"""A picture of the largest size, or of an unknown one."""
PAGE_TOKENS: Final = 3_000
"""A page of a PDF, its text and its picture."""
_DOCUMENT_PAGES: Final = 4
"""Pages of a document that is only named."""
_PDF_PAGE_BYTES: Final = 50_000
_AUDIO_BYTES_PER_TOKEN: Final = 1_600
_OPAQUE_CHARS_PER_TOKEN: Final = 6
"""Of encrypted reasoning: base64 of about four bytes a token."""
_LEAST_FILE: Final = 128
"""Shorter texts are counted as they are."""

_FILE_KEYS: Final = frozenset({"data", "base64", "file_data", "b64_json", "url", "image_url", "images"})
_FREE_KEYS: Final = frozenset({"signature"})
_OPAQUE_KEYS: Final = frozenset({"encrypted_content", "encrypted_index"})
_IMAGE_KINDS: Final = frozenset({"image", "image_url", "input_image"})
_DOCUMENT_KINDS: Final = frozenset({"document", "file", "input_file"})
_PDF_PAGE: Final = re.compile(rb"/Type[ \r\n]{0,2}/Page(?![A-Za-z])")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_=-]{64}")
_JPEG_MARK: Final = 0xFF
_JPEG_SIZES: Final = frozenset({0xC0, 0xC1, 0xC2})
_AUDIO: Final = (b"RIFF", b"OggS", b"fLaC", b"ID3\x02", b"ID3\x03", b"ID3\x04", b"\xff\xfb")


def count_tokens(content: Any) -> int:
    """Return the estimated tokens of a message, block or text, media as providers bill them."""
    if isinstance(content, str):
        return estimate_tokens(content)
    text, billed = weigh_media(content)
    return estimate_tokens(text if isinstance(text, str) else as_json(text)) + billed


def weigh_media(value: Any, key: str = "") -> tuple[Any, int]:
    """Return `value` without its media and other text that is not billed as text, and the tokens of those."""
    if isinstance(value, str):
        return _weigh_text(value, key)
    if isinstance(value, list | tuple):
        weighed = [weigh_media(item, key if key == "images" else "") for item in value]
        return [item for item, _ in weighed], sum(tokens for _, tokens in weighed)
    if not isinstance(value, Mapping):
        return value, 0
    kind = value.get("type")
    # In a block or source of text, `data` is text.
    parts = {name: weigh_media(item, "" if kind == "text" else str(name)) for name, item in value.items()}
    tokens = sum(cost for _, cost in parts.values())
    if kind in _IMAGE_KINDS and not tokens:
        tokens = IMAGE_TOKENS
    elif kind in _DOCUMENT_KINDS and not tokens and not _has_text_source(value):
        tokens = _DOCUMENT_PAGES * PAGE_TOKENS
    return {name: item for name, (item, _) in parts.items()}, tokens


def _has_text_source(value: Mapping[str, Any]) -> bool:
    source = value.get("source")
    return isinstance(source, Mapping) and source.get("type") in ("text", "content")


def _weigh_text(text: str, key: str) -> tuple[str, int]:
    if key in _FREE_KEYS:
        return "", 0
    if key in _OPAQUE_KEYS:
        return "", ceil(len(text) / _OPAQUE_CHARS_PER_TOKEN)
    if key not in _FILE_KEYS or len(text) < _LEAST_FILE:
        return text, 0
    if text.startswith("data:"):
        return "", _file_tokens(text[text.find(",") + 1 :])
    return ("", _file_tokens(text)) if _BASE64.match(text) else (text, 0)


@lru_cache(maxsize=64)
def _file_tokens(encoded: str) -> int:
    """Return the tokens of a file in base64, by its own first bytes; opaque ones count by their length."""
    try:
        data = base64.b64decode(encoded[: len(encoded) // 4 * 4], altchars=b"-_" if "-" in encoded[:4096] else None)
    except (binascii.Error, ValueError):
        return ceil(len(encoded) / _OPAQUE_CHARS_PER_TOKEN)
    if data.startswith(b"%PDF"):
        pages = len(_PDF_PAGE.findall(data)) or 1 + len(data) // _PDF_PAGE_BYTES
        return pages * PAGE_TOKENS
    if data.startswith(_AUDIO) and data[8:12] != b"WEBP":
        return ceil(len(data) / _AUDIO_BYTES_PER_TOKEN)
    size = _picture_size(data)
    if size is not None:
        return picture_tokens(*size)
    is_picture = data[:3] == b"\xff\xd8\xff" or data[8:12] in (b"WEBP", b"heic", b"avif")
    return IMAGE_TOKENS if is_picture else ceil(len(encoded) / _OPAQUE_CHARS_PER_TOKEN)


def picture_tokens(width: int, height: int) -> int:
    """Return the tokens of a picture of so many pixels: the larger of Anthropic's rule and of OpenAI's tiles."""
    width, height = max(width, 1), max(height, 1)
    anthropic = ceil(width * height / 750)
    shrink = min(1.0, 2_048 / max(width, height))
    shrink *= min(1.0, 768 / (min(width, height) * shrink))
    tiles = ceil(width * shrink / 512) * ceil(height * shrink / 512)
    return min(IMAGE_TOKENS, max(anthropic, 85 + 170 * tiles))


def _picture_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, GIF, JPEG or WebP; None for another or a damaged one."""
    size: tuple[int, ...] | None = None
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            size = struct.unpack(">II", data[16:24])
        elif data[:4] == b"GIF8":
            size = struct.unpack("<HH", data[6:10])
        elif data[8:16] == b"WEBPVP8X":
            size = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        elif data[8:16] == b"WEBPVP8 ":
            size = struct.unpack("<HH", data[26:30])
        position = 2 if data[:3] == b"\xff\xd8\xff" else len(data)
        while size is None and position + 9 < len(data) and data[position] == _JPEG_MARK:
            if data[position + 1] in _JPEG_SIZES:
                size = struct.unpack(">HH", data[position + 5 : position + 9])
            position += 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
    except struct.error:
        return None
    return None if size is None else (size[0], size[1])
