"""A summarizer over any chat model: ask, see why it stopped, ask once more with more room if it was cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from agentstate.errors import InvalidInput, ProviderAnswerInvalid, ProviderError
from agentstate.providers.embedding.embedder import ProviderStatus
from agentstate.providers.summaries.facts import find_facts
from agentstate.providers.summaries.prompt import system_text, user_text
from agentstate.providers.summaries.summarizer import ContentRefused, Summary, SummaryRequest, Usage

Stop: TypeAlias = Literal["done", "truncated", "refused"]

MAX_SOURCE_TOKENS: Final = 60_000  # well inside every current window, and cheap to repeat
_LARGER: Final = 3
_HEADROOM: Final = 2  # the wanted length is an estimate in another vocabulary


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer of a chat model."""

    text: str
    stop: Stop
    input_tokens: int | None = None
    output_tokens: int | None = None


class ChatModel(Protocol):
    """One provider's chat endpoint."""

    @property
    def name(self) -> str:
        """Provider name."""
        ...

    @property
    def model(self) -> str:
        """Model name sent to the provider."""
        ...

    def ask(self, system: str, user: str, max_tokens: int) -> Reply:
        """One call; raises `ProviderError`."""
        ...

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class ModelSummarizer:
    """Summarizer that asks a chat model. Wrap it in a `GatedSummarizer`: answers are not checked here."""

    max_source_tokens = MAX_SOURCE_TOKENS

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    @property
    def name(self) -> str:
        """See `Summarizer.name`."""
        return f"{self._chat.name}:{self._chat.model}"

    def summarize(self, request: SummaryRequest) -> Summary:
        """See `Summarizer.summarize`."""
        if not request.turns:
            raise InvalidInput("there is no turn to summarize.")
        usage = Usage()
        system, user = system_text(request), user_text(request, self.max_source_tokens)
        room = request.max_tokens * _HEADROOM
        text = ""
        try:
            for max_tokens in (room, room * _LARGER):
                reply = self._chat.ask(system, user, max_tokens)
                usage.add_calls(reply.input_tokens, reply.output_tokens)
                if reply.stop == "refused":
                    raise ContentRefused(f"{self.name} declined to summarize these turns.")
                text = reply.text.strip() if reply.stop == "done" else ""
                if text:
                    break
            else:
                raise UnusableReply(f"{self.name} gave no whole summary within {room * _LARGER} tokens.")
        except ProviderError as error:
            usage.attach_to(error)
            raise
        return Summary(
            text,
            method="model",
            model=self.name,
            facts=find_facts(request.turns, request.previous_facts),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            calls=usage.calls,
        )

    def describe(self) -> ProviderStatus:
        """See `Summarizer.describe`."""
        return self._chat.describe()

    def close(self) -> None:
        """Give back connections."""
        self._chat.close()


class UnusableReply(ProviderAnswerInvalid):
    """The model's answer was cut off or empty, twice."""
