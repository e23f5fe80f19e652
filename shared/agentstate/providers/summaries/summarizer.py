"""The summarizer protocol: turns in, a bounded text and typed facts out.

Facts are read from the turns by code, whoever writes the prose, so that no model can drop or invent one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeAlias

from agentstate.errors import ProviderError, ProviderRefused
from agentstate.providers.embedding.embedder import ProviderStatus

FactKind: TypeAlias = Literal["promise", "decision", "record", "amount", "identifier", "date", "party"]

MAX_FACTS: Final = 200
"""Facts carried from summary to summary; promises and decisions are the last to be left out."""

DEFAULT_MAX_TOKENS: Final = 500
_MAX_SPEAKER_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """One turn to be summarized."""

    number: int
    role: str
    speaker: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must not get lost, verbatim from the turns named."""

    kind: FactKind
    text: str
    turns: tuple[int, ...]
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """Input of one summary: the previous summary and the turns since."""

    turns: tuple[SourceTurn, ...]
    previous: str | None = None
    previous_facts: tuple[Fact, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Estimated tokens of the summary's text at most."""
    rejected: tuple[str, ...] = ()
    """Figures of an earlier try that the source lacks; the next try must leave them out."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary and where it comes from."""

    text: str
    method: Literal["model", "extractive"]
    model: str
    """Provider and model, or the name of the offline method."""
    facts: tuple[Fact, ...] = ()
    input_tokens: int = 0
    """Tokens that the provider charged, over all tries."""
    output_tokens: int = 0
    calls: int = 0
    """Requests sent to the provider, over all tries."""
    note: str = ""
    """Why another summarizer than the chosen one made it; empty in the normal case."""


@dataclass(slots=True)
class Usage:
    """Tokens charged so far, over several calls."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0

    def add_calls(self, input_tokens: int | None, output_tokens: int | None, calls: int = 1) -> None:
        """Add calls and their tokens; None counts as 0 tokens."""
        self.input_tokens += input_tokens or 0
        self.output_tokens += output_tokens or 0
        self.calls += calls

    def attach_to(self, error: ProviderError) -> None:
        """Store the totals so far in `error`."""
        error.calls, error.input_tokens, error.output_tokens = self.calls, self.input_tokens, self.output_tokens


class ContentRefused(ProviderRefused):
    """The model declined to summarize this text; the offline summary takes its place."""


class Summarizer(Protocol):
    """Makes a rolling summary: of the previous summary and the turns since."""

    @property
    def name(self) -> str:
        """Short name, such as `digest` or `anthropic`."""
        ...

    @property
    def max_source_tokens(self) -> int:
        """Estimated tokens of turns in one request at most; take more turns in the next request."""
        ...

    def summarize(self, request: SummaryRequest) -> Summary:
        """Summarize.

        Raises:
            InvalidInput: there is no turn.
            ProviderError: see `agentstate.errors`; nothing was made, the turns stay unsummarized.
        """
        ...

    def describe(self) -> ProviderStatus:
        """Which summarizer this is and why it was chosen."""
        ...

    def close(self) -> None:
        """Give back connections; the summarizer may be used again afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A request as text: the input of a model, and the evidence for its figures."""

    request: SummaryRequest
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "\n".join(format_turn(turn) for turn in self.request.turns))

    @property
    def evidence_text(self) -> str:
        """The text whose figures a summary may repeat."""
        facts = "\n".join(fact.text for fact in self.request.previous_facts)
        return f"{self.request.previous or ''}\n{facts}\n{self.text}"


def format_turn(turn: SourceTurn) -> str:
    """The turn as `[turn 7, 2026-11-20 10:30] Ann (user): text`, further lines indented.

    No turn can pose as another: line breaks in the speaker are removed and those of the text are indented.
    """
    at = turn.at.astimezone(UTC)
    text = "\n    ".join(turn.text.splitlines())
    return f"[turn {turn.number}, {at:%Y-%m-%d %H:%M}] {speaker_label(turn)} ({turn.role}): {text}"


def speaker_label(turn: SourceTurn) -> str:
    """The speaker on one line, or the role when unnamed."""
    return " ".join(turn.speaker.split())[:_MAX_SPEAKER_CHARS] or turn.role
