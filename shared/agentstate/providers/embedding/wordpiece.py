"""BERT's uncased tokenizer: text to word pieces of a fixed vocabulary.

Text is cleaned, lower-cased and stripped of accents, split into words and single punctuation marks, and each
word is cut greedily into the longest pieces that the vocabulary knows. Markers of the model such as `[SEP]`
inside a text are taken as plain characters, so that no text can pose as model structure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agentstate.errors import ConfigurationError

MAX_WORD_CHARS: Final = 100  # a longer word becomes one unknown piece, as in the original
_CACHED_WORDS: Final = 50_000

_CJK: Final = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f"
    "\U0002b740-\U0002b81f\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_PLAIN: Final = re.compile(r"[\x20-\x7e\t\n\r]*")
_ASCII_WORD: Final = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
_CJK_CHAR: Final = re.compile(f"[{_CJK}]")


class WordPiece:
    """Tokenizer over one vocabulary; immutable but for a bounded cache, safe to share between threads."""

    def __init__(self, vocabulary: list[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        try:
            self.unknown, self.start, self.end = (self._ids[piece] for piece in ("[UNK]", "[CLS]", "[SEP]"))
        except KeyError as error:
            raise ConfigurationError(f"the vocabulary lacks {error}: it is not one of BERT's.") from None
        self._cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def load_vocabulary(cls, path: Path) -> WordPiece:
        """Read a `vocab.txt`: one piece a line, the line number is its id."""
        try:
            return cls(path.read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read as a vocabulary ({error}).") from error

    def encode_text(self, text: str, limit: int) -> list[int]:
        """Return the piece ids of `text` between the start and end marks, `limit` ids at most; the rest is cut off."""
        room = limit - 2
        ids: list[int] = [self.start]
        for word in split_words(text):
            pieces = self._cache.get(word)
            if pieces is None:
                pieces = self._cut_word(word)
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()
                self._cache[word] = pieces
            ids.extend(pieces)
            if len(ids) > room:
                del ids[room + 1 :]
                break
        ids.append(self.end)
        return ids

    def _cut_word(self, word: str) -> tuple[int, ...]:
        """Return the ids of the longest known pieces of a word, from its start on; unknown when there are none."""
        pieces: list[int] = []
        start = 0
        while start < len(word) <= MAX_WORD_CHARS:
            prefix = "##" if start else ""
            known = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self._ids)
            end = next(known, start)
            if end == start:
                return (self.unknown,)
            pieces.append(self._ids[prefix + word[start:end]])
            start = end
        return tuple(pieces) or (self.unknown,)


def split_words(text: str) -> Iterator[str]:
    """Yield the lower-case words and single punctuation marks of `text`, in order."""
    if _PLAIN.fullmatch(text):
        for match in _ASCII_WORD.finditer(text.lower()):
            yield match.group()
        return
    spaced = _CJK_CHAR.sub(r" \g<0> ", "".join(map(_clean_character, text)))
    stripped = (char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    for word in "".join(stripped).lower().split():
        begin = 0
        for position, char in enumerate(word):
            if not char.isalnum() if char.isascii() else unicodedata.category(char)[0] == "P":
                if begin < position:
                    yield word[begin:position]
                yield char
                begin = position + 1
        if begin < len(word):
            yield word[begin:]


def _clean_character(char: str) -> str:
    """Return a blank for any kind of blank, nothing for a control character, else the character itself."""
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    return "" if category[0] == "C" or char == "\ufffd" else char
