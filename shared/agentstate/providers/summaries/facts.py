"""Typed facts of a conversation, read by rules: amounts, identifiers, dates, parties, promises, decisions.

Everything is verbatim from a turn and names the turns it comes from. A rule may miss a promise worded oddly;
it cannot make one up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agentstate.providers.summaries.figures import Figure, find_figures
from agentstate.providers.summaries.sentences import content_words, split_sentences
from agentstate.providers.summaries.summarizer import MAX_FACTS, Fact, FactKind, SourceTurn, speaker_label

MAX_SENTENCE_CHARS: Final = 300
_MAX_IDENTIFIER_CHARS: Final = 200
_MIN_IDENTIFIER_CHARS: Final = 4
_MIN_BINDING_WORDS: Final = 3  # "I'll do that" binds nobody to anything
_MAX_MENTIONS: Final = 7  # turns named beside the first one
_PROMISE: Final = re.compile(
    r"\b(?:i(?:'ll| will| promise| owe|'m going to| am going to)|we(?:'ll| will| promise| owe)"
    r"|you owe|owes? (?:me|you|us)|due (?:on|by|in)|deadline"
    r"|by (?:tomorrow|tonight|monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
    r"|pending|escrow(?:ed)?|collateral)\b",
    re.IGNORECASE,
)
_DECISION: Final = re.compile(
    r"\b(?:agreed|decided|we decide|deal[.!]|approved|confirmed|cancell?ed|rejected|settled on"
    r"|limit (?:is|of))",
    re.IGNORECASE,
)
_RANK: Final[dict[FactKind, int]] = {
    "promise": 0, "decision": 1, "amount": 2, "identifier": 3, "date": 4, "party": 5,
}  # fmt: skip


def find_facts(turns: Iterable[SourceTurn], previous: Iterable[Fact] = ()) -> tuple[Fact, ...]:
    """Facts of `previous` and of `turns`, equal ones merged, `MAX_FACTS` at most, by first mention."""
    merged: dict[tuple[FactKind, str, str], Fact] = {}
    for fact in [*previous, *(fact for turn in turns for fact in _facts_of(turn))]:
        key = (fact.kind, fact.text.casefold(), fact.speaker)
        known = merged.get(key)
        merged[key] = fact if known is None else _merge_mentions(known, fact)
    return _keep_most_binding(list(merged.values()))


def _merge_mentions(known: Fact, fact: Fact) -> Fact:
    turns = sorted({*known.turns, *fact.turns})
    return Fact(known.kind, known.text, tuple(turns[:1] + turns[1:][-_MAX_MENTIONS:]), known.speaker)


def _keep_most_binding(facts: list[Fact]) -> tuple[Fact, ...]:
    """The most binding kinds first and the newest of a kind first, when there are too many."""
    if len(facts) <= MAX_FACTS:
        return tuple(facts)
    order = sorted(range(len(facts)), key=lambda index: (_RANK[facts[index].kind], -max(facts[index].turns, default=0)))
    return tuple(facts[index] for index in sorted(order[:MAX_FACTS]))


def _facts_of(turn: SourceTurn) -> Iterator[Fact]:
    speaker = speaker_label(turn)
    yield Fact("party", speaker, (turn.number,))
    for figure in find_figures(turn.text):
        kind = _kind_of(figure)
        if kind is not None:
            yield Fact(kind, figure.text, (turn.number,))
    for sentence in split_sentences(turn.text):
        if len(sentence) <= MAX_SENTENCE_CHARS and (binding := _binding_kind(sentence)):
            yield Fact(binding, sentence, (turn.number,), speaker)


def _kind_of(figure: Figure) -> FactKind | None:
    if figure.kind == "number":
        return "amount" if figure.unit not in {None, "%"} else None
    if figure.kind == "identifier":
        return "identifier" if _MIN_IDENTIFIER_CHARS <= len(figure.text) <= _MAX_IDENTIFIER_CHARS else None
    return "date" if figure.kind == "date" else None


def _binding_kind(sentence: str) -> FactKind | None:
    if len(content_words(sentence)) < _MIN_BINDING_WORDS and not find_figures(sentence):
        return None
    if _PROMISE.search(sentence):
        return "promise"
    return "decision" if _DECISION.search(sentence) else None
