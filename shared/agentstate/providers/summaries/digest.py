"""The summary without a model: a digest of typed facts first, then the weightiest sentences, all verbatim.

It is written line by line under a budget of tokens, and a line with a figure that the source lacks is never
written, so this summary passes the same gate as a model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Final

from agentstate.errors import InvalidInput
from agentstate.providers.embedding.embedder import ProviderStatus
from agentstate.providers.summaries.evidence import Evidence
from agentstate.providers.summaries.facts import MAX_SENTENCE_CHARS, find_facts
from agentstate.providers.summaries.figures import find_figures
from agentstate.providers.summaries.sentences import content_words, rank_by_weight, split_sentences
from agentstate.providers.summaries.summarizer import (
    Fact,
    FactKind,
    Source,
    SourceTurn,
    Summary,
    SummaryRequest,
    speaker_label,
)
from agentstate.providers.tokens import mean_budget, mean_tokens

NAME: Final = "digest"
_EARLIER: Final = "Earlier:"
_SAID: Final = "Said:"
_FIGURES: Final[dict[FactKind, str]] = {"amount": "Amounts:", "identifier": "Identifiers:", "date": "Dates:"}
_BINDING: Final[dict[FactKind, str]] = {"promise": "Promised or open:", "decision": "Decided:"}
_FIGURES_SHARE: Final = 0.15  # of the budget, for each kind
_BINDING_SHARE: Final = 0.2
_EARLIER_SHARE: Final = 0.2
_MIN_WORDS: Final = 3  # a sentence with fewer words of its own says nothing
_MISSES: Final = 5  # lines that did not fit before a list is closed
_ITEMS_PER_LINE: Final = 12
_MAX_CANDIDATES: Final = 2_000  # SumBasic is quadratic in the number of sentences
_OWN_LINE: Final = re.compile(
    r"Turns? \d|(?:" + "|".join(map(re.escape, (_EARLIER, _SAID, *_FIGURES.values(), *_BINDING.values()))) + ")"
)


class DigestSummarizer:
    """Summarizes by extraction; needs no key, no network and no model."""

    name = NAME
    max_source_tokens = 200_000

    def __init__(self, *, note: str = "", ok: bool = True) -> None:
        text = "digest: facts and sentences verbatim, no model"
        self._status = ProviderStatus(NAME, f"{text} ({note})" if note else text, ok=ok)

    def summarize(self, request: SummaryRequest) -> Summary:
        """See `Summarizer.summarize`."""
        if not request.turns:
            raise InvalidInput("there is no turn to summarize.")
        facts = find_facts(request.turns, request.previous_facts)
        return Summary(_Page(request, facts).write(), "extractive", NAME, facts)

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        return self._status

    def close(self) -> None:
        """Nothing to give back."""


class _Page:
    """One digest being written."""

    def __init__(self, request: SummaryRequest, facts: Sequence[Fact]) -> None:
        self._request = request
        self._facts = facts
        self._evidence = Evidence(Source(request).evidence_text)
        self._written = {fact.text for fact in facts if fact.kind in _BINDING}
        self._lines: list[str] = []
        self._left = mean_budget(request.max_tokens - 1)

    def write(self) -> str:
        budget = self._left
        self._add([_span(self._request.turns)])
        for kind, heading in _FIGURES.items():
            self._write_items(heading, self._of_kind(kind), self._left - budget * _FIGURES_SHARE)
        for kind, heading in _BINDING.items():
            lines = (_sentence_line(fact) for fact in sorted(self._of_kind(kind), key=_weight))
            self._write_list(heading, lines, self._left - budget * _BINDING_SHARE)
        self._write_list(_EARLIER, self._carried(), self._left - budget * _EARLIER_SHARE)
        self._write_list(_SAID, self._said(), 0)
        return "\n".join(self._lines)

    def _of_kind(self, kind: FactKind) -> list[Fact]:
        return [fact for fact in self._facts if fact.kind == kind]

    def _write_items(self, heading: str, facts: Sequence[Fact], floor: float) -> None:
        """One line with the newest facts of a kind, as many as fit."""
        for count in range(min(len(facts), _ITEMS_PER_LINE), 0, -1):
            items = "; ".join(f"{fact.text} ({_turns(fact)})" for fact in facts[-count:])
            if self._add([f"{heading} {items}"], floor):
                return

    def _write_list(self, heading: str, lines: Iterable[str], floor: float) -> None:
        """A heading and the lines that fit below it; neither when none fits."""
        head, misses = [heading], 0
        for line in lines:
            if self._add([*head, f"- {line}"], floor):
                head = []
            else:
                misses += 1
            if misses > _MISSES:
                return

    def _said(self) -> Iterator[str]:
        """Sentences of the turns in the order of their weight, without those that stand above."""
        said = [
            (turn, sentence)
            for turn in self._request.turns
            for sentence in split_sentences(turn.text)
            if _tells(sentence) and sentence not in self._written
        ][-_MAX_CANDIDATES:]
        for index in rank_by_weight([sentence for _, sentence in said]):
            turn, sentence = said[index]
            yield f"{speaker_label(turn)}, turn {turn.number}: {sentence}"

    def _carried(self) -> Iterator[str]:
        """What an earlier summary said, weightiest first; its facts come with the request already."""
        lines = [line.removeprefix("- ") for line in (self._request.previous or "").splitlines()]
        parts = [part for line in lines if not _OWN_LINE.match(line) for part in _parts(line)]
        new = [part for part in parts if _tells(part) and not any(text in part for text in self._written)]
        candidates = new[-_MAX_CANDIDATES:]
        for index in rank_by_weight(candidates):
            yield candidates[index]

    def _add(self, lines: list[str], floor: float = 0) -> bool:
        cost = sum(mean_tokens(f"{line}\n") for line in lines)
        if self._left - cost < floor or self._evidence.find_unsupported(lines[-1]):
            return False
        self._lines.extend(lines)
        self._left -= cost
        return True


def _span(turns: Sequence[SourceTurn]) -> str:
    first, last = turns[0], turns[-1]
    speakers = ", ".join(dict.fromkeys(speaker_label(turn) for turn in turns))
    days = sorted({f"{turn.at.astimezone(UTC):%Y-%m-%d}" for turn in (first, last)})
    return f"Turn {first.number} to turn {last.number}, {' to '.join(days)}, between {speakers}."


def _turns(fact: Fact) -> str:
    return ", ".join(f"turn {number}" for number in fact.turns[-3:])


def _sentence_line(fact: Fact) -> str:
    who = f"{fact.speaker}, " if fact.speaker else ""
    return f"{who}{_turns(fact)}: {fact.text}"


def _weight(fact: Fact) -> tuple[bool, int]:
    """Sort key of what binds: with a figure first, then the newest."""
    return (not find_figures(fact.text), -max(fact.turns))


def _tells(sentence: str) -> bool:
    return len(sentence) <= MAX_SENTENCE_CHARS and len(content_words(sentence)) >= _MIN_WORDS


def _parts(line: str) -> list[str]:
    """A line of an earlier digest stays whole, with its speaker; prose is cut into sentences."""
    return [line] if re.match(r"[^:]{1,90}, turn \d+: ", line) else split_sentences(line)
