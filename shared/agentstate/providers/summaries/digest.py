"""The summary without a model: a digest of typed facts first, then the weightiest sentences, all verbatim.

It is written line by line under a budget of tokens, and a line with a figure that the source lacks is never
written, so this summary passes the same gate as a model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_SAID_LINE: Final = re.compile(r"[^:]{1,90}, turn \d+: ")


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
        page = _Page(request)
        return Summary(page.write(), "extractive", NAME, page.facts)

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        return self._status

    def close(self) -> None:
        """Do nothing: the digest holds no connection."""


class _Page:
    """A digest being written line by line, within its budget of tokens."""

    def __init__(self, request: SummaryRequest) -> None:
        self._turns = request.turns
        self._previous = request.previous or ""
        self.facts = find_facts(request.turns, request.previous_facts)
        self._evidence = Evidence(Source(request).evidence_text)
        self._lines: list[str] = []
        self._left = mean_budget(request.max_tokens - 1)

    def write(self) -> str:
        """Return the digest: figures, promises and decisions, the earlier summary, sentences of the turns."""
        first, last, budget = self._turns[0], self._turns[-1], self._left
        speakers = ", ".join(dict.fromkeys(map(speaker_label, self._turns)))
        days = " to ".join(sorted({f"{turn.at.astimezone(UTC):%Y-%m-%d}" for turn in (first, last)}))
        self._add_lines([f"Turn {first.number} to turn {last.number}, {days}, between {speakers}."])

        # One line for each kind of figure, with the newest ones that fit.
        for kind, heading in _FIGURES.items():
            newest = [f"{fact.text} ({_turns_label(fact)})" for fact in self.facts if fact.kind == kind]
            floor = self._left - budget * _FIGURES_SHARE
            for count in range(min(len(newest), _ITEMS_PER_LINE), 0, -1):
                if self._add_lines([f"{heading} {'; '.join(newest[-count:])}"], floor):
                    break

        # Promises and decisions: those with a figure first, then the newest.
        for kind, heading in _BINDING.items():
            binding = [fact for fact in self.facts if fact.kind == kind]
            binding.sort(key=lambda fact: (not find_figures(fact.text), -max(fact.turns)))
            lines = (f"{f'{fact.speaker}, ' * bool(fact.speaker)}{_turns_label(fact)}: {fact.text}" for fact in binding)
            self._write_list(heading, lines, self._left - budget * _BINDING_SHARE)

        # Sentences of the earlier summary; a line of an earlier digest stays whole, with its speaker.
        written = {fact.text for fact in self.facts if fact.kind in _BINDING}
        earlier = [line.removeprefix("- ") for line in self._previous.splitlines()]
        parts = [
            part
            for line in earlier
            if not _OWN_LINE.match(line)
            for part in ([line] if _SAID_LINE.match(line) else split_sentences(line))
            if _is_telling(part) and not any(text in part for text in written)
        ][-_MAX_CANDIDATES:]
        carried = (parts[index] for index in rank_by_weight(parts))
        self._write_list(_EARLIER, carried, self._left - budget * _EARLIER_SHARE)

        said = [
            (turn, sentence)
            for turn in self._turns
            for sentence in split_sentences(turn.text)
            if _is_telling(sentence) and sentence not in written
        ][-_MAX_CANDIDATES:]
        ranked = (said[index] for index in rank_by_weight([sentence for _, sentence in said]))
        self._write_list(_SAID, (f"{speaker_label(turn)}, turn {turn.number}: {text}" for turn, text in ranked), 0)
        return "\n".join(self._lines)

    def _write_list(self, heading: str, lines: Iterable[str], floor: float) -> None:
        """Write a heading and the lines that fit below it; neither when none fits."""
        head, misses = [heading], 0
        for line in lines:
            if self._add_lines([*head, f"- {line}"], floor):
                head = []
            else:
                misses += 1
            if misses > _MISSES:
                return

    def _add_lines(self, lines: list[str], floor: float = 0) -> bool:
        """Add lines if they leave at least `floor` of the budget and the last has no unsupported figure."""
        cost = sum(mean_tokens(f"{line}\n") for line in lines)
        if self._left - cost < floor or self._evidence.find_unsupported(lines[-1]):
            return False
        self._lines.extend(lines)
        self._left -= cost
        return True


def _turns_label(fact: Fact) -> str:
    return ", ".join(f"turn {number}" for number in fact.turns[-3:])


def _is_telling(sentence: str) -> bool:
    return len(sentence) <= MAX_SENTENCE_CHARS and len(content_words(sentence)) >= _MIN_WORDS
