"""Typed facts of a conversation, read by rules: amounts, identifiers, dates, parties, promises, decisions.

Everything is verbatim from a turn and names the turns it comes from. A rule may miss a promise worded oddly;
it cannot make one up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agentstate.providers.summaries.figures import Figure, find_figures
from agentstate.providers.summaries.records import find_record_lines
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
    "promise": 0, "decision": 1, "record": 2, "amount": 3, "identifier": 4, "date": 5, "party": 6,
}  # fmt: skip


def find_facts(turns: Iterable[SourceTurn], previous: Iterable[Fact] = ()) -> tuple[Fact, ...]:
    """Return the facts of `previous` and of `turns`, equal ones merged, `MAX_FACTS` at most, by first mention.

    When there are too many, the most binding kinds stay, and the newest of a kind.
    """
    merged: dict[tuple[FactKind, str, str], Fact] = {}
    for fact in [*previous, *(fact for turn in turns for fact in _read_facts(turn))]:
        key = (fact.kind, fact.text.casefold(), fact.speaker)
        if (known := merged.get(key)) is None:
            merged[key] = fact
        else:
            mentions = sorted({*known.turns, *fact.turns})
            mentions = mentions[:1] + mentions[1:][-_MAX_MENTIONS:]
            merged[key] = Fact(known.kind, known.text, tuple(mentions), known.speaker)
    facts = list(merged.values())
    if len(facts) > MAX_FACTS:
        ranks = [(_RANK[fact.kind], -max(fact.turns, default=0)) for fact in facts]
        kept = sorted(range(len(facts)), key=ranks.__getitem__)[:MAX_FACTS]
        facts = [facts[index] for index in sorted(kept)]
    return tuple(facts)


def _read_facts(turn: SourceTurn) -> Iterator[Fact]:
    speaker = speaker_label(turn)
    yield Fact("party", speaker, (turn.number,))
    records = find_record_lines(turn.text)
    for line in records:
        yield Fact("record", line, (turn.number,))
    told = {word.rstrip(",") for line in records for word in line.split()}
    for figure in find_figures(turn.text):
        if figure.text in told:
            continue
        if (kind := _kind_of(figure)) is not None:
            yield Fact(kind, figure.text, (turn.number,))
    for sentence in split_sentences(turn.text):
        if len(sentence) > MAX_SENTENCE_CHARS:
            continue
        if len(content_words(sentence)) < _MIN_BINDING_WORDS and not find_figures(sentence):
            continue
        if _PROMISE.search(sentence):
            yield Fact("promise", sentence, (turn.number,), speaker)
        elif _DECISION.search(sentence):
            yield Fact("decision", sentence, (turn.number,), speaker)


def _kind_of(figure: Figure) -> FactKind | None:
    if figure.kind == "number":
        return "amount" if figure.unit not in {None, "%"} else None
    if figure.kind == "identifier":
        return "identifier" if _MIN_IDENTIFIER_CHARS <= len(figure.text) <= _MAX_IDENTIFIER_CHARS else None
    return "date" if figure.kind == "date" else None
