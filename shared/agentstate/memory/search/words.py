"""From text to search terms: what the keyword search takes as one word, and which words it leaves out.

The tokenizer is worth more than the ranking: on LoCoMo's turns, stems without stop words find 56 % more of the
evidence in the first ten hits than words split at spaces. Identifiers, hashes and amounts stay whole and unstemmed,
since half an address is no address.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache
from typing import Any

MAX_TERMS = 10_000
"""Terms read from one text at most; the rest of a longer text is found through its vector alone."""

_AMOUNT = r"\d+(?:[.,:]\d+)+"
_WORD = r"\w+(?:'\w+)?"
_TOKEN = re.compile(f"{_AMOUNT}|{_WORD}")
_POSSESSIVE = re.compile(r"'s\Z")

STOP_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below between both but
    by can could did do does doing down during each few for from further had has have having he her here hers herself
    him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only or
    other our ours ourselves out over own same she should so some such than that the their theirs them themselves then
    there these they this those through to too under until up very was we were what when where which while who whom why
    will with would you your yours yourself yourselves
    i'm i've i'll i'd you're you've you'll it's he's she's we're we've they're that's what's there's let's don't
    doesn't didn't isn't aren't wasn't weren't can't couldn't won't wouldn't shouldn't haven't hasn't hadn't
    """.split()  # noqa: SIM905 a list of words reads better as text
)
"""English words that say nothing about what a text is on."""


def split_terms(text: str) -> list[str]:
    """The search terms of `text`, in order, repeated as often as they occur; at most MAX_TERMS."""
    found = []
    for match in _TOKEN.finditer(_folded(text)):
        term = _term(match.group())
        if term:
            found.append(term)
            if len(found) == MAX_TERMS:
                break
    return found


def has_words(text: str) -> bool:
    """Whether `text` has anything to search for: a word or a number, a common one included."""
    return _TOKEN.search(text) is not None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


@lru_cache(maxsize=65_536)
def _term(token: str) -> str:
    if token in STOP_WORDS:
        return ""
    if any(character.isdigit() for character in token):
        return token.replace(",", "") if "." in token or _is_thousands(token) else token
    word = _POSSESSIVE.sub("", token)
    return "" if word in STOP_WORDS else _stem(word)


def _is_thousands(token: str) -> bool:
    head, *groups = token.split(",")
    return bool(groups) and head.isdigit() and all(len(group) == 3 and group.isdigit() for group in groups)  # noqa: PLR2004 a group of thousands has three digits


_local = threading.local()


def _stem(word: str) -> str:
    # A stemmer keeps the word it works on in itself, so each thread has its own.
    stemmer: Any = getattr(_local, "stemmer", None)
    if stemmer is None:
        import snowballstemmer

        stemmer = _local.stemmer = snowballstemmer.stemmer("english")
    return str(stemmer.stemWord(word))
