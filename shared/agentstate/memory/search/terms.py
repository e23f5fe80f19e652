"""The terms of a text, and how much each counts: words and their weights (BM25).

The tokenizer is worth more than the ranking: on LoCoMo's turns, stems without stop words find 56 % more of the
evidence in the first ten hits than words split at spaces. Scripts without spaces, and Hangul, whose words carry their
endings, are read as pairs of characters; a word with accents is also found without them, as a weaker match.

The index keeps a text as its terms' weights and multiplies them by how rare each term is among the agent's memories.
For a few texts held in memory that rarity is unknown, so they are ranked as if `PRIOR_TEXTS` others without the term
stood beside them: a memory that is alone still ranks by its words.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice, pairwise
from statistics import fmean
from typing import Any

from agentstate.providers.summaries.numerals import fold_text

TEXT_RULES = 2
"""Grows with every change of the terms, identifiers or weights of a text: the index is then made anew."""

MAX_TERMS = 10_000
"""Words read from one text at most; the rest of a longer text is found through its vector alone."""

K1 = 1.2
B = 0.75
USUAL_TERMS = 20
"""Length of a usual text in terms, as long as the agent's own memories do not tell."""
PRECEDING_SHARES = (0.5, 0.3, 0.2)
"""The weight of a term of the turn before, the one before that, and so on: a turn answers what was said before."""
MAX_PRECEDING_TERMS = 40
"""Only turns up to this length count for those after them: the words of a long answer would drown a short turn."""
LENGTH_WITH_PRECEDING = 2.5
"""Length of a turn with those before it, in lengths of a usual text; from 2 to 4 the result is flat (LoCoMo)."""
QUESTION_FACTOR = 0.8
"""A text that ends with a question tells less than one that answers it."""
PRIOR_TEXTS = 1_000
FOLDED_SHARE = 0.5
"""The weight of a word without its accents, beside the word itself."""
SINGLE_SHARE = 0.25
"""The weight of a single Han character in a text, beside its pairs; asked for alone it counts whole."""

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
"""English words that say nothing about the topic of a text."""

_NUMBER = r"\d+(?:[.,:]\d+)+"
_PLAIN_TOKEN = re.compile(rf"{_NUMBER}|\w+(?:'\w+)?")
_POSSESSIVE = re.compile(r"'s\Z")
_ENDS_WITH_QUESTION = re.compile(r"[?\uff1f]\s*(\[[^\]]*\])?\s*\Z")
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = (
    _HAN + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # Kana, Hangul
)
"""Scripts whose runs are read as pairs of characters."""
_RUNS = re.compile(rf"([{_UNSPACED}]+)")
_IS_HAN = re.compile(f"[{_HAN}]")
_LAST_MARK = 0x1FFFF
_LAST_ACCENT = "\u0700"
"""Below are the scripts whose marks may be left out: Latin, Greek, Cyrillic, Hebrew, Arabic."""
_UNDECOMPOSED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})

_local = threading.local()


def split_terms(text: str) -> list[str]:
    """Return the search terms of `text`, in order, repeated as often as they occur; at most MAX_TERMS."""
    return [term for term, _ in islice(_iterate_terms(text), MAX_TERMS)]


def has_terms(text: str) -> bool:
    """Return whether `text` has a term to be found by; stop words alone are none."""
    return any(True for _ in _iterate_terms(text))


def has_words(text: str) -> bool:
    """Return whether `text` has anything to search for: a word or a number, a stop word included."""
    return _PLAIN_TOKEN.search(text) is not None


def weigh_query(text: str) -> dict[str, float]:
    """Return the terms that a question asks for, with their shares."""
    wanted: dict[str, float] = {}
    for term, share in islice(_iterate_terms(text, asked=True), MAX_TERMS):
        wanted[term] = max(share, wanted.get(term, 0.0))
    return wanted


def weigh_terms(text: str, before: Sequence[str] = (), *, usual: float = USUAL_TERMS) -> dict[str, float]:
    """Return the weight of each term of a text.

    Args:
        text: the text.
        before: the texts said before it, the nearest first.
        usual: how many terms a usual text of the same agent has.
    """
    counts: defaultdict[str, float] = defaultdict(float)
    for share, said, limit in zip(
        (1.0, *PRECEDING_SHARES), (text, *before), (MAX_TERMS, *[MAX_PRECEDING_TERMS] * len(before)), strict=False
    ):
        terms = list(islice(_iterate_terms(said), MAX_TERMS))
        if len(terms) <= limit:
            for term, own_share in terms:
                counts[term] += share * own_share
    factor = (K1 + 1) * (QUESTION_FACTOR if _ENDS_WITH_QUESTION.search(text) else 1.0)
    length = K1 * (1 - B + B * sum(counts.values()) / (LENGTH_WITH_PRECEDING * usual))
    return {term: factor * count / (count + length) for term, count in counts.items()}


def rank_texts(query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
    """Return (position, score) of the texts that share a term with `query`, best first; equal scores in order."""
    wanted = weigh_query(query) if texts else {}
    if not wanted:
        return []
    usual = fmean([USUAL_TERMS, *(len(split_terms(text)) for text in texts)])
    weighed = [weigh_terms(text, usual=usual) for text in texts]
    everything = len(texts) + PRIOR_TEXTS
    rarity = {}
    for term, share in wanted.items():
        holding = sum(term in each for each in weighed)
        rarity[term] = share * math.log(1 + (everything - holding + 0.5) / (holding + 0.5))
    scored = [
        (position, sum(rare * each[term] for term, rare in rarity.items() if term in each))
        for position, each in enumerate(weighed)
    ]
    return sorted((item for item in scored if item[1] > 0), key=lambda item: -item[1])


def _iterate_terms(text: str, *, asked: bool = False) -> Iterator[tuple[str, float]]:
    """Yield each term with its share: 1, or less for a weaker form. Of a question, single characters count whole."""
    if text.isascii():
        for match in _PLAIN_TOKEN.finditer(text.lower()):
            if term := _normalize_token(match[0]):
                yield term, 1.0
        return
    folded = unicodedata.normalize("NFKC", fold_text(text).text).casefold()
    for match in _any_token().finditer(folded):
        for number, run in enumerate(_RUNS.split(match[0])):
            if number % 2:
                yield from _iterate_pairs(run, asked=asked)
            elif run and (term := _normalize_token(run)):
                yield term, 1.0
                if not run.isascii():
                    spread = unicodedata.normalize("NFD", run.translate(_UNDECOMPOSED))
                    plain = "".join(each for each in spread if each > _LAST_ACCENT or not unicodedata.combining(each))
                    other = _normalize_token(unicodedata.normalize("NFC", plain))
                    if other and other != term:
                        yield other, FOLDED_SHARE


def _iterate_pairs(run: str, *, asked: bool) -> Iterator[tuple[str, float]]:
    """Yield the pairs of characters of a run, each with its marks, and a single one by itself."""
    units: list[str] = []
    for character in run:
        if units and unicodedata.category(character)[0] == "M":
            units[-1] += character
        else:
            units.append(character)
    yield from ((first + second, 1.0) for first, second in pairwise(units))
    if len(units) == 1:
        yield units[0], 1.0
    elif not asked:
        yield from ((unit, SINGLE_SHARE) for unit in units if _IS_HAN.match(unit))


@cache
def _any_token() -> re.Pattern[str]:
    """Return the pattern of a token in any script: a word goes on through its combining marks."""
    marks = "".join(chr(code) for code in range(0x300, _LAST_MARK) if unicodedata.category(chr(code))[0] == "M")
    word = rf"[\w{marks}]"
    return re.compile(rf"{_NUMBER}|\w{word}*(?:'\w{word}*)?")


@lru_cache(maxsize=65_536)
def _normalize_token(token: str) -> str:
    """Return the term of a token: a stem, or a number without grouping; empty for a stop word."""
    if token in STOP_WORDS:
        return ""
    if any(character.isdigit() for character in token):
        head, *groups = token.split(",")
        is_grouped = bool(groups) and head.isdigit() and all(re.fullmatch(r"\d{3}", group) for group in groups)
        return token.replace(",", "") if "." in token or is_grouped else token
    word = _POSSESSIVE.sub("", token)
    if word in STOP_WORDS:
        return ""
    # A stemmer keeps the word it works on in itself, so each thread has its own.
    stemmer: Any = getattr(_local, "stemmer", None)
    if stemmer is None:
        import snowballstemmer

        stemmer = _local.stemmer = snowballstemmer.stemmer("english")
    return str(stemmer.stemWord(word))
